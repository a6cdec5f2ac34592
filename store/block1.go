package store

import (
	"bytes"
	"fmt"

	"ayumi/steps"
)

// parseBlock1 decodes one device's block of version 1.
func parseBlock1(b []byte) (*deviceDay, error) {
	if len(b) == 0 || b[0] != 1 {
		return nil, fmt.Errorf("%w: version %x in a store of version 1", errBlock, b[:min(1, len(b))])
	}
	r := reader{b: b[1:]}
	d := &deviceDay{sources: []source{{}}}
	for range r.count(maxSources) {
		d.list(source{
			revision: steps.Revision{Boot: r.uint32(), Seq: r.uvarint()},
			origin:   steps.Origin(r.byte()),
		})
	}
	for range r.count(secondsPerDay / 60) {
		d.lanes = append(d.lanes, parseLane1(&r, len(d.sources)))
	}
	if err := r.done(); err != nil {
		return nil, fmt.Errorf("%w: %w", errBlock, err)
	}
	return d, nil
}

func parseLane1(r *reader, sources int) lane {
	l := lane{interval: uint32(r.count(secondsPerDay/60)) * 60}
	n := r.count(maxDayMinutes)
	l.counts, l.sources = make([]uint32, n), make([]uint16, n)
	for i := 0; i < n && r.err == nil; {
		src, run := r.count(sources-1), r.count(n-i)
		if run == 0 {
			r.fail()
		}
		for range run {
			l.sources[i] = uint16(src)
			i++
		}
	}
	for i := 0; i < n && r.err == nil; i++ {
		if l.sources[i] == 0 {
			continue
		}
		if l.counts[i] = r.uint32(); l.counts[i] == 0 {
			zeros := r.count(n - i)
			if zeros == 0 {
				r.fail()
			}
			i += zeros - 1
		}
	}
	for len(l.sources) > 0 && l.sources[0] == 0 { // cells before the first that was reported
		l.base, l.counts, l.sources = l.base+1, l.counts[1:], l.sources[1:]
	}
	return l
}

// prefixBlock1 is the table of version 1's blocks: participant 0 day(4) device.
const prefixBlock1 = 'b'

// splitBlockKey1 splits the key of a block of version 1.
func splitBlockKey1(key []byte) (pd steps.ParticipantDay, device steps.DeviceID, ok bool) {
	end := bytes.IndexByte(key, 0)
	if end < 1 || len(key) < end+5 {
		return pd, "", false
	}
	pd.Participant = steps.ParticipantID(key[1:end])
	pd.Day = takeDay(key[end+1:])
	return pd, steps.DeviceID(key[end+5:]), true
}

// minutes1 adds the device's day to dst, minute by minute, as the larger of the two, and returns
// dst grown as needed. Records coarser than a minute fill only the minutes that no finer record of
// the same device covers: what they count beyond the finer ones is spread evenly over the gap, in
// integers that sum exactly.
func (d *deviceDay) minutes1(dst []uint32) []uint32 {
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
			from := min((l.base+cell)*span, maxDayMinutes)
			to := min(from+span, maxDayMinutes)
			fill1(day[from:to], known[from:to], count)
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

// fill1 spreads what count holds beyond the known minutes over the unknown ones.
func fill1(day []uint32, known []bool, count uint32) {
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

// total1 returns the total that version 1 gave a day: the sum of the minutes, each the largest that one of
// the devices counted.
func total1(parts []part) uint64 {
	if len(parts) == 1 && len(parts[0].cells.lanes) == 1 {
		return sum(parts[0].cells.lanes[0].counts)
	}
	var minutes []uint32
	for i := range parts {
		minutes = parts[i].cells.minutes1(minutes)
	}
	return sum(minutes)
}
