package plausibility

import (
	"math"
	"math/rand/v2"
	"testing"

	"ayumi/steps"
)

// later returns a day whose minutes come some quarters of a minute later.
func later(minutes []uint32, quarters int) []uint32 {
	out := make([]uint32, len(minutes))
	for i := range out {
		out[i] = uint32((int64(4-quarters&3)*at(minutes, i-quarters>>2) + int64(quarters&3)*at(minutes, i-quarters>>2-1) + 2) / 4)
	}
	return out
}

// noisy returns counts that differ by a share of themselves, at most.
func noisy(minutes []uint32, share float64, rng *rand.Rand) []uint32 {
	out := make([]uint32, len(minutes))
	for i, n := range minutes {
		out[i] = uint32(math.Round(float64(n) * (1 + share*(2*rng.Float64()-1))))
	}
	return out
}

// without returns a day that lost one in n minutes.
func without(minutes []uint32, n int, rng *rand.Rand) []uint32 {
	out := append([]uint32(nil), minutes...)
	for i := range out {
		if rng.IntN(n) == 0 {
			out[i] = 0
		}
	}
	return out
}

var copies = []struct {
	name  string
	make  func(m []uint32, rng *rand.Rand) []uint32
	exact bool
	found float64 // share of all days of which the copy has to be found: near by fingerprint, and flagged
	bands float64 // share of them that share a band
}{
	{"the same data", func(m []uint32, _ *rand.Rand) []uint32 { return m }, true, 1, 1},
	{"a minute later", func(m []uint32, _ *rand.Rand) []uint32 { return later(m, 4) }, true, 1, 0.98},
	{"three minutes later", func(m []uint32, _ *rand.Rand) []uint32 { return later(m, 12) }, true, 0.99, 0.6},
	{"five minutes earlier", func(m []uint32, _ *rand.Rand) []uint32 { return later(m, -20) }, true, 0.85, 0.2},
	{"a tenth lost", func(m []uint32, rng *rand.Rand) []uint32 { return without(m, 10, rng) }, true, 0.95, 0.9},
	{"two steps more or less in a minute", func(m []uint32, rng *rand.Rand) []uint32 {
		out := append([]uint32(nil), m...)
		for i, n := range out {
			if n > 10 {
				out[i] = n + rng.Uint32N(5) - 2
			}
		}
		return out
	}, false, 0.9, 0.98},
	{"two devices on one person, half a minute and 5 % apart", func(m []uint32, rng *rand.Rand) []uint32 {
		return noisy(later(m, 2), 0.05, rng)
	}, false, 0.9, 0.98},
	{"two devices on one person, one lost a tenth", func(m []uint32, rng *rand.Rand) []uint32 {
		return without(noisy(later(m, 1), 0.05, rng), 10, rng)
	}, false, 0.8, 0.9},
	{"shared for most of the day, home for the last hours", func(m []uint32, rng *rand.Rand) []uint32 {
		out := append([]uint32(nil), m...)
		clear(out[20*60:])
		return out
	}, true, 0.8, 0.65},
}

// TestCopies gives a copy of every fourth honest day that is long enough to another account, or to
// another day of the same one.
func TestCopies(t *testing.T) {
	s := mustNew(t, DefaultConfig())
	days := realDays(t)
	for _, c := range copies {
		t.Run(c.name, func(t *testing.T) {
			eligible, near, found, banded := 0, 0, 0, 0
			for i, d := range days {
				f, ok := s.Fingerprint(&d)
				if !ok || i%4 != 0 {
					continue
				}
				eligible++
				other := Day{
					ParticipantDay: steps.ParticipantDay{Participant: "other", Day: d.Day},
					Minutes:        c.make(d.Minutes, rand.New(rand.NewPCG(uint64(i), 3))),
				}
				kind := SharedPattern
				if i%8 == 0 {
					other.ParticipantDay = steps.ParticipantDay{Participant: d.Participant, Day: d.Day + 1}
					kind = RepeatedPattern
				}
				g := sketch(other.Minutes)
				if !s.Near(f, g) {
					continue
				}
				near++
				a, b := f.Bands(), g.Bands()
				for k := range a {
					if a[k] == b[k] {
						banded++
						break
					}
				}
				r := s.Score(&other, []Peer{d})
				for _, flag := range r.Flags {
					if flag.Kind == kind && flag.Other == d.ParticipantDay && flag.Exact == c.exact && r.Suggestion >= Review {
						found++
						break
					}
				}
			}
			t.Logf("of %d days %d near, %d share a band, %d found", eligible, near, banded, found)
			if n := float64(eligible); eligible < 180 || float64(found) < c.found*n || float64(banded) < c.bands*n {
				t.Errorf("of %d days %d near, %d share a band, %d found; want %.2f found and %.2f in a band", eligible, near, banded, found, c.found, c.bands)
			}
		})
	}
}

// walksOf returns the walks of ten minutes and more in a day, with a minute on either side.
func walksOf(minutes []uint32) []uint32 {
	out := make([]uint32, len(minutes))
	for i := 0; i < len(minutes); i++ {
		n := 0
		for i+n < len(minutes) && minutes[i+n] >= 60 {
			n++
		}
		if n >= 10 {
			from, to := max(i-1, 0), min(i+n+1, len(minutes))
			copy(out[from:to], minutes[from:to])
		}
		i += n
	}
	return out
}

// TestCouples walks every third honest day's walks together with somebody whose steps are a little shorter.
// What each does otherwise is another honest person's day, or nothing.
func TestCouples(t *testing.T) {
	s := mustNew(t, DefaultConfig())
	days := realDays(t)
	couples, most := 0, 0.0
	for i, d := range days {
		walks := walksOf(d.Minutes)
		if i%3 != 0 || sum(walks) < 3000 {
			continue
		}
		for ratio := 1.0; ratio < 1.1; ratio += 0.03 {
			rng := rand.New(rand.NewPCG(uint64(i), 5))
			couples++
			scaled := noisy(walks, 0.06, rng)
			for k := range scaled {
				scaled[k] = uint32(float64(scaled[k]) * ratio)
			}
			only := Day{ParticipantDay: steps.ParticipantDay{Participant: "spouse", Day: d.Day}, Minutes: scaled}
			own := Day{ParticipantDay: only.ParticipantDay, Minutes: append([]uint32(nil), scaled...)}
			for k, n := range days[(7*i+100)%len(days)].Minutes {
				if own.Minutes[k] == 0 && n < 60 {
					own.Minutes[k] = n
				}
			}
			first := Day{ParticipantDay: d.ParticipantDay, Minutes: walks}
			for name, pair := range map[string][2]*Day{"who are at home otherwise": {&d, &own}, "who carry it for walks only": {&first, &only}} {
				a := s.cfg.Pattern.align(pair[0].Minutes, pair[1].Minutes)
				if name == "who are at home otherwise" {
					most = max(most, float64(a.agreeing)/float64(a.active))
				}
				if r := s.Score(pair[1], []Peer{*pair[0]}); r.has(SharedPattern.String()) {
					t.Errorf("a couple %s, ratio %.2f: %s of %+v", name, ratio, &r, a)
				}
			}
		}
	}
	if couples < 250 {
		t.Errorf("only %d couples", couples)
	}
	t.Logf("%d couples, who agree in %.2f of their minutes at most", couples, most)
}
