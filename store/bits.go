package store

import (
	"encoding/binary"
	"math/bits"
)

// bitWriter appends numbers of few bits to b, the first in the highest bits of a byte.
type bitWriter struct {
	b   []byte
	acc uint64 // its lowest n bits wait to be appended; n < 32 between calls
	n   uint
}

// put appends the lowest n bits of v, at most 32; the others must be zero.
func (w *bitWriter) put(v uint64, n uint) {
	w.acc = w.acc<<n | v
	w.n += n
	if w.n >= 32 {
		w.n -= 32
		w.b = binary.BigEndian.AppendUint32(w.b, uint32(w.acc>>w.n))
	}
}

// gamma appends v in Elias's gamma code: v has 2 log2(v) + 1 bits. 0 < v < 1<<32.
func (w *bitWriter) gamma(v uint64) {
	n := uint(bits.Len64(v))
	w.put(0, n-1)
	w.put(v, n)
}

// wide appends any number: how many bits it has in 7 bits, then those below the first.
func (w *bitWriter) wide(v uint64) {
	n := uint(bits.Len64(v))
	w.put(uint64(n), 7)
	if n > 33 {
		w.put(v>>32&(1<<(n-33)-1), n-33)
		w.put(v&(1<<32-1), 32)
	} else if n > 1 {
		w.put(v&(1<<(n-1)-1), n-1)
	}
}

// signed appends v so that a small distance from zero takes few bits. |v| < 1<<30.
func (w *bitWriter) signed(v int) { w.gamma(zigzag(int64(v)) + 1) }

// flush leaves fewer than 8 bits waiting.
func (w *bitWriter) flush() {
	for w.n >= 8 {
		w.n -= 8
		w.b = append(w.b, byte(w.acc>>w.n))
	}
}

// bytes fills up the last byte with zeros and returns all.
func (w *bitWriter) bytes() []byte {
	w.flush()
	if w.n > 0 {
		w.b = append(w.b, byte(w.acc<<(8-w.n)))
	}
	w.acc, w.n = 0, 0
	return w.b
}

// bitReader takes off what a bitWriter appended. After the bytes have ended it reads zeros and bad
// is set, so callers check it once.
type bitReader struct {
	b   []byte
	acc uint64 // the next n bits, from the top; below them is what fill may have read already
	n   uint
	bad bool
}

// fill makes at least 56 bits available, or all that are left.
func (r *bitReader) fill() {
	if len(r.b) >= 8 {
		r.acc |= binary.BigEndian.Uint64(r.b) >> r.n
		whole := (63 - r.n) / 8
		r.b = r.b[whole:]
		r.n += 8 * whole
		return
	}
	for r.n <= 56 && len(r.b) > 0 {
		r.acc |= uint64(r.b[0]) << (56 - r.n)
		r.b = r.b[1:]
		r.n += 8
	}
}

// skip passes over n bits, of which fill has made sure or which are missing.
func (r *bitReader) skip(n uint) {
	if n > r.n {
		r.fail()
		return
	}
	r.acc <<= n
	r.n -= n
}

func (r *bitReader) fail() { *r = bitReader{bad: true} }

// get reads n bits, at most 32.
func (r *bitReader) get(n uint) uint64 {
	if r.n < n {
		r.fill()
	}
	v := r.acc >> 1 >> (63 - n) // n may be 0
	r.skip(n)
	return v
}

func (r *bitReader) gamma() uint64 {
	r.fill()
	n := uint(bits.LeadingZeros64(r.acc))
	if n > 31 { // no code, or no bits left
		r.fail()
		return 1
	}
	r.skip(n)
	return r.get(n + 1)
}

func (r *bitReader) wide() uint64 {
	switch n := uint(r.get(7)); {
	case n > 64:
		r.fail()
		return 0
	case n > 33:
		return (1<<(n-33)|r.get(n-33))<<32 | r.get(32)
	case n > 1:
		return 1<<(n-1) | r.get(n-1)
	default:
		return uint64(n)
	}
}

func (r *bitReader) signed() int { return int(unzigzag(r.gamma() - 1)) }

// count reads a gamma number of at most limit.
func (r *bitReader) count(limit int) int {
	n := r.gamma()
	if n > uint64(max(limit, 0)) {
		r.fail()
		return 0
	}
	return int(n)
}

// rest returns the bytes after the one that was read last.
func (r *bitReader) rest(all []byte) []byte {
	unread := len(r.b) + int(r.n/8)
	return all[len(all)-unread:]
}

func zigzag(v int64) uint64 { return uint64(v<<1) ^ uint64(v>>63) }

func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }
