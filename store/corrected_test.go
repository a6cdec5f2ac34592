package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"ayumi/closing"
	"ayumi/points"
	"ayumi/steps"
)

const correctedRules = `programme: corrected
rule_sets:
  - effective: 2026-10-01
    weekly_cap: 10
    bands: [{tiers: [{steps: 2000, points: 1}, {steps: 4000, points: 2}, {steps: 10000, points: 5}]}]
    rules:
      - {name: far, exempt_from_caps: true, caps: {week: 4}, steps: {tiers: [{steps: 3000, points: 1}, {steps: 9000, points: 3}]}}
`

// newWeek has somebody walk on three days from a Monday on, for 2, 5 and 5 points and 1, 3 and 3 more, of which caps
// leave 2, 5 and 3, and 1, 3 and 0. Monday is closed, and the engine scores only when it is asked.
func newWeek(t *testing.T) (w *ward, monday steps.ParticipantDay) {
	t.Helper()
	book, err := points.ParseRules("rules.yaml", strings.NewReader(correctedRules))
	if err != nil {
		t.Fatal(err)
	}
	h := &past{t: t, rng: newRand(1), book: book}
	if h.periods, err = closing.NewPeriods(func() *points.RuleBook { return book }, 0); err != nil {
		t.Fatal(err)
	}
	monday = steps.ParticipantDay{Participant: "p", Day: steps.DateDay(2026, time.October, 12)}
	clock := new(atomic.Int64)
	set(clock, monday.Day+4)
	w = h.open(clock, t.TempDir(), time.Hour)
	for i, n := range []uint32{4500, 10500, 10500} {
		w.deliver(delivery{"p", "d", monday.Day + steps.Day(i), 1, n, 0}) //nolint:gosec // small
	}
	w.scores(monday, 3, 8, 3)
	if _, err := w.CloseDay(context.Background(), steps.CloseRequest{Day: monday.Day, Period: "2026", By: "test"}); err != nil {
		t.Fatal(err)
	}
	w.settle() // no journal is read again, which would have everything scored
	return w, monday
}

// scores has the engine score what waits, and compares the points of the days from a day on, also with those of a
// plain fold.
func (w *ward) scores(first steps.ParticipantDay, want ...steps.Points) {
	w.t.Helper()
	if err := w.engine.Settle(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	got, folded := w.fold(first.Participant)
	if !slices.Equal(got, want) || !slices.Equal(folded, want) {
		w.t.Errorf("the days have %v points, a plain fold gives %v; want %v", got, folded, want)
	}
}

// fold returns what a participant's days have, and what a plain fold over all that is known gives, in which closed
// days have what they have.
func (w *ward) fold(p steps.ParticipantID) (got, folded []steps.Points) {
	w.t.Helper()
	st := w.past.book.Begin()
	err := w.EachDay(context.Background(), steps.DayRange{}, p, func(a steps.Award) error {
		closed := w.dayState(a.Day).closed
		facts := points.Facts{Day: a.Day, Steps: a.Steps, Closed: closed, Awarded: a.Points, Parts: a.Parts}
		score, err := w.past.book.Step(&st, &facts, &points.Person{})
		if closed {
			score.Points = a.Points
		}
		if a.Steps > 0 {
			got, folded = append(got, a.Points), append(folded, score.Points)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return got, folded
}

// killed goes on with what a kill leaves.
func (w *ward) killed() *ward {
	w.t.Helper()
	left := w.image()
	w.end()
	return w.past.open(w.clock, left, time.Hour)
}

// TestKillAfterACorrection kills the gateway when a closed day is corrected, and nothing was scored since: the open
// days have what the correction leaves of the caps.
func TestKillAfterACorrection(t *testing.T) {
	w, monday := newWeek(t)
	ctx := context.Background()
	r := steps.EntryRequest{Participant: "p", Key: "k1", Kind: steps.EntryCorrection, Account: steps.AccountAvailable, Period: "2026",
		Day: monday.Day, Points: 2, Reason: "in hospital", By: "desk"}
	if _, err := w.Post(ctx, r); err != nil {
		t.Fatal(err)
	}
	w = w.killed()
	w.scores(monday, 5, 8, 1)

	w.deliver(delivery{"p", "d", monday.Day, 2, 10500, 0})
	w.settle()
	w.scores(monday, 5, 8, 1) // late, for 8
	r.Key, r.Points = "k2", 3
	if _, err := w.Post(ctx, r); err != nil {
		t.Fatal(err)
	}
	w = w.killed()
	w.scores(monday, 8, 6, 0) // accepted: of the 8, 3 are far's, of which there are 4 in the week
	w.end()
}

// TestClosedBeforeItsAward stores an award that took a day for open, on which others may depend, when the day is
// closed. It keeps its points and waits to be scored again, after a kill too.
func TestClosedBeforeItsAward(t *testing.T) {
	cfg := testConfig(t.TempDir())
	r := start(t, cfg)
	pd := steps.ParticipantDay{Participant: "p", Day: day0}
	r.upload("p", day0, 1, 3000)
	r.settle() // no journal is read again
	r.score("x@1", perThousand)
	r.closeDay(day0)
	for _, open := range []bool{false, true} {
		a := steps.Award{ParticipantDay: pd, Steps: 3000, Points: 6, RuleSet: "x@2", Open: open}
		if err := r.PutAwards(context.Background(), []steps.Award{a}); err != nil {
			t.Fatal(err)
		}
		cfg.Dir = r.image()
		r.end()
		r = start(t, cfg)
		if waits := r.dirtySet()[pd]; waits != open {
			t.Errorf("taken for open: %t; the day waits to be scored: %t", open, waits)
		}
		r.wants("p", 0, 0, 3)
	}
	r.score("x@2", perThousand)
	r.noLists()
}

// TestAwardsClearTogether stores awards in more than one transaction, the second of which fails: the day because of
// which the others were scored waits as before.
func TestAwardsClearTogether(t *testing.T) {
	r := start(t, testConfig(t.TempDir()))
	const people = pieceKeys + 200
	r.uploadMany(people, day0+1, 5000)
	r.score("x@1", perThousand)
	first := steps.ParticipantDay{Participant: many(0), Day: day0}
	r.upload(first.Participant, day0, 1, 3000)
	awards := (&marker{t: t, r: r}).award(first)
	for i := range people {
		awards = append(awards, steps.Award{ParticipantDay: steps.ParticipantDay{Participant: many(i), Day: day0 + 1},
			Steps: 5000, Points: 4, RuleSet: "x@1"})
	}
	key := sheetKey(day0+1, lastSheet)
	put := func(value []byte) (was []byte) {
		t.Helper()
		err := r.db.Update(func(txn *badger.Txn) (err error) {
			if was, err = r.get(txn, key); err != nil {
				return err
			}
			return txn.Set(key, value)
		})
		if err != nil {
			t.Fatal(err)
		}
		return was
	}
	whole := put([]byte("damaged"))
	if err := r.PutAwards(context.Background(), awards); err == nil {
		t.Fatal("a damaged sheet was written to")
	}
	put(whole)
	if p, _, err := r.pageOf(first); err != nil || p.points != awards[0].Points || !r.dirtySet()[first] {
		t.Errorf("the first part is stored with %d points, %v; the day waits: %t", p.points, err, r.dirtySet()[first])
	}
	if err := r.PutAwards(context.Background(), awards); err != nil || r.dirtySet()[first] {
		t.Errorf("again: %v; the day waits: %t", err, r.dirtySet()[first])
	}
	r.noLists()
}

// TestPartsOfClosedDays has a closed day earn as much as it has by other rules: it is listed for those who ask for
// that, not for staff. What it would earn by late data, with its parts, is the day's when staff accept it.
func TestPartsOfClosedDays(t *testing.T) {
	cfg := testConfig(t.TempDir())
	r := start(t, cfg)
	pd := steps.ParticipantDay{Participant: "p", Day: day0}
	score := func(n steps.Points, parts steps.Parts) {
		t.Helper()
		awards := (&marker{t: t, r: r}).award(pd)
		awards[0].Points, awards[0].Parts = n, parts
		if err := r.PutAwards(context.Background(), awards); err != nil {
			t.Fatal(err)
		}
	}
	lists := func(even bool, want ...string) {
		t.Helper()
		var got []string
		for _, l := range r.lateDays(steps.LateFilter{Even: even}) {
			got = append(got, fmt.Sprint(l.Points, l.Parts, " has ", l.Final, l.Kept))
		}
		if !slices.Equal(got, want) {
			t.Errorf("late days %q, want %q", got, want)
		}
	}
	r.upload("p", day0, 1, 3000)
	score(3, "a")
	r.closeDay(day0)
	r.upload("p", day0, 2, 3100)
	score(3, "b")
	r.end()
	r = start(t, cfg)
	lists(true, "3b has 3a")
	lists(false)
	err := r.DiscardLate(context.Background(), pd, steps.Decision{By: "me", Reason: "why"})
	refused(t, "deciding on nothing", err, steps.NotFound, "has no late data")

	r.upload("p", day0, 3, 5000)
	score(5, "c")
	lists(false, "5c has 3a")
	e := steps.EntryRequest{Participant: "p", Key: "k1", Kind: steps.EntryCorrection, Account: steps.AccountAvailable, Period: "2026",
		Day: day0, Points: 1, Reason: "why", By: "me"}
	for _, want := range []steps.Parts{"a", "c"} { // half of it, and all
		if _, err := r.Post(context.Background(), e); err != nil {
			t.Fatal(err)
		}
		if p, _, err := r.pageOf(pd); err != nil || p.parts != want {
			t.Errorf("corrected by %s, the day has the parts %q, want %q; %v", e.Key, p.parts, want, err)
		}
		e.Key = "k2"
	}
	lists(true)
	score(5, "c")
	r.score("x@1", perThousand) // the day on which it was sent
	r.noLists()
}

// TestLateDataBesideClosings has uploads come for any days, closed ones too, which staff correct, while the gateway is
// stopped and killed: open days always have what a plain fold gives.
func TestLateDataBesideClosings(t *testing.T) {
	for seed := range uint64(damages(t)) { //nolint:gosec // positive
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			h := newPast(t, seed)
			clock := new(atomic.Int64)
			w := h.open(clock, t.TempDir(), h.every())
			corrections := 0
			for n := range uint64(160) {
				set(clock, orderFirst+steps.Day(n/10)) //nolint:gosec // small
				switch h.rng.IntN(10) {
				case 0:
					w.closeDue()
				case 1:
					w = h.happen(w)
				case 2:
					corrections += w.correct(n)
				case 3:
					w.foldsAlike()
				default:
					day := orderFirst + steps.Day(h.rng.IntN(int(w.today()-orderFirst)+1)) //nolint:gosec // small
					p := h.rng.IntN(orderPeople)
					w.deliver(delivery{fmt.Sprint("p", p), fmt.Sprint("d", p), day, n + 1, uint32(h.rng.IntN(12_000)), 0}) //nolint:gosec // small
				}
			}
			w.foldsAlike()
			if len(w.lateDays(steps.LateFilter{})) == 0 {
				t.Error("nothing came late")
			}
			w.end()
			t.Log(corrections, "corrections")
		})
	}
}

// foldsAlike compares everybody's days with a plain fold, when all is scored.
func (w *ward) foldsAlike() {
	w.t.Helper()
	if err := w.engine.Settle(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	for i := range orderPeople {
		p := steps.ParticipantID(fmt.Sprint("p", i))
		if got, folded := w.fold(p); !slices.Equal(got, folded) {
			w.t.Errorf("the days of %s have %v points, a plain fold gives %v", p, got, folded)
		}
	}
}

// correct corrects a late day, if there is one: to what it would have earned, or by a point. It returns how many were.
func (w *ward) correct(n uint64) int {
	w.t.Helper()
	late := w.lateDays(steps.LateFilter{})
	if len(late) == 0 {
		return 0
	}
	l := late[w.past.rng.IntN(len(late))]
	delta := l.Points - l.Final
	if w.past.rng.IntN(3) == 0 {
		delta = 1
	}
	_, err := w.Post(context.Background(), steps.EntryRequest{Participant: l.Participant, Key: steps.RequestKey(fmt.Sprint(n)),
		Kind: steps.EntryCorrection, Account: steps.AccountAvailable, Period: w.past.periods.Of(l.Day).ID, Day: l.Day,
		Points: delta, Reason: "why", By: "me"})
	if err != nil {
		w.t.Fatal(err)
	}
	return 1
}
