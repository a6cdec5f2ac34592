package closing

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"ayumi/points"
	"ayumi/steps"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// book is a ledger in memory: it knows which days have points, not whose.
type book struct {
	mu      sync.Mutex
	earned  map[steps.Day]steps.Points
	closed  map[steps.Day]steps.ClosedDay
	order   []steps.Day // in which days were closed
	have    map[steps.PeriodID]steps.PeriodBalance
	late    int
	settled int
	// screened are the days that were looked at, in order.
	screened []steps.Day
	log      bytes.Buffer

	// fail may refuse a call of the named method.
	fail func(method string) error
}

func newBook() *book {
	return &book{earned: map[steps.Day]steps.Points{}, closed: map[steps.Day]steps.ClosedDay{},
		have: map[steps.PeriodID]steps.PeriodBalance{}, fail: func(string) error { return nil }}
}

func (b *book) earn(p steps.Points, days ...steps.Day) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range days {
		b.earned[d] += p
	}
}

func (b *book) Settle(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settled++
	return b.fail("settle")
}

func (b *book) Screen(_ context.Context, d steps.Day) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.screened = append(b.screened, d)
	return b.fail("screen")
}

func (b *book) OpenDays() (days []steps.Day) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range slices.Sorted(maps.Keys(b.earned)) {
		if b.closed[d].State != steps.DayClosed {
			days = append(days, d)
		}
	}
	return days
}

func (b *book) EachClosedDay(_ context.Context, r steps.DayRange, fn func(steps.ClosedDay) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range slices.Sorted(maps.Keys(b.closed)) {
		if r.Contains(d) {
			if err := fn(b.closed[d]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *book) CloseDay(ctx context.Context, r steps.CloseRequest) (steps.ClosedDay, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d, known := b.closed[r.Day]
	if known && d.Period != r.Period {
		return d, steps.Errorf("close day", steps.Conflict, "another period")
	}
	if err := b.fail("freeze"); err != nil {
		return d, err
	}
	if !known {
		d = steps.ClosedDay{Day: r.Day, State: steps.DayClosing, Period: r.Period, By: r.By}
		b.closed[r.Day] = d
	}
	if err := b.fail("post"); err != nil {
		return d, err
	}
	if d.State == steps.DayClosing {
		d.State, d.Points = steps.DayClosed, b.earned[r.Day]
		h := b.have[r.Period]
		h.Period = r.Period
		h.Available += d.Points
		b.closed[r.Day], b.have[r.Period] = d, h
		b.order = append(b.order, r.Day)
	}
	return d, nil
}

func (b *book) EachLate(_ context.Context, _ steps.LateFilter, fn func(steps.LateDay) error) error {
	for range b.late {
		if err := fn(steps.LateDay{}); err != nil {
			return err
		}
	}
	return nil
}

func (b *book) Outstanding(context.Context) (all []steps.PeriodBalance, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(b.have)) {
		all = append(all, b.have[id])
	}
	return all, b.fail("outstanding")
}

func (b *book) Expire(_ context.Context, p steps.Period, today steps.Day) (steps.Expiry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case p.Expires == 0:
		return steps.Expiry{}, steps.Errorf("expire points", steps.Invalid, "no last day")
	case today <= p.Expires:
		return steps.Expiry{}, steps.Errorf("expire points", steps.Conflict, "not over")
	}
	h := b.have[p.ID]
	done := steps.Expiry{Points: h.Available}
	h.Available = 0
	b.have[p.ID] = h
	return done, nil
}

// rig is a closer on a book. In a synctest bubble it begins on 2000-01-01 at 09:00 in Tokyo.
type rig struct {
	*Closer
	b   *book
	reg *prometheus.Registry
}

func newRig(t *testing.T, b *book, rules string, finalAfter int) *rig {
	t.Helper()
	book, err := points.ParseRules("rules.yaml", strings.NewReader(rules))
	if err != nil {
		t.Fatal(err)
	}
	periods, err := NewPeriods(func() *points.RuleBook { return book }, finalAfter)
	if err != nil {
		t.Fatal(err)
	}
	tokyo, err := steps.NewCalendar("Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{b: b, reg: prometheus.NewRegistry()}
	r.Closer, err = New(Config{Periods: periods, Calendar: tokyo, Logger: slog.New(slog.NewTextHandler(&b.log, nil)), Metrics: r.reg}, b, b, b, b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// start runs the closer until stop.
func (r *rig) start(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}

// metric returns the value of a counter or gauge, or the count of a histogram.
func (r *rig) metric(t *testing.T, name string) float64 {
	t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "ayumi_closing_"+name {
			v := f.GetMetric()[0]
			return v.GetCounter().GetValue() + v.GetGauge().GetValue() + float64(v.GetHistogram().GetSampleCount())
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func (r *rig) wantOrder(t *testing.T, want ...steps.Day) {
	t.Helper()
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	if !slices.Equal(r.b.order, want) {
		t.Errorf("closed %v, want %v", r.b.order, want)
	}
}

func wantError(t *testing.T, err error, kind steps.Kind, text string) {
	t.Helper()
	if err == nil || steps.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want %s: %q", err, kind, text)
	}
}

// midnight sleeps until a second after the programme's next day has begun, days times.
func midnight(days int) {
	for range days {
		now := time.Now()
		day := 24 * time.Hour
		time.Sleep(now.Add(9 * time.Hour).Truncate(day).Add(15*time.Hour + time.Second).Sub(now))
	}
}
