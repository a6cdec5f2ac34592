// Package plausibilitytest makes days that nobody walked, for tests. It knows nothing of how they are found.
package plausibilitytest

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Day is what a device that cheats reports.
type Day struct {
	Minutes []uint32
	Hours   []int // of the day, that are reported as one record each
}

// Cheat makes such days.
type Cheat struct {
	Name string
	// Make makes a day; base is an honest one of the same person, which is not changed.
	Make func(base []uint32, rng *rand.Rand) Day
	Kind string // of the flag that every variant raises; "" is any
	Need string // the least that every variant is suggested for: review or hold
}

// machine adds what a device on a machine counts from a minute on: a mean with noise (a share of the mean).
func machine(minutes []uint32, from, n int, mean, noise float64, rng *rand.Rand) {
	for i := from; i < min(from+n, len(minutes)); i++ {
		minutes[i] = uint32(max(0, math.Round(mean*(1+noise*rng.NormFloat64()))))
	}
}

func fresh(make func(minutes []uint32, rng *rand.Rand)) func([]uint32, *rand.Rand) Day {
	return func(_ []uint32, rng *rand.Rand) Day {
		minutes := [1440]uint32{}
		make(minutes[:], rng)
		return Day{Minutes: minutes[:]}
	}
}

func onTop(add func(minutes []uint32, rng *rand.Rand)) func([]uint32, *rand.Rand) Day {
	return func(base []uint32, rng *rand.Rand) Day {
		minutes := append([]uint32(nil), base...)
		add(minutes, rng)
		return Day{Minutes: minutes}
	}
}

// hump returns the share of a day's steps that a script gives to a minute, most at ten in the evening.
func hump(i int, width float64) float64 {
	return math.Exp(-math.Pow((float64(i)-22*60)/width, 2) / 2)
}

// Cheats returns machines and scripts, alone and on top of honest days.
func Cheats() []Cheat { return slices.Clone(cheats) }

var cheats = []Cheat{
	{"a pendulum for a day and a night", fresh(func(m []uint32, rng *rand.Rand) { machine(m, 0, 1440, 67, 0, rng) }), "flat_cadence", "hold"},
	{"a pendulum for 20 hours, its count a step up or down", fresh(func(m []uint32, rng *rand.Rand) {
		machine(m, rng.IntN(240), 1205, 67, 0.015, rng)
	}), "long_activity", "hold"},
	{"a pendulum by night on an honest day", onTop(func(m []uint32, rng *rand.Rand) {
		machine(m, 0, 300+rng.IntN(120), 55+20*rng.Float64(), 0.02, rng)
	}), "flat_cadence", "hold"},
	{"a pendulum that is wound up every 40 minutes", onTop(func(m []uint32, rng *rand.Rand) {
		for at := 30; at < 360; at += 40 + rng.IntN(10) {
			machine(m, at, 40, 60+12*rng.Float64(), 0.025, rng)
		}
	}), "flat_cadence", "review"},
	{"a pendulum that slows down", onTop(func(m []uint32, rng *rand.Rand) {
		for i := range 360 {
			machine(m, i, 1, 75-20*float64(i)/360, 0.02, rng)
		}
	}), "flat_cadence", "hold"},
	{"a shaker for two and a half hours", onTop(func(m []uint32, rng *rand.Rand) {
		machine(m, 60, 150, 100+40*rng.Float64(), 0.03, rng)
	}), "flat_cadence", "review"},
	{"a rough shaker for four hours", onTop(func(m []uint32, rng *rand.Rand) {
		machine(m, 13*60, 240, 110+20*rng.Float64(), 0.12, rng)
	}), "unbroken", "review"},
	{"a fast shaker", onTop(func(m []uint32, rng *rand.Rand) { machine(m, 600, 15, 255, 0.02, rng) }), "high_cadence", "review"},
	{"a fast shaker for an hour", onTop(func(m []uint32, rng *rand.Rand) { machine(m, 600, 60, 215, 0.02, rng) }), "busy_hour", "review"},
	{"a shaker for seven hours", fresh(func(m []uint32, rng *rand.Rand) { machine(m, 600, 430, 125, 0.1, rng) }), "busy_day", "hold"},
	{"a script that writes the same number", fresh(func(m []uint32, rng *rand.Rand) {
		machine(m, 20*60, 200, 100+10*float64(rng.IntN(3)), 0, rng)
	}), "repeated_counts", "hold"},
	{"a script that draws numbers in the evening", fresh(func(m []uint32, rng *rand.Rand) {
		for i := 20*60 + rng.IntN(30); i < 1435; i++ {
			m[i] = 80 + rng.Uint32N(50)
		}
	}), "late_steps", "hold"},
	{"a script with a hump at ten", fresh(func(m []uint32, rng *rand.Rand) {
		for i := range m {
			m[i] = uint32(125 * hump(i, 85) * (0.9 + 0.2*rng.Float64()))
		}
	}), "late_steps", "review"},
	{"a script with a hump at ten on top of an honest day", onTop(func(m []uint32, rng *rand.Rand) {
		for i := 18 * 60; i < 1440; i++ {
			m[i] = max(m[i], uint32(150*hump(i, 90)*(0.8+0.4*rng.Float64())))
		}
	}), "", "review"}, // on the longest days the evening is less than LateSteps wants, but they break other limits
	{"a script that writes walks over the day", fresh(func(m []uint32, rng *rand.Rand) {
		for at := 7 * 60; at < 21*60; at += 25 + rng.IntN(20) {
			for i := range 10 + rng.IntN(10) {
				m[at+i] = 90 + rng.Uint32N(35)
			}
		}
	}), "no_small_movement", "review"},
	{"a script of round numbers", onTop(func(m []uint32, rng *rand.Rand) {
		for i := 9 * 60; i < 13*60; i++ {
			if m[i] = 10 * (6 + rng.Uint32N(7)); rng.IntN(6) == 0 {
				m[i] = 0
			}
		}
	}), "round_counts", "review"},
	{"a script that writes hours in the evening", func(_ []uint32, rng *rand.Rand) Day {
		d := Day{Minutes: make([]uint32, 1440)}
		for h := 20; h < 24; h++ {
			n := 5000 + rng.Uint32N(1200)
			for i := range 60 {
				d.Minutes[h*60+i] = n / 60
			}
			d.Hours = append(d.Hours, h)
		}
		return d
	}, "late_steps", "review"},
	{"a script that writes every hour of the day", func(_ []uint32, rng *rand.Rand) Day {
		d := Day{Minutes: make([]uint32, 1440)}
		for h := range 24 {
			n := 700 + rng.Uint32N(600)
			for i := range 60 {
				d.Minutes[h*60+i] = n / 60
			}
			d.Hours = append(d.Hours, h)
		}
		return d
	}, "long_activity", "review"},
}
