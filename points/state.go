package points

import (
	"math"
	"slices"

	"ayumi/steps"
)

// State is what a score keeps of the days before: sums against caps, streaks, goal days. It holds
// no pointers and is comparable: once two folds over the same further days have equal states, their
// scores are equal from there on. RuleBook.Begin makes it.
type State struct {
	last     steps.Day            // the last day folded in
	ends     [spanCount]steps.Day // last days of the current week, month, year and period or gap between periods
	set      int16                // index of the rule set that the slots belong to, -1 before the first
	inPeriod bool
	sums     [spanCount]uint32 // points granted in the current spans under caps of rule sets
	slots    [maxSlots]uint32  // counters of single rules, laid out by the rule set
}

// maxSlots bounds the counters of a rule set, and with them the size of a State.
const maxSlots = 16

// Begin returns the state before the first day.
func (b *RuleBook) Begin() State {
	st := State{last: math.MinInt32, set: -1}
	for i := range st.ends {
		st.ends[i] = math.MinInt32
	}
	return st
}

// Last returns the last day folded in, and false if there is none yet.
func (st *State) Last() (steps.Day, bool) { return st.last, st.last != math.MinInt32 }

// slot says what a counter counts.
type slot struct {
	rule    string // name
	purpose purpose
	span    Span // it begins anew with each; 0 is never
}

// purpose tells the counters of one rule apart.
type purpose uint8

const (
	forCap    purpose = iota + 1 // points granted within the span
	forStreak                    // days in a row
	forWindow                    // a bit a day, the newest lowest
	forGoals                     // goal days within the span
	forOnce                      // a bit an activity kind that has counted
	forCarry                     // what a rate has left over
)

// ruleSlots are the indexes of a rule's counters in State.slots.
type ruleSlots struct {
	caps  [spanCount]int8 // by span, where the rule has a cap
	own   int8            // what the rule itself counts
	carry int8
}

// layOut gives every counter of the rule set a slot. It returns how many there are; the rule set
// cannot be used if there are more than maxSlots.
func (s *RuleSet) layOut() int {
	take := func(r *Rule, p purpose, span Span) int8 {
		s.slots = append(s.slots, slot{r.Name, p, span})
		return int8(min(len(s.slots)-1, maxSlots))
	}
	for i := range s.Rules {
		r := &s.Rules[i]
		for span := WeekSpan; span <= PeriodSpan; span++ {
			if r.Caps[span] > 0 {
				r.slots.caps[span] = take(r, forCap, span)
			}
		}
		switch {
		case r.Kind == KindStreak:
			r.slots.own = take(r, forStreak, r.Within)
		case r.Kind == KindGoalDays && r.Window > 0:
			r.slots.own = take(r, forWindow, 0)
		case r.Kind == KindGoalDays:
			r.slots.own = take(r, forGoals, r.Within)
		case r.Kind == KindActivity && r.Once > DaySpan:
			r.slots.own = take(r, forOnce, r.Once)
		}
		if span := r.Table.carry(); span > 0 {
			r.slots.carry = take(r, forCarry, span)
		}
	}
	return len(s.slots)
}

// inherit finds out which counters go on from the rule set before: those of the same rule, by name,
// that count the same within the same span.
func (s *RuleSet) inherit(before *RuleSet) {
	for i := range s.slots {
		s.from[i] = -1
		for j := range before.slots {
			if s.slots[i] == before.slots[j] {
				s.from[i] = int8(j)
			}
		}
		if s.from[i] >= 0 && s.slots[i].purpose == forOnce {
			s.kinds[i] = moved(before.rule(s.slots[i].rule).Activities, s.rule(s.slots[i].rule).Activities)
		}
	}
}

// moved returns where each new kind of activity stood in the old list, -1 if it did not.
func moved(before, after []string) []int8 {
	from := make([]int8, len(after))
	for i, kind := range after {
		from[i] = int8(slices.Index(before, kind))
	}
	return from
}

// rule returns the rule of that name, which exists.
func (s *RuleSet) rule(name string) *Rule {
	return &s.Rules[slices.IndexFunc(s.Rules, func(r Rule) bool { return r.Name == name })]
}

// takeOver returns the counters that a rule set begins with after those of the one before.
func (s *RuleSet) takeOver(before *[maxSlots]uint32) (slots [maxSlots]uint32) {
	for i := range s.slots {
		from := s.from[i]
		switch {
		case from < 0:
		case s.kinds[i] == nil:
			slots[i] = before[from]
		default:
			for bit, was := range s.kinds[i] {
				if was >= 0 {
					slots[i] |= before[from] >> was & 1 << bit
				}
			}
		}
	}
	return slots
}

// advance moves the state from the last day to the next: spans that ended begin anew, and the
// counters of another rule set are taken over. It returns how many days passed, 1 for consecutive ones.
func (b *RuleBook) advance(st *State, day steps.Day) (passed int) {
	passed = math.MaxInt32
	if last, ok := st.Last(); ok {
		passed = int(day) - int(last)
	}
	for span := WeekSpan; span <= PeriodSpan; span++ {
		if b.used[span] && day > st.ends[span] {
			b.turn(st, span, day)
		}
	}
	for set := b.setOn(day); int(st.set) < set; {
		st.set++
		if st.set > 0 {
			st.slots = b.sets[st.set].takeOver(&st.slots)
		}
	}
	st.last = day
	return passed
}

// turn begins a span anew.
func (b *RuleBook) turn(st *State, span Span, day steps.Day) {
	if span == PeriodSpan {
		st.inPeriod, st.ends[span] = b.stretch(day)
	} else {
		_, st.ends[span] = b.calendar.span(span, day)
	}
	st.sums[span] = 0
	if st.set < 0 {
		return
	}
	for i, slot := range b.sets[st.set].slots {
		if slot.span == span {
			st.slots[i] = 0
		}
	}
}
