package review

import (
	"fmt"
	"slices"
	"strings"

	"ayumi/plausibility"
	"ayumi/steps"
)

// State is how far the review of a day has come.
type State uint8

// The states, as stored.
const (
	Open    State = 1 // to be looked at; its points count meanwhile
	Held    State = 2 // to be looked at before its points count
	Cleared State = 3 // nothing was wrong
	Upheld  State = 4 // its points do not count
)

var stateNames = [...]string{"", "open", "held", "cleared", "upheld"}

// String returns the state's name.
func (s State) String() string {
	if s > 0 && int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// ParseState reads a state's name. Another one is Invalid.
func ParseState(s string) (State, error) {
	if i := slices.Index(stateNames[1:], s); i >= 0 {
		return State(i + 1), nil
	}
	return 0, steps.Errorf("read state of review", steps.Invalid, "%q is none; use one of %s", s, strings.Join(stateNames[1:], ", "))
}

// Undecided reports whether the review waits for staff.
func (s State) Undecided() bool { return s == Open || s == Held }

// Holds reports whether a day that is closed in this state has its points held.
func (s State) Holds() bool { return s == Held || s == Upheld }

// EventKind says what happened to a review.
type EventKind uint8

// The kinds, as stored.
const (
	Clearing  EventKind = 1 // staff decided that nothing was wrong
	Upholding EventKind = 2 // staff decided that the points do not count
	Appeal    EventKind = 3 // the participant does not agree
	Renewal   EventKind = 4 // other data raised other flags after a decision
)

var eventNames = [...]string{"", "cleared", "upheld", "appealed", "renewed"}

// String returns the kind's name.
func (k EventKind) String() string {
	if k > 0 && int(k) < len(eventNames) {
		return eventNames[k]
	}
	return fmt.Sprintf("event(%d)", uint8(k))
}

// Event is one thing that happened to a review after it was found.
type Event struct {
	Kind  EventKind
	At    int64  // UTC seconds
	By    string // who decided, or took the appeal down
	Text  string // why; the appeal's own words
	Entry uint64 // of a clearing: the ledger entry that released the points, 0 if none were held
}

// Review is a day that staff should look at, and all that they decided on it.
type Review struct {
	steps.ParticipantDay
	FoundAt  int64  // UTC seconds
	LookedAt int64  // UTC seconds, when the flags below were found
	Steps    uint64 // of the day by then
	Score    int    // sum of the flags' scores, at most 100
	Flags    []plausibility.Flag
	State    State
	Events   []Event // in the order of time
}

// Has reports whether the day raised a kind of flag.
func (r *Review) Has(k plausibility.Kind) bool {
	return slices.ContainsFunc(r.Flags, func(f plausibility.Flag) bool { return f.Kind == k })
}

// Filter narrows a listing of reviews. Zero fields do not narrow.
type Filter struct {
	Days        steps.DayRange
	Participant steps.ParticipantID
	State       State
	Undecided   bool
	Kind        plausibility.Kind
}

// Wants reports whether the filter lets a review through.
func (f *Filter) Wants(r *Review) bool {
	return f.Days.Contains(r.Day) && (f.Participant == "" || f.Participant == r.Participant) &&
		(f.State == 0 || f.State == r.State) && (!f.Undecided || r.State.Undecided()) && (f.Kind == 0 || r.Has(f.Kind))
}

// Finding is what a look at a day found. One without flags says that there is nothing any more.
type Finding struct {
	steps.ParticipantDay
	Steps uint64
	Score int
	Flags []plausibility.Flag
	Hold  bool // the points should wait for the review
}

// Print is what is kept of a day that was looked at.
type Print struct {
	Day     steps.Day
	Steps   uint64
	Active  bool // enough for a fingerprint
	Pattern plausibility.Fingerprint
}

// Prints are a participant's days that were looked at, by rising date.
type Prints struct {
	Participant steps.ParticipantID
	Days        []Print
}

// Of returns what is kept of a day.
func (p *Prints) Of(day steps.Day) (Print, bool) {
	for i := range p.Days {
		if p.Days[i].Day == day {
			return p.Days[i], true
		}
	}
	return Print{}, false
}

// Put enters a day, and forgets all but the last days before the newest one, so many.
func (p *Prints) Put(d Print, keep int) {
	i, found := slices.BinarySearchFunc(p.Days, d.Day, func(a Print, day steps.Day) int { return int(a.Day - day) })
	if found {
		p.Days[i] = d
	} else {
		p.Days = slices.Insert(p.Days, i, d)
	}
	first := p.Days[len(p.Days)-1].Day - steps.Day(keep)
	p.Days = slices.DeleteFunc(p.Days, func(a Print) bool { return a.Day < first })
}
