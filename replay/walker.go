package replay

import (
	"fmt"
	"math/rand/v2"

	"ayumi/steps"
)

// Walker is an invented person.
type Walker struct {
	Person
	// App says that a smartphone app uploads for them, daily and with counts that it corrects;
	// otherwise a pedometer does, hourly.
	App bool
}

// WalkerOptions says whom to invent.
type WalkerOptions struct {
	People      int
	First, Last steps.Day // inclusive
	Seed        uint64
}

// Walkers invents people with plausible minutes: commuters, people at home and keen walkers, who
// sleep at night, mostly rest, and walk to work, at lunch, in the evening and at weekends. They are
// named walker-001 and so on. A person's day depends on the seed, the person and the day alone, so
// a longer range adds days without changing others.
func Walkers(o WalkerOptions) []Walker {
	out := make([]Walker, 0, o.People)
	for n := range o.People {
		rng := rand.New(rand.NewPCG(o.Seed, uint64(n)<<32)) //nolint:gosec // not negative
		h := newHabits(rng)
		w := Walker{Person: Person{ID: fmt.Sprintf("walker-%03d", n+1)}, App: rng.IntN(5) < 2}
		for d := o.First; d <= o.Last; d++ {
			today := rand.New(rand.NewPCG(o.Seed, uint64(n)<<32|uint64(uint32(d)))) //nolint:gosec // its bits only
			w.Hours = append(w.Hours, h.live(today, d)...)
		}
		out = append(out, w)
	}
	return out
}

// PlanOptions are the options under which this walker's device uploads.
func (w *Walker) PlanOptions(cal steps.Calendar, seed uint64) PlanOptions {
	o := PlanOptions{Calendar: cal, Seed: seed, Cadence: Hourly, Encoding: steps.Protobuf, Faults: Repeats, Status: true}
	if w.App {
		o.Cadence, o.Encoding, o.Faults, o.Status = Daily, steps.JSON, Corrections, false
	}
	return o
}

// habits is how somebody lives. Times are minutes of the day, odds are percent.
type habits struct {
	wake, sleep int
	cadence     int // steps a minute when walking
	commuter    bool
	commute     int // minutes each way
	leave, back int
	lunchOdds   int
	strollOdds  int
	stroll      int // minutes
	fidget      int // odds of a few steps in any waking minute
}

func newHabits(rng *rand.Rand) habits {
	return habits{
		wake: 360 + rng.IntN(120), sleep: 1290 + rng.IntN(130), cadence: 92 + rng.IntN(30),
		commuter: rng.IntN(5) < 3, commute: 6 + rng.IntN(18), leave: 445 + rng.IntN(80), back: 1040 + rng.IntN(120),
		lunchOdds: 20 + rng.IntN(70), strollOdds: 10 + rng.IntN(70), stroll: 12 + rng.IntN(40), fidget: 8 + rng.IntN(16),
	}
}

const minutesPerDay = 1440

// live returns one day's hours.
func (h *habits) live(rng *rand.Rand, d steps.Day) []Hour {
	var m [minutesPerDay]uint32
	for i := h.wake; i < h.sleep && i < minutesPerDay; i++ {
		if rng.IntN(100) < h.fidget {
			m[i] = uint32(3 + rng.IntN(32)) //nolint:gosec // small
		}
	}
	weekday := (int(d) + 4) % 7 // 1970-01-01 was a Thursday; 0 is Sunday
	free := weekday == 0 || weekday == 6
	switch {
	case h.commuter && !free:
		h.walk(rng, &m, h.leave+rng.IntN(12), h.commute)
		h.walk(rng, &m, h.back+rng.IntN(60), h.commute)
		if rng.IntN(100) < h.lunchOdds {
			h.walk(rng, &m, 720+rng.IntN(20), 4+rng.IntN(7))
		}
	case free && rng.IntN(3) > 0:
		h.walk(rng, &m, 600+rng.IntN(300), 20+rng.IntN(60))
	default:
		h.walk(rng, &m, 570+rng.IntN(120), 5+rng.IntN(20))
	}
	if rng.IntN(100) < h.strollOdds {
		h.walk(rng, &m, 1120+rng.IntN(90), h.stroll)
	}
	out := make([]Hour, 24)
	for i := range out {
		out[i] = Hour{Day: d, Hour: i}
		copy(out[i].Counts[:], m[i*60:])
	}
	return out
}

// walk fills the minutes from start on, with a pause now and then at a crossing.
func (h *habits) walk(rng *rand.Rand, m *[minutesPerDay]uint32, start, minutes int) {
	for i := start; i < start+minutes && i < minutesPerDay; i++ {
		n := h.cadence - 8 + rng.IntN(17)
		if rng.IntN(12) == 0 {
			n /= 2
		}
		m[i] = uint32(n) //nolint:gosec // at most 130
	}
}
