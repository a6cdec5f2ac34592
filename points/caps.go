package points

import (
	"fmt"
	"math"

	"ayumi/steps"
)

// Caps are the most points within a span, indexed by Span; 0 is no limit.
type Caps [spanCount]steps.Points

// least returns the tightest cap and its span, 0 if there is none.
func (c *Caps) least() (steps.Points, Span) {
	var tight Span
	for span := DaySpan; span <= PeriodSpan; span++ {
		if c[span] > 0 && (tight == 0 || c[span] < c[tight]) {
			tight = span
		}
	}
	return c[tight], tight
}

// Cap names the cap that cut a line. The numbers are stored with explanations and never change.
type Cap uint8

const (
	NoCap         Cap = 0
	RuleDayCap    Cap = 1 // the rule's own caps
	RuleWeekCap   Cap = 2
	RuleMonthCap  Cap = 3
	RuleYearCap   Cap = 4
	RulePeriodCap Cap = 5
	DayCap        Cap = 11 // the rule set's caps
	WeekCap       Cap = 12
	MonthCap      Cap = 13
	YearCap       Cap = 14
	PeriodCap     Cap = 15
)

func ruleCap(s Span) Cap { return Cap(s) }
func setCap(s Span) Cap  { return Cap(s) + 10 }

// String returns "rule day", "week" and the like, "" for NoCap.
func (c Cap) String() string {
	switch {
	case c == NoCap:
		return ""
	case c <= RulePeriodCap:
		return "rule " + Span(c).String()
	case c >= DayCap && c <= PeriodCap:
		return Span(c - 10).String()
	}
	return fmt.Sprintf("cap %d", uint8(c))
}

// MarshalText writes what String returns.
func (c Cap) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// grant cuts what a rule earned to what its own caps and then the rule set's leave, and books it
// against them. The tightest cap is named, of equal ones the first.
func (e *eval) grant(r *Rule, earned steps.Points) (granted steps.Points, cut Cap) {
	granted = earned
	limit := func(most, used steps.Points, by Cap) {
		if most > 0 && most-used < granted {
			granted, cut = most-used, by
		}
	}
	limit(r.Caps[DaySpan], 0, ruleCap(DaySpan))
	for span := WeekSpan; span <= PeriodSpan; span++ {
		if r.Caps[span] > 0 {
			limit(r.Caps[span], used(e.st.slots[r.slots.caps[span]], r.Caps[span]), ruleCap(span))
		}
	}
	if !r.Exempt {
		limit(e.set.Caps[DaySpan], e.capped, setCap(DaySpan))
		for span := WeekSpan; span <= PeriodSpan; span++ {
			limit(e.set.Caps[span], used(e.st.sums[span], e.set.Caps[span]), setCap(span))
		}
	}
	e.charge(r, granted)
	return granted, cut
}

// used returns what is used of a cap. A cap that a new rule set lowered may be overdrawn.
func used(sum uint32, most steps.Points) steps.Points {
	return min(steps.Points(sum), most)
}

// charge counts points against the caps that they are under.
func (e *eval) charge(r *Rule, granted steps.Points) {
	for span := WeekSpan; span <= PeriodSpan; span++ {
		if r.Caps[span] > 0 {
			add(&e.st.slots[r.slots.caps[span]], granted)
		}
	}
	if r.Exempt {
		return
	}
	e.capped += granted
	for span := WeekSpan; span <= PeriodSpan; span++ {
		if e.book.counted[span] {
			add(&e.st.sums[span], granted)
		}
	}
}

// add adds to a sum that stays at its largest value rather than wrap. No cap is that large.
func add(sum *uint32, p steps.Points) {
	*sum = uint32(min(steps.Points(*sum)+p, math.MaxUint32))
}
