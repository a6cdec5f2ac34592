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

// lane holds a device's counts of one interval length in one day. Cell i starts i intervals after
// the day's start.
type lane struct {
	interval uint32   // seconds
	counts   []uint32 // by cell
	sources  []uint16 // by cell: index into deviceDay.sources; 0 is a cell that nobody reported
}

// deviceDay holds all cells of one device in one day of one participant. Its state is a function
// of the set of runs merged into it, not of their order.
type deviceDay struct {
	lanes   []lane   // by ascending interval
	sources []source // sources[0] is unused
	kept    uint16   // how many the last compact left
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
	if len(r.counts) == 0 {
		return outcome{}
	}
	l := d.lane(r.interval, r.first+len(r.counts))
	src := r.source
	var index uint16 // of src in d.sources, entered on first use
	var out outcome
	for i, count := range r.counts {
		at := r.first + i
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

// lane returns the lane of an interval, long enough for n cells.
func (d *deviceDay) lane(interval uint32, n int) *lane {
	i, found := slices.BinarySearchFunc(d.lanes, interval, func(l lane, want uint32) int {
		return int(l.interval) - int(want)
	})
	if !found {
		d.lanes = slices.Insert(d.lanes, i, lane{interval: interval})
	}
	l := &d.lanes[i]
	if grow := n - len(l.counts); grow > 0 {
		l.counts = append(l.counts, make([]uint32, grow)...)
		l.sources = append(l.sources, make([]uint16, grow)...)
	}
	return l
}

// A deviceDay drops the sources that no cell uses any more when there are twice as many as it had
// left the last time, but not for fewer than minSources. There are at most as many as cells, which
// all lanes together have fewer than maxSources/2 of.
const (
	minSources = 64
	maxSources = 1 << 14
)

// intern returns the index of src, entering it if need be. The newest sources are looked at
// first: a device mostly repeats what it just said.
func (d *deviceDay) intern(src source) uint16 {
	for i := len(d.sources) - 1; i > 0 && i >= len(d.sources)-4; i-- {
		if d.sources[i] == src {
			return uint16(i)
		}
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

// compact drops the sources that no cell refers to, unites equal ones, and numbers them in the order
// of their first cells.
func (d *deviceDay) compact() {
	var few [256]uint16
	moved := few[:0] // by old index: the new one, 0 before its first cell
	moved = append(moved, make([]uint16, len(d.sources))...)
	kept := append(make([]source, 0, minSources), source{})
	index := make(map[source]uint16, minSources) // of kept
	for i := range d.lanes {
		cells := d.lanes[i].sources
		for j, s := range cells {
			if s == 0 {
				continue
			}
			if moved[s] == 0 {
				src := d.sources[s]
				at, ok := index[src]
				if !ok {
					at = uint16(len(kept))
					kept = append(kept, src)
					index[src] = at
				}
				moved[s] = at
			}
			cells[j] = moved[s]
		}
	}
	d.sources, d.kept = kept, uint16(len(kept))
}

// minutes adds the device's day to dst, minute by minute, as the larger of the two, and returns
// dst grown as needed. Records coarser than a minute fill only the minutes that no finer record of
// the same device covers: what they count beyond the finer ones is spread evenly over the gap, in
// integers that sum exactly.
func (d *deviceDay) minutes(dst []uint32) []uint32 {
	var day [maxDayMinutes]uint32
	var known [maxDayMinutes]bool
	end := 0
	for i := range d.lanes {
		l := &d.lanes[i]
		span := int(l.interval / 60)
		for cell, count := range l.counts {
			if l.sources[cell] == 0 {
				continue
			}
			from := cell * span
			to := min(from+span, maxDayMinutes)
			fill(day[from:to], known[from:to], count)
			end = max(end, to)
		}
	}
	if grow := end - len(dst); grow > 0 {
		dst = append(dst, make([]uint32, grow)...)
	}
	for i := range end {
		dst[i] = max(dst[i], day[i])
	}
	return dst
}

// fill spreads what count holds beyond the known minutes over the unknown ones.
func fill(day []uint32, known []bool, count uint32) {
	var sum, gaps uint64
	for i, k := range known {
		if k {
			sum += uint64(day[i])
		} else {
			gaps++
		}
	}
	if gaps == 0 {
		return
	}
	rest := max(uint64(count), sum) - sum
	share, extra := rest/gaps, rest%gaps
	for i, k := range known {
		if k {
			continue
		}
		day[i], known[i] = uint32(share), true
		if extra > 0 {
			day[i]++
			extra--
		}
	}
}

// total returns the steps of a day on which the participant wore these devices: the sum of the
// minutes, each the largest that one of the devices counted.
func total(devices []*deviceDay) uint64 {
	if len(devices) == 1 && len(devices[0].lanes) == 1 {
		return sum(devices[0].lanes[0].counts)
	}
	var minutes []uint32
	for _, d := range devices {
		minutes = d.minutes(minutes)
	}
	return sum(minutes)
}

func sum(counts []uint32) (n uint64) {
	for _, c := range counts {
		n += uint64(c)
	}
	return n
}
