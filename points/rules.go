package points

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"sort"

	"ayumi/steps"
)

// OpenAge is the To of a band that has no upper end.
const OpenAge = math.MaxInt32

// RuleBook is a programme's rules through time. ParseRules and Preset make it.
type RuleBook struct {
	programme   string
	sets        []RuleSet // by rising Effective
	fingerprint string
}

// RuleSet is one version of the rules, in force from Effective until the day before the next one.
type RuleSet struct {
	Effective       steps.Day
	MaxCountedSteps uint64       // steps of a day beyond it are not counted; 0 is no limit
	DailyCap        steps.Points // the most that a day can earn; 0 is no limit
	AllowDecreasing bool         // more steps may earn fewer points
	Bands           []Band       // by rising age, without gap or overlap from 0 to OpenAge

	id string
}

// Band is the table for the ages From to To, both included.
type Band struct {
	From, To int
	Default  bool   // also the table for participants whose age is unknown
	Tiers    []Tier // by rising Steps
}

// Tier is one row of a table: a day of at least Steps steps earns Points.
type Tier struct {
	Steps  uint64
	Points steps.Points
}

// Programme returns the name the rule book gives its programme.
func (b *RuleBook) Programme() string { return b.programme }

// On returns the rule set in force on day, and false on a day before the first one.
func (b *RuleBook) On(day steps.Day) (*RuleSet, bool) {
	later := sort.Search(len(b.sets), func(i int) bool { return b.sets[i].Effective > day })
	if later == 0 {
		return nil, false
	}
	return &b.sets[later-1], true
}

// ID returns "programme@effective", such as "yokohama@2026-04-01".
func (s *RuleSet) ID() string { return s.id }

// Fingerprint returns the SHA-256, in hex, of what the rules mean. Comments, layout, the order of
// keys, rule sets and bands, and permissions that change no score (allow_decreasing) are left out.
// Two books with the same fingerprint score every day alike under the same rule set IDs.
func (b *RuleBook) Fingerprint() string { return b.fingerprint }

// scoring names how a rule book is turned into points. A change of the code that makes an
// unchanged book score differently changes it too, and with it every fingerprint.
const scoring = "ayumi points scoring 1"

// seal names the rule sets and computes the fingerprint of a complete book.
func (b *RuleBook) seal() {
	h := sha256.New()
	fmt.Fprintf(h, "%s\nprogramme %q\n", scoring, b.programme)
	for i := range b.sets {
		s := &b.sets[i]
		s.id = b.programme + "@" + s.Effective.String()
		fmt.Fprintf(h, "set %d count %d cap %d\n", s.Effective, s.MaxCountedSteps, s.DailyCap)
		for _, band := range s.Bands {
			fmt.Fprintf(h, "band %d %d %t\n", band.From, band.To, band.Default)
			for _, t := range band.Tiers {
				fmt.Fprintf(h, "tier %d %d\n", t.Steps, t.Points)
			}
		}
	}
	b.fingerprint = hex.EncodeToString(h.Sum(nil))
}
