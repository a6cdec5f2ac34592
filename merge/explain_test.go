package merge

import (
	"slices"
	"testing"
)

// TestExplain pins the decisions of one eventful day: a phone goes before a pedometer, which goes before
// a ring that counts by the hour.
func TestExplain(t *testing.T) {
	phone := minutesOf(stretch{480, 0}, stretch{20, 100}, stretch{100, 0}, stretch{60, absent}, stretch{90, 0}, stretch{10, 110})
	pedometer := minutesOf(stretch{480, 0}, stretch{20, 95}, stretch{1, 30}, stretch{49, 0}, stretch{30, 90}, stretch{20, 0},
		stretch{30, 80}, stretch{30, 0}, stretch{90, 0}, stretch{4, 95}, stretch{1, absent}, stretch{5, 95})
	phone[755] = absent
	d := Day{Length: 1440, Sources: []Source{
		with(sensorMinutes("phone", phone), record{3600, 20, 1000, manual}),
		sensorMinutes("pedometer", pedometer),
		with(Source{Device: "ring"}, record{3600, 14, 120, sensor}),
	}}
	for i := 1140; i < 1440; i++ { // neither device has anything for the evening
		for s := range 2 {
			d.Sources[s].Lanes[0].Marks[i] = 0
		}
	}
	r := mustNew(t, DefaultConfig()).Explain(&d)
	want := []Run{
		{0, 500, 0, Priority, 60, sensor, 2000, 0, []Share{{1, 1900, 500}}},
		{500, 501, 0, AlreadyCounted, 60, sensor, 0, 0, []Share{{1, 30, 1}}}, // 1,930 on the pedometer are fewer than 2,000
		{501, 550, 0, Priority, 60, sensor, 0, 0, []Share{{1, 0, 49}}},
		{550, 580, 1, NotCarried, 60, sensor, 2700, 0, []Share{{0, 0, 30}}},
		{580, 600, 0, Priority, 60, sensor, 0, 0, []Share{{1, 0, 20}}},
		{600, 660, 1, NotReported, 60, sensor, 2400, 0, nil},
		{660, 754, 0, Priority, 60, sensor, 440, 0, []Share{{1, 380, 94}}},
		{754, 755, 0, OnlySource, 60, sensor, 110, 0, nil},
		{755, 756, 1, NotReported, 60, sensor, 95, 0, nil},
		{756, 840, 0, Priority, 60, sensor, 440, 0, []Share{{1, 380, 84}}},
		{840, 900, 2, Apportioned, 3600, sensor, 120, 0, []Share{{0, 0, 60}, {1, 0, 60}}},
		{900, 1140, 0, Priority, 60, sensor, 0, 0, []Share{{1, 0, 240}}},
		{1140, 1200, -1, Unreported, 0, unknown, 0, 0, nil},
		{1200, 1260, 0, OriginExcluded, 3600, manual, 0, 1000, nil},
		{1260, 1440, -1, Unreported, 0, unknown, 0, 0, nil},
	}
	if !equalRuns(r.Runs, want) {
		t.Errorf("runs\n%+v\nwant\n%+v", r.Runs, want)
	}
	if r.Steps != 8305 || r.Excluded != (Excluded{Manual: 1000}) {
		t.Errorf("%d steps, %+v excluded", r.Steps, r.Excluded)
	}
}

// TestExplainPolicies asks for the reasons of the other policies.
func TestExplainPolicies(t *testing.T) {
	d := Day{Length: 30, Sources: []Source{
		with(sensorMinutes("a", []uint32{100, 100, 0, 0, absent}), record{600, 2, 70, manual}),
		sensorMinutes("b", []uint32{90, 120, 10, 0, 80, 0}),
	}}
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   []Run
	}{
		{"max-minute, 50 typed steps", func(c *Config) { c.Policy, c.Manual = MaxMinute, OriginRule{Cap, 50} }, []Run{
			{0, 1, 0, Maximum, 60, sensor, 100, 0, []Share{{1, 90, 1}}},
			{1, 3, 1, Maximum, 60, sensor, 130, 0, []Share{{0, 100, 2}}},
			{3, 4, 0, Maximum, 60, sensor, 0, 0, []Share{{1, 0, 1}}},
			{4, 6, 1, OnlySource, 60, sensor, 80, 0, nil},
			{6, 20, -1, Unreported, 0, unknown, 0, 0, nil},
			{20, 27, 0, Apportioned, 600, manual, 49, 0, nil},
			{27, 30, 0, OriginCapped, 600, manual, 1, 20, nil},
		}},
		{"one-device", func(c *Config) { c.Policy = OneDevice }, []Run{
			{0, 4, 0, Chosen, 60, sensor, 200, 0, []Share{{1, 220, 4}}},
			{4, 20, -1, Unreported, 0, unknown, 0, 0, []Share{{1, 80, 2}}},
			{20, 30, 0, OriginExcluded, 600, manual, 0, 70, nil},
		}},
		{"priority-fill", func(c *Config) {}, []Run{
			{0, 2, 0, Priority, 60, sensor, 200, 0, []Share{{1, 210, 2}}},
			{2, 3, 1, FilledWalk, 60, sensor, 10, 0, []Share{{0, 0, 1}}},
			{3, 4, 0, Priority, 60, sensor, 0, 0, []Share{{1, 0, 1}}},
			{4, 6, 1, NotReported, 60, sensor, 80, 0, nil},
			{6, 20, -1, Unreported, 0, unknown, 0, 0, nil},
			{20, 30, 0, OriginExcluded, 600, manual, 0, 70, nil},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := DefaultConfig()
			tc.change(&cfg)
			if r := mustNew(t, cfg).Explain(&d); !equalRuns(r.Runs, tc.want) {
				t.Errorf("runs\n%+v\nwant\n%+v", r.Runs, tc.want)
			}
		})
	}
}

// TestExplainWholeWalk loses minutes of a walk that another source has in full.
func TestExplainWholeWalk(t *testing.T) {
	walk := minutesOf(stretch{600, 0}, stretch{30, 100})
	gone := slices.Clone(walk)
	gone[610], gone[620] = absent, absent
	r := mustNew(t, DefaultConfig()).Explain(&Day{Length: 1440, Sources: []Source{sensorMinutes("a", gone), sensorMinutes("b", walk)}})
	want := []Run{
		{0, 600, 0, Priority, 60, sensor, 0, 0, []Share{{1, 0, 600}}},
		{600, 610, 1, WholeWalk, 60, sensor, 1000, 0, []Share{{0, 1000, 10}}},
		{610, 611, 1, NotReported, 60, sensor, 100, 0, nil},
		{611, 620, 1, WholeWalk, 60, sensor, 900, 0, []Share{{0, 900, 9}}},
		{620, 621, 1, NotReported, 60, sensor, 100, 0, nil},
		{621, 630, 1, WholeWalk, 60, sensor, 900, 0, []Share{{0, 900, 9}}},
		{630, 1440, 0, Priority, 60, sensor, 0, 0, []Share{{1, 0, 810}}},
	}
	if !equalRuns(r.Runs, want) {
		t.Errorf("runs\n%+v\nwant\n%+v", r.Runs, want)
	}
}

func equalRuns(a, b []Run) bool {
	return slices.EqualFunc(a, b, func(x, y Run) bool {
		ok := slices.Equal(x.Others, y.Others)
		x.Others, y.Others = nil, nil
		return ok && x.From == y.From && x.To == y.To && x.Source == y.Source && x.Reason == y.Reason && x.Interval == y.Interval && x.Origin == y.Origin &&
			x.Steps == y.Steps && x.Excluded == y.Excluded
	})
}
