package ingest

import (
	"fmt"
	"time"

	"ayumi/protocol"
	"ayumi/steps"
)

const secondsPerDay = 86400

// place validates one series and cuts it into runs: one a day, each under the participant to whom
// the device was bound on that day. What cannot be placed becomes a fault of the series.
func (s *submission) place(device steps.DeviceID, index int, series *steps.Series) {
	if reason, detail := s.screen(series); reason != 0 {
		s.fault(index, reason, detail)
		return
	}
	if s.intervalsLeft -= intervalsOf(series); s.intervalsLeft < 0 {
		s.fault(index, steps.ReasonMalformed, fmt.Sprintf("window_end: the payload's series have more than %d intervals together; split it",
			protocol.IntervalsPerPayload))
		return
	}
	start, counts := s.intervals(series)
	if reason, detail := s.plausible(series.Interval, start, counts); reason != 0 {
		s.fault(index, reason, detail)
		return
	}
	// What precedes a count that would be too old or unbound is cut off by day, so that the
	// rest of a week's upload is stored.
	for len(counts) > 0 {
		day, begin, end := s.days[1].at(s.p.calendar, start)
		if reason, detail := s.aligned(series.Interval, start-begin, end-start); reason != 0 {
			s.fault(index, reason, detail)
			return
		}
		n := min(len(counts), max(1, int((end-start)/int64(series.Interval))))
		s.placeDay(device, index, series, day, int((start-begin)/int64(series.Interval)), counts[:n])
		start += int64(n) * int64(series.Interval)
		counts = counts[n:]
	}
}

// dayCache remembers the bounds of the day that was last asked for: neighbouring samples mostly
// share theirs.
type dayCache struct {
	day        steps.Day
	begin, end int64
}

// at returns the day of a UTC second and its bounds.
func (c *dayCache) at(cal steps.Calendar, unix int64) (day steps.Day, begin, end int64) {
	if unix < c.begin || unix >= c.end {
		c.day = cal.Day(unix)
		c.begin, c.end = cal.Bounds(c.day)
		for unix >= c.end { // a clock that goes back over midnight does not bring the old day back
			c.day++
			c.begin, c.end = cal.Bounds(c.day)
		}
	}
	return c.day, c.begin, c.end
}

// screen rejects what can be told from the series' frame alone.
func (s *submission) screen(series *steps.Series) (steps.Reason, string) {
	if series.Interval%60 != 0 || series.Interval == 0 || secondsPerDay%series.Interval != 0 {
		return steps.ReasonInterval, fmt.Sprintf("interval_s is %d; use whole minutes that divide a day: 60, 300, 900, 3600, 86400 …", series.Interval)
	}
	if series.Cumulative && len(series.Counts) < 2 {
		return steps.ReasonEmptyCounter, "steps has fewer than two counter readings; repeat the last reading of the previous upload first"
	}
	return 0, ""
}

// intervalsOf returns how many intervals a series has, those up to its window_end included.
func intervalsOf(series *steps.Series) int {
	return max(len(series.Counts), int((series.WindowEnd-series.Start)/int64(series.Interval)))
}

// intervals returns the UTC second at which the series' first interval starts, on its minute, and
// a count an interval: differences for a cumulative series, zeros up to window_end.
func (s *submission) intervals(series *steps.Series) (int64, []uint32) {
	start := series.Start - mod(series.Start, 60)
	counts := series.Counts
	if series.Cumulative {
		counts = s.differences(counts)
	}
	if window := series.WindowEnd - series.Start; window > 0 && window/int64(series.Interval) > int64(len(counts)) {
		begin := len(s.counts)
		s.counts = append(s.counts, counts...)
		s.counts = append(s.counts, make([]uint32, int(window/int64(series.Interval))-len(counts))...)
		return start, s.counts[begin:]
	}
	if s.via != "" && !series.Cumulative { // the decoder reuses the upload for the next one
		begin := len(s.counts)
		s.counts = append(s.counts, counts...)
		return start, s.counts[begin:]
	}
	return start, counts
}

// differences turns counter readings into counts. A reading below its predecessor means that the
// counter started again from zero.
func (s *submission) differences(readings []uint32) []uint32 {
	begin := len(s.counts)
	for i := 1; i < len(readings); i++ {
		switch {
		case readings[i] == steps.CountOverflow || readings[i-1] == steps.CountOverflow:
			s.counts = append(s.counts, steps.CountOverflow)
		case readings[i] < readings[i-1]:
			s.counts = append(s.counts, readings[i])
		default:
			s.counts = append(s.counts, readings[i]-readings[i-1])
		}
	}
	return s.counts[begin:]
}

// plausible rejects a series whose clock or counts cannot be right.
func (s *submission) plausible(interval uint32, start int64, counts []uint32) (steps.Reason, string) {
	if len(counts) == 0 {
		return 0, ""
	}
	last := start + int64(len(counts)-1)*int64(interval)
	if ahead := last - s.now; ahead > int64(s.p.limits.MaxFuture.Seconds()) {
		return steps.ReasonFuture, fmt.Sprintf("samples reach %s, %s ahead of the gateway's clock; set the device's clock",
			utc(last), time.Duration(ahead)*time.Second)
	}
	bound := s.p.limits.StepsPerMinute * (interval / 60)
	for i, c := range counts {
		if c == steps.CountOverflow {
			return steps.ReasonImplausible, fmt.Sprintf("steps[%d] is negative or does not fit 32 bits", i)
		}
		if c > bound && !s.release {
			return steps.ReasonImplausible, fmt.Sprintf("steps[%d] is %d in %d s; at most %d a minute are accepted",
				i, c, interval, s.p.limits.StepsPerMinute)
		}
	}
	return 0, ""
}

// aligned rejects long intervals that do not start on a multiple of themselves in the day, or that
// reach into the next one. The record of a whole day may: some days have 23 hours.
func (s *submission) aligned(interval uint32, secondOfDay, left int64) (steps.Reason, string) {
	if secondOfDay > 0 && left < int64(interval) {
		return steps.ReasonMisaligned, fmt.Sprintf("an interval of %d s reaches into the next day in %s; align start to midnight there",
			interval, s.p.calendar.Location())
	}
	if off := secondOfDay % int64(interval); off != 0 {
		return steps.ReasonMisaligned, fmt.Sprintf("start is %d s past a multiple of interval_s %d since midnight in %s; align it",
			off, interval, s.p.calendar.Location())
	}
	return 0, ""
}

// placeDay turns one day's part of a series into a run.
func (s *submission) placeDay(device steps.DeviceID, index int, series *steps.Series, day steps.Day, first int, counts []uint32) {
	if age := int(s.today - day); s.p.limits.MaxAgeDays > 0 && age > s.p.limits.MaxAgeDays && !s.release {
		s.fault(index, steps.ReasonTooOld, fmt.Sprintf("samples of %s are %d days old; at most %d are accepted (limits.max_age_days)",
			day, age, s.p.limits.MaxAgeDays))
		return
	}
	participant, ok := s.p.dir.Binding(device, day)
	if !ok {
		s.fault(index, steps.ReasonUnbound, fmt.Sprintf("device was bound to nobody on %s; bind it from that day on and release", day))
		return
	}
	s.samples += len(counts)
	s.commit.Runs = append(s.commit.Runs, steps.Run{
		Participant: participant, Day: day,
		Interval: series.Interval, First: first, Origin: series.Origin, Counts: counts,
		Upload: len(s.commit.Receipt.Uploads) - 1,
	})
}

func mod(a, b int64) int64 { return (a%b + b) % b }

func utc(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }
