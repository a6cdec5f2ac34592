package review

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"ayumi/merge"
	"ayumi/plausibility"
	"ayumi/steps"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ward is a store in memory.
type ward struct {
	mu      sync.Mutex
	minutes map[steps.ParticipantDay][]uint32
	hourly  map[steps.ParticipantDay]bool // its records are hours
	closed  map[steps.Day]bool
	prints  map[steps.ParticipantID]Prints
	reviews map[steps.ParticipantDay]*Review
	read    int // days whose minutes were read
	log     bytes.Buffer

	// fail may refuse a call of the named method.
	fail func(method string) error
}

func newWard() *ward {
	return &ward{minutes: map[steps.ParticipantDay][]uint32{}, hourly: map[steps.ParticipantDay]bool{}, closed: map[steps.Day]bool{},
		prints: map[steps.ParticipantID]Prints{}, reviews: map[steps.ParticipantDay]*Review{}, fail: func(string) error { return nil }}
}

func (w *ward) put(p steps.ParticipantID, day steps.Day, minutes []uint32) steps.ParticipantDay {
	w.mu.Lock()
	defer w.mu.Unlock()
	pd := steps.ParticipantDay{Participant: p, Day: day}
	w.minutes[pd] = minutes
	return pd
}

func (w *ward) sum(pd steps.ParticipantDay) (n uint64) {
	for _, c := range w.minutes[pd] {
		n += uint64(c)
	}
	return n
}

func (w *ward) OpenDays() []steps.Day {
	days, _ := w.StoredDays(steps.DayRange{})
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(days, func(d steps.Day) bool { return w.closed[d] })
}

func (w *ward) StoredDays(r steps.DayRange) (days []steps.Day, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for pd := range w.minutes {
		if r.Contains(pd.Day) {
			days = append(days, pd.Day)
		}
	}
	slices.Sort(days)
	return slices.Compact(days), w.fail("days")
}

func (w *ward) EachDay(_ context.Context, r steps.DayRange, _ steps.ParticipantID, fn func(steps.Award) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, pd := range slices.SortedFunc(maps.Keys(w.minutes), compareDays) {
		if r.Contains(pd.Day) {
			if err := fn(steps.Award{ParticipantDay: pd, Steps: w.sum(pd)}); err != nil {
				return err
			}
		}
	}
	return w.fail("each day")
}

func (w *ward) EachMinutes(ctx context.Context, days []steps.ParticipantDay, fn func(steps.DayTotal, []uint32) error) error {
	if !slices.IsSortedFunc(days, compareDays) {
		panic("minutes are read in order")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, pd := range days {
		w.read++
		if err := fn(steps.DayTotal{ParticipantDay: pd, Steps: w.sum(pd), Coarse: w.hourly[pd]}, w.minutes[pd]); err != nil {
			return err
		}
	}
	return w.fail("minutes")
}

// Sources tells of one device with hours. It is called within EachMinutes.
func (w *ward) Sources(pd steps.ParticipantDay) (*merge.Day, bool, error) {
	lane := merge.Lane{Interval: 3600, Counts: make([]uint32, 24), Marks: make([]uint16, 24)}
	for i, n := range w.minutes[pd] {
		lane.Counts[i/60] += n
		lane.Marks[i/60] = 1
	}
	return &merge.Day{Length: 1440, Sources: []merge.Source{{Device: "d", Lanes: []merge.Lane{lane}, Origins: []steps.Origin{0, steps.OriginSensor}}}}, true, nil
}

func (w *ward) Policy() merge.Config { return merge.DefaultConfig() }

func (w *ward) EachPrints(_ context.Context, people []steps.ParticipantID, fn func(int, *Prints) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, id := range people {
		p := Prints{Participant: id, Days: w.prints[id].Days}
		if err := fn(i, &p); err != nil {
			return err
		}
	}
	return w.fail("prints")
}

func (w *ward) PutPrints(_ context.Context, people []Prints) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.fail("put prints"); err != nil {
		return err
	}
	for _, p := range people {
		w.prints[p.Participant] = p
	}
	return nil
}

func (w *ward) EachReview(_ context.Context, f Filter, fn func(*Review) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, pd := range slices.SortedFunc(maps.Keys(w.reviews), compareDays) {
		if v := *w.reviews[pd]; f.Wants(&v) {
			if err := fn(&v); err != nil {
				return err
			}
		}
	}
	return w.fail("reviews")
}

func (w *ward) NoteReviews(_ context.Context, found []Finding) (changed []Review, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.fail("note"); err != nil {
		return nil, err
	}
	for i := range found {
		f := &found[i]
		old := w.reviews[f.ParticipantDay]
		switch v := Note(old, f, w.closed[f.Day], 1); {
		case v == nil:
			delete(w.reviews, f.ParticipantDay)
		case v != old:
			w.reviews[f.ParticipantDay] = v
			changed = append(changed, *v)
		}
	}
	return changed, nil
}

// rig is a reviewer of a ward. In a synctest bubble it begins on 2000-01-01 at 09:00 in Tokyo.
type rig struct {
	*Reviewer
	w   *ward
	reg *prometheus.Registry
}

func newRig(t *testing.T, w *ward, hold ...plausibility.Kind) *rig {
	t.Helper()
	tokyo, err := steps.NewCalendar("Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{w: w, reg: prometheus.NewRegistry()}
	r.Reviewer, err = New(Config{Limits: plausibility.DefaultConfig(), HoldSevere: true, HoldKinds: hold, CompareDays: 28, Calendar: tokyo,
		Logger: slog.New(slog.NewTextHandler(&w.log, nil)), Metrics: r.reg}, w, w)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// start runs the reviewer until stop.
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

// metric adds up a metric's values, those with the label only if one is given.
func (r *rig) metric(t *testing.T, name, label string) (sum float64) {
	t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "ayumi_review_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label == "" || m.GetLabel()[0].GetValue() == label {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
		return sum
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// state is that of a day's review, 0 if there is none.
func (w *ward) state(pd steps.ParticipantDay) State {
	w.mu.Lock()
	defer w.mu.Unlock()
	if v := w.reviews[pd]; v != nil {
		return v.State
	}
	return 0
}
