package store

import (
	"encoding/binary"
	"math/bits"
)

// The counts of minutes are coded with prefix codes that were made from a real export (Fitbit Fitness
// Tracker Data, Zenodo 53894: 888 whole days of 33 people) and are part of the format. What code a
// count has depends on the count before: who walks goes on walking.
//
// A code stands for a token, and a token for one count or for a range of counts, of which the bits
// that follow tell one: the counts up to 15 have a token each, larger ones four to a power of two, and
// all above 255 one. Token 0 is a run of zeros, whose length follows in a code of its own.
const (
	codeBits    = 9   // of the longest code
	direct      = 16  // tokens of one number
	largeCount  = 256 // from here on a count is written out after its token
	countLevels = 7
)

// Lengths of the codes by token. The codes are canonical: ascending by length, then by token.
var (
	countCodes = [countLevels]*prefixCode{
		newPrefixCode("689955444445555534454566678999999", true),
		newPrefixCode("187966555666666645555667789999999", true),
		newPrefixCode("188877655666666645555566688999999", true),
		newPrefixCode("278866655566666644444455568999999", true),
		newPrefixCode("378977666666666644443444456799999", true),
		newPrefixCode("489999887788878756664444233589999", true),
		newPrefixCode("799999999999999988876666432234999", true),
	}
	zerosCode = newPrefixCode("2334455566666677566666787888899999999999999", false)
)

// level is the index into countCodes after a count. It is the same for all counts of a token.
func level(before int) (n uint8) {
	for _, from := range [...]int{1, 8, 16, 32, 64, 96} {
		if before >= from {
			n++
		}
	}
	return n
}

// prefixCode is a code with its tokens' extra bits.
type prefixCode struct {
	put  []bitString         // by number: what to write
	take [1 << codeBits]form // by the next bits: what they begin with
}

type bitString struct {
	bits  uint32
	n     uint8
	level uint8 // after the number
}

type form struct {
	first uint16 // number of the token when its extra bits are zero
	n     uint8  // bits of the code
	extra uint8
	level uint8 // after the number
}

// newPrefixCode makes a code of its codes' lengths by token. If it is open, the last token stands for
// its number and all larger ones.
func newPrefixCode(lengths string, open bool) *prefixCode {
	c := new(prefixCode)
	code := 0
	for n := uint8(1); n <= codeBits; n++ {
		for token := range lengths {
			if lengths[token]-'0' != n {
				continue
			}
			first, extra := tokenRange(token)
			if open && token == len(lengths)-1 {
				extra = 0
			}
			c.enter(first, code, n, extra)
			code++
		}
		code <<= 1
	}
	return c
}

// enter puts a token's code into both tables.
func (c *prefixCode) enter(first, code int, n, extra uint8) {
	if missing := first + 1<<extra - len(c.put); missing > 0 {
		c.put = append(c.put, make([]bitString, missing)...)
	}
	for i := range 1 << extra {
		c.put[first+i] = bitString{uint32(code)<<extra | uint32(i), n + extra, level(first + i)}
	}
	free := codeBits - n
	for i := range 1 << free {
		c.take[code<<free|i] = form{uint16(first), n, extra, level(first)}
	}
}

// tokenRange returns the first number of a token and how many bits tell its numbers apart.
func tokenRange(token int) (first int, extra uint8) {
	if token < direct {
		return token, 0
	}
	extra = uint8(2 + (token-direct)/4)
	return (4 + (token-direct)%4) << extra, extra
}

// putCounts writes the counts of minutes. It holds what a bitWriter holds in variables of its own,
// which is twice as fast.
func putCounts(w *bitWriter, counts []uint32) {
	b, acc, n := w.b, w.acc, w.n
	code := countCodes[0]
	for i := 0; i < len(counts); {
		count := counts[i]
		i++
		s := code.put[min(count, largeCount)]
		acc, n = acc<<s.n|uint64(s.bits), n+uint(s.n)
		code = countCodes[s.level]
		switch {
		case count == 0:
			zeros := i
			for i < len(counts) && counts[i] == 0 {
				i++
			}
			s := zerosCode.put[i-zeros]
			acc, n = acc<<s.n|uint64(s.bits), n+uint(s.n)
		case count >= largeCount:
			*w = bitWriter{b, acc, n}
			w.flush()
			w.wide(uint64(count))
			b, acc, n = w.b, w.acc, w.n
		}
		if n >= 32 {
			n -= 32
			b = binary.BigEndian.AppendUint32(b, uint32(acc>>n))
		}
	}
	*w = bitWriter{b, acc, n}
}

// takeCounts reads the counts of minutes into counts, which is zero. It too works on variables of its
// own.
func takeCounts(r *bitReader, counts []uint32) {
	const most = 2 * (codeBits + maxExtra) // bits that a count and a run of zeros take
	b, acc, n := r.b, r.acc, r.n
	code := countCodes[0]
	for i := 0; i < len(counts); {
		if n < most {
			*r = bitReader{b, acc, n, r.bad}
			r.fill()
			b, acc, n = r.b, r.acc, r.n
		}
		f := code.take[acc>>(64-codeBits)]
		code = countCodes[f.level]
		acc <<= f.n
		count := uint32(f.first) + uint32(acc>>1>>(63-f.extra))
		acc <<= f.extra
		n -= uint(f.n + f.extra)
		switch {
		case count == 0:
			f = zerosCode.take[acc>>(64-codeBits)]
			acc <<= f.n
			i += 1 + int(f.first) + int(acc>>1>>(63-f.extra))
			acc <<= f.extra
			n -= uint(f.n + f.extra)
		case count == largeCount:
			*r = bitReader{b, acc, n, r.bad}
			count = uint32(r.wide())
			b, acc, n = r.b, r.acc, r.n
			fallthrough
		default:
			counts[i] = count
			i++
		}
		if n > 64 || i > len(counts) { // n fell below zero
			r.fail()
			return
		}
	}
	*r = bitReader{b, acc, n, r.bad}
}

// maxExtra is the largest number of bits that follow a code.
const maxExtra = 8

// putCoarse and takeCoarse are for counts of longer intervals, whose size nothing is known about.
func putCoarse(w *bitWriter, counts []uint32) {
	for _, count := range counts {
		n := uint(bits.Len32(count))
		w.gamma(uint64(n) + 1)
		if n > 1 {
			w.put(uint64(count)&(1<<(n-1)-1), n-1)
		}
	}
}

func takeCoarse(r *bitReader, counts []uint32) {
	for i := range counts {
		n := uint(r.count(33)) - 1
		if r.bad {
			return
		}
		if n > 1 {
			counts[i] = 1<<(n-1) | uint32(r.get(n-1))
		} else {
			counts[i] = uint32(n)
		}
	}
}
