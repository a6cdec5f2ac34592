package merge

import (
	"cmp"
	"slices"

	"ayumi/steps"
)

// MaxMinutes is the longest day: 24 hours and the two that a zone change may add. Cells that start
// later are not looked at; a store admits none.
const MaxMinutes = 26 * 60

// wholeDay is the interval of a record that covers its day however long that is, in seconds.
const wholeDay = 86400

// Lane holds a source's counts of one interval length. Cell i starts i intervals after the day's
// start.
type Lane struct {
	Interval uint32   // seconds, a multiple of 60
	Counts   []uint32 // steps, by cell
	Marks    []uint16 // by cell: index into the source's Origins; 0 is a cell that was not reported
}

// minutes returns how many minutes a cell covers.
func (l *Lane) minutes() int { return int(l.Interval / 60) }

// cells returns how many of the lane's cells begin within the longest day.
func (l *Lane) cells() int { return min(len(l.Counts), (MaxMinutes+l.minutes()-1)/l.minutes()) }

// bounds returns the minutes [from, to) of a cell in a day of n minutes. A cell that begins within
// the day has at least one.
func (l *Lane) bounds(cell, n int) (from, to int) {
	if l.Interval == wholeDay && len(l.Counts) == 1 {
		return 0, n
	}
	from = cell * l.minutes()
	return from, min(from+l.minutes(), n)
}

// Source is one device's day.
type Source struct {
	Device  steps.DeviceID
	Lanes   []Lane         // by ascending interval, at most one an interval
	Origins []steps.Origin // by mark; Origins[0] is not used
}

// origins is a set of origins.
type origins [3]bool

// has reports whether o is in the set. An origin of a later version counts as unknown.
func (s *origins) has(o steps.Origin) bool {
	if int(o) >= len(s) {
		o = steps.OriginUnknown
	}
	return s[o]
}

// within reports whether all of the source's origins are in the set.
func (s *Source) within(set *origins) bool {
	for _, o := range s.Origins[min(1, len(s.Origins)):] {
		if !set.has(o) {
			return false
		}
	}
	return true
}

// touches reports whether one of the source's origins is in the set.
func (s *Source) touches(set *origins) bool {
	for _, o := range s.Origins[min(1, len(s.Origins)):] {
		if set.has(o) {
			return true
		}
	}
	return false
}

// cell returns the count and the origin of a lane's cell, and false if it was not reported.
func (s *Source) cell(l *Lane, i int) (uint32, steps.Origin, bool) {
	if l.Marks[i] == 0 {
		return 0, 0, false
	}
	return l.Counts[i], s.Origins[l.Marks[i]], true
}

// counted reports whether the source counted a step of an origin in the set.
func (s *Source) counted(set *origins) bool {
	for i := range s.Lanes {
		l := &s.Lanes[i]
		for j := range l.cells() {
			if n, o, ok := s.cell(l, j); ok && n > 0 && set.has(o) {
				return true
			}
		}
	}
	return false
}

// Day is what the sources of one participant counted on one day.
type Day struct {
	// Length is the day's length in minutes: 1,440, or 1,380 to 1,560 where the zone changes its
	// offset. Cells beyond it lengthen the day.
	Length int
	// Elapsed is how many minutes of the day had begun when its newest record came; 0 or Length and
	// more is a day that is over. Coarse records are not spread beyond it.
	Elapsed int
	Sources []Source       // in the participant's order of priority
	Chosen  steps.DeviceID // with OneDevice: the participant's choice; "" is the first that counted steps
}

// minutes returns the day's length, lengthened to what its lanes hold.
func (d *Day) minutes() int {
	n := min(d.Length, MaxMinutes)
	for i := range d.Sources {
		for j := range d.Sources[i].Lanes {
			l := &d.Sources[i].Lanes[j]
			n = max(n, (l.cells()-1)*l.minutes()+1)
		}
	}
	return n
}

// Arrange sorts sources by a participant's order of devices. Those that it does not name follow, by
// device ID.
func Arrange(sources []Source, order []steps.DeviceID) {
	rank := func(d steps.DeviceID) int {
		if i := slices.Index(order, d); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(sources, func(a, b Source) int {
		return cmp.Or(cmp.Compare(rank(a.Device), rank(b.Device)), cmp.Compare(a.Device, b.Device))
	})
}
