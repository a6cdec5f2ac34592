package store

import (
	"slices"

	"ayumi/steps"
)

// maxDayMinutes bounds a day's length: 24 hours and the two that a zone change may add.
const maxDayMinutes = 26 * 60

// source is what won a cell besides its count.
type source struct {
	revision steps.Revision
	origin   steps.Origin
}

// lane holds a device's counts of one interval length in one day, from the first cell that was
// reported to the last. Cell i of the day starts i intervals after the day's start.
type lane struct {
	interval uint32   // seconds
	base     int      // the first cell
	counts   []uint32 // by cell from base
	sources  []uint16 // likewise: index into deviceDay.sources; 0 is a cell that nobody reported
}

// deviceDay holds all cells of one device in one day of one participant. Its state is a function
// of the set of runs merged into it, not of their order.
type deviceDay struct {
	lanes   []lane         // by ascending interval
	sources []source       // sources[0] is unused; no two are equal
	newest  steps.Revision // at least as high as all of sources
	kept    uint16         // how many sources the last compact left
}

// part is one device's share of a participant-day.
type part struct {
	device steps.DeviceID
	cells  *deviceDay
}

// outcome is what merging did.
type outcome struct {
	changed   bool // some cell took a new count, revision or origin
	conflicts int  // cells that the same revision had given another count
}

// cellRun is a stretch of counts to merge into a deviceDay.
type cellRun struct {
	interval uint32 // seconds
	first    int    // cell
	counts   []uint32
	source   source
}

// merge applies the merge law cell by cell: the highest (revision, count, origin) wins.
func (d *deviceDay) merge(r *cellRun) outcome {
	l := d.lane(r.interval, r.first, r.first+len(r.counts))
	src := r.source
	var index uint16 // of src in d.sources, entered on first use
	var out outcome
	for i, count := range r.counts {
		at := r.first - l.base + i
		wins, conflict := d.decide(l, at, count, src)
		if conflict {
			out.conflicts++
		}
		if !wins {
			continue
		}
		if index == 0 {
			index = d.intern(src)
		}
		l.counts[at], l.sources[at] = count, index
		out.changed = true
	}
	return out
}

// decide reports whether (count, src) replaces the cell, and whether the cell's revision is the
// same with another count.
func (d *deviceDay) decide(l *lane, at int, count uint32, src source) (wins, conflict bool) {
	if l.sources[at] == 0 {
		return true, false
	}
	old := d.sources[l.sources[at]]
	switch src.revision.Compare(old.revision) {
	case 1:
		return true, false
	case -1:
		return false, false
	}
	if count != l.counts[at] {
		return count > l.counts[at], true
	}
	return src.origin > old.origin, false
}

// lane returns the lane of an interval, widened to the cells from first up to end.
func (d *deviceDay) lane(interval uint32, first, end int) *lane {
	i, found := slices.BinarySearchFunc(d.lanes, interval, func(l lane, want uint32) int {
		return int(l.interval) - int(want)
	})
	if !found {
		d.lanes = slices.Insert(d.lanes, i, d.spareLane())
		d.lanes[i].interval, d.lanes[i].base = interval, first
	}
	l := &d.lanes[i]
	front, back := max(l.base-first, 0), max(end-l.base-len(l.counts), 0)
	if front+back > 0 {
		l.counts = widen(l.counts, front, back)
		l.sources = widen(l.sources, front, back)
		l.base -= front
	}
	return l
}

// widen adds zeros at both ends of s.
func widen[T any](s []T, front, back int) []T {
	n := len(s)
	s = slices.Grow(s, front+back)[:front+n+back]
	if front > 0 {
		copy(s[front:], s[:n])
		clear(s[:front])
	}
	clear(s[front+n:])
	return s
}

// spareLane returns an empty lane, with the memory of one that the day had before a reset.
func (d *deviceDay) spareLane() lane {
	n := len(d.lanes)
	if n == cap(d.lanes) {
		return lane{}
	}
	old := &d.lanes[:n+1][n]
	l := lane{counts: old.counts[:0], sources: old.sources[:0]}
	*old = lane{} // the memory must not be had twice
	return l
}

// reset makes the day empty and keeps its memory.
func (d *deviceDay) reset() {
	*d = deviceDay{lanes: d.lanes[:0], sources: d.sources[:0]}
}

// memory returns about how many bytes the day takes.
func (d *deviceDay) memory() int {
	n := deviceDayBytes + cap(d.lanes)*laneBytes + cap(d.sources)*sourceBytes
	for i := range d.lanes {
		n += cap(d.lanes[i].counts)*4 + cap(d.lanes[i].sources)*2
	}
	return n
}

// What the parts of a deviceDay take.
const (
	deviceDayBytes = 80
	laneBytes      = 64
	sourceBytes    = 24
)

// A deviceDay drops the sources that no cell uses any more when there are twice as many as it had
// left the last time, but not for fewer than minSources. There are at most as many as cells, which
// all lanes together have fewer than maxSources/2 of.
const (
	minSources = 64
	maxSources = 1 << 14
)

// intern returns the index of src, entering it if need be.
func (d *deviceDay) intern(src source) uint16 {
	if len(d.sources) > 0 && src.revision.Compare(d.newest) <= 0 { // otherwise it is a new one
		for i := len(d.sources) - 1; i > 0; i-- {
			if d.sources[i] == src {
				return uint16(i)
			}
		}
	} else {
		d.newest = src.revision
	}
	if len(d.sources) >= max(minSources, 2*int(d.kept)) {
		d.compact()
	}
	if len(d.sources) == 0 {
		d.sources = append(d.sources, source{})
	}
	d.sources = append(d.sources, src)
	return uint16(len(d.sources) - 1)
}

// compact drops the sources that no cell refers to and numbers them in the order of their first
// cells.
func (d *deviceDay) compact() {
	var few [256]uint16
	moved := renumber(few[:], len(d.sources))
	kept := make([]source, 1, cap(d.sources))
	for i := range d.lanes {
		cells := d.lanes[i].sources
		for j, s := range cells {
			if s == 0 {
				continue
			}
			if moved[s] == 0 {
				moved[s] = uint16(len(kept))
				kept = append(kept, d.sources[s])
			}
			cells[j] = moved[s]
		}
	}
	d.sources, d.kept = kept, uint16(len(kept))
}

// renumber returns n zeros, for the new index of each source by its old one; in few if they fit.
func renumber(few []uint16, n int) []uint16 {
	if n <= len(few) {
		return few[:n]
	}
	return make([]uint16, n)
}

func sum(counts []uint32) (n uint64) {
	for _, c := range counts {
		n += uint64(c)
	}
	return n
}
