package points

import "ayumi/steps"

// Facts are what is known of one participant's day. They are everything that a score depends on
// beside the person, the rules and the days before.
type Facts struct {
	Day     steps.Day
	Steps   uint64  // the merged total
	Minutes Minutes // asked only if Steps is not 0 and RuleBook.NeedsMinutes; may be nil otherwise

	// Sent reports whether something was sent on that calendar day, whatever days it was about.
	// NextSent is the first calendar day from Day on on which something was sent, 0 if there was
	// none up to SentUntil, the last day whose sendings are known. Only rules with a sending duty
	// look at NextSent and SentUntil.
	Sent      bool
	NextSent  steps.Day
	SentUntil steps.Day

	Activities []Activity

	// Closed says that the day is closed and has what it was awarded, whatever it would earn now: caps count that, and
	// what it used up then is used up.
	Closed  bool
	Awarded steps.Points // corrections included
	Parts   steps.Parts
}

// Minutes are the merged counts of a day, read when a rule needs them.
type Minutes interface {
	// Counts returns the steps of each minute of the day, the first minute first: 1,440 of them,
	// but for days on which clocks change. The scorer does not keep or change the slice.
	Counts() ([]uint32, error)
}

// Activity is other healthy behaviour on a day, of a kind that the rules name.
type Activity struct {
	Kind  string
	Times int // how often; less than 1 is not at all
}

// Person is what a score depends on beside days.
type Person struct {
	Born      steps.Day
	BornKnown bool
	Cohort    string           // "" is none
	Resident  []steps.DayRange // in any order; a day of moving in or out is inside
	Enrolled  []steps.DayRange // in any order
	Baseline  PersonalBaseline
}

// PersonalBaseline is what a person walked before the programme, as RuleSet.Baseline measures it or
// as staff entered it.
type PersonalBaseline struct {
	Known bool
	Steps uint64    // a day
	From  steps.Day // the first day that it is held against
}

// Age returns the person's age on a day, UnknownAge if the date of birth is not known or later.
func (p *Person) Age(on steps.Day) int {
	if !p.BornKnown {
		return UnknownAge
	}
	return Age(p.Born, on)
}
