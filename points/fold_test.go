package points

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"ayumi/steps"
)

// drawnBook draws a book and parses it in a layout of its own. Books with more counters than a
// state holds are drawn again.
func drawnBook(t *drawing) (*RuleBook, string) {
	text := write(t.T, t.book(), "")
	book, err := ParseRules("drawn.yaml", strings.NewReader(text))
	if err != nil {
		if strings.Contains(err.Error(), "counters") {
			t.Skip("too many counters")
		}
		t.Fatalf("%v\n%s", err, text)
	}
	return book, text
}

// fold explains facts by rising day and sees to what every score promises.
func fold(t *rapid.T, book *RuleBook, facts []*Facts, p *Person) map[steps.Day]DayScore {
	t.Helper()
	scores := map[steps.Day]DayScore{}
	st, plain := book.Begin(), book.Begin()
	for _, f := range facts {
		score, err := book.Explain(&st, f, p)
		if err != nil {
			t.Fatal(err)
		}
		short, err := book.Step(&plain, f, p)
		if err != nil || short.Points != score.Points || short.Lines != nil || plain != st {
			t.Fatalf("%s: a step gives %+v (%v), explained %+v", f.Day, short, err, score)
		}
		var sum steps.Points
		for i, l := range score.Lines {
			sum += l.Points
			if l.Before <= 0 || l.Points < 0 || l.Points > l.Before || (l.Cap != NoCap) != (l.Points < l.Before) || i > 0 && l.Rule <= score.Lines[i-1].Rule {
				t.Fatalf("%s: line %+v", f.Day, l)
			}
		}
		if sum != score.Points {
			t.Fatalf("%s: %d points, and lines that add up to %d", f.Day, score.Points, sum)
		}
		scores[f.Day] = score
	}
	return scores
}

// TestFoldAgainstNaive draws books, people and days and compares every line with the naive scorer's.
func TestFoldAgainstNaive(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := &drawing{T: rt}
		book, text := drawnBook(d)
		person, facts := d.person(), d.days()
		scores := fold(rt, book, facts, person)
		n := newNaive(book, person, facts)
		n.scoreAll(facts[0].Day, facts[len(facts)-1].Day)
		compareNaive(rt, n, facts, scores, text)
	})
}

// compareNaive expects the same points, and points before and after caps, of each rule. Days that
// are left out of the fold earn nothing.
func compareNaive(t interface{ Fatalf(string, ...any) }, n *naive, facts []*Facts, scores map[steps.Day]DayScore, text string) {
	for day := range n.lines {
		want := n.lines[day]
		var got []Line
		for _, l := range scores[day].Lines {
			got = append(got, Line{Rule: l.Rule, Kind: l.Kind, Name: l.Name, Points: l.Points, Before: l.Before, Cap: l.Cap})
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s: lines are\n%+v, naively\n%+v\n%+v\n%s\n%s", day, got, want, n.person, factsText(facts), text)
		}
	}
}

// factsText writes facts a line each, for failures.
func factsText(facts []*Facts) string {
	var b strings.Builder
	for _, f := range facts {
		fmt.Fprintf(&b, "%s: %d steps, sent %t, next %s, none until %s, %v\n", f.Day, f.Steps, f.Sent, f.NextSent, f.SentUntil, f.Activities)
	}
	return b.String()
}

// TestFoldSkipsGaps leaves out days on which nothing happened, in one fold and not in another, and
// copies the state on the way.
func TestFoldSkipsGaps(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := &drawing{T: rt}
		book, _ := drawnBook(d)
		person, facts := d.person(), d.days()
		want := fold(rt, book, facts, person)
		known := map[steps.Day]*Facts{}
		for _, f := range facts {
			known[f.Day] = f
		}
		st := book.Begin()
		for day := facts[0].Day - 5; day <= facts[len(facts)-1].Day; day++ {
			f := known[day]
			if f == nil {
				f = &Facts{Day: day, SentUntil: day + 20}
			} else {
				slices.Reverse(f.Activities) // whatever order they were read in
			}
			before := st
			score, err := book.Step(&st, f, person)
			again, err2 := book.Step(&before, f, person)
			if err != nil || err2 != nil || again.Points != score.Points || st != before {
				rt.Fatalf("%s: %+v and from a copy of the state %+v (%v, %v)", day, score, again, err, err2)
			}
			if score.Points != want[day].Points {
				rt.Fatalf("%s: %d points, and %d when empty days are left out", day, score.Points, want[day].Points)
			}
		}
	})
}

// TestWindow changes one day and expects no score to change outside its window, and every score to
// come out the same when the fold begins where the window says.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := &drawing{T: rt}
		book, _ := drawnBook(d)
		person, facts := d.person(), d.days()
		before := fold(rt, book, facts, person)
		i := d.in(0, len(facts)-1, "changed")
		changed := slices.Clone(facts)
		changed[i] = d.day(facts[i].Day)
		after := fold(rt, book, changed, person)
		_, until := book.Window(facts[i].Day, person)
		for day := range before {
			if (day < facts[i].Day || day > until) && before[day].Points != after[day].Points {
				rt.Fatalf("a change of %s, said to reach until %s, changes %s from %d to %d",
					facts[i].Day, until, day, before[day].Points, after[day].Points)
			}
		}
		from, _ := book.Window(facts[i].Day, person)
		later := slices.DeleteFunc(slices.Clone(facts), func(f *Facts) bool { return f.Day < from })
		if got, want := fold(rt, book, later, person)[facts[i].Day], before[facts[i].Day]; got.Points != want.Points {
			rt.Fatalf("%s earns %d when folded from %s on, %d from the beginning", facts[i].Day, got.Points, from, want.Points)
		}
	})
}

// TestMoreStepsNeverEarnLess raises the steps of some days, late as it were, under books without
// conditions or falling tables, and expects no total to fall: no streak that is joined and no cap
// that is used up earlier may cost anything.
func TestMoreStepsNeverEarnLess(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := &drawing{T: rt, monotone: true}
		book, text := drawnBook(d)
		person, facts := d.person(), d.days()
		more := make([]*Facts, len(facts))
		for i, f := range facts {
			c := *f
			if d.in(0, 3, "more") == 0 {
				c.Steps += uint64(d.in(1, 15_000, "steps"))
			}
			more[i] = &c
		}
		total := func(scores map[steps.Day]DayScore) (sum steps.Points) {
			for s := range maps.Values(scores) {
				sum += s.Points
			}
			return sum
		}
		if few, many := total(fold(rt, book, facts, person)), total(fold(rt, book, more, person)); many < few {
			rt.Fatalf("%d points with more steps, %d with fewer\n%s%s", many, few, factsText(more), text)
		}
	})
}

// TestCapsHold adds up what was granted within every span and compares it with the caps.
func TestCapsHold(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := &drawing{T: rt}
		book, _ := drawnBook(d)
		person, facts := d.person(), d.days()
		scores := fold(rt, book, facts, person)
		n := newNaive(book, person, nil)
		type key struct {
			rule  string
			span  Span
			start steps.Day
		}
		sums := map[key]steps.Points{}
		for _, f := range facts {
			set, ok := book.On(f.Day)
			if !ok {
				continue
			}
			for _, l := range scores[f.Day].Lines {
				for span := DaySpan; span <= PeriodSpan; span++ {
					start := f.Day
					if span > DaySpan {
						start = n.spanStart(f.Day, span)
					}
					rule, all := key{l.Name, span, start}, key{"", span, start}
					sums[rule] += l.Points
					// A rule set may lower a cap that is used up, so the sum before it does not count.
					if most := set.Rules[l.Rule].Caps[span]; most > 0 && sums[rule] > most && l.Points > 0 && set.Effective <= start {
						rt.Fatalf("%s: %s has %d within its %s, of %d", f.Day, l.Name, sums[rule], span, most)
					}
					if set.Rules[l.Rule].Exempt {
						continue
					}
					sums[all] += l.Points
					if most := set.Caps[span]; most > 0 && sums[all] > most && l.Points > 0 {
						rt.Fatalf("%s: %d within the %s, of %d", f.Day, sums[all], span, most)
					}
				}
			}
		}
	})
}

// TestFingerprintOfLayouts writes one book in two layouts.
func TestFingerprintOfLayouts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tree := (&drawing{T: rt}).book()
		var prints []string
		for range 2 {
			text := write(rt, tree, "")
			book, err := ParseRules("drawn.yaml", strings.NewReader(text))
			if err != nil && strings.Contains(err.Error(), "counters") {
				rt.Skip("too many counters")
			} else if err != nil {
				rt.Fatalf("%v\n%s", err, text)
			}
			checkBook(rt, book)
			prints = append(prints, book.Fingerprint())
		}
		if prints[0] != prints[1] {
			rt.Fatalf("fingerprints differ")
		}
	})
}

// TestStateIsSmall bounds what a fold over a million people keeps.
func TestStateIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(State{}); size > 128 {
		t.Errorf("a state has %d bytes, want at most 128", size)
	}
}
