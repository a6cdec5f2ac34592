package points

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sort"

	"ayumi/steps"
)

// RuleBook is a programme's rules through time. ParseRules and Preset make it.
type RuleBook struct {
	programme   string
	calendar    calendar
	holidays    []steps.Day // rising
	periods     []periodRule
	sets        []RuleSet       // by rising Effective
	counted     [spanCount]bool // spans within which a rule set caps
	used        [spanCount]bool // spans that anything refers to
	groups      []group         // rules that influence each other
	needs       needs
	fingerprint string
}

// RuleSet is one version of the rules, in force from Effective until the day before the next one.
type RuleSet struct {
	Effective       steps.Day
	MaxCountedSteps uint64      `json:",omitzero"` // steps of a day beyond it are not counted; 0 is no limit
	Caps            Caps        `json:",omitzero"` // of all rules together that are not Exempt
	AllowDecreasing bool        `json:"-"`         // more steps may earn fewer points
	SendWithin      int         `json:",omitzero"` // a sending covers so many days, its own the last; 0 is no duty
	FinalAfter      int         `json:"-"`         // days after a day until late data no longer change it
	Eligibility     Eligibility `json:",omitzero"`
	Baseline        *Baseline   `json:",omitzero"` // how the steps before the programme are measured; nil if they are not
	Rules           []Rule      // in the order of the file; the earlier ones draw on caps first

	id    string
	slots []slot           // what each of State.slots holds under this rule set
	from  [maxSlots]int8   // which slot of the rule set before each goes on from; -1 for none
	kinds [maxSlots][]int8 // for counters of activities, which bit of that slot each bit goes on from
}

// Rule is one way to earn points. Which fields mean something depends on Kind.
type Rule struct {
	Name   string
	Kind   Kind
	When   *Condition `json:",omitzero"` // days on which it does not hold earn nothing by the rule; nil holds always
	Caps   Caps       `json:",omitzero"` // of the rule alone
	Exempt bool       `json:",omitzero"` // the rule set's caps do not hold for the rule

	Table   Table  `json:",omitzero"` // steps, active minutes, sustained walking, personal goal
	Cadence uint32 `json:",omitzero"` // active minutes, sustained walking: steps a minute at least
	Least   int    `json:",omitzero"` // sustained walking: minutes without a slower one at least

	Goal   Goal `json:",omitzero"` // streak, goal days: what makes a day count
	Days   int  `json:",omitzero"` // streak, goal days: how many such days earn Points
	Window int  `json:",omitzero"` // goal days: within so many days, the last included; 0 is within Within
	Within Span `json:",omitzero"` // streak, goal days: the count begins anew with each; 0 is never

	Activities []string `json:",omitzero"` // activity: the kinds that count, sorted
	Once       Span     `json:",omitzero"` // activity: each kind counts once within it; 0 is each time

	Points steps.Points `json:",omitzero"` // streak, goal days, sending, activity: what each earns

	slots ruleSlots
}

// Kind is what a rule rewards. The numbers are stored with explanations and never change.
type Kind uint8

const (
	KindSteps            Kind = 1 // a day's steps
	KindActiveMinutes    Kind = 2 // minutes at a cadence
	KindSustainedWalking Kind = 3 // minutes or steps of walks that go on for a while
	KindPersonalGoal     Kind = 4 // steps above the person's own baseline
	KindStreak           Kind = 5 // days in a row that reach a goal
	KindGoalDays         Kind = 6 // days that reach a goal within some days, a week, a month …
	KindSending          Kind = 7 // a calendar day on which something was sent
	KindActivity         Kind = 8 // other healthy behaviour
)

// kindKeys are the keys that name the kinds in a rules file, by Kind.
var kindKeys = [...]string{
	KindSteps: "steps", KindActiveMinutes: "active_minutes", KindSustainedWalking: "sustained_walking",
	KindPersonalGoal: "personal_goal", KindStreak: "streak", KindGoalDays: "goal_days",
	KindSending: "sending", KindActivity: "activity",
}

// String returns the kind as a rules file names it.
func (k Kind) String() string {
	if k == 0 || int(k) >= len(kindKeys) {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return kindKeys[k]
}

// MarshalText writes the kind as a rules file names it.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Programme returns the name the rule book gives its programme.
func (b *RuleBook) Programme() string { return b.programme }

// On returns the rule set in force on day, and false on a day before the first one.
func (b *RuleBook) On(day steps.Day) (*RuleSet, bool) {
	i := b.setOn(day)
	if i < 0 {
		return nil, false
	}
	return &b.sets[i], true
}

// RuleSetIDs returns the IDs of all rule sets, by rising date.
func (b *RuleBook) RuleSetIDs() []string {
	ids := make([]string, len(b.sets))
	for i := range b.sets {
		ids[i] = b.sets[i].id
	}
	return ids
}

// setOn returns the index of the rule set in force on day, -1 before the first one.
func (b *RuleBook) setOn(day steps.Day) int {
	return sort.Search(len(b.sets), func(i int) bool { return b.sets[i].Effective > day }) - 1
}

// holiday reports whether the rule book lists day as a holiday.
func (b *RuleBook) holiday(day steps.Day) bool {
	i := sort.Search(len(b.holidays), func(i int) bool { return b.holidays[i] >= day })
	return i < len(b.holidays) && b.holidays[i] == day
}

// ID returns "programme@effective", such as "yokohama@2026-04-01".
func (s *RuleSet) ID() string { return s.id }

// Fingerprint returns the SHA-256, in hex, of what decides the score of a day. Comments, layout, the
// order of keys, rule sets and bands, and what changes no score (allow_decreasing, a period's
// threshold, how long late data are accepted) are left out. Two books with the same fingerprint
// score every day alike under the same rule set IDs.
func (b *RuleBook) Fingerprint() string { return b.fingerprint }

// scoring names how a rule book is turned into points. A change of the code that makes an
// unchanged book score differently changes it too, and with it every fingerprint.
const scoring = "ayumi points scoring 2"

// seal names the rule sets, lays out their counters and computes the fingerprint of a complete book.
func (b *RuleBook) seal() {
	h := sha256.New()
	enc := json.NewEncoder(h)
	write := func(v any) {
		if err := enc.Encode(v); err != nil {
			panic("points: rules cannot be written as JSON: " + err.Error())
		}
	}
	b.used[PeriodSpan] = len(b.periods) > 0
	write([]any{scoring, b.programme, b.calendar, b.holidays, b.periods})
	for i := range b.sets {
		s := &b.sets[i]
		s.id = b.programme + "@" + s.Effective.String()
		if i > 0 {
			s.inherit(&b.sets[i-1])
		}
		b.refer(s)
		write(s)
	}
	b.groups = grouped(b.sets)
	b.needs = needsOf(b)
	b.fingerprint = hex.EncodeToString(h.Sum(nil))
}

// refer notes the spans that a rule set refers to.
func (b *RuleBook) refer(s *RuleSet) {
	for span := WeekSpan; span <= PeriodSpan; span++ {
		if s.Caps[span] > 0 {
			b.counted[span], b.used[span] = true, true
		}
	}
	for _, slot := range s.slots {
		b.used[slot.span] = true
	}
}
