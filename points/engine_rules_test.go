package points

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"ayumi/steps"
)

// TestEngineAnyRules has people walk, send and do things on days in any order while days pass, rules
// change, the engine starts anew, and changes come in the middle of whatever it does. In the end every
// award is what one fold over everything gives.
func TestEngineAnyRules(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := &drawing{T: rt}
		one, text := drawnBook(d)
		other, second := drawnBook(d)
		rt.Logf("%s\n%s", text, second)
		r := &anyRules{
			drawing: d, m: newMemory(rt), today: booksFrom + steps.Day(d.in(0, 100, "today")),
			books: []*RuleBook{one, other}, people: drawPersons(d),
		}
		r.restart()
		for range d.in(1, 40, "operations") {
			r.operate()
		}
		r.m.beforePut = func() {}
		r.pass()
		r.m.check(r.e.Rules(), r.people, r.today)
		r.tryOther()
	})
}

type anyRules struct {
	*drawing
	m      *memory
	e      *Engine
	people persons
	books  []*RuleBook
	today  steps.Day
}

func drawPersons(d *drawing) persons {
	people := persons{}
	for i := range 4 {
		p := Person{Born: steps.DateDay(1950, 3, 1) + steps.Day(3000*i), BornKnown: i > 0, Cohort: d.pick("cohort", "", "a", "b")}
		p.Enrolled = []steps.DayRange{{From: booksFrom + steps.Day(d.in(0, 40, "enrolled"))}}
		p.Resident = []steps.DayRange{{From: booksFrom - 100, Until: booksFrom + steps.Day(d.in(20, 90, "moves out"))}}
		people[steps.ParticipantID(fmt.Sprint("p", i))] = p
	}
	return people
}

// restart makes another engine over the same store.
func (r *anyRules) restart() {
	var err error
	r.e, err = NewEngine(EngineConfig{
		Rules: r.books[r.in(0, 1, "book")], Batch: r.in(1, 9, "batch"), Every: 1, Checkpoints: r.in(1, 5, "checkpoints"),
		Clock: func() time.Time { return time.Unix(int64(r.today)*86400+40_000, 0) },
	}, r.m, r.people, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err == nil {
		err = r.e.begin(context.Background())
	}
	if err != nil {
		r.Fatal(err)
	}
}

func (r *anyRules) pass() {
	ctx := context.Background()
	if err := r.e.keepUp(ctx); err != nil {
		r.Fatal(err)
	}
	if err := r.e.drain(ctx); err != nil {
		r.Fatal(err)
	}
}

// tryOther tries the other rules and then puts them into force: what a trial says has to come true.
func (r *anyRules) tryOther() {
	other := r.books[0]
	if r.e.Rules() == other {
		other = r.books[1]
	}
	from := booksFrom + steps.Day(r.in(0, 50, "tried from"))
	trial, rows, err := r.e.Try(context.Background(), other, steps.DayRange{From: from}, func(steps.Day) bool { return false })
	if err != nil {
		r.Fatal(err)
	}
	sum := func() (out map[steps.ParticipantID]steps.Points) {
		out = map[steps.ParticipantID]steps.Points{}
		for key, a := range r.m.awards {
			if key.Day >= from {
				out[key.Participant] += a.Points
			}
		}
		return out
	}
	before := sum()
	r.e.SetRules(other)
	r.pass()
	after := sum()
	var all Trial
	for _, row := range rows {
		all.add(&row)
		if row.Before != before[row.Participant] || row.After != after[row.Participant] {
			r.Errorf("the trial says %+v; there were %d points, and are %d", row, before[row.Participant], after[row.Participant])
		}
		delete(before, row.Participant)
		delete(after, row.Participant)
	}
	if all.Before != trial.Before || all.After != trial.After || all.Gain != trial.Gain || all.Lose != trial.Lose || trial.ClosedAfter != 0 {
		r.Errorf("the rows add up to %+v, the trial is %+v", all, trial)
	}
	for p, n := range before {
		if n != 0 || after[p] != 0 {
			r.Errorf("the trial does not know %s, who had %d points and has %d", p, n, after[p])
		}
	}
}

func (r *anyRules) operate() {
	switch r.in(0, 9, "operation") {
	case 0:
		r.today += steps.Day(r.in(1, 4, "days pass"))
	case 1:
		r.e.SetRules(r.books[r.in(0, 1, "book")])
	case 2:
		r.restart()
	case 3, 4:
		r.meanwhile()
		r.pass()
	default:
		r.change()
	}
}

// meanwhile has things change while awards are on their way.
func (r *anyRules) meanwhile() {
	left := r.in(0, 3, "changes meanwhile")
	r.m.beforePut = func() {
		if left > 0 {
			left--
			r.change()
		}
	}
}

// change changes a day: of the 100 that rules are drawn for, some time ago or the one that it is.
func (r *anyRules) change() {
	key := steps.ParticipantDay{
		Participant: steps.ParticipantID(fmt.Sprint("p", r.in(0, 4, "who"))), // p4 is unknown
		Day:         booksFrom - 2 + steps.Day(r.in(0, 102, "day")),
	}
	switch r.in(0, 5, "what") {
	case 0:
		key.Day = min(key.Day, r.today) // nothing is sent tomorrow
		r.m.send(key)
	case 1:
		r.m.act(key, steps.ActivityKind(r.pick("activity", drawnActivities...)))
	default:
		r.m.set(key, uint64(r.in(0, 16_000, "steps")))
	}
}
