package steps

import (
	"encoding/binary"
	"math/bits"
)

// DaySet is a set of days, a bit each from the first day on. The zero value is empty.
type DaySet struct {
	first Day
	bits  []byte
}

// maxSetBytes bounds a DaySet: some 180 years.
const maxSetBytes = 1 << 13

// Add adds a day and reports whether it is new. A day so far from the others that the set would be
// larger than 180 years is not added.
func (s *DaySet) Add(d Day) bool {
	if len(s.bits) == 0 {
		s.first, s.bits = d, []byte{1}
		return true
	}
	if d < s.first {
		grow := (int(s.first-d) + 7) / 8
		if grow+len(s.bits) > maxSetBytes {
			return false
		}
		s.bits = append(make([]byte, grow, grow+len(s.bits)), s.bits...)
		s.first -= Day(8 * grow)
	}
	at := int(d - s.first)
	if at/8 >= maxSetBytes {
		return false
	}
	for at/8 >= len(s.bits) {
		s.bits = append(s.bits, 0)
	}
	bit := byte(1) << (at % 8)
	if s.bits[at/8]&bit != 0 {
		return false
	}
	s.bits[at/8] |= bit
	return true
}

// Has reports whether the day is in the set.
func (s *DaySet) Has(d Day) bool {
	at := int(d) - int(s.first)
	return at >= 0 && at/8 < len(s.bits) && s.bits[at/8]>>(at%8)&1 != 0
}

// From returns the first day of the set that is not before d, and false if there is none.
func (s *DaySet) From(d Day) (Day, bool) {
	at := max(int(d)-int(s.first), 0)
	for i := at / 8; i < len(s.bits); i++ {
		b := s.bits[i]
		if i == at/8 {
			b &= 0xff << (at % 8)
		}
		if b != 0 {
			return s.first + Day(8*i+bits.TrailingZeros8(b)), true
		}
	}
	return 0, false
}

// AppendBinary appends the set: its first day as a varint, and its bits.
func (s *DaySet) AppendBinary(dst []byte) ([]byte, error) {
	return append(binary.AppendVarint(dst, int64(s.first)), s.bits...), nil
}

// UnmarshalBinary reads what AppendBinary wrote. It keeps no reference to b.
func (s *DaySet) UnmarshalBinary(b []byte) error {
	first, n := binary.Varint(b)
	if n <= 0 || len(b)-n > maxSetBytes {
		return Errorf("read day set", Internal, "%d bytes are no set of days", len(b))
	}
	s.first, s.bits = Day(first), append([]byte(nil), b[n:]...)
	return nil
}
