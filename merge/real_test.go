package merge

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"ayumi/replay/replaytest"
	"ayumi/steps"
)

// shiftClock returns what a device whose clock is off by some seconds counts: a part of each minute
// falls into its neighbour.
func shiftClock(counts []uint32, seconds int) []uint32 {
	out := make([]uint32, len(counts))
	for i, n := range counts {
		moved := uint32(math.Round(float64(n) * math.Abs(float64(seconds%60)) / 60))
		at := i + seconds/60
		to := at + 1
		if seconds < 0 {
			to = at - 1
		}
		out[min(max(at, 0), len(out)-1)] += n - moved
		out[min(max(to, 0), len(out)-1)] += moved
	}
	return out
}

// jitter is shiftClock with another offset of up to seconds for each minute.
func jitter(counts []uint32, seconds int, rng *rand.Rand) []uint32 {
	out := make([]uint32, len(counts))
	one := make([]uint32, len(counts))
	for i, n := range counts {
		clear(one[max(i-2, 0):min(i+3, len(one))])
		one[i] = n
		lo, hi := max(i-2, 0), min(i+3, len(one))
		for j, c := range shiftClock(one[lo:hi], rng.IntN(2*seconds+1)-seconds) {
			out[lo+j] += c
		}
	}
	return out
}

// lose makes one in n minutes absent.
func lose(counts []uint32, n int, rng *rand.Rand) []uint32 {
	out := append([]uint32(nil), counts...)
	for i := range out {
		if rng.IntN(n) == 0 {
			out[i] = absent
		}
	}
	return out
}

// loseEither makes one in n minutes absent in a and another one in b.
func loseEither(a, b []uint32, n int, rng *rand.Rand) ([]uint32, []uint32) {
	a, b = append([]uint32(nil), a...), append([]uint32(nil), b...)
	for i := range a {
		switch rng.IntN(n) {
		case 0:
			a[i] = absent
		case 1:
			b[i] = absent
		}
	}
	return a, b
}

// leave zeroes the minutes of random stretches in which a device lies on a table: in one of them of
// both devices a, in the next of b, or of none.
func leave(a, b []uint32, atLeast, atMost int, rng *rand.Rand) ([]uint32, []uint32) {
	a, b = append([]uint32(nil), a...), append([]uint32(nil), b...)
	for i := 0; i < len(a); {
		end := min(i+atLeast+rng.IntN(atMost-atLeast), len(a))
		switch rng.IntN(3) {
		case 0:
			clear(a[i:end])
		case 1:
			clear(b[i:end])
		}
		i = end
	}
	return a, b
}

// withoutZeros makes the zeros absent.
func withoutZeros(counts []uint32) []uint32 {
	out := append([]uint32(nil), counts...)
	for i, n := range out {
		if n == 0 {
			out[i] = absent
		}
	}
	return out
}

// sensorMinutes is a source with a one-minute lane.
func sensorMinutes(device string, counts []uint32) Source {
	l := Lane{Interval: 60, Counts: make([]uint32, len(counts)), Marks: make([]uint16, len(counts))}
	for i, n := range counts {
		if n != absent {
			l.Counts[i], l.Marks[i] = n, 1
		}
	}
	return Source{Device: steps.DeviceID(device), Lanes: []Lane{l}, Origins: []steps.Origin{0, steps.OriginSensor}}
}

// deviation gathers how far merged days are from the truth.
type deviation struct {
	merged, truth uint64
	days, beyond  int     // of at least 100 steps; of those more than 1 % off
	worst         float64 // per cent, of those days
}

func (d *deviation) add(merged, truth uint64) {
	d.merged += merged
	d.truth += truth
	if truth < 100 {
		return
	}
	off := math.Abs(float64(merged)/float64(truth)-1) * 100
	d.days++
	d.worst = max(d.worst, off)
	if off > 1 {
		d.beyond++
	}
}

func (d *deviation) percent() float64 { return 100 * float64(d.merged) / float64(d.truth) }

func (d *deviation) String() string {
	return fmt.Sprintf("%.2f %% of the truth, %d of %d days beyond 1 %%, the worst by %.2f %%", d.percent(), d.beyond, d.days, d.worst)
}

// twoSources makes two sources of a real day.
type twoSources func(day []uint32, rng *rand.Rand) (a, b []uint32)

// realCases are ways in which two devices record the same day, with how far from it priority-fill may
// end in either order. The first three are the ones that must hold to 1 %, day by day.
var realCases = []struct {
	name    string
	sources twoSources
	total   float64 // per cent by which all days together may be off
	day     float64 // per cent by which a day of 100 steps or more may be off
	beyond  int     // of the 825 such days, how many may be off by more than 1 %
}{
	{"a clock off by up to 20 s, a tenth missing", func(c []uint32, rng *rand.Rand) (a, b []uint32) {
		return c, lose(shiftClock(c, rng.IntN(41)-20), 10, rng)
	}, 0.02, 1, 0},
	{"a clock off by 20 s, a tenth missing", func(c []uint32, rng *rand.Rand) (a, b []uint32) {
		return c, lose(shiftClock(c, 20-40*rng.IntN(2)), 10, rng)
	}, 0.02, 1, 0},
	{"every minute off by up to 20 s, a tenth missing", func(c []uint32, rng *rand.Rand) (a, b []uint32) {
		return c, lose(jitter(c, 20, rng), 10, rng)
	}, 0.02, 1, 0},
	{"a clock off by 90 s, a tenth missing", func(c []uint32, rng *rand.Rand) (a, b []uint32) {
		return c, lose(shiftClock(c, 90), 10, rng)
	}, 0.1, 6, 25},
	{"a clock off by 20 s, a tenth missing from each, not the same", func(c []uint32, rng *rand.Rand) (a, b []uint32) {
		return loseEither(c, shiftClock(c, 20), 10, rng)
	}, 0.3, 15, 100},
	{"a tenth missing, zeros left out", func(c []uint32, rng *rand.Rand) (a, b []uint32) {
		return withoutZeros(c), withoutZeros(lose(jitter(c, 20, rng), 10, rng))
	}, 0.8, 7, 220},
	{"a pedometer at home", func(c []uint32, rng *rand.Rand) (a, b []uint32) {
		return c, make([]uint32, len(c))
	}, 0, 0, 0},
	{"a phone on the table for half an hour to two hours at a time, or the pedometer", func(c []uint32, rng *rand.Rand) (a, b []uint32) {
		return leave(c, shiftClock(c, rng.IntN(41)-20), 30, 120, rng)
	}, 0.2, 8, 30},
	{"a phone on the table for 5 to 30 minutes at a time, or the pedometer", func(c []uint32, rng *rand.Rand) (a, b []uint32) {
		return leave(c, shiftClock(c, rng.IntN(41)-20), 5, 30, rng)
	}, 1.2, 18, 280},
}

// TestRealTwoSources merges two sources of every real day in both orders.
func TestRealTwoSources(t *testing.T) {
	days := replaytest.Days(t)
	for _, tc := range realCases {
		t.Run(tc.name, func(t *testing.T) {
			fill, most := mustNew(t, DefaultConfig()), mustNew(t, Config{
				Policy: MaxMinute, Manual: DefaultConfig().Manual, Unknown: DefaultConfig().Unknown,
				NotCarriedMinutes: 10, ClockToleranceMinutes: 2,
			})
			var ab, ba, largest, added deviation
			for i := range days {
				a, b := tc.sources(days[i].Minutes, rand.New(rand.NewPCG(uint64(i), 1)))
				first, second := sensorMinutes("a", a), sensorMinutes("b", b)
				truth := sum(days[i].Minutes)
				ab.add(fill.Steps(&Day{Length: 1440, Sources: []Source{first, second}}), truth)
				ba.add(fill.Steps(&Day{Length: 1440, Sources: []Source{second, first}}), truth)
				largest.add(most.Steps(&Day{Length: 1440, Sources: []Source{first, second}}), truth)
				added.add(sum(a)+sum(b), truth)
			}
			t.Logf("in order: %s; in reverse: %s; largest minute: %.1f %%, added: %.1f %%", &ab, &ba, largest.percent(), added.percent())
			for order, d := range map[string]*deviation{"in order": &ab, "in reverse": &ba} {
				if math.Abs(d.percent()-100) > tc.total || d.worst > tc.day || d.beyond > tc.beyond {
					t.Errorf("%s: %s; want all within %.2f %%, each within %.2f %%, %d beyond 1 %%", order, d, tc.total, tc.day, tc.beyond)
				}
			}
		})
	}
}

func mustNew(t testing.TB, cfg Config) *Merger {
	t.Helper()
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
