package points

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/steps"
)

const cappedWeek = `programme: capped
rule_sets:
  - effective: 2026-01-01
    weekly_cap: 20
    monthly_cap: 60
    bands: [{tiers: [{steps: 2000, points: 1}, {steps: 4000, points: 3}, {steps: 6000, points: 6}, {steps: 9000, points: 9}]}]
`

// cappedRule has the same points under the same caps, of the rule alone.
const cappedRule = `programme: capped
rule_sets:
  - effective: 2026-01-01
    rules:
      - name: walk
        caps: {week: 20, month: 60}
        steps: {tiers: [{steps: 2000, points: 1}, {steps: 4000, points: 3}, {steps: 6000, points: 6}, {steps: 9000, points: 9}]}
`

// cappedRules have caps of single rules, beside those of the rule set and without, and what is used up: activities
// that count once, and what a rate leaves over.
const cappedRules = `programme: capped
rule_sets:
  - effective: 2026-01-01
    weekly_cap: 25
    bands: [{tiers: [{steps: 3000, points: 2}, {steps: 6000, points: 4}]}]
    rules:
      - {name: far, caps: {week: 7}, steps: {tiers: [{steps: 5000, points: 1}, {steps: 8000, points: 3}]}}
      - {name: rest, exempt_from_caps: true, caps: {month: 9}, steps: {rate: {steps: 4000, points: 1, carry_within: week}}}
      - {name: event, exempt_from_caps: true, caps: {week: 8}, activity: {kinds: [event, talk], points: 3}}
      - {name: checkup, activity: {kinds: [checkup, dental], points: 5, once: month}}
`

// cappedGoals pay for goal days, under caps.
const cappedGoals = `programme: capped
rule_sets:
  - effective: 2026-01-01
    weekly_cap: 25
    bands: [{tiers: [{steps: 3000, points: 2}, {steps: 6000, points: 4}]}]
    rules:
      - {name: row, caps: {month: 12}, streak: {goal: {steps: 5000}, days: 3, points: 4}}
      - {name: good, exempt_from_caps: true, goal_days: {goal: {steps: 6000}, days: 2, in: week, points: 3}}
      - {name: often, caps: {week: 6}, goal_days: {goal: {steps: 4000}, days: 3, in: 5, points: 4}}
`

// closings is one programme twice: in late, data come for closed days too; in never, they do not.
type closings struct {
	t           *testing.T
	rng         *rand.Rand
	book        *RuleBook
	late, never *memory
	engines     [2]*Engine
	first, open steps.Day // the days before open are closed
}

const closingDays, closingPeople = 24, 3

func newClosings(t *testing.T, rules string, seed uint64) *closings {
	t.Helper()
	book, err := ParseRules("rules.yaml", strings.NewReader(rules))
	if err != nil {
		t.Fatal(err)
	}
	first := steps.DateDay(2026, 3, 20) // in the midst of a week, and the month ends in one
	c := &closings{t: t, rng: rand.New(rand.NewPCG(seed, 9)), book: book, late: newMemory(t), never: newMemory(t), first: first, open: first}
	c.restart()
	return c
}

func (c *closings) restart() { c.restartWith(1 + c.rng.IntN(20)) }

func (c *closings) restartWith(batch int) {
	for i, m := range []*memory{c.late, c.never} {
		e, err := NewEngine(EngineConfig{Rules: c.book, Batch: batch, Every: 1, Checkpoints: 1 + c.rng.IntN(3),
			Clock: func() time.Time { return time.Unix(int64(c.first+closingDays)*86400, 0) },
		}, m, bornMap{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		if err == nil {
			err = e.begin(context.Background())
		}
		if err != nil {
			c.t.Fatal(err)
		}
		c.engines[i] = e
	}
}

func (c *closings) pass() {
	c.t.Helper()
	for _, e := range c.engines {
		if err := e.pass(context.Background()); err != nil {
			c.t.Fatal(err)
		}
	}
}

// walk has somebody's day have other steps than before, or an activity, or one that is cancelled.
func (c *closings) walk() {
	key := steps.ParticipantDay{
		Participant: steps.ParticipantID(fmt.Sprint("p", c.rng.IntN(closingPeople))), Day: c.first + steps.Day(c.rng.IntN(closingDays)),
	}
	n := uint64(c.rng.IntN(12_000))
	kind := steps.ActivityKind([]string{"event", "talk", "checkup", "dental"}[c.rng.IntN(4)])
	walks := c.rng.IntN(4) > 0
	for _, m := range []*memory{c.late, c.never} {
		switch {
		case m == c.never && key.Day < c.open:
		case walks:
			m.set(key, n)
		default:
			m.act(key, kind)
		}
	}
}

// closeDay closes the next day, as the store does: when nothing of it waits, or in the midst of a pass.
func (c *closings) closeDay() {
	for _, m := range []*memory{c.late, c.never} {
		m.mu.Lock()
		m.closed[c.open] = true
		m.mu.Unlock()
	}
	c.open++
}

// same compares what everybody has on each day, and with a plain fold, and adds up what is capped. Whether a day
// reaches a goal goes by late steps too, so with goals open days may have other points than without late data.
func (c *closings) same(goals bool) {
	c.t.Helper()
	sums := map[string]steps.Points{}
	for key, a := range c.late.awards {
		if never := c.never.awards[key]; a.Points != never.Points && !goals {
			c.t.Errorf("%v has %d points; without late data of closed days %d", key, a.Points, never.Points)
		}
		parts, err := parseParts(a.Parts)
		if err != nil {
			c.t.Fatal(err)
		}
		capped := a.Points
		for _, p := range parts {
			if p.rule == "" {
				capped = steps.Points(p.used) //nolint:gosec // small
			} else if p.activity == "" {
				c.add(sums, key, p.rule, p.points)
			}
		}
		c.add(sums, key, "", capped)
	}
	c.late.check(c.book, bornMap{}, c.first+closingDays)
}

// add adds points of a rule, or of all under the caps of the rule set, to those of its week and month.
func (c *closings) add(sums map[string]steps.Points, key steps.ParticipantDay, rule string, n steps.Points) {
	c.t.Helper()
	set := &c.book.sets[0]
	caps := &set.Caps
	if rule != "" {
		caps = &set.rule(rule).Caps
	}
	for span := WeekSpan; span <= MonthSpan; span++ {
		first, _ := c.book.calendar.span(span, key.Day)
		within := fmt.Sprint(rule, " of ", key.Participant, " in the ", span, " from ", first)
		if sums[within] += n; caps[span] > 0 && sums[within] > caps[span] {
			c.t.Errorf("%s: %d points, and the cap is %d", within, sums[within], caps[span])
		}
	}
}

// TestCapsCountWhatClosedDaysHave closes days while data of all days come in: open days have the points that they
// would have if nothing had come for closed ones, and no cap is passed.
func TestCapsCountWhatClosedDaysHave(t *testing.T) {
	for seed := range uint64(300) {
		rules := []string{cappedWeek, cappedRules, cappedGoals}[seed%3]
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			c := newClosings(t, rules, seed)
			goals := rules == cappedGoals
			listed := 0
			for range 150 {
				switch c.rng.IntN(20) {
				case 0:
					c.restart()
				case 1, 2, 3:
					c.pass()
					c.same(goals)
				case 4:
					if c.open < c.first+closingDays {
						c.pass()
						c.closeDay()
					}
				default:
					c.walk()
				}
				listed = max(listed, len(c.late.late))
			}
			c.pass()
			c.same(goals)
			if c.open > c.first+3 && listed == 0 {
				t.Error("nothing came late")
			}
		})
	}
}

// TestClosedMeanwhile has late data on their way to the store when their day is closed: what they would have
// earned was counted against the caps of the next, which is scored again.
func TestClosedMeanwhile(t *testing.T) {
	for _, killed := range []bool{false, true} {
		c, monday := closeMeanwhile(t)
		if killed { // before the next is scored again
			puts := 0
			c.late.fail = func(method string) error {
				if method == "PutAwards" {
					puts++
				}
				if puts > 1 {
					return errors.New("killed")
				}
				return nil
			}
			if err := c.engines[0].pass(t.Context()); err == nil || puts < 2 {
				t.Errorf("it was not killed, after %d batches: %v", puts, err)
			}
			c.late.fail = func(string) error { return nil }
			c.restart()
		}
		c.pass()
		c.pass() // the day is dirty once more
		c.wants(monday, 9, 9, 2)
	}
}

// closeMeanwhile closes Monday when its next award is on its way to the store.
func closeMeanwhile(t *testing.T) (c *closings, monday steps.ParticipantDay) {
	t.Helper()
	c = newClosings(t, cappedWeek, 1)
	monday = steps.ParticipantDay{Participant: "p0", Day: steps.DateDay(2026, 3, 23)}
	for d := range steps.Day(3) {
		key := monday
		key.Day += d
		c.late.set(key, 9000)
	}
	c.pass()
	c.late.set(monday, 2000)
	c.late.beforePut = func() {
		c.late.mu.Lock()
		c.late.closed[monday.Day] = true
		c.late.mu.Unlock()
	}
	return c, monday
}

// changeRules has three days from Monday on scored to 9, 9 and 2 points, of 20 in the week, and then puts rules into
// force by which they would earn 12 each.
func changeRules(t *testing.T, rules string) (c *closings, monday steps.ParticipantDay) {
	t.Helper()
	c = newClosings(t, rules, 3)
	monday = steps.ParticipantDay{Participant: "p0", Day: steps.DateDay(2026, 3, 23)}
	for d := range steps.Day(3) {
		c.late.set(steps.ParticipantDay{Participant: "p0", Day: monday.Day + d}, 9000)
	}
	c.late.set(steps.ParticipantDay{Participant: "a", Day: monday.Day - 3}, 9000) // comes first
	c.restartWith(1)
	c.pass()
	book, err := ParseRules("rules.yaml", strings.NewReader(strings.Replace(rules, "points: 9", "points: 12", 1)))
	if err != nil {
		t.Fatal(err)
	}
	c.book = book
	c.engines[0].SetRules(book)
	return c, monday
}

// wants compares the points from a day on, and everything with a plain fold.
func (c *closings) wants(first steps.ParticipantDay, points ...steps.Points) {
	c.t.Helper()
	for d, want := range points {
		key := first
		key.Day += steps.Day(d) //nolint:gosec // small
		if n := c.late.award(key).Points; n != want {
			c.t.Errorf("%v has %d points, want %d", key, n, want)
		}
	}
	c.late.check(c.book, bornMap{}, c.first+closingDays)
}

// TestClosedDuringASweep closes a day in the midst of scoring everything by other rules, when it was scored by them
// and is not stored: it keeps its points, and the open days after it have what those leave.
func TestClosedDuringASweep(t *testing.T) {
	for _, rules := range []string{cappedWeek, cappedRule} {
		c, monday := changeRules(t, rules)
		puts := 0
		c.late.beforePut = func() {
			if puts++; puts == 2 { // that of Monday
				c.late.mu.Lock()
				c.late.closed[monday.Day] = true
				c.late.mu.Unlock()
			}
		}
		c.pass()
		c.wants(monday, 9, 11, 0)
	}
}

// TestClosedBeforeASweep scores everything by other rules when a day is closed.
func TestClosedBeforeASweep(t *testing.T) {
	for _, rules := range []string{cappedWeek, cappedRule} {
		c, monday := changeRules(t, rules)
		c.late.closed[monday.Day] = true
		c.pass()
		c.wants(monday, 9, 11, 0)
	}
}

// TestUploadDuringASweep has data come for an open day in the midst of scoring everything by other rules, before a
// closed day of its week: nothing says yet that this would earn other points by them.
func TestUploadDuringASweep(t *testing.T) {
	for _, rules := range []string{cappedWeek, cappedRule} {
		c, monday := changeRules(t, rules)
		c.late.closed[monday.Day] = true
		c.late.beforePut = sync.OnceFunc(func() {
			c.late.set(steps.ParticipantDay{Participant: "p0", Day: monday.Day + 2}, 9001)
		})
		c.pass()
		c.wants(monday, 9, 11, 0)
	}
}

// TestManyLateDays has more late days than are read at once, before that of somebody whose next days are open.
func TestManyLateDays(t *testing.T) {
	c := newClosings(t, cappedWeek, 2)
	monday := steps.ParticipantDay{Participant: "z", Day: steps.DateDay(2026, 3, 23)}
	wednesday := steps.ParticipantDay{Participant: "z", Day: monday.Day + 2}
	for d := range steps.Day(3) {
		c.late.set(steps.ParticipantDay{Participant: "z", Day: monday.Day + d}, 9000)
	}
	c.pass()
	c.late.closed[monday.Day] = true
	for i := range mostLate {
		key := steps.ParticipantDay{Participant: steps.ParticipantID(fmt.Sprint("a", i)), Day: monday.Day}
		c.late.late[key] = steps.LateDay{ParticipantDay: key, Points: 9}
	}
	c.late.set(monday, 100)
	c.pass()
	c.late.set(wednesday, 9001)
	c.pass()
	if n := c.late.award(wednesday).Points; n != 2 || len(c.late.late) != mostLate+1 {
		t.Errorf("%d points beside %d late days, want 2", n, len(c.late.late))
	}
}

// TestExemptPointsOfClosedDays counts, of a closed day that would earn other points now, against the caps what rules
// under them gave, and what staff added.
func TestExemptPointsOfClosedDays(t *testing.T) {
	book, err := ParseRules("rules.yaml", strings.NewReader(`programme: exempt
rule_sets:
  - effective: 2026-01-01
    weekly_cap: 20
    rules:
      - {name: bonus, exempt_from_caps: true, activity: {kinds: [event], points: 10}}
      - {name: walk, steps: {tiers: [{steps: 1000, points: 8}, {steps: 5000, points: 12}]}}
`))
	if err != nil {
		t.Fatal(err)
	}
	event, bonus := []Activity{{"event", 1}}, func(under uint64) steps.Parts {
		return steps.Parts(appendPart(nil, &part{points: 10, used: under}))
	}
	for _, c := range []struct {
		facts Facts
		want  steps.Parts
	}{{Facts{Steps: 1000, Activities: event}, bonus(8)}, {Facts{Steps: 1000}, ""}, {Facts{Activities: event}, bonus(0)}, {Facts{}, ""}} {
		st := book.Begin()
		c.facts.Day = steps.DateDay(2026, 3, 23)
		if _, parts, err := book.step(&st, &c.facts, &Person{}, nil, []byte{}); err != nil || steps.Parts(parts) != c.want {
			t.Errorf("%+v: parts %q, %v; want %q", c.facts, parts, err, c.want)
		}
	}
	for name, c := range map[string]struct {
		facts Facts
		left  steps.Points // of the cap, for the next day
	}{
		"open":                          {Facts{Steps: 1000, Activities: event}, 12},
		"closed, the bonus came late":   {Facts{Steps: 1000, Activities: event, Closed: true, Awarded: 8}, 12},
		"closed, steps came late":       {Facts{Steps: 5000, Activities: event, Closed: true, Awarded: 18, Parts: bonus(8)}, 12},
		"closed, all of it came late":   {Facts{Steps: 5000, Activities: event, Closed: true}, 12},
		"closed, the bonus was taken":   {Facts{Steps: 1000, Closed: true, Awarded: 18, Parts: bonus(8)}, 12},
		"closed, everything was taken":  {Facts{Closed: true, Awarded: 18, Parts: bonus(8)}, 12},
		"closed, and corrected upwards": {Facts{Steps: 5000, Closed: true, Awarded: 30}, 0},
		"closed, and bonus taken back":  {Facts{Steps: 1000, Closed: true, Awarded: 8, Parts: bonus(12)}, 12},
		"closed, and more taken":        {Facts{Steps: 1000, Closed: true, Awarded: 15, Parts: bonus(12)}, 8},
		"closed, and something added":   {Facts{Steps: 1000, Closed: true, Awarded: 27, Parts: bonus(12)}, 3},
	} {
		st, p := book.Begin(), Person{}
		c.facts.Day = steps.DateDay(2026, 3, 23)
		if _, err := book.Step(&st, &c.facts, &p); err != nil {
			t.Fatal(err)
		}
		got, err := book.Step(&st, &Facts{Day: c.facts.Day + 1, Steps: 5000}, &p)
		if err != nil || got.Points != min(12, c.left) {
			t.Errorf("%s: the next day earns %d, want %d; %v", name, got.Points, min(12, c.left), err)
		}
	}
}
