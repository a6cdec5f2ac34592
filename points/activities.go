package points

import (
	"slices"

	"ayumi/steps"
)

// activity pays for other healthy behaviour: each time, or each kind once within a span.
func (e *eval) activity(r *Rule, got *earned) {
	var times uint64
	var seen uint32 // kinds that count already, a bit each
	if r.Once > DaySpan {
		seen = e.st.slots[r.slots.own]
	}
	for i := range e.facts.Activities {
		a := &e.facts.Activities[i]
		kind, ok := slices.BinarySearch(r.Activities, a.Kind)
		switch {
		case !ok || a.Times < 1:
		case r.Once == 0:
			times += min(uint64(a.Times), maxTimes)
		case seen>>kind&1 == 0:
			seen |= 1 << kind
			times++
		}
	}
	if r.Once > DaySpan {
		e.st.slots[r.slots.own] = seen
	}
	if times > 0 {
		got.points, got.unit = r.Points*steps.Points(times), UnitTimes
		got.threshold, got.figure = 1, times
	}
}

const (
	maxKinds = 32  // activities of one rule: a bit each in a slot
	maxTimes = 100 // of one activity a day; more is counted as so many
)

// Activities returns the kinds of activity that earn points under the rule set, sorted.
func (s *RuleSet) Activities() []string {
	var kinds []string
	for i := range s.Rules {
		kinds = append(kinds, s.Rules[i].Activities...)
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}
