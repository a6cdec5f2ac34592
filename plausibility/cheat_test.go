package plausibility

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"ayumi/steps"
)

// cheat makes a day that nobody walked. base is an honest day of the same person.
type cheat struct {
	name string
	make func(base []uint32, rng *rand.Rand) Day
	kind Kind       // that every variant raises; 0 is any
	need Suggestion // the least that every variant is suggested for
}

// machine adds what a device on a machine counts from a minute on: a mean with noise (a share of the mean).
func machine(minutes []uint32, from, n int, mean, noise float64, rng *rand.Rand) {
	for i := from; i < min(from+n, len(minutes)); i++ {
		minutes[i] = uint32(max(0, math.Round(mean*(1+noise*rng.NormFloat64()))))
	}
}

func dayOf(minutes []uint32) Day {
	return Day{ParticipantDay: steps.ParticipantDay{Participant: "cheat", Day: 20000}, Minutes: minutes}
}

func fresh(make func(minutes []uint32, rng *rand.Rand)) func([]uint32, *rand.Rand) Day {
	return func(_ []uint32, rng *rand.Rand) Day {
		minutes := [1440]uint32{}
		make(minutes[:], rng)
		return dayOf(minutes[:])
	}
}

func onTop(add func(minutes []uint32, rng *rand.Rand)) func([]uint32, *rand.Rand) Day {
	return func(base []uint32, rng *rand.Rand) Day {
		minutes := append([]uint32(nil), base...)
		add(minutes, rng)
		return dayOf(minutes)
	}
}

// hump returns the share of a day's steps that a script gives to a minute, most at ten in the evening.
func hump(i int, width float64) float64 {
	return math.Exp(-math.Pow((float64(i)-22*60)/width, 2) / 2)
}

var cheats = []cheat{
	{"a pendulum for a day and a night", fresh(func(m []uint32, rng *rand.Rand) { machine(m, 0, 1440, 67, 0, rng) }), FlatCadence, Hold},
	{"a pendulum for 20 hours, its count a step up or down", fresh(func(m []uint32, rng *rand.Rand) {
		machine(m, rng.IntN(240), 1205, 67, 0.015, rng)
	}), LongActivity, Hold},
	{"a pendulum by night on an honest day", onTop(func(m []uint32, rng *rand.Rand) {
		machine(m, 0, 300+rng.IntN(120), 55+20*rng.Float64(), 0.02, rng)
	}), FlatCadence, Hold},
	{"a pendulum that is wound up every 40 minutes", onTop(func(m []uint32, rng *rand.Rand) {
		for at := 30; at < 360; at += 40 + rng.IntN(10) {
			machine(m, at, 40, 60+12*rng.Float64(), 0.025, rng)
		}
	}), FlatCadence, Review},
	{"a pendulum that slows down", onTop(func(m []uint32, rng *rand.Rand) {
		for i := range 360 {
			machine(m, i, 1, 75-20*float64(i)/360, 0.02, rng)
		}
	}), FlatCadence, Hold},
	{"a shaker for two and a half hours", onTop(func(m []uint32, rng *rand.Rand) {
		machine(m, 60, 150, 100+40*rng.Float64(), 0.03, rng)
	}), FlatCadence, Review},
	{"a rough shaker for four hours", onTop(func(m []uint32, rng *rand.Rand) {
		machine(m, 13*60, 240, 110+20*rng.Float64(), 0.12, rng)
	}), Unbroken, Review},
	{"a fast shaker", onTop(func(m []uint32, rng *rand.Rand) { machine(m, 600, 15, 255, 0.02, rng) }), HighCadence, Review},
	{"a fast shaker for an hour", onTop(func(m []uint32, rng *rand.Rand) { machine(m, 600, 60, 215, 0.02, rng) }), BusyHour, Review},
	{"a shaker for seven hours", fresh(func(m []uint32, rng *rand.Rand) { machine(m, 600, 430, 125, 0.1, rng) }), BusyDay, Hold},
	{"a script that writes the same number", fresh(func(m []uint32, rng *rand.Rand) {
		machine(m, 20*60, 200, 100+10*float64(rng.IntN(3)), 0, rng)
	}), RepeatedCounts, Hold},
	{"a script that draws numbers in the evening", fresh(func(m []uint32, rng *rand.Rand) {
		for i := 20*60 + rng.IntN(30); i < 1435; i++ {
			m[i] = 80 + rng.Uint32N(50)
		}
	}), LateSteps, Hold},
	{"a script with a hump at ten", fresh(func(m []uint32, rng *rand.Rand) {
		for i := range m {
			m[i] = uint32(125 * hump(i, 85) * (0.9 + 0.2*rng.Float64()))
		}
	}), LateSteps, Review},
	{"a script with a hump at ten on top of an honest day", onTop(func(m []uint32, rng *rand.Rand) {
		for i := 18 * 60; i < 1440; i++ {
			m[i] = max(m[i], uint32(150*hump(i, 90)*(0.8+0.4*rng.Float64())))
		}
	}), 0, Review}, // on the longest days the evening is less than LateSteps wants, but they break other limits
	{"a script that writes walks over the day", fresh(func(m []uint32, rng *rand.Rand) {
		for at := 7 * 60; at < 21*60; at += 25 + rng.IntN(20) {
			for i := range 10 + rng.IntN(10) {
				m[at+i] = 90 + rng.Uint32N(35)
			}
		}
	}), NoSmallMovement, Review},
	{"a script of round numbers", onTop(func(m []uint32, rng *rand.Rand) {
		for i := 9 * 60; i < 13*60; i++ {
			if m[i] = 10 * (6 + rng.Uint32N(7)); rng.IntN(6) == 0 {
				m[i] = 0
			}
		}
	}), RoundCounts, Review},
	{"a script that writes hours in the evening", func(_ []uint32, rng *rand.Rand) Day {
		d := dayOf(make([]uint32, 1440))
		for h := 20; h < 24; h++ {
			n := 5000 + rng.Uint32N(1200)
			for i := range 60 {
				d.Minutes[h*60+i] = n / 60
			}
			d.Coarse = append(d.Coarse, Span{From: h * 60, To: h*60 + 60, Interval: 3600})
		}
		return d
	}, LateSteps, Review},
	{"a script that writes every hour of the day", func(_ []uint32, rng *rand.Rand) Day {
		d := dayOf(make([]uint32, 1440))
		for h := range 24 {
			n := 700 + rng.Uint32N(600)
			for i := range 60 {
				d.Minutes[h*60+i] = n / 60
			}
			d.Coarse = append(d.Coarse, Span{From: h * 60, To: h*60 + 60, Interval: 3600})
		}
		return d
	}, LongActivity, Review},
}

// TestCheats makes each cheat twenty times, on honest days of other people and with other noise.
func TestCheats(t *testing.T) {
	s := mustNew(t, DefaultConfig())
	days := realDays(t)
	for _, c := range cheats {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(20) {
				rng := rand.New(rand.NewPCG(seed, 1))
				d := c.make(days[rng.IntN(len(days))].Minutes, rng)
				r := s.Score(&d, nil)
				if c.kind != 0 && !r.has(c.kind) || r.Suggestion < c.need {
					t.Errorf("seed %d, %d steps: %s; want %s and %s", seed, sum(d.Minutes), &r, c.kind, c.need)
				}
			}
		})
	}
}

func (r *Report) has(k Kind) bool {
	for _, f := range r.Flags {
		if f.Kind == k {
			return true
		}
	}
	return false
}

func (r *Report) String() string {
	text := r.Suggestion.String()
	for _, f := range r.Flags {
		text += fmt.Sprintf(" %s:%d (%.3g of %.3g)", f.Kind, f.Score, f.Figure, f.Limit)
	}
	return text
}
