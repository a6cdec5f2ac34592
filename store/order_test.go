package store

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/closing"
	"ayumi/points"
	"ayumi/steps"
)

// orderRules have whatever makes a day's points depend on other days: caps, a streak, goal days, and what a rate
// leaves over; and a period whose grace ends before its last days are five days old.
const orderRules = `programme: order
periods:
  - {name: one, from: 2026-10-01, until: 2026-10-09, grace: 2026-10-12}
  - {name: two, from: 2026-10-10, until: 2026-11-30, grace: 2026-12-05}
rule_sets:
  - effective: 2026-10-01
    final_after_days: 5
    weekly_cap: 25
    period_cap: 50
    bands: [{tiers: [{steps: 2000, points: 1}, {steps: 4000, points: 2}, {steps: 8000, points: 4}, {steps: 10000, points: 5}]}]
    rules:
      - {name: row, streak: {goal: {steps: 6000}, days: 3, points: 4}}
      - {name: good, goal_days: {goal: {steps: 8000}, days: 2, in: week, points: 3}}
      - {name: far, caps: {week: 6}, steps: {rate: {steps: 5000, points: 1, carry_within: week}}}
`

const (
	orderFirst  = steps.Day(20727) // 2026-10-01, a Thursday
	orderDays   = 16
	orderLast   = orderFirst + orderDays // the last day on which something comes
	orderPeople = 2
)

// delivery is an upload of one day, and when it comes.
type delivery struct {
	person, device string
	day            steps.Day
	revision       uint64
	steps          uint32
	comes          steps.Day
}

// past is a programme's past: what was uploaded.
type past struct {
	t       *testing.T
	rng     *rand.Rand
	book    *points.RuleBook
	periods *closing.Periods
	all     []delivery // as they come
}

func newPast(t *testing.T, seed uint64) *past {
	t.Helper()
	book, err := points.ParseRules("rules.yaml", strings.NewReader(orderRules))
	if err != nil {
		t.Fatal(err)
	}
	h := &past{t: t, rng: newRand(seed), book: book}
	if h.periods, err = closing.NewPeriods(func() *points.RuleBook { return book }, 0); err != nil {
		t.Fatal(err)
	}
	for i := range orderPeople {
		for day := orderFirst; day < orderFirst+orderDays; day++ {
			for device := range 1 + i { // the second has two
				for revision := range h.rng.IntN(4) {
					open := int(min(h.periods.OpenUntil(day), orderLast) - day)
					h.all = append(h.all, delivery{
						fmt.Sprint("p", i), fmt.Sprint("d", i, device), day, uint64(revision + 1), //nolint:gosec // small
						uint32(h.rng.IntN(12_000)), day + steps.Day(h.rng.IntN(open+1)), //nolint:gosec // small
					})
				}
			}
		}
	}
	h.rng.Shuffle(len(h.all), func(i, j int) { h.all[i], h.all[j] = h.all[j], h.all[i] })
	slices.SortStableFunc(h.all, func(a, b delivery) int { return cmp.Compare(a.comes, b.comes) })
	return h
}

// person is somebody of whom nothing else is known.
type person struct{}

func (person) Person(steps.ParticipantID) points.Person { return points.Person{} }

// unscreened finds nothing wrong with any day.
type unscreened struct{}

func (unscreened) Screen(context.Context, steps.Day) error { return nil }

// ward is a store with the engine and the closer of a gateway.
type ward struct {
	*running
	past    *past
	clock   *atomic.Int64
	cfg     Config
	engine  *points.Engine
	closer  *closing.Closer
	stopped func() // ends the engine
}

func (h *past) open(clock *atomic.Int64, dir string, every time.Duration) *ward {
	h.t.Helper()
	tokyo, err := steps.NewCalendar("Asia/Tokyo")
	if err != nil {
		h.t.Fatal(err)
	}
	now := func() time.Time { return time.Unix(clock.Load(), 0) }
	w := &ward{past: h, clock: clock, cfg: testConfig(dir)}
	w.cfg.Calendar, w.cfg.Clock, w.cfg.GroupBytes = tokyo, now, 1<<16
	w.running = start(h.t, w.cfg)
	log := slog.New(slog.DiscardHandler)
	if w.engine, err = points.NewEngine(points.EngineConfig{Rules: h.book, Calendar: tokyo, Clock: now, Every: every, Batch: 1 + h.rng.IntN(20),
		Checkpoints: 1 + h.rng.IntN(2)}, w.Store, person{}, log, prometheus.NewRegistry()); err != nil {
		h.t.Fatal(err)
	}
	if w.closer, err = closing.New(closing.Config{Periods: h.periods, Calendar: tokyo, Clock: now, Logger: log,
		Metrics: prometheus.NewRegistry()}, w.Store, w.Store, w.engine, unscreened{}); err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- w.engine.Run(ctx) }()
	w.stopped = func() {
		cancel()
		if err := <-ran; err != nil {
			h.t.Errorf("engine: %v", err)
		}
	}
	return w
}

// end stops in a gateway's order.
func (w *ward) end() {
	w.stopped()
	w.running.end()
}

// deliver acknowledges uploads.
func (w *ward) deliver(some ...delivery) {
	w.t.Helper()
	for _, d := range some {
		run := minutes(d.person, d.device, d.revision, 0, d.steps)
		run.Day = d.day
		c := payload(run)
		c.Receipt.ReceivedAt = w.clock.Load()
		if err := w.append(c); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *ward) today() steps.Day { return w.cfg.Calendar.Day(w.clock.Load()) }

// closeDue closes what late data no longer change.
func (w *ward) closeDue() {
	w.t.Helper()
	due := orderFirst - 1
	for w.past.periods.OpenUntil(due+1) < w.today() {
		due++
	}
	if _, err := w.closer.CloseThrough(context.Background(), due, "test", false); err != nil {
		w.t.Fatal(err)
	}
}

// standing is what everybody has.
type standing struct {
	days      map[steps.ParticipantDay]steps.Points
	available map[string]steps.Points // by participant and period
	open      map[steps.ParticipantID]steps.Points
}

func (w *ward) standing() (s standing) {
	w.t.Helper()
	if err := w.engine.Settle(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	s = standing{map[steps.ParticipantDay]steps.Points{}, map[string]steps.Points{}, map[steps.ParticipantID]steps.Points{}}
	err := w.EachDay(context.Background(), steps.DayRange{}, "", func(a steps.Award) error {
		if !a.Unreported || a.Points > 0 { // a kill may leave an empty page where nobody walked
			s.days[a.ParticipantDay] = a.Points
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	err = w.EachBalance(context.Background(), func(b *steps.Balance) error {
		s.open[b.Participant] = b.Provisional
		for _, p := range b.Periods {
			s.available[fmt.Sprint(b.Participant, " ", p.Period)] = p.Available
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if late := w.lateDays(steps.LateFilter{}); len(late) > 0 {
		w.t.Errorf("nothing was late, but %+v", late)
	}
	return s
}

func (s *standing) compare(t *testing.T, when string, want *standing) {
	t.Helper()
	for key, n := range want.days {
		if s.days[key] != n {
			t.Errorf("%s: %v has %d points, want %d", when, key, s.days[key], n)
		}
	}
	for key, n := range s.days {
		if _, there := want.days[key]; !there {
			t.Errorf("%s: %v has %d points, and should not be there", when, key, n)
		}
	}
	if !maps.Equal(s.days, want.days) || !maps.Equal(s.available, want.available) || !maps.Equal(s.open, want.open) {
		t.Errorf("%s: available %v and provisional %v, want %v and %v", when, s.available, s.open, want.available, want.open)
	}
}

// set moves the clock to a day's noon.
func set(clock *atomic.Int64, day steps.Day) { clock.Store(int64(day)*86400 + 3*3600) }

// finish returns what everybody has on the last day, and when all is closed.
func (w *ward) finish() (open, closed standing) {
	w.t.Helper()
	set(w.clock, orderLast)
	w.closeDue()
	open = w.standing()
	set(w.clock, orderLast+10)
	w.closeDue()
	closed = w.standing()
	w.end()
	return open, closed
}

// plainly delivers everything in the order of days, scores it once, and only then closes.
func (h *past) plainly() (open, closed standing) {
	h.t.Helper()
	clock := new(atomic.Int64)
	set(clock, orderLast)
	w := h.open(clock, h.t.TempDir(), time.Hour)
	sorted := slices.Clone(h.all)
	slices.SortStableFunc(sorted, func(a, b delivery) int {
		return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.device, b.device), cmp.Compare(a.revision, b.revision))
	})
	w.deliver(sorted...)
	return w.finish()
}

// asItCame delivers day after day, with everything in between that happens to a gateway.
func (h *past) asItCame() (open, closed standing) {
	h.t.Helper()
	clock := new(atomic.Int64)
	set(clock, orderFirst)
	w := h.open(clock, h.t.TempDir(), h.every())
	coming := h.all
	for day := orderFirst; day <= orderLast; day++ {
		set(clock, day)
		closes := h.rng.IntN(4) // somewhere in the day, or when the next ones are due
		for part := range 3 {
			n := 0
			for n < len(coming) && coming[n].comes == day && (part == 2 || h.rng.IntN(4) > 0) {
				n++
			}
			w.deliver(coming[:n]...)
			coming = coming[n:]
			if part == closes {
				w.closeDue()
			}
			w = h.happen(w)
		}
	}
	if len(coming) > 0 {
		h.t.Fatalf("%d uploads are left", len(coming))
	}
	return w.finish()
}

// every is how often the engine looks by itself: all the time, or not before it is asked.
func (h *past) every() time.Duration {
	return []time.Duration{time.Nanosecond, time.Hour}[h.rng.IntN(2)]
}

// happen has something happen to the gateway, or nothing.
func (h *past) happen(w *ward) *ward {
	h.t.Helper()
	switch h.rng.IntN(20) {
	case 0:
		w.end()
		return h.open(w.clock, w.cfg.Dir, h.every())
	case 1: // killed
		left := w.image()
		w.end()
		return h.open(w.clock, left, h.every())
	case 2, 3, 4, 5, 6:
		if err := w.engine.Settle(context.Background()); err != nil {
			h.t.Fatal(err)
		}
	case 7:
		w.settle() // a checkpoint
	}
	return w
}

// TestAnyOrderBesideClosings has uploads come in drawn orders while days are scored and closed and the gateway is
// stopped and killed, none of them for a day that is closed: everybody has, day by day and in total, what they have
// when everything comes in order and is scored once.
func TestAnyOrderBesideClosings(t *testing.T) {
	for seed := range uint64(damages(t)) { //nolint:gosec // positive
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			h := newPast(t, seed)
			open, closed := h.asItCame()
			wantOpen, wantClosed := h.plainly()
			open.compare(t, "with open days", &wantOpen)
			closed.compare(t, "all closed", &wantClosed)
			if len(wantClosed.days) < orderDays || len(wantOpen.available) == 0 {
				t.Errorf("the history is empty: %+v", wantOpen)
			}
		})
	}
}
