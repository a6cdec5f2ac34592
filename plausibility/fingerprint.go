package plausibility

import (
	"encoding/binary"
	"math"
	"math/bits"

	"ayumi/steps"
)

// Fingerprint is a day's shape in 128 bits: which way the activity goes from one quarter of an hour to
// the next, seen through 128 fixed masks (a random-hyperplane sketch, Charikar 2002). Unrelated days
// differ in about half of the bits, days of the same movements in few. Its meaning is stored: it never
// changes.
type Fingerprint [2]uint64

// FingerprintSize is the size of an encoded fingerprint, in bytes.
const FingerprintSize = 16

// AppendBinary appends the fingerprint in FingerprintSize bytes.
func (f Fingerprint) AppendBinary(dst []byte) ([]byte, error) {
	dst = binary.BigEndian.AppendUint64(dst, f[0])
	return binary.BigEndian.AppendUint64(dst, f[1]), nil
}

// UnmarshalBinary reads what AppendBinary wrote.
func (f *Fingerprint) UnmarshalBinary(b []byte) error {
	if len(b) != FingerprintSize {
		return steps.Errorf("read fingerprint", steps.Invalid, "it has %d bytes; a fingerprint has %d", len(b), FingerprintSize)
	}
	f[0], f[1] = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	return nil
}

// Distance returns in how many of the 128 bits two fingerprints differ.
func (f Fingerprint) Distance(o Fingerprint) int {
	return bits.OnesCount64(f[0]^o[0]) + bits.OnesCount64(f[1]^o[1])
}

// Bands returns the fingerprint cut into eight parts. An index with an entry for each part, and the
// part's number, finds copies without comparing all days with all: of copies with noise nearly all share
// a part, of copies that were moved by three minutes most do (docs/plausibility.md).
func (f Fingerprint) Bands() (out [8]uint16) {
	for i := range out {
		out[i] = uint16(f[i/4] >> (i % 4 * 16))
	}
	return out
}

// Near reports whether two days are worth comparing.
func (s *Scorer) Near(a, b Fingerprint) bool { return a.Distance(b) <= s.cfg.Pattern.Distance }

// active is the least count of a minute that is compared.
const active = 10

const (
	binMinutes = 15
	bins       = 26 * 60 / binMinutes // the longest day
	reach      = 20                   // minutes from a bin's middle that it looks at
)

// Fingerprint returns the day's fingerprint, and false for a day with too little activity to have
// one.
func (s *Scorer) Fingerprint(d *Day) (Fingerprint, bool) {
	seen := d.seen()
	n := 0
	for _, c := range seen {
		if c >= active {
			n++
		}
	}
	if n < s.cfg.Pattern.ActiveMinutes {
		return Fingerprint{}, false
	}
	return sketch(seen), true
}

// sketch takes the root of each count, which makes the noise of small and large counts alike, smooths
// them so that a few minutes' delay matters little, and projects the differences of neighbouring bins,
// since what all people have in common changes slowly over the day.
func sketch(minutes []uint32) (f Fingerprint) {
	var acc [128]int64
	var roots [bins * binMinutes]int64
	for i, n := range minutes[:min(len(minutes), len(roots))] {
		if n > 0 {
			roots[i] = int64(16 * math.Sqrt(float64(min(n, 1<<20))))
		}
	}
	before := int64(0)
	for bin := range bins {
		level := smooth(roots[:], bin*binMinutes+binMinutes/2)
		rise := level - before
		before = level
		if bin == 0 || rise == 0 {
			continue
		}
		for half := range 2 {
			signs := scramble(uint64(2*bin + half))
			for i := range 64 {
				sign := int64(signs >> i & 1) // without a branch, which nobody could predict
				acc[half*64+i] += rise * (2*sign - 1)
			}
		}
	}
	for i, a := range acc {
		if a > 0 {
			f[i/64] |= 1 << (i % 64)
		}
	}
	return f
}

// smooth returns the triangular mean around a minute, in a fixed scale.
func smooth(roots []int64, middle int) (level int64) {
	for i := max(middle-reach, 0); i <= min(middle+reach, len(roots)-1); i++ {
		level += roots[i] * int64(reach+1-max(i-middle, middle-i))
	}
	return level
}

// scramble is SplitMix64's output function (Steele, Lea, Flood 2014): the masks' signs for a bin.
func scramble(x uint64) uint64 {
	x = (x + 1) * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
