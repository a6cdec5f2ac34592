package points

import (
	"slices"

	"ayumi/steps"
)

// naive scores in the plainest way: it keeps no state, looks at every earlier day again for every
// day, and at every row of every table. It shares no code with the fold but the calendar, Age and
// the rules as they were read.
type naive struct {
	book   *RuleBook
	person *Person
	facts  map[steps.Day]*Facts
	lines  map[steps.Day][]Line
	first  steps.Day // of the facts; nothing happened before
	// then scored what was known of the days up to closed when they were closed; nil if none are.
	then   *naive
	closed steps.Day
	// holds says what the conditions of the rules mean, by their text.
	holds map[string]func(*Facts, *Person) bool
}

func newNaive(book *RuleBook, person *Person, facts []*Facts) *naive {
	n := &naive{book: book, person: person, facts: map[steps.Day]*Facts{}, lines: map[steps.Day][]Line{}, holds: drawnConditions}
	for i, f := range facts {
		n.facts[f.Day] = f
		if i == 0 || f.Day < n.first {
			n.first = f.Day
		}
	}
	return n
}

// scoreAll scores all days from the first to the last.
func (n *naive) scoreAll(first, last steps.Day) {
	for d := first; d <= last; d++ {
		n.lines[d] = n.score(d)
	}
}

func (n *naive) on(d steps.Day) *Facts {
	if f := n.facts[d]; f != nil {
		return f
	}
	return &Facts{Day: d}
}

// set returns the index of the rule set in force.
func (n *naive) set(d steps.Day) int {
	found := -1
	for i := range n.book.sets {
		if n.book.sets[i].Effective <= d {
			found = i
		}
	}
	return found
}

// out reports whether nothing at all counts on a day.
func (n *naive) out(d steps.Day) bool {
	i := n.set(d)
	if i < 0 {
		return true
	}
	who := n.book.sets[i].Eligibility
	within := func(ranges []steps.DayRange) bool {
		for _, r := range ranges {
			if d >= r.From && (r.Until == 0 || d <= r.Until) {
				return true
			}
		}
		return false
	}
	_, in := n.periodStart(d)
	return len(n.book.periods) > 0 && !in || who.Resident && !within(n.person.Resident) || who.Enrolled && !within(n.person.Enrolled)
}

// periodStart goes back from a day until a period begins, or none can have begun.
func (n *naive) periodStart(d steps.Day) (steps.Day, bool) {
	for _, p := range n.book.periods {
		for first := d; first > d-370; first-- {
			y, m, day := first.Date()
			if p.From.Month != m || p.From.Day != day || p.From.Year != 0 && p.From.Year != y {
				continue
			}
			for last := first; ; last++ { // the end is the first such date from the beginning on
				y, m, day := last.Date()
				leap := p.Until.Month == 2 && p.Until.Day == 29 && m == 2 && last == steps.DateDay(y, 3, 1)-1
				if (p.Until.Month == m && p.Until.Day == day || leap) && (p.Until.Year == 0 || p.Until.Year == y) {
					if last >= d {
						return first, true
					}
					break
				}
			}
			break
		}
	}
	return 0, false
}

// counted returns the steps that count.
func (n *naive) counted(d steps.Day) uint64 {
	f, s := n.on(d), &n.book.sets[n.set(d)]
	if s.SendWithin > 0 && !f.Sent {
		last := d + steps.Day(s.SendWithin) - 1
		if f.NextSent != 0 && f.NextSent > last || f.NextSent == 0 && f.SentUntil >= last {
			return 0
		}
	}
	if s.MaxCountedSteps > 0 && f.Steps > s.MaxCountedSteps {
		return s.MaxCountedSteps
	}
	return f.Steps
}

func (n *naive) minutes(d steps.Day) []uint32 {
	if f := n.on(d); n.counted(d) > 0 && f.Minutes != nil {
		counts, _ := f.Minutes.Counts()
		return counts
	}
	return nil
}

// walks adds up what every minute belongs to: it looks left and right of each.
func walks(minutes []uint32, cadence uint32, least int) (long, walked uint64) {
	for i, count := range minutes {
		from, to := i, i
		for from >= 0 && minutes[from] >= cadence {
			from--
		}
		for to < len(minutes) && minutes[to] >= cadence {
			to++
		}
		if count >= cadence && to-from-1 >= least {
			long++
			walked += uint64(count)
		}
	}
	return long, walked
}

func (n *naive) figure(d steps.Day, r *Rule) uint64 {
	switch r.Kind {
	case KindActiveMinutes:
		var active uint64
		for _, count := range n.minutes(d) {
			if count >= r.Cadence {
				active++
			}
		}
		return active
	case KindSustainedWalking:
		long, walked := walks(n.minutes(d), r.Cadence, r.Least)
		if r.Table.Of == OfSteps {
			return walked
		}
		return long
	}
	return n.counted(d)
}

func (n *naive) band(d steps.Day, t *Table) *Band {
	age := UnknownAge
	if n.person.BornKnown && n.person.Born <= d {
		age = Age(n.person.Born, d)
	}
	fallback := &t.Bands[0]
	for i := range t.Bands {
		b := &t.Bands[i]
		if t.Cohorts && slices.Contains(b.Cohorts, n.person.Cohort) || !t.Cohorts && age >= b.From && age <= b.To {
			return b
		}
		if b.Default {
			fallback = b
		}
	}
	return fallback
}

// tier returns 1 more than the index of the tier reached, 0 for none, also of a rule that does not
// take part.
func (n *naive) tier(d steps.Day, r *Rule) int {
	if !n.takesPart(d, r) {
		return 0
	}
	figure, base := n.figure(d, r), n.person.Baseline
	if r.Kind == KindPersonalGoal && (!base.Known || base.From > d) {
		return 0
	}
	tier := 0
	for i, row := range n.band(d, &r.Table).Tiers {
		need := row.At
		switch r.Table.Of {
		case OfStepsAbove:
			need += base.Steps
		case OfPercentAbove:
			need = base.Steps + base.Steps*row.At/100
			if base.Steps*row.At%100 > 0 {
				need++
			}
		}
		if figure >= need && (figure > 0 || r.Kind != KindPersonalGoal) {
			tier = i + 1
		}
	}
	return tier
}

func (n *naive) takesPart(d steps.Day, r *Rule) bool {
	if n.out(d) || r.When == nil {
		return !n.out(d)
	}
	f := *n.on(d)
	if n.counted(d) == 0 {
		f.Steps = 0 // a condition sees the steps that count, but for their maximum
	}
	return n.holds[r.When.String()](&f, n.person)
}

func (n *naive) meets(d steps.Day, r *Rule) bool {
	switch {
	case !n.takesPart(d, r):
		return false
	case r.Goal.Steps > 0:
		return n.counted(d) >= r.Goal.Steps
	}
	return n.tier(d, &n.book.sets[n.set(d)].Rules[r.Goal.Rule]) > r.Goal.Tier
}

// counter tells whether a rule keeps a count of a kind.
type counter func(*Rule) bool

// named returns the rule of a rule set that goes on with a count, nil if none does.
func (n *naive) named(set int, name string, c counter) *Rule {
	for i := range n.book.sets[set].Rules {
		if r := &n.book.sets[set].Rules[i]; r.Name == name && c(r) {
			return r
		}
	}
	return nil
}

// since returns the day from which on a rule's count runs: the beginning of the span, or of the
// first of the rule sets in a row that have the count.
func (n *naive) since(d steps.Day, name string, span Span, c counter) steps.Day {
	first := n.book.sets[0].Effective
	for i := n.set(d); i >= 0; i-- {
		if n.named(i, name, c) == nil {
			first = n.book.sets[i+1].Effective
			break
		}
	}
	return max(first, n.first, n.spanStart(d, span))
}

func (n *naive) spanStart(d steps.Day, span Span) steps.Day {
	switch span {
	case WeekSpan:
		for weekday(d) != n.book.calendar.WeekStarts {
			d--
		}
		return d
	case MonthSpan:
		y, m, _ := d.Date()
		return steps.DateDay(y, m, 1)
	case YearSpan:
		for {
			if _, m, day := d.Date(); m == n.book.calendar.YearStarts.Month && day == n.book.calendar.YearStarts.Day {
				return d
			}
			d--
		}
	case PeriodSpan:
		first, _ := n.periodStart(d)
		return first
	}
	return n.book.sets[0].Effective
}

// earn returns what a rule gives before caps.
func (n *naive) earn(d steps.Day, r *Rule) steps.Points {
	switch r.Kind {
	case KindStreak:
		return n.streak(d, r)
	case KindGoalDays:
		if r.Window > 0 {
			return n.rolling(d, r)
		}
		return n.inSpan(d, r)
	case KindSending:
		if n.on(d).Sent {
			return r.Points
		}
		return 0
	case KindActivity:
		return n.activities(d, r)
	}
	if rate := n.band(d, &r.Table).Rate; rate.Per > 0 {
		return n.rate(d, r)
	}
	if tier := n.tier(d, r); tier > 0 {
		return n.band(d, &r.Table).Tiers[tier-1].Points
	}
	return 0
}

func (n *naive) rate(d steps.Day, r *Rule) steps.Points {
	span := r.Table.carry()
	today := n.band(d, &r.Table).Rate
	if span == 0 {
		return today.Points * steps.Points(n.figure(d, r)/today.Per)
	}
	c := func(r *Rule) bool { return r.Kind <= KindSustainedWalking && r.Table.carry() == span }
	var left, times uint64
	for x := n.since(d, r.Name, span, c); x <= d; x++ {
		then := n.named(n.set(x), r.Name, c)
		times = 0
		if rate := n.band(x, &then.Table).Rate; n.at(x).takesPart(x, then) && n.at(x).figure(x, then) > 0 {
			left += n.at(x).figure(x, then)
			left, times = left%rate.Per, left/rate.Per
		}
	}
	return today.Points * steps.Points(times)
}

func (n *naive) streak(d steps.Day, r *Rule) steps.Points {
	c := func(o *Rule) bool { return o.Kind == KindStreak && o.Within == r.Within }
	row, pays := 0, false
	for x := n.since(d, r.Name, r.Within, c); x <= d; x++ {
		then := n.named(n.set(x), r.Name, c)
		row++
		if !n.meets(x, then) {
			row = 0
		}
		if pays = row > 0 && row >= then.Days; n.isClosed(x) {
			pays = n.paid(x, r.Name)
		}
		if pays {
			row = 0
		}
	}
	if pays {
		return r.Points
	}
	return 0
}

func (n *naive) rolling(d steps.Day, r *Rule) steps.Points {
	c := func(o *Rule) bool { return o.Kind == KindGoalDays && o.Window > 0 }
	var unused []steps.Day
	pays := false
	for x := n.since(d, r.Name, 0, c); x <= d; x++ {
		then := n.named(n.set(x), r.Name, c)
		unused = slices.DeleteFunc(unused, func(u steps.Day) bool { return int(x-u) >= then.Window })
		pays = false
		if n.meets(x, then) {
			unused = append(unused, x)
			pays = len(unused) >= then.Days
		}
		if n.isClosed(x) {
			pays = n.paid(x, r.Name)
		}
		if pays {
			unused = nil
		}
	}
	if pays {
		return r.Points
	}
	return 0
}

func (n *naive) inSpan(d steps.Day, r *Rule) steps.Points {
	c := func(o *Rule) bool { return o.Kind == KindGoalDays && o.Window == 0 && o.Within == r.Within }
	count, paidOn := 0, steps.Day(-1)
	for x := n.since(d, r.Name, r.Within, c); x <= d; x++ {
		then := n.named(n.set(x), r.Name, c)
		pays := false
		if n.meets(x, then) {
			count++
			pays = count >= then.Days
		}
		if n.isClosed(x) {
			pays = n.paid(x, r.Name)
		}
		if pays && paidOn < 0 {
			paidOn = x
		}
	}
	if paidOn == d {
		return r.Points
	}
	return 0
}

func (n *naive) activities(d steps.Day, r *Rule) (sum steps.Points) {
	seen := map[string]bool{}
	if r.Once > DaySpan {
		c := func(o *Rule) bool { return o.Kind == KindActivity && o.Once == r.Once }
		for x := n.since(d, r.Name, r.Once, c); x < d; x++ {
			then := n.named(n.set(x), r.Name, c)
			for kind := range seen {
				seen[kind] = slices.Contains(then.Activities, kind) // what a rule set forgets stays forgotten
			}
			for _, a := range n.at(x).on(x).Activities {
				if n.at(x).takesPart(x, then) && a.Times > 0 && slices.Contains(then.Activities, a.Kind) {
					seen[a.Kind] = true
				}
			}
		}
	}
	for _, a := range n.on(d).Activities {
		switch {
		case a.Times < 1 || !slices.Contains(r.Activities, a.Kind):
		case r.Once == 0:
			sum += r.Points * steps.Points(a.Times)
		case !seen[a.Kind]:
			seen[a.Kind] = true
			sum += r.Points
		}
	}
	return sum
}

// score returns the lines of a day whose earlier days are scored.
func (n *naive) score(d steps.Day) (lines []Line) {
	if n.out(d) {
		return nil
	}
	set := &n.book.sets[n.set(d)]
	for i := range set.Rules {
		r := &set.Rules[i]
		if !n.takesPart(d, r) {
			continue
		}
		earned := n.earn(d, r)
		if earned == 0 {
			continue
		}
		line := Line{Rule: i, Kind: r.Kind, Name: r.Name, Points: earned, Before: earned}
		n.cut(d, r, &line, lines)
		lines = append(lines, line)
	}
	return lines
}

// cut applies the caps, given the lines of the day so far.
func (n *naive) cut(d steps.Day, r *Rule, line *Line, today []Line) {
	set := &n.book.sets[n.set(d)]
	limit := func(most, used steps.Points, by Cap) {
		if left := max(most-used, 0); most > 0 && left < line.Points {
			line.Points, line.Cap = left, by
		}
	}
	for span := DaySpan; span <= PeriodSpan; span++ {
		var used steps.Points
		c := func(o *Rule) bool { return o.Caps[span] > 0 }
		if r.Caps[span] > 0 && span > DaySpan {
			for x := n.since(d, r.Name, span, c); x < d; x++ {
				for _, l := range n.lines[x] {
					if l.Name == r.Name {
						used += l.Points
					}
				}
			}
		}
		limit(r.Caps[span], used, Cap(span))
	}
	for span := DaySpan; span <= PeriodSpan && !r.Exempt; span++ {
		if set.Caps[span] == 0 {
			continue
		}
		used := n.underCaps(d, today)
		if span > DaySpan {
			for x := max(n.spanStart(d, span), n.book.sets[0].Effective); x < d; x++ {
				used += n.underCaps(x, n.lines[x])
			}
		}
		limit(set.Caps[span], used, Cap(span)+10)
	}
}

// underCaps adds up the lines that the rule set's caps hold for.
func (n *naive) underCaps(d steps.Day, lines []Line) (sum steps.Points) {
	for _, l := range lines {
		if !n.book.sets[n.set(d)].Rules[l.Rule].Exempt {
			sum += l.Points
		}
	}
	return sum
}
