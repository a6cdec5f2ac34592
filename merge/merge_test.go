package merge

import (
	"slices"
	"testing"

	"ayumi/steps"
)

// stretch is n minutes of the same count.
type stretch struct {
	n     int
	count uint32
}

// minutesOf joins stretches; the rest of the day is zero.
func minutesOf(of ...stretch) []uint32 {
	out := make([]uint32, 0, 1440)
	for _, s := range of {
		for range s.n {
			out = append(out, s.count)
		}
	}
	return append(out, make([]uint32, 1440-len(out))...)
}

// record is a coarse cell.
type record struct {
	interval uint32
	cell     int
	count    uint32
	origin   steps.Origin
}

// with adds records to a source, which are given by ascending interval.
func with(s Source, records ...record) Source {
	for _, r := range records {
		if len(s.Origins) == 0 {
			s.Origins = []steps.Origin{0}
		}
		mark := slices.Index(s.Origins[1:], r.origin) + 1
		if mark == 0 {
			mark = len(s.Origins)
			s.Origins = append(s.Origins, r.origin)
		}
		last := len(s.Lanes) - 1
		if last < 0 || s.Lanes[last].Interval != r.interval {
			s.Lanes = append(s.Lanes, Lane{Interval: r.interval})
			last++
		}
		l := &s.Lanes[last]
		for len(l.Counts) <= r.cell {
			l.Counts, l.Marks = append(l.Counts, 0), append(l.Marks, 0)
		}
		l.Counts[r.cell], l.Marks[r.cell] = r.count, uint16(mark)
	}
	return s
}

const (
	sensor  = steps.OriginSensor
	manual  = steps.OriginManual
	unknown = steps.OriginUnknown
)

// TestDays merges days of which a person can say what they should be.
func TestDays(t *testing.T) {
	walk := minutesOf(stretch{600, 0}, stretch{30, 100}) // at ten, for half an hour
	idle := minutesOf()
	late := minutesOf(stretch{601, 0}, stretch{30, 100}) // the same by a clock that is a minute ahead
	first10 := minutesOf(stretch{600, 0}, stretch{10, 100})
	last20 := minutesOf(stretch{610, 0}, stretch{20, 100})
	gone := slices.Clone(walk) // a minute of it was lost
	gone[615] = absent
	for _, tc := range []struct {
		name     string
		sources  []Source
		fill     uint64 // priority-fill
		most     uint64 // max-minute
		one      uint64 // one-device
		excluded Excluded
	}{
		{"nobody", nil, 0, 0, 0, Excluded{}},
		{"a pedometer at home hides no phone", []Source{sensorMinutes("p", idle), sensorMinutes("a", walk)}, 3000, 3000, 3000, Excluded{}},
		{"a phone on the table hides no pedometer", []Source{sensorMinutes("a", idle), sensorMinutes("p", walk)}, 3000, 3000, 3000, Excluded{}},
		{"both carried", []Source{sensorMinutes("a", walk), sensorMinutes("p", walk)}, 3000, 3000, 3000, Excluded{}},
		{"clocks a minute apart", []Source{sensorMinutes("a", walk), sensorMinutes("p", late)}, 3000, 3100, 3000, Excluded{}},
		{"put down on the way", []Source{sensorMinutes("a", first10), sensorMinutes("p", last20)}, 3000, 3000, 1000, Excluded{}},
		{"picked up on the way", []Source{sensorMinutes("a", last20), sensorMinutes("p", first10)}, 3000, 3000, 2000, Excluded{}},
		{"a lost minute", []Source{sensorMinutes("a", gone), sensorMinutes("p", walk)}, 3000, 3000, 2900, Excluded{}},
		{"an hour beside its minutes", []Source{with(sensorMinutes("a", gone), record{3600, 10, 3000, sensor})}, 3000, 3000, 3000, Excluded{}},
		{"an hour of a ring beside a pedometer", []Source{
			with(Source{Device: "r"}, record{3600, 10, 3000, sensor}), sensorMinutes("p", last20),
		}, 3000, 3000, 3000, Excluded{}},
		{"a lesser hour of a ring", []Source{
			with(Source{Device: "r"}, record{3600, 10, 1500, sensor}), sensorMinutes("p", last20),
		}, 2000, 2000, 1500, Excluded{}},
		{"a day of a phone beside a pedometer", []Source{
			sensorMinutes("p", walk), with(Source{Device: "a"}, record{86400, 0, 8001, sensor}),
		}, 8001, 8001, 3000, Excluded{}},
		{"quarters, hour and day of one source", []Source{
			with(Source{Device: "a"}, record{900, 40, 1000, sensor}, record{3600, 10, 2500, sensor}, record{86400, 0, 8000, sensor}),
		}, 8000, 8000, 8000, Excluded{}},
		{"typed in over a rest", []Source{
			with(sensorMinutes("a", walk), record{3600, 18, 4000, manual}),
		}, 3000, 3000, 3000, Excluded{Manual: 4000}},
		{"typed in over a walk that another source counted", []Source{
			sensorMinutes("p", walk), with(Source{Device: "a"}, record{3600, 10, 3000, manual}),
		}, 3000, 3000, 3000, Excluded{}},
		{"origin not given", []Source{with(Source{Device: "a"}, record{3600, 10, 3000, unknown})}, 3000, 3000, 3000, Excluded{}},
		{"typed in by the only one", []Source{with(Source{Device: "a"}, record{3600, 10, 3000, manual})}, 0, 0, 0, Excluded{Manual: 3000}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := Day{Length: 1440, Sources: tc.sources}
			for policy, want := range map[Policy]uint64{PriorityFill: tc.fill, MaxMinute: tc.most, OneDevice: tc.one} {
				cfg := DefaultConfig()
				cfg.Policy = policy
				m := mustNew(t, cfg)
				if got := m.Steps(&d); got != want {
					t.Errorf("%s: %d steps, want %d", policy, got, want)
				}
				if _, got := m.Minutes(&d); got != tc.excluded {
					t.Errorf("%s: excluded %+v, want %+v", policy, got, tc.excluded)
				}
				compare(t, m, &d)
			}
		})
	}
}

func TestOneDeviceThatWasChosen(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Policy = OneDevice
	m := mustNew(t, cfg)
	d := Day{Length: 1440, Sources: []Source{
		sensorMinutes("a", minutesOf(stretch{600, 0}, stretch{30, 100})),
		sensorMinutes("p", minutesOf(stretch{600, 0}, stretch{20, 100})),
	}}
	for chosen, want := range map[steps.DeviceID]uint64{"": 3000, "a": 3000, "p": 2000, "lost": 0} {
		d.Chosen = chosen
		if got := m.Steps(&d); got != want {
			t.Errorf("chosen %q: %d steps, want %d", chosen, got, want)
		}
	}
}

// TestOriginRules merges a sensor's 3,000 steps, 2,000 of unknown origin and 4,000 that were typed in,
// at different times.
func TestOriginRules(t *testing.T) {
	walk := minutesOf(stretch{600, 0}, stretch{30, 100})
	d := Day{Length: 1440, Sources: []Source{
		with(sensorMinutes("a", walk), record{3600, 18, 4000, manual}),
		with(Source{Device: "p"}, record{3600, 14, 2000, unknown}),
	}}
	for _, tc := range []struct {
		manual, unknown string
		steps           uint64
		excluded        Excluded
	}{
		{"accept", "accept", 9000, Excluded{}},
		{"exclude", "accept", 5000, Excluded{Manual: 4000}},
		{"accept", "exclude", 7000, Excluded{Unknown: 2000}},
		{"exclude", "exclude", 3000, Excluded{Manual: 4000, Unknown: 2000}},
		{"cap:1500", "exclude", 4500, Excluded{Manual: 2500, Unknown: 2000}},
		{"cap:1500", "cap:700", 5200, Excluded{Manual: 2500, Unknown: 1300}},
		{"cap:0", "cap:9999", 5000, Excluded{Manual: 4000}},
	} {
		t.Run(tc.manual+" "+tc.unknown, func(t *testing.T) {
			cfg := DefaultConfig()
			if err := cfg.Manual.UnmarshalText([]byte(tc.manual)); err != nil {
				t.Fatal(err)
			}
			if err := cfg.Unknown.UnmarshalText([]byte(tc.unknown)); err != nil {
				t.Fatal(err)
			}
			m := mustNew(t, cfg)
			minutes, excluded := m.Minutes(&d)
			if got := sum(minutes); got != tc.steps || excluded != tc.excluded {
				t.Errorf("%d steps and %+v excluded, want %d and %+v", got, excluded, tc.steps, tc.excluded)
			}
			compare(t, m, &d)
		})
	}
}

// TestUnfinishedDay spreads records of intervals that are not over.
func TestUnfinishedDay(t *testing.T) {
	m := mustNew(t, DefaultConfig())
	for _, tc := range []struct {
		name    string
		elapsed int
		length  int
		source  Source
		to      int // the last minute with steps
		total   uint64
	}{
		{"a day at eight in the morning", 480, 1440, with(Source{}, record{86400, 0, 960, sensor}), 479, 960},
		{"the same day at noon", 720, 1440, with(Source{}, record{86400, 0, 2001, sensor}), 719, 2001},
		{"the same day when it is over", 0, 1440, with(Source{}, record{86400, 0, 8000, sensor}), 1439, 8000},
		{"a day of 23 hours", 0, 1380, with(Source{}, record{86400, 0, 8000, sensor}), 1379, 8000},
		{"a day of 25 hours", 1500, 1500, with(Source{}, record{86400, 0, 8000, sensor}), 1499, 8000},
		{"an hour that began a quarter ago", 615, 1440, with(Source{}, record{3600, 10, 300, sensor}), 614, 300},
		{"an hour that has not begun by our clock", 600, 1440, with(Source{}, record{3600, 10, 60, sensor}), 600, 60},
		{"a day beside its minutes", 600, 1440, with(sensorMinutes("a", minutesOf(stretch{300, 0}, stretch{10, 100})[:600]),
			record{86400, 0, 5000, sensor}), 309, 1000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := Day{Length: tc.length, Elapsed: tc.elapsed, Sources: []Source{tc.source}}
			minutes, _ := m.Minutes(&d)
			last := len(minutes) - 1
			for last > 0 && minutes[last] == 0 {
				last--
			}
			if last != tc.to || sum(minutes) != tc.total {
				t.Errorf("%d steps up to minute %d, want %d up to %d", sum(minutes), last, tc.total, tc.to)
			}
			compare(t, m, &d)
		})
	}
}

func TestArrange(t *testing.T) {
	sources := []Source{{Device: "d"}, {Device: "b"}, {Device: "a"}, {Device: "c"}}
	Arrange(sources, []steps.DeviceID{"c", "x", "b"})
	var got string
	for _, s := range sources {
		got += string(s.Device)
	}
	if got != "cbad" {
		t.Errorf("order %s, want cbad", got)
	}
}
