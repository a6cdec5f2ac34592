package points

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ayumi/steps"
)

// closedDays are days of which the first few are closed, with what was known of them then.
type closedDays struct {
	book   *RuleBook
	person *Person
	then   []*Facts
	last   steps.Day // that is closed
}

func drawnClosed(d *drawing) (c closedDays, text string) {
	c.book, text = drawnBook(d)
	c.person, c.then = d.person(), d.days()
	c.last = c.then[d.in(0, len(c.then)-1, "closed")].Day
	return c, text
}

// fold scores days of which the closed ones have what they had earned, and returns how.
func (c *closedDays) fold(t *rapid.T, facts []*Facts, has map[steps.Day]kept) (map[steps.Day]DayScore, map[steps.Day]kept) {
	t.Helper()
	scores, earned := map[steps.Day]DayScore{}, map[steps.Day]kept{}
	st := c.book.Begin()
	for _, f := range facts {
		own := *f
		if k, closed := has[f.Day]; closed {
			own.Closed, own.Awarded, own.Parts = true, k.points, k.parts
		}
		score, parts, err := c.book.step(&st, &own, c.person, []Line{}, []byte{})
		if err != nil {
			t.Fatal(err)
		}
		scores[f.Day], earned[f.Day] = score, kept{score.Points, steps.Parts(parts)}
	}
	return scores, earned
}

// now returns the facts as they are after late data for closed days.
func (c *closedDays) now(late func(*Facts) *Facts) []*Facts {
	var facts []*Facts
	for _, f := range c.then {
		if f.Day <= c.last {
			f = late(f)
		}
		facts = append(facts, f)
	}
	return facts
}

// both folds what was known then, and what is known now beside what closed days have.
func (c *closedDays) both(t *rapid.T, now []*Facts) (then, after map[steps.Day]DayScore) {
	t.Helper()
	then, has := c.fold(t, c.then, nil)
	maps.DeleteFunc(has, func(d steps.Day, _ kept) bool { return d > c.last })
	after, _ = c.fold(t, now, has)
	return then, after
}

// at returns who knows what is to be counted of a day beside steps that reach a goal.
func (n *naive) at(d steps.Day) *naive {
	if n.isClosed(d) {
		return n.then
	}
	return n
}

func (n *naive) isClosed(d steps.Day) bool { return n.then != nil && d <= n.closed }

// paid reports whether a rule gave something for a closed day.
func (n *naive) paid(d steps.Day, rule string) bool {
	return slices.ContainsFunc(n.then.lines[d], func(l Line) bool { return l.Name == rule })
}

// TestClosedDaysAgainstNaive has other data come for closed days, and compares every line of the open ones with the
// naive scorer's.
func TestClosedDaysAgainstNaive(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := &drawing{T: rt}
		c, text := drawnClosed(d)
		now := c.now(func(f *Facts) *Facts { return d.day(f.Day) })
		_, after := c.both(rt, now)
		first, last := now[0].Day, now[len(now)-1].Day
		n := newNaive(c.book, c.person, now)
		n.then, n.closed = newNaive(c.book, c.person, c.then), c.last
		n.then.scoreAll(first, c.last)
		maps.Copy(n.lines, n.then.lines)
		n.scoreAll(c.last+1, last)
		maps.DeleteFunc(n.lines, func(day steps.Day, _ []Line) bool { return day <= c.last })
		compareNaive(rt, n, now, after, factsText(c.then)+text)
	})
}

// TestClosedDaysUnchanged has the same data come again: the state is what it is without anything closed.
func TestClosedDaysUnchanged(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c, text := drawnClosed(&drawing{T: rt})
		then, after := c.both(rt, c.then)
		for day := range then {
			if then[day].Points != after[day].Points {
				rt.Fatalf("%s earns %d, and %d when days until %s are closed\n%s%s", day, then[day].Points, after[day].Points, c.last, factsText(c.then), text)
			}
		}
	})
}

// TestLateDataTakeNothing has anything come for closed days, or where days reach goals, only more: open days together
// have no less than without it, and without goals each has just what it had.
func TestLateDataTakeNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := &drawing{T: rt, monotone: true}
		c, text := drawnClosed(d)
		goals := c.book.goals()
		now := c.now(func(f *Facts) *Facts {
			if !goals {
				return d.day(f.Day)
			}
			more := *f
			more.Steps += uint64(d.in(0, 15_000, "more")) //nolint:gosec // not negative
			return &more
		})
		then, after := c.both(rt, now)
		var had, has steps.Points
		for day := range then {
			if day <= c.last {
				continue
			}
			had, has = had+then[day].Points, has+after[day].Points
			if !goals && then[day].Points != after[day].Points {
				rt.Fatalf("%s had %d points, and has %d\n%s%s", day, then[day].Points, after[day].Points, factsText(now), text)
			}
		}
		if has < had {
			rt.Fatalf("open days had %d points, and have %d; closed until %s\n%s%s%s", had, has, c.last, factsText(c.then), factsText(now), text)
		}
	})
}

// goals reports whether anything is paid for days that reach a goal.
func (b *RuleBook) goals() bool {
	for i := range b.sets {
		for j := range b.sets[i].Rules {
			if b.sets[i].Rules[j].goals() {
				return true
			}
		}
	}
	return false
}

// TestUsedUpByClosedDays has each kind of rule pay on closed days, then or only now, and looks at what the open days
// after them earn.
func TestUsedUpByClosedDays(t *testing.T) {
	const streak = `{name: row, streak: {goal: {steps: 1000}, days: 2, points: 7}}`
	const span = `{name: good, goal_days: {goal: {steps: 1000}, days: 2, in: month, points: 7}}`
	const rolling = `{name: good, goal_days: {goal: {steps: 1000}, days: 2, in: 3, points: 7}}`
	const rate = `{name: rate, steps: {rate: {steps: 1000, points: 1, carry_within: month}}}`
	const own = `{name: rate, caps: {month: 9}, steps: {rate: {steps: 1000, points: 1}}}`
	for name, c := range map[string]struct {
		rule      string
		then, now []uint64 // of the closed days
		open      []uint64
		want      []steps.Points // of the open days
	}{
		"a streak mended late is paid on the next day": {streak, []uint64{0, 1000}, []uint64{1000, 1000}, []uint64{1000, 1000, 1000}, []steps.Points{7, 0, 7}},
		"unless that is no goal day":                   {streak, []uint64{0, 1000}, []uint64{1000, 1000}, []uint64{0, 1000, 1000}, []steps.Points{0, 0, 7}},
		"and not longer than it is":                    {streak, []uint64{0, 0, 1000, 0}, []uint64{1000, 0, 1000, 1000}, []uint64{1000, 1000}, []steps.Points{7, 0}},
		"a streak that was paid is used up":            {streak, []uint64{1000, 1000}, []uint64{0, 1000}, []uint64{1000, 1000}, []steps.Points{0, 7}},
		"goal days are paid once, the next time":       {span, []uint64{0, 1000}, []uint64{1000, 1000}, []uint64{1000, 1000}, []steps.Points{7, 0}},
		"those that were paid are":                     {span, []uint64{1000, 1000}, []uint64{0, 1000}, []uint64{1000, 1000}, []steps.Points{0, 0}},
		"rolling ones are not used up by late ones":    {rolling, []uint64{0, 1000}, []uint64{1000, 1000}, []uint64{1000, 1000, 1000}, []steps.Points{7, 0, 7}},
		"but leave the window":                         {rolling, []uint64{0, 0, 1000, 0, 0}, []uint64{0, 1000, 1000, 0, 0}, []uint64{1000, 1000}, []steps.Points{0, 7}},
		"rolling ones that were paid are used up":      {rolling, []uint64{1000, 1000}, []uint64{0, 1000}, []uint64{1000, 1000}, []steps.Points{0, 7}},
		"a rate leaves over what it did":               {rate, []uint64{900}, []uint64{1100}, []uint64{100}, []steps.Points{1}},
		"nothing if it did":                            {rate, []uint64{900, 100}, []uint64{900, 1000}, []uint64{900, 100}, []steps.Points{0, 1}},
		"what it had before, if nobody walked":         {rate, []uint64{900, 0}, []uint64{900, 900}, []uint64{100, 100}, []steps.Points{1, 0}},
		"a cap counts what was given":                  {own, []uint64{3000}, []uint64{8000}, []uint64{8000}, []steps.Points{6}},
		"also if it would be less by now":              {own, []uint64{3000}, []uint64{0}, []uint64{8000}, []steps.Points{6}},
	} {
		t.Run(name, func(t *testing.T) {
			book, err := ParseRules("rules.yaml", strings.NewReader("programme: used\nrule_sets:\n  - effective: 2026-01-01\n    rules: ["+c.rule+"]\n"))
			if err != nil {
				t.Fatal(err)
			}
			has := map[steps.Day]kept{}
			run := func(counts []uint64) (points []steps.Points) {
				st := book.Begin()
				for i, n := range counts {
					f := Facts{Day: steps.DateDay(2026, 4, 1+i), Steps: n}
					k, closed := has[f.Day]
					f.Closed, f.Awarded, f.Parts = closed, k.points, k.parts
					score, parts, err := book.step(&st, &f, &Person{}, nil, []byte{})
					if err != nil {
						t.Fatal(err)
					}
					if points = append(points, score.Points); !closed {
						has[f.Day] = kept{score.Points, steps.Parts(parts)}
					}
				}
				return points
			}
			run(c.then)
			if got := run(append(slices.Clone(c.now), c.open...))[len(c.now):]; !slices.Equal(got, c.want) {
				t.Errorf("the open days earn %v, want %v", got, c.want)
			}
		})
	}
}

// TestDamagedParts does not score a day beside parts that cannot be read.
func TestDamagedParts(t *testing.T) {
	book := mustRules(t, "vitality-uk")
	st := book.Begin()
	before := st
	f := Facts{Day: mustDay(t, "2026-04-01"), Closed: true, Parts: steps.Parts(appendPart(nil, &part{rule: "row", used: 1}))}
	for cut := 1; cut < len(f.Parts); cut++ {
		damaged := f
		damaged.Parts = f.Parts[:cut]
		if _, err := book.Step(&st, &damaged, &Person{}); steps.KindOf(err) != steps.Internal || err == nil || st != before {
			t.Errorf("%q: error is %v, want internal, and the state as it was", damaged.Parts, err)
		}
	}
	if _, err := book.Step(&st, &f, &Person{}); err != nil {
		t.Error(err)
	}
}
