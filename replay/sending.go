package replay

import (
	"slices"
	"strings"

	"ayumi/steps"
)

// Label says what is special about a sending; labels add up.
type Label uint16

// The labels. They live in memory only.
const (
	Repeated    Label = 1 << iota // a further copy of an upload that was planned before
	Split                         // one of two uploads that share what would have been one
	Late                          // delivered about a month after its time
	Superseded                    // holds counts that a higher revision corrects
	BrokenClock                   // its samples lie in 2000 or 2036: it belongs in quarantine
	Restarted                     // first upload after the device restarted
)

var labelNames = [...]string{"repeated", "split", "late", "superseded", "broken clock", "restarted"}

// String returns the labels' names, or "regular".
func (l Label) String() string {
	var names []string
	for i, name := range labelNames {
		if l&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if names == nil {
		return "regular"
	}
	return strings.Join(names, ", ")
}

// Sending is one transmission of an upload. Copies share the upload's memory: do not change it.
type Sending struct {
	Upload   steps.Upload
	Encoding steps.Encoding
	At       int64 // when it goes out, UTC seconds of the plan: plans are sorted by it
	Label    Label
}

// Tally counts what plans hold.
type Tally struct {
	People      int
	Hours       int    // person-hours planned
	Outside     int    // person-hours left out because the calendar's zone skips them
	Steps       uint64 // of the hours planned
	Uploads     int    // different ones
	Sendings    int    // repeats included
	Repeats     int    // sendings less uploads
	Splits      int    // uploads that are half of another's minutes
	Late        int    // uploads delivered late
	Superseded  int    // uploads whose counts are corrected by others
	BrokenClock int    // uploads that must be quarantined: the entries to expect
	Restarts    int    // devices that restarted
}

// DaySum is what a person walked on a day.
type DaySum struct {
	Person string
	Day    steps.Day
	Steps  uint64
}

// Expectation is what a gateway must hold once every planned upload has arrived.
type Expectation struct {
	Days []DaySum // ascending by person as added, then by day; days with hours of zero included
	Tally
}

// Add counts a person and the plan made for them. The day sums come from the person's hours, not
// from the plan.
func (e *Expectation) Add(p Person, cal steps.Calendar, plan []Sending) {
	hours, _ := placed(p, cal)
	e.People++
	e.Hours += len(hours)
	e.Outside += len(p.Hours) - len(hours)
	from := len(e.Days)
	for i := range hours {
		if len(e.Days) == from || e.Days[len(e.Days)-1].Day != hours[i].Day {
			e.Days = append(e.Days, DaySum{Person: p.ID, Day: hours[i].Day})
		}
		n := hours[i].Steps()
		e.Days[len(e.Days)-1].Steps += n
		e.Steps += n
	}
	for i := range plan {
		e.count(plan[i].Label)
	}
}

func (e *Expectation) count(l Label) {
	e.Sendings++
	if l&Repeated != 0 {
		e.Repeats++
		return
	}
	e.Uploads++
	for bit, n := range map[Label]*int{
		Split: &e.Splits, Late: &e.Late, Superseded: &e.Superseded, BrokenClock: &e.BrokenClock, Restarted: &e.Restarts,
	} {
		if l&bit != 0 {
			*n++
		}
	}
}

// arrange sorts sendings by the time they go out and marks every copy after the first of a revision
// as repeated.
func arrange(plan []Sending) {
	slices.SortStableFunc(plan, func(a, b Sending) int {
		switch {
		case a.At < b.At:
			return -1
		case a.At > b.At:
			return 1
		}
		return 0
	})
	seen := make(map[steps.Revision]bool, len(plan))
	for i := range plan {
		rev := plan[i].Upload.Revision
		if seen[rev] {
			plan[i].Label |= Repeated
		}
		seen[rev] = true
	}
}
