package store

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"ayumi/merge"
	"ayumi/steps"
)

// liveOrders is Orders that change, kept outside the store as a registry would.
type liveOrders struct {
	mu sync.Mutex
	of orders
}

func (o *liveOrders) open(Table) (Orders, error) { return o, nil }

func (o *liveOrders) SourceOrder(p steps.ParticipantID) ([]steps.DeviceID, steps.DeviceID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.of.SourceOrder(p)
}

func (o *liveOrders) all() orders {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.of)
}

// setter returns what Reorder calls.
func (o *liveOrders) setter(p steps.ParticipantID, to order) func(context.Context) error {
	return func(context.Context) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.of == nil {
			o.of = make(orders)
		}
		o.of[p] = to
		return nil
	}
}

func randomOrder(rng *rand.Rand) order {
	devices := []steps.DeviceID{"d0", "d1", "d2"}
	rng.Shuffle(3, func(i, j int) { devices[i], devices[j] = devices[j], devices[i] })
	return order{devices[:rng.IntN(4)], []steps.DeviceID{"", "d0", "d1"}[rng.IntN(3)]}
}

func randomSources(rng *rand.Rand) *merge.Config {
	cfg := merge.DefaultConfig()
	cfg.Policy = merge.Policy(1 + rng.IntN(3))
	cfg.Manual = merge.OriginRule{Treatment: merge.Treatment(1 + rng.IntN(3))}
	if cfg.Manual.Treatment == merge.Cap {
		cfg.Manual.Steps = 500
	}
	cfg.Unknown.Treatment = []merge.Treatment{merge.Exclude, merge.Accept}[rng.IntN(2)]
	return &cfg
}

// checkMinutes compares the ways in which a day's minutes can be had with its total and its explanation.
func (r *running) checkMinutes() {
	r.t.Helper()
	totals := r.totals()
	days := slices.SortedFunc(maps.Keys(totals), compareDays)
	days = append(days, steps.ParticipantDay{Participant: "nobody", Day: day0 + 100})
	merger, err := merge.New(r.Policy())
	if err != nil {
		r.t.Fatal(err)
	}
	i := 0
	err = r.EachMinutes(context.Background(), days, func(d steps.DayTotal, minutes []uint32) error {
		if d.ParticipantDay != days[i] || d.Steps != totals[days[i]] || sum(minutes) != d.Steps {
			r.t.Errorf("%v has minutes of %d steps; want %v with %d", d, sum(minutes), days[i], totals[days[i]])
		}
		own, err := r.Minutes(days[i])
		if err != nil || !slices.Equal(own, minutes) {
			r.t.Errorf("%v has other minutes by itself, or %v", days[i], err)
		}
		day, found, err := r.Sources(days[i])
		if err != nil || found != (len(minutes) > 0) {
			r.t.Fatalf("%v has sources: %v, %v", days[i], found, err)
		}
		if found && !slices.Equal(merger.Explain(day).Minutes, minutes) {
			r.t.Errorf("the sources of %v explain other minutes", days[i])
		}
		i++
		return nil
	})
	if err != nil || i != len(days) {
		r.t.Errorf("%d of %d days, %v", i, len(days), err)
	}
}

// scoreAll gives every dirty day an award and returns the days.
func (r *running) scoreAll() []steps.ParticipantDay {
	r.t.Helper()
	var all []steps.ParticipantDay
	for {
		days, err := dirtyDays(r.Store, 1000)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(days) == 0 {
			slices.SortFunc(all, compareDays)
			return all
		}
		var awards []steps.Award
		for _, d := range days {
			if d.Reported {
				all = append(all, d.ParticipantDay)
			}
			awards = append(awards, d.award(0, "x@1"))
		}
		if err := r.PutAwards(context.Background(), awards); err != nil {
			r.t.Fatal(err)
		}
	}
}

// twoSources appends a day to each of n participants: a pedometer that counted 3,000 steps, and a phone that
// counted 2,000 of them and 500 that somebody typed in. The first has a pedometer only.
func (r *running) twoSources(n int) []steps.ParticipantDay {
	r.t.Helper()
	walk := slices.Repeat([]uint32{100}, 30)
	f := &feeder{t: r.t, s: r.Store}
	var days []steps.ParticipantDay
	for i := range n {
		p := fmt.Sprintf("p%05d", i)
		runs := []testRun{minutes(p, "ped", 1, 600, walk...)}
		if i > 0 {
			typed := minutes(p, "phone", 2, 1200, 500)
			typed.Origin = steps.OriginManual
			runs = append(runs, minutes(p, "phone", 1, 610, walk[:20]...), typed)
		}
		if err := r.Append(context.Background(), payload(runs...), nil, f); err != nil {
			r.t.Fatal(err)
		}
		f.sent++
		days = append(days, steps.ParticipantDay{Participant: steps.ParticipantID(p), Day: day0})
	}
	f.wait()
	return days
}

// TestPolicyChanges opens a store under other policies, whose days are on disk, in the journal, or both. The
// days that have other minutes are dirty afterwards, and those that cannot have are not.
func TestPolicyChanges(t *testing.T) {
	typed := merge.DefaultConfig()
	typed.Manual.Treatment = merge.Accept
	one := merge.DefaultConfig()
	one.Policy = merge.OneDevice
	for _, tc := range []struct {
		name    string
		sources merge.Config
		total   uint64
		order   order
	}{
		{"typed in counts", typed, 3500, order{}},
		{"one device", one, 3000, order{}},
		{"one device, the phone first", one, 2000, order{devices: []steps.DeviceID{"phone"}}},
		{"one device, the phone chosen", one, 2000, order{chosen: "phone"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := new(liveOrders)
			cfg := testConfig(t.TempDir())
			cfg.Orders = o.open
			r := start(t, cfg)
			days := r.twoSources(200)
			r.scoreAll()
			r.settle()
			for _, pd := range days[1:] {
				if err := r.Reorder(context.Background(), pd.Participant, o.setter(pd.Participant, tc.order)); err != nil {
					t.Fatal(err)
				}
			}
			if got := r.totals()[days[1]]; got != 3000 {
				t.Errorf("%d steps by default; want 3000", got)
			}
			if got := r.scoreAll(); !slices.Equal(got, days[1:]) { // of two sources, though their total is the same
				t.Errorf("%d dirty days after the change of their order; want %d", len(got), len(days)-1)
			}
			r.end()
			cfg.Sources = &tc.sources
			r = start(t, cfg)
			<-r.retotalled
			if got := r.scoreAll(); !slices.Equal(got, days[1:]) {
				t.Errorf("%d dirty days after the change of the policy; want %d", len(got), len(days)-1)
			}
			if got := r.totals(); got[days[0]] != 3000 || got[days[1]] != tc.total || got[days[199]] != tc.total {
				t.Errorf("totals %d, %d, %d; want 3000 and then %d", got[days[0]], got[days[1]], got[days[199]], tc.total)
			}
			r.checkMinutes()
			r.end()
			r = start(t, cfg)
			if got := r.scoreAll(); r.restaled.Load() || len(got) > 0 {
				t.Errorf("the same policy totals days anew, or %d are dirty", len(got))
			}
		})
	}
}

// TestPolicyOfTheStore opens a store as somebody does who only looks at it.
func TestPolicyOfTheStore(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.Sources.Policy = merge.MaxMinute
	r := start(t, cfg)
	r.twoSources(3)
	r.scoreAll()
	r.end()
	cfg.Sources = nil
	r = start(t, cfg)
	if r.Policy().Policy != merge.MaxMinute || r.restaled.Load() {
		t.Errorf("the policy is %s, or to be changed", r.Policy().Policy)
	}
}

// TestOrderChangeIsFinished leaves a store as a crash does after an order was stored and before the days were
// totalled: the next start totals them.
func TestOrderChangeIsFinished(t *testing.T) {
	for _, flushed := range []bool{true, false} {
		t.Run(fmt.Sprint("flushed ", flushed), func(t *testing.T) {
			o := new(liveOrders)
			cfg := testConfig(t.TempDir())
			cfg.Orders = o.open
			cfg.StopWithin = 0
			cfg.Sources.Policy = merge.OneDevice
			r := start(t, cfg)
			days := r.twoSources(3)
			r.scoreAll()
			if flushed {
				r.settle()
			}
			mark := &writes{s: r.Store, pairs: []keyValue{{orderKey(days[1].Participant), []byte{}}}}
			if err := r.change(context.Background(), 0, mark.apply, nil); err != nil {
				t.Fatal(err)
			}
			r.end()
			if err := o.setter(days[1].Participant, order{chosen: "phone"})(context.Background()); err != nil {
				t.Fatal(err)
			}
			r = start(t, cfg)
			<-r.retotalled
			if got := r.scoreAll(); flushed && !slices.Equal(got, days[1:2]) {
				t.Errorf("dirty days %v; want %v", got, days[1:2])
			}
			if got := r.totals(); got[days[1]] != 2000 || got[days[2]] != 3000 {
				t.Errorf("totals %v; want 2000 and 3000", got)
			}
		})
	}
}

// TestReadAheadOfAnOrder reads a day for an upload before an order changes and brings it into the head after.
func TestReadAheadOfAnOrder(t *testing.T) {
	o := new(liveOrders)
	cfg := testConfig(t.TempDir())
	cfg.Orders, cfg.HeadBytes = o.open, 1
	cfg.Sources.Policy = merge.OneDevice
	r := start(t, cfg)
	pd := r.twoSources(2)[1]
	r.settle()
	r.do(func() {}) // what is on disk has left the head then
	ref := dayRef{pd: pd}
	if err := r.readAhead(&ref); err != nil || ref.loaded == nil {
		t.Fatalf("the day was not read: %+v, %v", ref, err)
	}
	if err := r.Reorder(context.Background(), pd.Participant, o.setter(pd.Participant, order{chosen: "phone"})); err != nil {
		t.Fatal(err)
	}
	r.do(func() {
		if err := r.locateDay(&ref); err != nil {
			t.Error(err)
			return
		}
		if got := r.head.steps(ref.day); got != 2000 {
			t.Errorf("%d steps in the head; want 2000", got)
		}
		ref.day.pins--
	})
}

// TestRetotallingUnderLoad uploads to a store that is totalled anew, whose days leave the memory at once, while
// orders change and everything is read.
func TestRetotallingUnderLoad(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 11))
			o := new(liveOrders)
			cfg := testConfig(t.TempDir())
			cfg.Orders = o.open
			cfg.HeadBytes = []int64{1, 1 << 20}[seed%2]
			m := make(model)
			r := start(t, cfg)
			for range 200 {
				run := randomRun(rng)
				coarsen(&run, rng)
				m.add(&run)
				if err := r.append(payload(run)); err != nil {
					t.Fatal(err)
				}
			}
			r.end()
			cfg.Sources = randomSources(rng)
			r = start(t, cfg)
			var all sync.WaitGroup
			var mu sync.Mutex // of m
			for i := range uint64(6) {
				rng := rand.New(rand.NewPCG(seed, 20+i))
				all.Go(func() {
					for range 60 {
						if err := r.act(int(i), rng, o, func(run *testRun) { mu.Lock(); m.add(run); mu.Unlock() }); err != nil { //nolint:gosec // small
							t.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			<-r.retotalled
			want := m.totals(*cfg.Sources, o.all())
			if got := r.totals(); !maps.Equal(got, want) {
				t.Errorf("totals %v; want %v", got, want)
			}
			r.checkMinutes()
			r.end()
			r = start(t, cfg) // which takes no wrong total for an old one any more
			if got := r.totals(); r.restaled.Load() || !maps.Equal(got, want) {
				t.Errorf("totals %v after a restart; want %v", got, want)
			}
		})
	}
}

// act does what the i-th of several does at the same time.
func (r *running) act(i int, rng *rand.Rand, o *liveOrders, add func(*testRun)) error {
	switch i {
	case 0:
		p := steps.ParticipantID(fmt.Sprintf("p%d", rng.IntN(4)))
		return r.Reorder(context.Background(), p, o.setter(p, randomOrder(rng)))
	case 1:
		return r.change(context.Background(), 0, func(*badger.Txn) error { r.beginCheckpoint(); return nil }, nil)
	case 2:
		var days []steps.ParticipantDay
		for i := range 20 {
			days = append(days, steps.ParticipantDay{Participant: steps.ParticipantID(fmt.Sprintf("p%d", i%4)), Day: day0 + steps.Day(i/4)})
		}
		slices.SortFunc(days, compareDays)
		return r.EachMinutes(context.Background(), days, func(d steps.DayTotal, minutes []uint32) error {
			if d.Steps != sum(minutes) {
				return fmt.Errorf("%v has minutes of %d steps", d, sum(minutes))
			}
			return nil
		})
	}
	run := randomRun(rng)
	coarsen(&run, rng)
	add(&run)
	return r.append(payload(run))
}
