package store

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"ayumi/steps"
)

const secondsPerDay = 86400

// reader takes varints and strings off a value. After the first error everything it returns is
// zero, so callers check err once.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail() {
	r.b = nil
	if r.err == nil {
		r.err = io.ErrUnexpectedEOF
	}
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a number of at most limit.
func (r *reader) count(limit int) int {
	v := r.uvarint()
	if v > uint64(max(limit, 0)) {
		r.fail()
		return 0
	}
	return int(v)
}

func (r *reader) uint32() uint32 {
	v := r.uvarint()
	if v > math.MaxUint32 {
		r.fail()
		return 0
	}
	return uint32(v)
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) string() string { return string(r.bytes()) }

// bytes reads a string without copying it.
func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) { // of what is left behind the length
		r.fail()
		return nil
	}
	s := r.b[:n:n]
	r.b = r.b[n:]
	return s
}

// shared reads a participant that is given as far as it differs from the one before, whose memory it takes
// over.
func (r *reader) shared(before []byte) []byte {
	same := r.count(len(before))
	return append(before[:same], r.bytes()...)
}

// done reports the first error, or bytes left over.
func (r *reader) done() error {
	if r.err == nil && len(r.b) > 0 {
		return fmt.Errorf("%d bytes left over", len(r.b))
	}
	return r.err
}

// appendShared writes a participant as far as it differs from the one before.
func appendShared(dst []byte, before, p steps.ParticipantID) []byte {
	same := 0
	for same < len(before) && same < len(p) && before[same] == p[same] {
		same++
	}
	return appendString(binary.AppendUvarint(dst, uint64(same)), string(p[same:]))
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}
