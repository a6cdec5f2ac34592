package points

import (
	"fmt"

	"ayumi/steps"
)

// Eligibility says on which days a person earns points at all.
type Eligibility struct {
	Resident bool `json:",omitzero"` // only on days of a Person.Resident range
	Enrolled bool `json:",omitzero"` // only on days of a Person.Enrolled range
	Forfeit  bool `json:"-"`         // who leaves loses what was earned; otherwise it is kept
}

// Exclusion says why a day could earn nothing, or its steps could not. The numbers are stored with
// explanations and never change.
type Exclusion uint8

const (
	NoRules       Exclusion = 1 // no rule set is in force yet
	OutsidePeriod Exclusion = 2 // the programme has point periods and the day is in none
	NotResident   Exclusion = 3
	NotEnrolled   Exclusion = 4
	NotSent       Exclusion = 5 // no sending covers the day: its steps do not count, the rest does
)

var exclusionKeys = [...]string{
	NoRules: "no rules", OutsidePeriod: "outside period", NotResident: "not resident",
	NotEnrolled: "not enrolled", NotSent: "not sent",
}

// String returns the reason in English, "" for none.
func (x Exclusion) String() string {
	if int(x) < len(exclusionKeys) {
		return exclusionKeys[x]
	}
	return fmt.Sprintf("exclusion %d", uint8(x))
}

// MarshalText writes what String returns.
func (x Exclusion) MarshalText() ([]byte, error) { return []byte(x.String()), nil }

// whole reports whether the whole day is excluded, not only its steps.
func (x Exclusion) whole() bool { return x != 0 && x != NotSent }

// exclusion returns why the day cannot earn, the first reason that holds.
func (e *eval) exclusion() Exclusion {
	switch {
	case e.set == nil:
		return NoRules
	case len(e.book.periods) > 0 && !e.inPeriod():
		return OutsidePeriod
	case e.set.Eligibility.Resident && !inside(e.person.Resident, e.facts.Day):
		return NotResident
	case e.set.Eligibility.Enrolled && !inside(e.person.Enrolled, e.facts.Day):
		return NotEnrolled
	case !e.set.covered(e.facts):
		return NotSent
	}
	return 0
}

func inside(ranges []steps.DayRange, day steps.Day) bool {
	for _, r := range ranges {
		if r.Contains(day) {
			return true
		}
	}
	return false
}
