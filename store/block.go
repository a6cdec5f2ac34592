package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"ayumi/steps"
)

const blockVersion = 2

// errBlock is wrapped by every decoding error of a day block.
var errBlock = errors.New("day block is damaged")

// appendBlock encodes a participant-day with its total (see doc.go for the format). Equal days encode equally.
func appendBlock(dst []byte, total uint64, h *hotDay) []byte {
	dst = appendBlockTotal(dst, total)
	for i := range h.parts {
		dst = appendString(dst, string(h.parts[i].device))
		dst = appendCells(dst, h.parts[i].cells)
	}
	return dst
}

// appendBlockTotal encodes what a block begins with.
func appendBlockTotal(dst []byte, total uint64) []byte {
	return binary.AppendUvarint(append(dst, blockVersion), total)
}

// appendCells encodes a device's cells.
func appendCells(dst []byte, d *deviceDay) []byte {
	w := bitWriter{b: dst}
	var few [256]uint16
	s := sourceWriter{w: &w, day: d, known: renumber(few[:], len(d.sources))}
	w.gamma(uint64(len(d.lanes)) + 1)
	for i := range d.lanes {
		l := &d.lanes[i]
		w.gamma(uint64(l.interval / 60))
		w.gamma(uint64(l.base) + 1)
		w.gamma(uint64(len(l.counts)))
		if s.lane(l) {
			putReported(&w, l)
		} else {
			putLane(&w, l.interval, l.counts)
		}
	}
	return w.bytes()
}

func putLane(w *bitWriter, interval uint32, counts []uint32) {
	if interval == 60 {
		putCounts(w, counts)
	} else {
		putCoarse(w, counts)
	}
}

// putReported writes the counts of a lane's reported cells.
func putReported(w *bitWriter, l *lane) {
	var all [maxDayMinutes]uint32
	counts := all[:0]
	for i, src := range l.sources {
		if src != 0 {
			counts = append(counts, l.counts[i])
		}
	}
	putLane(w, l.interval, counts)
}

// The kinds of a stretch of cells, by the source that they have in common.
const (
	kindNext     = 0b0   // the sequence number after that of the newest source in the list
	kindNew      = 0b10  // another one that was not there yet
	kindNone     = 0b110 // none: the cells were not reported
	kindRepeated = 0b111 // one that was there before
)

// sourceWriter writes lanes' sources as stretches. It lists sources in the order of their first cells.
type sourceWriter struct {
	w     *bitWriter
	day   *deviceDay
	known []uint16 // index in the list by that in the day's sources
	n     int      // sources in the list
	last  source   // the list's last; zero before the first
}

// lane writes a lane's sources and reports whether there are cells without one. A number of stretches
// that are as long as the one before and are of kindNext each, as if a device reported every quarter of
// an hour, is written as their number.
func (s *sourceWriter) lane(l *lane) (gaps bool) {
	before := len(l.sources) // length of the stretch before
	for at := 0; at < len(l.sources); {
		src := l.sources[at]
		n := stretch(l.sources[at:])
		at += n
		if src == 0 {
			gaps = true
			s.w.put(kindNone, 3)
			s.w.gamma(uint64(n))
			continue
		}
		s.source(src)
		s.w.signed(n - before)
		before = n
		again := uint64(0)
		for s.isNext(l.sources[at:]) && stretch(l.sources[at:]) == n {
			s.enter(l.sources[at])
			at += n
			again++
		}
		s.w.gamma(again + 1)
	}
	return gaps
}

// stretch returns how many cells have the same source as the first.
func stretch(sources []uint16) int {
	n := 1
	for n < len(sources) && sources[n] == sources[0] {
		n++
	}
	return n
}

// isNext reports whether the source of the first cell is of kindNext.
func (s *sourceWriter) isNext(sources []uint16) bool {
	if len(sources) == 0 || sources[0] == 0 || s.known[sources[0]] != 0 {
		return false
	}
	return s.day.sources[sources[0]] == s.last.next()
}

// next returns the source that a device's next upload has.
func (s source) next() source {
	s.revision.Seq++
	return s
}

// enter puts a source into the list.
func (s *sourceWriter) enter(src uint16) {
	s.n++
	s.known[src] = uint16(s.n)
	s.last = s.day.sources[src]
}

// source writes the source of a stretch.
func (s *sourceWriter) source(src uint16) {
	if at := s.known[src]; at != 0 {
		s.w.put(kindRepeated, 3)
		s.w.gamma(uint64(s.n) - uint64(at) + 1)
		return
	}
	now, was := s.day.sources[src], s.last
	s.enter(src)
	if now == was.next() {
		s.w.put(kindNext, 1)
		return
	}
	s.w.put(kindNew, 2)
	if now.revision.Boot == was.revision.Boot && now.origin == was.origin {
		s.w.put(1, 1)
		s.w.wide(zigzag(int64(now.revision.Seq - was.revision.Seq)))
		return
	}
	s.w.put(0, 1)
	s.w.wide(uint64(now.revision.Boot))
	s.w.wide(now.revision.Seq)
	s.w.gamma(uint64(now.origin) + 1)
}

// parse decodes a block into the day, which is empty.
func (h *hotDay) parse(block []byte) error {
	_, rest, err := parseBlockTotal(block)
	for err == nil && len(rest) > 0 {
		rest, err = h.parsePart(rest)
	}
	return err
}

// parsePart decodes the next device and returns what follows it.
func (h *hotDay) parsePart(b []byte) (rest []byte, err error) {
	r := reader{b: b}
	device := steps.DeviceID(r.string())
	n := len(h.parts)
	if r.err != nil || n > 0 && device <= h.parts[n-1].device {
		return nil, fmt.Errorf("%w: device %d", errBlock, n)
	}
	h.insert(n, device)
	return parseCells(r.b, h.parts[n].cells)
}

// parseBlockTotal decodes only the steps of a participant-day.
func parseBlockTotal(b []byte) (total uint64, rest []byte, err error) {
	if len(b) == 0 || b[0] != blockVersion {
		return 0, nil, fmt.Errorf("%w: version %x; this build reads %d", errBlock, b[:min(1, len(b))], blockVersion)
	}
	r := reader{b: b[1:]}
	total = r.uvarint()
	if r.err != nil {
		return 0, nil, fmt.Errorf("%w: %w", errBlock, r.err)
	}
	return total, r.b, nil
}

// parseCells decodes a device's cells into d, which is empty, and returns what follows them.
func parseCells(b []byte, d *deviceDay) (rest []byte, err error) {
	r := bitReader{b: b}
	d.sources = append(d.sources, source{})
	for range r.count(secondsPerDay/60+1) - 1 {
		interval := uint32(r.count(secondsPerDay/60)) * 60
		base := r.count(maxDayMinutes+1) - 1
		cells := r.count(maxDayMinutes - base)
		if r.bad || len(d.lanes) > 0 && interval <= d.lanes[len(d.lanes)-1].interval {
			return nil, fmt.Errorf("%w: lane %d", errBlock, len(d.lanes))
		}
		parseLane(&r, d, d.lane(interval, base, base+cells))
	}
	d.kept = uint16(len(d.sources))
	if r.bad {
		return nil, fmt.Errorf("%w: %d lanes", errBlock, len(d.lanes))
	}
	return r.rest(b), nil
}

// parseLane decodes a lane's sources, then its counts.
func parseLane(r *bitReader, d *deviceDay, l *lane) {
	before, gaps := len(l.sources), false
	for at := 0; at < len(l.sources) && !r.bad; {
		kind := r.kind()
		if kind == kindNone {
			gaps = true
			at += r.count(len(l.sources) - at)
			continue
		}
		src := parseSource(r, kind, d)
		n := before + r.signed()
		again := r.count(len(l.sources)) - 1
		if r.bad || n < 1 || n > (len(l.sources)-at)/(again+1) || len(d.sources)+again > maxSources {
			r.fail()
			return
		}
		before = n
		at = fill16(l.sources, at, n, src)
		for range again {
			last := d.sources[len(d.sources)-1]
			at = fill16(l.sources, at, n, d.list(last.next()))
		}
	}
	switch {
	case r.bad:
	case gaps:
		takeReported(r, l)
	default:
		takeLane(r, l.interval, l.counts)
	}
}

func takeLane(r *bitReader, interval uint32, counts []uint32) {
	if interval == 60 {
		takeCounts(r, counts)
	} else {
		takeCoarse(r, counts)
	}
}

// fill16 sets n cells and returns where they end.
func fill16(cells []uint16, at, n int, src uint16) int {
	for i := range cells[at : at+n] {
		cells[at+i] = src
	}
	return at + n
}

// takeReported reads the counts of a lane's reported cells.
func takeReported(r *bitReader, l *lane) {
	var all [maxDayMinutes]uint32
	n := 0
	for _, src := range l.sources {
		if src != 0 {
			n++
		}
	}
	takeLane(r, l.interval, all[:n])
	n = 0
	for i, src := range l.sources {
		if src != 0 {
			l.counts[i] = all[n]
			n++
		}
	}
}

// kind reads the kind of a stretch.
func (r *bitReader) kind() uint64 {
	if r.get(1) == kindNext {
		return kindNext
	}
	if r.get(1) == kindNew&1 {
		return kindNew
	}
	return 0b110 | r.get(1)
}

// parseSource reads the source of a stretch and returns its index.
func parseSource(r *bitReader, kind uint64, d *deviceDay) uint16 {
	last := d.sources[len(d.sources)-1]
	switch {
	case kind == kindRepeated:
		back := r.count(len(d.sources) - 1)
		return uint16(len(d.sources) - max(back, 1))
	case kind == kindNext:
		last = last.next()
	case r.get(1) == 1:
		last.revision.Seq += uint64(unzigzag(r.wide()))
	default:
		boot := r.wide()
		if boot > 1<<32-1 {
			r.fail()
		}
		last.revision = steps.Revision{Boot: uint32(boot), Seq: r.wide()}
		last.origin = steps.Origin(r.count(256) - 1)
	}
	return d.list(last)
}

// list adds a source that is not there yet and returns its index.
func (d *deviceDay) list(src source) uint16 {
	if src.revision.Compare(d.newest) > 0 {
		d.newest = src.revision
	}
	d.sources = append(d.sources, src)
	return uint16(len(d.sources) - 1)
}
