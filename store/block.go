package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"ayumi/steps"
)

const blockVersion = 1

// errBlock is wrapped by every decoding error of a day block.
var errBlock = errors.New("day block is damaged")

// appendBlock encodes a device's day (see doc.go for the format). Equal days encode equally.
func appendBlock(dst []byte, d *deviceDay) []byte {
	d.compact()
	dst = append(dst, blockVersion)
	dst = binary.AppendUvarint(dst, uint64(len(d.sources)-1))
	for _, s := range d.sources[1:] {
		dst = binary.AppendUvarint(dst, uint64(s.revision.Boot))
		dst = binary.AppendUvarint(dst, s.revision.Seq)
		dst = append(dst, byte(s.origin))
	}
	dst = binary.AppendUvarint(dst, uint64(len(d.lanes)))
	for i := range d.lanes {
		dst = appendLane(dst, &d.lanes[i])
	}
	return dst
}

// appendLane encodes the sources as runs, then the counts of the reported cells, zeros as runs.
func appendLane(dst []byte, l *lane) []byte {
	dst = binary.AppendUvarint(dst, uint64(l.interval/60))
	dst = binary.AppendUvarint(dst, uint64(len(l.counts)))
	for i := 0; i < len(l.sources); {
		j := i
		for j < len(l.sources) && l.sources[j] == l.sources[i] {
			j++
		}
		dst = binary.AppendUvarint(dst, uint64(l.sources[i]))
		dst = binary.AppendUvarint(dst, uint64(j-i))
		i = j
	}
	for i := 0; i < len(l.counts); {
		if l.sources[i] == 0 {
			i++
			continue
		}
		if l.counts[i] != 0 {
			dst = binary.AppendUvarint(dst, uint64(l.counts[i]))
			i++
			continue
		}
		zeros := i
		for i < len(l.counts) && l.sources[i] != 0 && l.counts[i] == 0 {
			i++
		}
		dst = append(dst, 0)
		dst = binary.AppendUvarint(dst, uint64(i-zeros))
	}
	return dst
}

// parseBlock decodes a day block.
func parseBlock(b []byte) (*deviceDay, error) {
	if len(b) == 0 || b[0] != blockVersion {
		return nil, fmt.Errorf("%w: version %x; this build reads %d", errBlock, b[:min(1, len(b))], blockVersion)
	}
	r := reader{b: b[1:]}
	d := &deviceDay{sources: []source{{}}}
	for range r.count(maxSources) {
		d.sources = append(d.sources, source{
			revision: steps.Revision{Boot: r.uint32(), Seq: r.uvarint()},
			origin:   steps.Origin(r.byte()),
		})
	}
	for range r.count(secondsPerDay / 60) {
		d.lanes = append(d.lanes, parseLane(&r, len(d.sources)))
	}
	if err := r.done(); err != nil {
		return nil, fmt.Errorf("%w: %w", errBlock, err)
	}
	return d, nil
}

func parseLane(r *reader, sources int) lane {
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
	return l
}
