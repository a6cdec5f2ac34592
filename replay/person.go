package replay

import (
	"cmp"
	"slices"
	"time"

	"ayumi/steps"
)

// Hour is sixty one-minute counts of a person, on the wall clock of where the person is.
type Hour struct {
	Day    steps.Day
	Hour   int // 0 to 23
	Counts [60]uint32
}

// Steps returns the hour's sum.
func (h *Hour) Steps() uint64 {
	var sum uint64
	for _, c := range h.Counts {
		sum += uint64(c)
	}
	return sum
}

func (h *Hour) compare(o *Hour) int {
	return cmp.Or(cmp.Compare(h.Day, o.Day), cmp.Compare(h.Hour, o.Hour))
}

// Person is somebody's hours, ascending. Hours that are absent are unknown, not zero.
type Person struct {
	ID    string
	Hours []Hour
}

// Shift moves everybody by the same number of whole days, in place, so that the last day of all
// becomes last. It returns that number, which may be negative; people without hours do not count.
func Shift(people []Person, last steps.Day) int {
	end, any := steps.Day(0), false
	for i := range people {
		if h := people[i].Hours; len(h) > 0 && (!any || h[len(h)-1].Day > end) {
			end, any = h[len(h)-1].Day, true
		}
	}
	if !any {
		return 0
	}
	for i := range people {
		for j := range people[i].Hours {
			people[i].Hours[j].Day += last - end
		}
	}
	return int(last - end)
}

// stretch is a run of consecutive hours with its place in UTC.
type stretch struct {
	start  int64 // UTC seconds
	counts []uint32
}

func (s *stretch) end() int64 { return s.start + int64(len(s.counts))*minute }

const (
	minute = 60
	hour   = 3600
	day    = 86400
)

// HourStart returns when an hour of the wall clock begins, in UTC seconds. It reports false for an
// hour that the zone leaves out, or cuts, when it changes its offset; of an hour that comes twice
// it returns one and the same always.
func HourStart(cal steps.Calendar, d steps.Day, h int) (int64, bool) {
	y, m, dd := d.Date()
	at := time.Date(y, m, dd, h, 0, 0, 0, cal.Location())
	last := at.Add(59 * time.Minute)
	start := at.Unix()
	ok := at.Hour() == h && last.Hour() == h && last.Minute() == 59 && cal.Day(start) == d && cal.Day(last.Unix()) == d
	return start, ok
}

// placed are a person's hours that exist in the calendar, each with its start.
func placed(p Person, cal steps.Calendar) (hours []Hour, starts []int64) {
	for i := range p.Hours {
		if start, ok := HourStart(cal, p.Hours[i].Day, p.Hours[i].Hour); ok {
			hours, starts = append(hours, p.Hours[i]), append(starts, start)
		}
	}
	return hours, starts
}

// Until returns the person without the hours that have not ended by the UTC second now.
func (p Person) Until(cal steps.Calendar, now int64) Person {
	kept := slices.DeleteFunc(slices.Clone(p.Hours), func(h Hour) bool {
		start, ok := HourStart(cal, h.Day, h.Hour)
		return ok && start+hour > now
	})
	return Person{ID: p.ID, Hours: kept}
}
