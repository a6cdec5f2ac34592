package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"ayumi/merge"
	"ayumi/steps"
)

// orders is Orders in a map.
type orders map[steps.ParticipantID]order

type order struct {
	devices []steps.DeviceID
	chosen  steps.DeviceID
}

func (o orders) SourceOrder(p steps.ParticipantID) ([]steps.DeviceID, steps.DeviceID) {
	return o[p].devices, o[p].chosen
}

// newTotals returns totals under a policy.
func newTotals(cfg merge.Config, o Orders) *totals {
	t := &totals{orders: o}
	if err := t.use(cfg); err != nil {
		panic(err)
	}
	return t
}

var defaultTotals = newTotals(merge.DefaultConfig(), nil)

// blockOf encodes a day with the total that it has by default.
func blockOf(h *hotDay) []byte { return appendBlock(nil, defaultTotals.steps("p", h), h) }

// anySources draws a policy.
func anySources(t *rapid.T) merge.Config {
	rule := rapid.SampledFrom([]merge.OriginRule{
		{Treatment: merge.Exclude}, {Treatment: merge.Cap, Steps: 700}, {Treatment: merge.Accept},
	})
	cfg := merge.DefaultConfig()
	cfg.Policy = merge.Policy(rapid.IntRange(1, 3).Draw(t, "policy"))
	cfg.Manual, cfg.Unknown = rule.Draw(t, "manual"), rule.Draw(t, "unknown")
	return cfg
}

// anyHotDay draws a day of up to three devices out of random runs: two in three days are of one device with
// minutes alone.
func anyHotDay(t *rapid.T) *hotDay {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	plain := rapid.IntRange(0, 2).Draw(t, "plain") > 0
	h := new(hotDay)
	for range rapid.IntRange(1, 12).Draw(t, "runs") {
		run := randomRun(rng)
		if plain {
			run.device = "d0"
		} else {
			coarsen(&run, rng)
		}
		if rng.IntN(2) == 0 {
			run.Origin = steps.OriginSensor
		}
		h.part([]byte(run.device)).cells.merge(cellsOf(&run))
	}
	return h
}

// coarsen makes some runs such of longer intervals.
func coarsen(run *testRun, rng *rand.Rand) {
	run.Interval = []uint32{60, 60, 900, 3600, 86400}[rng.IntN(5)]
	cells := secondsPerDay / int(run.Interval)
	run.First %= cells
	run.Counts = run.Counts[:min(len(run.Counts), cells-run.First)]
	for i := range run.Counts {
		run.Counts[i] *= run.Interval / 60
	}
}

// mergeDay is how the merge room sees a day, put together without any of the store's code: cells by number.
func mergeDay(h *hotDay, o order) merge.Day {
	d := merge.Day{Length: 1440, Chosen: o.chosen, Elapsed: elapsed(h)}
	for _, p := range h.parts {
		s := merge.Source{Device: p.device, Origins: []steps.Origin{0}}
		for _, l := range p.cells.lanes {
			m := merge.Lane{Interval: l.interval}
			for cell := range l.base + len(l.counts) {
				count, mark := uint32(0), uint16(0)
				if i := cell - l.base; i >= 0 && l.sources[i] != 0 {
					count = l.counts[i]
					s.Origins = append(s.Origins, p.cells.sources[l.sources[i]].origin)
					mark = uint16(len(s.Origins) - 1)
				}
				m.Counts, m.Marks = append(m.Counts, count), append(m.Marks, mark)
			}
			s.Lanes = append(s.Lanes, m)
		}
		d.Sources = append(d.Sources, s)
	}
	merge.Arrange(d.Sources, o.devices)
	return d
}

// TestTotalsAreThoseOfMerge holds the store's totals, short cuts included, against the merge room's.
func TestTotalsAreThoseOfMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := anySources(t)
		o := order{chosen: rapid.SampledFrom([]steps.DeviceID{"", "d0", "d1", "lost"}).Draw(t, "chosen")}
		o.devices = rapid.SampledFrom([][]steps.DeviceID{nil, {"d2"}, {"d2", "d1", "d0"}, {"lost", "d1"}}).Draw(t, "order")
		totals := newTotals(cfg, orders{"p": o})
		m, err := merge.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 { // with memory that was used
			h := anyHotDay(t)
			d := mergeDay(h, o)
			want := m.Explain(&d)
			if got := totals.steps("p", h); got != want.Steps {
				t.Fatalf("%d steps; want %d", got, want.Steps)
			}
			if got := totals.appendMinutes(nil, "p", h); !slices.Equal(got, want.Minutes) {
				t.Fatalf("minutes %v; want %v", got, want.Minutes)
			}
			if plain, ok := totals.plain(h); ok && plain != m.Steps(&d) {
				t.Fatalf("a plain day has %d steps; want %d", plain, m.Steps(&d))
			}
		}
	})
}

// TestIndifferentDays compares days under two policies: those that are told to be indifferent have the same
// minutes whenever they have the same total.
func TestIndifferentDays(t *testing.T) {
	seen := 0
	rapid.Check(t, func(t *rapid.T) {
		h := anyHotDay(t)
		if !indifferent(h) {
			t.Skip("not indifferent")
		}
		seen++
		chosen := orders{"p": {chosen: "d1"}}
		a, b := newTotals(anySources(t), nil), newTotals(anySources(t), chosen)
		if a.steps("p", h) == b.steps("p", h) && !slices.Equal(a.appendMinutes(nil, "p", h), b.appendMinutes(nil, "p", h)) {
			t.Fatalf("the same total of other minutes under %+v and %+v", a.cfg, b.cfg)
		}
	})
	if seen == 0 {
		t.Error("no day was indifferent")
	}
}

// TestDaysThatAreNotIndifferent gives two policies the same total of other minutes.
func TestDaysThatAreNotIndifferent(t *testing.T) {
	run := func(device string, first int, origin steps.Origin, counts ...uint32) testRun {
		r := minutes("p", device, 1, first, counts...)
		r.Origin = origin
		return r
	}
	hour := minutes("p", "d", 1, 9, 500)
	hour.Interval = 3600
	typed, unknown, one := merge.DefaultConfig(), merge.DefaultConfig(), merge.DefaultConfig()
	typed.Manual.Treatment, typed.Unknown.Treatment = merge.Accept, merge.Exclude
	one.Policy = merge.OneDevice
	for _, tc := range []struct {
		name string
		runs []testRun
		a, b *totals
	}{
		{"as many typed in as of unknown origin",
			[]testRun{run("d", 600, steps.OriginManual, 500), run("d", 700, steps.OriginUnknown, 500)},
			newTotals(typed, nil), newTotals(unknown, nil)},
		{"two devices with as many steps",
			[]testRun{run("d", 600, steps.OriginSensor, 500), run("e", 700, steps.OriginSensor, 500)},
			newTotals(one, nil), newTotals(one, orders{"p": {chosen: "e"}})},
		{"an hour and minutes of another origin",
			[]testRun{hour, run("d", 700, steps.OriginManual, 500)},
			newTotals(typed, nil), newTotals(typed, nil)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := new(hotDay)
			for i := range tc.runs {
				h.part([]byte(tc.runs[i].device)).cells.merge(cellsOf(&tc.runs[i]))
			}
			if tc.a.steps("p", h) != tc.b.steps("p", h) || indifferent(h) {
				t.Errorf("%d and %d steps; indifferent: %v", tc.a.steps("p", h), tc.b.steps("p", h), indifferent(h))
			}
			if tc.a.cfg != tc.b.cfg && slices.Equal(tc.a.appendMinutes(nil, "p", h), tc.b.appendMinutes(nil, "p", h)) {
				t.Error("the minutes are the same")
			}
		})
	}
}

func TestElapsed(t *testing.T) {
	run := func(interval uint32, first int, counts ...uint32) testRun {
		r := minutes("p", "d", 1, first, counts...)
		r.Interval = interval
		return r
	}
	pedometer := func(to int) testRun {
		r := minutes("p", "e", 1, 0, make([]uint32, to)...)
		return r
	}
	for _, tc := range []struct {
		name string
		runs []testRun
		want int
	}{
		{"minutes alone", []testRun{pedometer(600)}, 0},
		{"a whole day alone", []testRun{run(86400, 0, 8000)}, 0},
		{"a whole day that grows beside minutes", []testRun{run(86400, 0, 8000), pedometer(600)}, 600},
		{"beside hours of its own", []testRun{run(86400, 0, 8000), run(3600, 9, 500)}, 600},
		{"a day that is over", []testRun{run(86400, 0, 8000), pedometer(1440)}, 1440},
		{"a pedometer that went silent soon after midnight", []testRun{run(86400, 0, 9000), pedometer(20)}, 151},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for range 3 {
				rand.Shuffle(len(tc.runs), func(i, j int) { tc.runs[i], tc.runs[j] = tc.runs[j], tc.runs[i] })
				h := new(hotDay)
				for i := range tc.runs {
					h.part([]byte(tc.runs[i].device)).cells.merge(cellsOf(&tc.runs[i]))
				}
				if got := elapsed(h); got != tc.want {
					t.Errorf("%d minutes; want %d", got, tc.want)
				}
			}
		})
	}
}

// TestTotalsDoNotAllocate sees to it that a day may be totalled whenever it is encoded.
func TestTotalsDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector empties pools at random")
	}
	for name, h := range benchDays() {
		defaultTotals.steps("p", h)
		if n := testing.AllocsPerRun(20, func() { defaultTotals.steps("p", h) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// benchDays are days as they come.
func benchDays() map[string]*hotDay {
	counts := madeUpDay(rand.New(rand.NewPCG(1, 9)))
	one, two := dayIn(96, counts), dayIn(96, counts)
	two.part([]byte("e")).cells.merge(&cellRun{60, 400, counts[400:], source{steps.Revision{Boot: 1, Seq: 1}, steps.OriginSensor}})
	two.part([]byte("e")).cells.merge(&cellRun{3600, 9, []uint32{4000}, source{steps.Revision{Boot: 1, Seq: 1}, steps.OriginManual}})
	return map[string]*hotDay{"one device": one, "two devices": two}
}

func BenchmarkTotals(b *testing.B) {
	for name, h := range benchDays() {
		b.Run(fmt.Sprint(name), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				defaultTotals.steps("p", h)
			}
		})
	}
}

// BenchmarkIsStale is what a day costs that is looked at and keeps its total, but for its tag.
func BenchmarkIsStale(b *testing.B) {
	s := &Store{totals: defaultTotals, decoded: sync.Pool{New: func() any { return new(hotDay) }}}
	for name, h := range benchDays() {
		block := blockOf(h)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.isStale("p", block); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
