package steps

import (
	"cmp"
	"fmt"
)

// Revision orders what one device said: the boot counter first, the sequence within the boot next.
type Revision struct {
	Boot uint32
	Seq  uint64
}

// Compare returns -1, 0 or +1 as r is older than, equal to or newer than o.
func (r Revision) Compare(o Revision) int {
	if c := cmp.Compare(r.Boot, o.Boot); c != 0 {
		return c
	}
	return cmp.Compare(r.Seq, o.Seq)
}

// String returns "boot/seq".
func (r Revision) String() string { return fmt.Sprintf("%d/%d", r.Boot, r.Seq) }

// Origin says how a count came about.
type Origin uint8

// The origins, as stored and sent.
const (
	OriginUnknown Origin = 0
	OriginSensor  Origin = 1
	OriginManual  Origin = 2
)

var originNames = [...]string{"unknown", "sensor", "manual"}

// String returns the origin's wire name.
func (o Origin) String() string {
	if int(o) < len(originNames) {
		return originNames[o]
	}
	return fmt.Sprintf("origin(%d)", uint8(o))
}

// ParseOrigin reads an origin's wire name.
func ParseOrigin(s string) (Origin, bool) {
	for i, n := range originNames {
		if n == s {
			return Origin(i), true
		}
	}
	return 0, false
}

// CountOverflow stands for a count that did not fit: negative, or above 32 bits. Decoders produce
// it instead of wrapping around, and validation quarantines the series that holds it.
const CountOverflow uint32 = 1<<32 - 1

// DefaultInterval is the interval of a series that names none, in seconds.
const DefaultInterval = 60

// Series is a run of counts at a fixed interval.
type Series struct {
	Start      int64    // first interval's start, UTC seconds
	Interval   uint32   // seconds; decoders fill in DefaultInterval
	Counts     []uint32 // steps, one an interval; counter readings when Cumulative
	Origin     Origin
	WindowEnd  int64 // UTC seconds, 0 when absent: intervals up to here that Counts does not reach are zero
	Cumulative bool  // Counts are counter readings at the intervals' starts
}

// DeviceStatus is what a device says of itself.
type DeviceStatus struct {
	Battery  uint8  // percent, 0 when absent
	Firmware string // at most 64 bytes
	Signal   int32  // dBm, 0 when absent
}

// IsZero reports whether the device said nothing of itself.
func (s DeviceStatus) IsZero() bool { return s == DeviceStatus{} }

// Upload is one batch of a device, decoded but not yet validated.
type Upload struct {
	Device    DeviceID // only inside a reader's bundle
	Revision  Revision
	SentAt    int64 // device clock, UTC seconds, 0 when absent
	UTCOffset int32 // seconds east of UTC
	Series    []Series
	Status    DeviceStatus
}

// Reset empties u and keeps its memory for the next decoding.
func (u *Upload) Reset() {
	series := u.Series[:0]
	*u = Upload{Series: series}
}

// GrowSeries appends one empty series, reusing the memory of an earlier decoding, and returns it.
func (u *Upload) GrowSeries() *Series {
	if len(u.Series) < cap(u.Series) {
		u.Series = u.Series[:len(u.Series)+1]
	} else {
		u.Series = append(u.Series, Series{})
	}
	s := &u.Series[len(u.Series)-1]
	*s = Series{Counts: s.Counts[:0]}
	return s
}
