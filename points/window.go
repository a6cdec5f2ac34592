package points

import (
	"slices"

	"ayumi/steps"
)

// Window returns what late data of a day can change and need. The score of day depends on the facts
// of no day before from, so a fold that begins there gives it; and the facts of day change the score
// of no day after until.
//
// With plain tables both are the day itself; with caps and counts they are the ends of its week,
// month, year or period, or of a chain of those where caps of different spans draw on each other.
// A chain of more than two years has no bound, nor has a streak or a rolling window that does not
// begin anew with a span: from is then the first day of the rules and until a day that never comes.
// States tell earlier when a change has died out: they are equal again. A day of the person's
// baseline has an open until too. A nil p is a person without a baseline to measure.
func (b *RuleBook) Window(day steps.Day, p *Person) (from, until steps.Day) {
	from, until = day, day
	for i := range b.groups {
		first, last := b.groups[i].window(b, day)
		from, until = min(from, first), max(until, last)
	}
	if p != nil && b.measures(day, p) {
		until = noEnd
	}
	return max(from, min(day, b.sets[0].Effective)), until
}

// measures reports whether the person's baseline depends on day.
func (b *RuleBook) measures(day steps.Day, p *Person) bool {
	for i := range b.sets {
		if base := b.sets[i].Baseline; base != nil {
			if window, ok := base.Window(p); ok && window.Contains(day) {
				return true
			}
		}
	}
	return false
}

// group is a set of rules whose points draw on the same caps.
type group struct {
	key   string   // the rule's name; "" for all that are under caps of a rule set
	facts spanMask // counts that depend on what people do: goal days, activities, remainders
	caps  spanMask // counts that depend on what was granted
	open  bool     // a count that no span bounds
}

type spanMask [spanCount]bool

// grouped collects the rules that can influence each other through caps, over all rule sets.
func grouped(sets []RuleSet) []group {
	coupled := slices.ContainsFunc(sets, func(s RuleSet) bool { return s.Caps != Caps{} })
	var groups []group
	at := func(key string) *group {
		i := slices.IndexFunc(groups, func(g group) bool { return g.key == key })
		if i < 0 {
			i = len(groups)
			groups = append(groups, group{key: key})
		}
		return &groups[i]
	}
	for i := range sets {
		for j := range sets[i].Rules {
			r := &sets[i].Rules[j]
			key := r.Name
			if coupled && !r.Exempt {
				key = ""
			}
			at(key).add(r)
		}
		if coupled {
			at("").limit(&sets[i].Caps)
		}
	}
	return groups
}

func (g *group) add(r *Rule) {
	g.limit(&r.Caps)
	switch r.Kind {
	case KindStreak, KindGoalDays:
		g.facts[r.Within] = true
		g.open = g.open || r.Within == 0
	case KindActivity:
		g.facts[r.Once] = true
	}
	g.facts[r.Table.carry()] = true
}

func (g *group) limit(c *Caps) {
	for span := WeekSpan; span <= PeriodSpan; span++ {
		g.caps[span] = g.caps[span] || c[span] > 0
	}
}

// window returns which days a day's points in the group depend on and influence.
func (g *group) window(b *RuleBook, day steps.Day) (from, until steps.Day) {
	if g.open {
		return b.sets[0].Effective, noEnd
	}
	until = day
	for span := WeekSpan; span <= PeriodSpan; span++ {
		if g.facts[span] {
			until = max(until, b.lastOf(span, day))
		}
	}
	first, bounded := g.chain(day, func(span Span, d steps.Day) steps.Day { return min(d, b.firstOf(span, d)) })
	until, ends := g.chain(until, func(span Span, d steps.Day) steps.Day { return max(d, b.lastOf(span, d)) })
	if !bounded {
		first = b.sets[0].Effective
	}
	if !ends {
		until = noEnd
	}
	from = first
	for span := WeekSpan; span <= PeriodSpan; span++ {
		if g.facts[span] {
			from = min(from, b.firstOf(span, first))
		}
	}
	return from, until
}

// chain follows the spans of caps until none goes further, and returns false if they go on for more
// than longestChain days. Weeks and months chain until a month begins with a week, which takes
// little more than a year; weeks and years until a year does; years and periods that cut each other
// for ever.
func (g *group) chain(day steps.Day, next func(Span, steps.Day) steps.Day) (steps.Day, bool) {
	for start := day; max(day-start, start-day) <= longestChain; {
		before := day
		for span := WeekSpan; span <= PeriodSpan; span++ {
			if g.caps[span] {
				day = next(span, day)
			}
		}
		if day == before {
			return day, true
		}
	}
	return day, false
}

const longestChain = 2 * 366

func (b *RuleBook) firstOf(span Span, day steps.Day) steps.Day {
	if span == PeriodSpan {
		if p, ok := b.Period(day); ok {
			return p.From
		}
		return day
	}
	first, _ := b.calendar.span(span, day)
	return first
}

func (b *RuleBook) lastOf(span Span, day steps.Day) steps.Day {
	if span == PeriodSpan {
		if p, ok := b.Period(day); ok {
			return p.Until
		}
		return day
	}
	_, last := b.calendar.span(span, day)
	return last
}
