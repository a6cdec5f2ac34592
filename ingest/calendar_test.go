package ingest_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"ayumi/protocol/native"
	"ayumi/steps"
)

// TestClockChange sends every minute around a change of the clock and expects each in the day that
// a wall clock shows, at its distance from that day's midnight, and the totals exact.
func TestClockChange(t *testing.T) {
	for _, tc := range []struct {
		name, from, to string // Berlin's time
		minutes        map[string]int
	}{
		{"spring", "2026-03-28T12:00:00", "2026-03-30T12:00:00", map[string]int{"2026-03-28": 720, "2026-03-29": 1380, "2026-03-30": 720}},
		{"autumn", "2026-10-24T12:00:00", "2026-10-26T12:00:00", map[string]int{"2026-10-24": 720, "2026-10-25": 1500, "2026-10-26": 720}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			const zone = "Europe/Berlin"
			from, to := in(zone, tc.from), in(zone, tc.to)
			series := steps.Series{Start: from, Interval: 60}
			want := make(map[string]int)
			for at := from; at < to; at += 60 {
				n := len(series.Counts)%250 + 1
				series.Counts = append(series.Counts, uint32(n))
				want[time.Unix(at, 0).In(calendar(zone).Location()).Format("2006-01-02")] += n
			}
			j := new(memory)
			r := newRig(t, zone, j)
			r.now = to + 3600
			if u := r.send("pedo", upload(1, series)); u.Verdict != stored || len(u.Faults) > 0 {
				t.Fatalf("receipt %+v", u)
			}
			at := from
			for _, run := range j.last(t).Runs {
				midnight, _ := r.cal.Bounds(run.Day)
				if start := midnight + 60*int64(run.First); start != at || len(run.Counts) != tc.minutes[run.Day.String()] {
					t.Errorf("%s has %d minutes from %d; want %d from %d", run.Day, len(run.Counts), start, tc.minutes[run.Day.String()], at)
				}
				at += 60 * int64(len(run.Counts))
			}
			s := newStoreRig(t, zone, nil)
			s.now = r.now
			s.send("pedo", upload(1, series))
			var totals []string
			for d, n := range want {
				totals = append(totals, fmt.Sprintf("ann %s %d", d, n))
			}
			s.wantTotals(totals...)
		})
	}
}

// TestCoarseRecordsAcrossClockChange: a record that a day does not hold as a whole is not counted
// in it, and a day's own record is not joined by the next day's.
func TestCoarseRecordsAcrossClockChange(t *testing.T) {
	for _, tc := range []struct {
		name, start string // Berlin's time
		interval    uint32
		counts      []uint32
		runs        []string
		faults      string
	}{
		{"hours in spring", "2026-03-29T00:00:00", 3600, repeat(24, 10), []string{"ann 2026-03-29 3600@0 23=230", "ann 2026-03-30 3600@0 1=10"}, ""},
		{"hours in autumn", "2026-10-25T00:00:00", 3600, repeat(26, 10), []string{"ann 2026-10-25 3600@0 25=250", "ann 2026-10-26 3600@0 1=10"}, ""},
		{"quarters in autumn", "2026-10-25T00:00:00", 900, repeat(101, 10), []string{"ann 2026-10-25 900@0 100=1000", "ann 2026-10-26 900@0 1=10"}, ""},
		{"day in spring", "2026-03-29T00:00:00", 86400, []uint32{5000}, []string{"ann 2026-03-29 86400@0 1=5000"}, ""},
		{"day in autumn", "2026-10-25T00:00:00", 86400, []uint32{5000}, []string{"ann 2026-10-25 86400@0 1=5000"}, ""},
		{"days up to autumn", "2026-10-23T00:00:00", 86400, []uint32{1, 2, 4},
			[]string{"ann 2026-10-23 86400@0 1=1", "ann 2026-10-24 86400@0 1=2", "ann 2026-10-25 86400@0 1=4"}, ""},
		{"days across spring", "2026-03-28T00:00:00", 86400, []uint32{1, 2, 4},
			[]string{"ann 2026-03-28 86400@0 1=1", "ann 2026-03-29 86400@0 1=2"}, "0:misaligned"},
		{"days across autumn", "2026-10-24T00:00:00", 86400, []uint32{1, 2, 4},
			[]string{"ann 2026-10-24 86400@0 1=1", "ann 2026-10-25 86400@0 1=2"}, "0:misaligned"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j := new(memory)
			r := newRig(t, "Europe/Berlin", j)
			series := steps.Series{Start: in("Europe/Berlin", tc.start), Interval: tc.interval, Counts: tc.counts}
			r.now = series.Start + 3*86400
			u := r.send("pedo", upload(1, series))
			if got := runs(j.last(t)); !slices.Equal(got, tc.runs) || faults(&u) != tc.faults {
				t.Errorf("runs %q, faults %q; want %q, %q", got, faults(&u), tc.runs, tc.faults)
			}
		})
	}
}

// TestMissingMidnight uploads across midnight where the clock jumps from 00:00 to 01:00, so that
// the new day begins at 01:00, and where the hour after midnight comes twice.
func TestMissingMidnight(t *testing.T) {
	for _, tc := range []struct{ name, zone, day string }{
		{"spring in the Azores", "Atlantic/Azores", "2026-03-29"},
		{"spring in Santiago", "America/Santiago", "2026-09-06"},
		{"spring in Havana", "America/Havana", "2026-03-08"},
		{"spring in Beirut", "Asia/Beirut", "2026-03-29"},
		{"spring in Cairo", "Africa/Cairo", "2026-04-24"},
		{"autumn in the Azores", "Atlantic/Azores", "2026-10-25"},
		{"autumn in Santiago", "America/Santiago", "2026-04-05"},
		{"autumn in Havana", "America/Havana", "2026-11-01"},
		{"autumn in Beirut", "Asia/Beirut", "2026-10-25"},
		{"autumn in Cairo", "Africa/Cairo", "2026-10-30"},
		{"autumn in Amman", "Asia/Amman", "2021-10-29"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			noon := in(tc.zone, tc.day+"T12:00:00")
			j := new(memory)
			r := newRig(t, tc.zone, j)
			r.now = noon
			// From half past eleven: where the day is believed to end at 23:00 already, an
			// earlier start would keep the pipeline busy for ever.
			eve := (day(tc.day) - 1).String()
			series := steps.Series{Start: in(tc.zone, eve+"T23:30:00"), Interval: 60, Counts: repeat(90, 1)}
			body := native.AppendUpload(nil, upload(1, series), steps.Protobuf)
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("Submit panics: %v", p)
				}
			}()
			r.submit(r.envelope("pedo", steps.Protobuf, body))
			wantDay(t, j, r.cal)
		})
	}
}

// wantDay verifies that every run lies within its day, minute by minute.
func wantDay(t *testing.T, j *memory, cal steps.Calendar) {
	t.Helper()
	n := 0
	for _, run := range j.last(t).Runs {
		begin, end := cal.Bounds(run.Day)
		if run.First < 0 || begin+60*int64(run.First+len(run.Counts)) > end {
			t.Errorf("run of %d minutes from minute %d leaves %s, which has %d", len(run.Counts), run.First, run.Day, (end-begin)/60)
		}
		for i := range run.Counts {
			if at := begin + 60*int64(run.First+i); cal.Day(at) != run.Day {
				t.Errorf("minute %s is counted on %s", time.Unix(at, 0).In(cal.Location()), run.Day)
				break
			}
		}
		n += len(run.Counts)
	}
	if n != 90 {
		t.Errorf("%d minutes placed; want 90", n)
	}
}
