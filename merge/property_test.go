package merge

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"ayumi/steps"
)

// anyConfig draws a usable configuration.
func anyConfig(t *rapid.T) Config {
	rule := rapid.Custom(func(t *rapid.T) OriginRule {
		r := OriginRule{Treatment: Treatment(rapid.IntRange(1, 3).Draw(t, "treatment"))}
		if r.Treatment == Cap {
			r.Steps = rapid.Uint64Range(0, 3000).Draw(t, "cap")
		}
		return r
	})
	tolerance := rapid.IntRange(1, 4).Draw(t, "tolerance")
	return Config{
		Policy:                Policy(rapid.IntRange(1, 3).Draw(t, "policy")),
		Manual:                rule.Draw(t, "manual"),
		Unknown:               rule.Draw(t, "unknown"),
		NotCarriedMinutes:     2*tolerance + rapid.IntRange(1, 20).Draw(t, "not carried"),
		ClockToleranceMinutes: tolerance,
	}
}

// anyLane draws a lane of walks, rests and stretches that were not reported.
func anyLane(t *rapid.T, interval uint32, length, marks int) Lane {
	cells := (length*60 + int(interval) - 1) / int(interval)
	if interval == wholeDay {
		cells = 1
	}
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	l := Lane{Interval: interval}
	for len(l.Counts) < cells {
		kind, mark := rng.IntN(4), uint16(1+rng.IntN(marks))
		for range 1 + rng.IntN(25) {
			count := uint32(0)
			if kind >= 2 {
				count = rng.Uint32N(130 * interval / 60)
			}
			if kind == 3 && rng.IntN(3) == 0 {
				count = 0
			}
			if kind == 0 {
				mark, count = 0, 0
			}
			l.Counts = append(l.Counts, count)
			l.Marks = append(l.Marks, mark)
		}
	}
	n := rapid.IntRange(1, cells).Draw(t, "cells") // a lane ends with its last reported cell
	l.Counts, l.Marks = l.Counts[:n], l.Marks[:n]
	return l
}

func anySource(t *rapid.T, name string, length int, intervals []uint32) Source {
	s := Source{Device: steps.DeviceID(name), Origins: []steps.Origin{0}}
	for range rapid.IntRange(1, 3).Draw(t, "origins") {
		o := rapid.SampledFrom([]steps.Origin{steps.OriginSensor, steps.OriginSensor, steps.OriginManual, steps.OriginUnknown})
		s.Origins = append(s.Origins, o.Draw(t, "origin"))
	}
	for _, interval := range intervals {
		if rapid.IntRange(0, 2).Draw(t, "lane") > 0 {
			s.Lanes = append(s.Lanes, anyLane(t, interval, length, len(s.Origins)-1))
		}
	}
	return s
}

var someIntervals = []uint32{60, 300, 900, 3600, 7200, 86400}

func anyDay(t *rapid.T, intervals []uint32) Day {
	d := Day{Length: rapid.SampledFrom([]int{1440, 1440, 1380, 1500, 1560, 90}).Draw(t, "length")}
	if rapid.Bool().Draw(t, "unfinished") {
		d.Elapsed = rapid.IntRange(1, d.Length).Draw(t, "elapsed")
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "sources") {
		d.Sources = append(d.Sources, anySource(t, string(rune('a'+i)), d.Length, intervals))
	}
	if rapid.IntRange(0, 3).Draw(t, "choose") == 0 {
		d.Chosen = "b"
	}
	return d
}

// compare merges a day and compares it with the reference in every way in which it can be asked.
func compare(t interface{ Fatalf(string, ...any) }, m *Merger, d *Day) {
	want, excluded := mergeByReference(m.cfg, d)
	var total uint64
	for _, n := range want {
		total += n
	}
	if got := m.Steps(d); got != total {
		t.Fatalf("%d steps, want %d", got, total)
	}
	minutes, left := m.Minutes(d)
	for i := range max(len(want), len(minutes)) {
		if i >= len(want) || i >= len(minutes) || uint64(minutes[i]) != want[i] {
			t.Fatalf("%d and %d minutes differ first at %d: %d, want %d", len(minutes), len(want), i, minutes[i], want[i])
		}
	}
	if left != excluded {
		t.Fatalf("excluded %+v, want %+v", left, excluded)
	}
	minutes = slices.Clone(minutes)
	r := m.Explain(d)
	if !slices.Equal(r.Minutes, minutes) || r.Steps != total || r.Excluded != excluded {
		t.Fatalf("the explanation is of another day: %d steps, want %d", r.Steps, total)
	}
	if err := checkRuns(d, &r); err != nil {
		t.Fatalf("%v", err)
	}
}

// checkRuns sees to it that the runs cover the day and account for all of it.
func checkRuns(d *Day, r *Result) error {
	at := 0
	var excluded uint64
	for i, run := range r.Runs {
		if run.From != at || run.To <= run.From {
			return fmt.Errorf("run %d is [%d, %d), want it from %d", i, run.From, run.To, at)
		}
		at = run.To
		if got := sum(r.Minutes[run.From:run.To]); got != run.Steps {
			return fmt.Errorf("run %d has %d steps, its minutes have %d", i, run.Steps, got)
		}
		excluded += run.Excluded
		if run.Source >= len(d.Sources) || run.Source < 0 && run.Steps > 0 {
			return fmt.Errorf("run %d has %d steps of source %d", i, run.Steps, run.Source)
		}
		if (run.Source < 0) != (run.Interval == 0) || run.Excluded > 0 && run.Origin == steps.OriginSensor {
			return fmt.Errorf("run %d is of %s cells of %d s and excludes %d", i, run.Origin, run.Interval, run.Excluded)
		}
		if run.Reason == 0 || run.Reason > Unreported {
			return fmt.Errorf("run %d has the reason %s", i, run.Reason)
		}
		for j, o := range run.Others {
			if o.Source == run.Source || o.Minutes == 0 || o.Minutes > run.To-run.From || j > 0 && r.Runs[i].Others[j-1].Source >= o.Source {
				return fmt.Errorf("run %d lists %+v", i, run.Others)
			}
		}
	}
	if at != len(r.Minutes) || excluded != r.Excluded.Manual+r.Excluded.Unknown {
		return fmt.Errorf("runs end at %d of %d and exclude %d of %+v", at, len(r.Minutes), excluded, r.Excluded)
	}
	return nil
}

// TestAgainstReference merges random days, one Merger for all of them.
func TestAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, err := New(anyConfig(t))
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			d := anyDay(t, someIntervals)
			compare(t, m, &d)
		}
	})
}

// TestNeverAboveTheLargest merges one-minute lanes: no minute exceeds the largest count that a source
// has for it, and max-minute reaches it.
func TestNeverAboveTheLargest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := anyConfig(t)
		cfg.Manual, cfg.Unknown = OriginRule{Treatment: Accept}, OriginRule{Treatment: Accept}
		m, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		d := anyDay(t, someIntervals[:1])
		minutes, _ := m.Minutes(&d)
		for i, n := range minutes {
			largest := uint32(0)
			for _, s := range d.Sources {
				for _, l := range s.Lanes {
					if i < len(l.Counts) {
						largest = max(largest, l.Counts[i])
					}
				}
			}
			if n > largest || cfg.Policy == MaxMinute && n != largest {
				t.Fatalf("minute %d has %d steps, the largest count is %d", i, n, largest)
			}
		}
	})
}

// TestOneSourceIsItself merges one source of one origin, also beside empty ones: its finest cells
// stand as they are, and every coarse record has its sum or what its finer cells have, if that is more.
func TestOneSourceIsItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, err := New(anyConfig(t))
		if err != nil {
			t.Fatal(err)
		}
		s := anySource(t, "a", 1440, []uint32{60, 900, 3600, 86400})
		s.Origins = []steps.Origin{0, steps.OriginSensor, steps.OriginSensor, steps.OriginSensor}
		d := Day{Length: 1440, Sources: []Source{s, {Device: "b"}}}
		minutes, _ := m.Minutes(&d)
		known := make([]bool, len(minutes))
		for _, l := range s.Lanes {
			for i, n := range l.Counts {
				if l.Marks[i] == 0 {
					continue
				}
				from, to := i*l.minutes(), (i+1)*l.minutes()
				covered := !slices.Contains(known[from:to], false)
				got := sum(minutes[from:to])
				if l.Interval == 60 && got != uint64(n) || got < uint64(n) && !covered {
					t.Fatalf("minutes %d to %d have %d steps, the record of %d s has %d", from, to, got, l.Interval, n)
				}
				for j := from; j < to; j++ {
					known[j] = true
				}
			}
		}
		if got, want := m.Steps(&d), sum(minutes); got != want {
			t.Fatalf("%d steps, the minutes have %d", got, want)
		}
	})
}

// TestEqualSourcesCommute merges copies of a source, and one that counted nothing, in any order.
func TestEqualSourcesCommute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, err := New(anyConfig(t))
		if err != nil {
			t.Fatal(err)
		}
		s := anySource(t, "a", 1440, someIntervals)
		alone := Day{Length: 1440, Sources: []Source{s}}
		first, _ := m.Minutes(&alone)
		want := slices.Clone(first)
		d := Day{Length: 1440, Sources: []Source{s, s, {Device: "z"}, s}}
		for range 5 {
			d.Sources = rapid.Permutation(d.Sources).Draw(t, "order")
			if got, _ := m.Minutes(&d); !slices.Equal(got, want) {
				t.Fatalf("copies give %d steps, one gives %d", sum(got), sum(want))
			}
		}
	})
}

// TestLimitsConserve compares a day under a rule with the same day when the rule's cap is out of reach.
func TestLimitsConserve(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := anyConfig(t)
		if cfg.Manual.Treatment == Accept {
			cfg.Manual = OriginRule{Treatment: Exclude}
		}
		if cfg.Unknown.Treatment == Accept {
			cfg.Unknown = OriginRule{Treatment: Cap, Steps: 100}
		}
		free := cfg
		free.Manual, free.Unknown = OriginRule{Cap, 1 << 40}, OriginRule{Cap, 1 << 40}
		limited, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		unlimited, err := New(free)
		if err != nil {
			t.Fatal(err)
		}
		d := anyDay(t, someIntervals)
		minutes, excluded := limited.Minutes(&d)
		if got, want := sum(minutes)+excluded.Manual+excluded.Unknown, unlimited.Steps(&d); got != want {
			t.Fatalf("%d counted and %+v excluded, together not the %d that there are", sum(minutes), excluded, want)
		}
	})
}
