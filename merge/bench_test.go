package merge

import (
	"math/rand/v2"
	"testing"

	"ayumi/replay/replaytest"
)

// benchDays are days as a store sees them: one pedometer; a pedometer and a phone by another clock;
// the same with a ring that counts by the hour.
func benchDays(b *testing.B) map[string]Day {
	rng := rand.New(rand.NewPCG(1, 2))
	walked := replaytest.Days(b)[10].Minutes
	pedometer := sensorMinutes("p", walked)
	phone := sensorMinutes("a", lose(shiftClock(walked, 15), 10, rng))
	ring := Source{Device: "r"}
	for h := range 24 {
		ring = with(ring, record{3600, h, uint32(sum(walked[h*60 : h*60+60])), sensor})
	}
	return map[string]Day{
		"one":   {Length: 1440, Sources: []Source{pedometer}},
		"two":   {Length: 1440, Sources: []Source{phone, pedometer}},
		"three": {Length: 1440, Sources: []Source{phone, pedometer, ring}},
	}
}

func BenchmarkSteps(b *testing.B) {
	for name, d := range benchDays(b) {
		b.Run(name, func(b *testing.B) {
			m := mustNew(b, DefaultConfig())
			b.ReportAllocs()
			for b.Loop() {
				m.Steps(&d)
			}
		})
	}
}

func BenchmarkExplain(b *testing.B) {
	d := benchDays(b)["two"]
	m := mustNew(b, DefaultConfig())
	b.ReportAllocs()
	for b.Loop() {
		m.Explain(&d)
	}
}

// TestNoAllocation sees to it that a store may ask for the steps of every day that changes.
func TestNoAllocation(t *testing.T) {
	walked := minutesOf(stretch{600, 0}, stretch{30, 100})
	gone := lose(walked, 10, rand.New(rand.NewPCG(1, 2)))
	for name, d := range map[string]Day{
		"one": {Length: 1440, Sources: []Source{sensorMinutes("p", walked)}},
		"two": {Length: 1440, Sources: []Source{sensorMinutes("a", gone), sensorMinutes("p", walked)}},
		"records of two origins": {Length: 1440, Sources: []Source{
			with(sensorMinutes("a", gone), record{3600, 10, 5000, sensor}, record{3600, 18, 5000, manual}),
		}},
	} {
		m := mustNew(t, DefaultConfig())
		m.Steps(&d)
		if n := testing.AllocsPerRun(10, func() { m.Steps(&d) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
