package points

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
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

func newClosings(t *testing.T, seed uint64) *closings {
	t.Helper()
	book, err := ParseRules("rules.yaml", strings.NewReader(cappedWeek))
	if err != nil {
		t.Fatal(err)
	}
	first := steps.DateDay(2026, 3, 20) // in the midst of a week, and the month ends in one
	c := &closings{t: t, rng: rand.New(rand.NewPCG(seed, 9)), book: book, late: newMemory(t), never: newMemory(t), first: first, open: first}
	c.restart()
	return c
}

func (c *closings) restart() {
	for i, m := range []*memory{c.late, c.never} {
		e, err := NewEngine(EngineConfig{Rules: c.book, Batch: 1 + c.rng.IntN(20), Every: 1, Checkpoints: 1 + c.rng.IntN(3),
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

// walk has somebody's day have other steps than before.
func (c *closings) walk() {
	key := steps.ParticipantDay{
		Participant: steps.ParticipantID(fmt.Sprint("p", c.rng.IntN(closingPeople))), Day: c.first + steps.Day(c.rng.IntN(closingDays)),
	}
	n := uint64(c.rng.IntN(12_000))
	c.late.set(key, n)
	if key.Day >= c.open {
		c.never.set(key, n)
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

// same compares what everybody has on each day, and adds up weeks and months.
func (c *closings) same() {
	c.t.Helper()
	weeks, months := map[steps.ParticipantDay]steps.Points{}, map[string]steps.Points{}
	for key, a := range c.late.awards {
		if never := c.never.awards[key]; a.Points != never.Points {
			c.t.Errorf("%v has %d points; without late data of closed days %d", key, a.Points, never.Points)
		}
		week := key
		week.Day -= (key.Day + 3) % 7 // 1970-01-01 was a Thursday
		if weeks[week] += a.Points; weeks[week] > 20 {
			c.t.Errorf("the week of %v has more than 20 points", week)
		}
		_, month, _ := key.Day.Date()
		of := fmt.Sprint(key.Participant, month)
		if months[of] += a.Points; months[of] > 60 {
			c.t.Errorf("%s has more than 60 points", of)
		}
	}
}

// TestCapsCountWhatClosedDaysHave closes days while data of all days come in: open days have the points that they
// would have if nothing had come for closed ones, and no cap is passed.
func TestCapsCountWhatClosedDaysHave(t *testing.T) {
	for seed := range uint64(200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			c := newClosings(t, seed)
			listed := 0
			for range 150 {
				switch c.rng.IntN(20) {
				case 0:
					c.restart()
				case 1, 2, 3:
					c.pass()
					c.same()
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
			c.same()
			if c.open > c.first+3 && listed == 0 {
				t.Error("nothing came late")
			}
		})
	}
}

// TestClosedMeanwhile has late data on their way to the store when their day is closed: what they would have
// earned was counted against the caps of the next, which is scored again.
func TestClosedMeanwhile(t *testing.T) {
	c := newClosings(t, 1)
	monday := steps.ParticipantDay{Participant: "p0", Day: steps.DateDay(2026, 3, 23)}
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
	c.pass()
	for d, want := range []steps.Points{9, 9, 2} {
		key := monday
		key.Day += steps.Day(d)
		if n := c.late.award(key).Points; n != want {
			t.Errorf("%v has %d points, want %d", key, n, want)
		}
	}
}

// TestManyLateDays has more late days than are read at once, before that of somebody whose next days are open.
func TestManyLateDays(t *testing.T) {
	c := newClosings(t, 2)
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

// TestExemptPointsOfClosedDays counts, of a closed day that would earn other points now, as many against the caps
// as rules under them may have given.
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
	event := []Activity{{"event", 1}}
	for name, c := range map[string]struct {
		facts Facts
		left  steps.Points // of the cap, for the next day
	}{
		"open":                          {Facts{Steps: 1000, Activities: event}, 12},
		"closed, the bonus came late":   {Facts{Steps: 1000, Activities: event, Closed: true, Awarded: 8}, 12},
		"closed, steps came late":       {Facts{Steps: 5000, Activities: event, Closed: true, Awarded: 18}, 8},
		"closed, all of it came late":   {Facts{Steps: 5000, Activities: event, Closed: true}, 12},
		"closed, the bonus was taken":   {Facts{Steps: 1000, Closed: true, Awarded: 18}, 2},
		"closed, everything was taken":  {Facts{Closed: true, Awarded: 18}, 2},
		"closed, and corrected upwards": {Facts{Steps: 5000, Closed: true, Awarded: 30}, 0},
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
