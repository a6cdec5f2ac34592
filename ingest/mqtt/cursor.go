package mqtt

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// maxRemainingLength is the largest value of a Variable Byte Integer (MQTT 5, 1.5.5).
const maxRemainingLength = 268_435_455

var (
	errTruncated = malformed("the packet ends inside a field")
	errTrailing  = malformed("bytes follow the last field of the packet")
	errVarint    = malformed("a Variable Byte Integer has more than four bytes")
	errOverlong  = malformed("a Variable Byte Integer is not coded in the fewest bytes")
	errText      = malformed("a UTF-8 Encoded String is not well-formed UTF-8 or holds U+0000")
)

// varint reads a Variable Byte Integer. size is 0 with a nil error when b ends inside it.
func varint(b []byte) (v, size int, err error) {
	for i := 0; i < len(b) && i < 4; i++ {
		v |= int(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return v, i + 1, nil
		}
	}
	if len(b) >= 4 {
		return 0, 0, errVarint
	}
	return 0, 0, nil
}

// overlong reports whether v could be coded in fewer than size bytes, which MQTT-1.5.5-1 forbids.
func overlong(v, size int) bool { return size > 1 && v < 1<<(7*(size-1)) }

// cursor reads fields off the front of b. The first error sticks; later reads return zeros.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.b = nil
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.fail(errTruncated)
		return nil
	}
	f := c.b[:n:n]
	c.b = c.b[n:]
	return f
}

func (c *cursor) uint8() byte {
	if f := c.take(1); f != nil {
		return f[0]
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if f := c.take(2); f != nil {
		return binary.BigEndian.Uint16(f)
	}
	return 0
}

func (c *cursor) uint32() uint32 {
	if f := c.take(4); f != nil {
		return binary.BigEndian.Uint32(f)
	}
	return 0
}

func (c *cursor) varint() int {
	v, size, err := varint(c.b)
	switch {
	case err != nil:
		c.fail(err)
	case size == 0:
		c.fail(errTruncated)
	case overlong(v, size):
		c.fail(errOverlong)
	default:
		c.b = c.b[size:]
		return v
	}
	return 0
}

// binary reads Binary Data: two bytes of length and as many bytes.
func (c *cursor) binary() []byte { return c.take(int(c.uint16())) }

// text reads a UTF-8 Encoded String (MQTT-1.5.4-1, MQTT-1.5.4-2).
func (c *cursor) text() []byte {
	f := c.binary()
	if !validText(f) {
		c.fail(errText)
		return nil
	}
	return f
}

// end fails unless every byte was read.
func (c *cursor) end() error {
	if c.err == nil && len(c.b) > 0 {
		c.err = errTrailing
	}
	return c.err
}

func validText(b []byte) bool { return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 }

// validTopicName reports whether b, already valid text, can be published to: at least one
// character (MQTT-4.7.3-1) and no wildcard (MQTT-3.3.2-2).
func validTopicName(b []byte) bool {
	for _, c := range b {
		if c == '+' || c == '#' {
			return false
		}
	}
	return len(b) > 0
}
