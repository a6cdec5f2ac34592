package native

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// cursor walks JSON that encoding/json has found well-formed, in place and without recursion: every
// value is read as what the format expects there, or refused. It never looks beyond the value it
// was given, so its panics by index would be our own bugs.
type cursor struct {
	b    []byte
	i    int
	text []byte // scratch of str
}

// checkJSON refuses what is not exactly one well-formed JSON value. encoding/json bounds the depth.
func checkJSON(b []byte) error {
	if json.Valid(b) {
		return nil
	}
	var raw json.RawMessage
	err := json.Unmarshal(b, &raw) // again, for the reason
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("not JSON at byte %d: %w", syntax.Offset, err)
	}
	return fmt.Errorf("not JSON: %w", err)
}

// peek skips white space and returns the byte after it, 0 at the end.
func (c *cursor) peek() byte {
	for ; c.i < len(c.b); c.i++ {
		switch c.b[c.i] {
		case ' ', '\t', '\r', '\n':
		default:
			return c.b[c.i]
		}
	}
	return 0
}

// wrong is the error of a value that is not what it must be.
func (c *cursor) wrong(want string) error {
	is := "a number"
	switch c.peek() {
	case 'n':
		return errors.New("null is not allowed; leave the field out")
	case '{':
		is = "an object"
	case '[':
		is = "an array"
	case '"':
		is = "a string"
	case 't', 'f':
		is = "a bool"
	}
	return fmt.Errorf("is %s; it must be %s", is, want)
}

// object reads an object with the fields of m and calls fn at the value of each. fn must consume
// the value or return an error.
func (c *cursor) object(m message, fn func(num int) error) error {
	if c.peek() != '{' {
		return c.wrong("an object")
	}
	c.i++
	var seen fieldSet
	for {
		switch c.peek() {
		case '}':
			c.i++
			return nil
		case ',':
			c.i++
		}
		key, err := c.str()
		if err != nil {
			return fmt.Errorf("a field name %w", err)
		}
		num := m.lookup(key)
		if num == 0 {
			return unknownKey(m, key)
		}
		if !seen.add(num) {
			return at(m[num].name, errTwice)
		}
		c.colon()
		if err := fn(num); err != nil {
			return at(m[num].name, err)
		}
	}
}

func unknownKey(m message, key []byte) error {
	if string(key) == bundleMessage[bundleUploads].name {
		return errors.New(`unknown field "uploads"; a bundle is sent to the bundle topic or with message=bundle`)
	}
	return fmt.Errorf("unknown field %s; the fields are %s", quote(key), m.names())
}

func (c *cursor) colon() {
	c.peek()
	c.i++
}

// array reads an array and calls fn at each of its elements. fn must consume the element or return
// an error.
func (c *cursor) array(fn func(i int) error) error {
	if c.peek() != '[' {
		return c.wrong("an array")
	}
	c.i++
	for i := 0; ; i++ {
		switch c.peek() {
		case ']':
			c.i++
			return nil
		case ',':
			c.i++
		}
		if err := fn(i); err != nil {
			return err
		}
	}
}

// skip passes over one value, whatever it is, and returns its bytes.
func (c *cursor) skip() []byte {
	c.peek()
	from, depth := c.i, 0
	for {
		switch c.b[c.i] {
		case '"':
			c.closeString()
		case '{', '[':
			depth++
			c.i++
		case '}', ']':
			depth--
			c.i++
		case ',', ':', ' ', '\t', '\r', '\n':
			c.i++
		default:
			c.scalar()
		}
		if depth == 0 {
			return c.b[from:c.i]
		}
	}
}

// scalar passes over a number, true, false or null.
func (c *cursor) scalar() []byte {
	from := c.i
	for ; c.i < len(c.b); c.i++ {
		switch c.b[c.i] {
		case ',', ']', '}', ':', ' ', '\t', '\r', '\n':
			return c.b[from:c.i]
		}
	}
	return c.b[from:]
}

// closeString passes over a string and returns what stands between the quotes, and whether it
// holds an escape.
func (c *cursor) closeString() (raw []byte, escaped bool) {
	c.i++
	from := c.i
	for c.b[c.i] != '"' {
		if c.b[c.i] == '\\' {
			escaped = true
			c.i++
		}
		c.i++
	}
	c.i++
	return c.b[from : c.i-1], escaped
}

// str reads a string. The result is valid until the next call. The string is consumed even when
// it is refused.
func (c *cursor) str() ([]byte, error) {
	if c.peek() != '"' {
		return nil, c.wrong("a string")
	}
	raw, escaped := c.closeString()
	if !utf8.Valid(raw) {
		return nil, errNotUTF8
	}
	if !escaped {
		return raw, nil
	}
	return c.unescape(raw)
}

func (c *cursor) unescape(raw []byte) ([]byte, error) {
	out := c.text[:0]
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		i++
		switch raw[i] {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r := hex4(raw[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				if len(raw)-i < 7 || raw[i+1] != '\\' || raw[i+2] != 'u' {
					return nil, errSurrogate
				}
				if r = utf16.DecodeRune(r, hex4(raw[i+3:])); r == utf8.RuneError {
					return nil, errSurrogate
				}
				i += 6
			}
			out = utf8.AppendRune(out, r)
		default: // a quote or a slash
			out = append(out, raw[i])
		}
	}
	c.text = out
	return out, nil
}

var errSurrogate = errors.New(`holds half of a \u surrogate pair`)

// hex4 reads the four hex digits that encoding/json has found there.
func hex4(b []byte) rune {
	n, _ := strconv.ParseUint(string(b[:4]), 16, 16)
	return rune(n)
}

var errRange = errors.New("does not fit 64 bits")

// integer reads an integer as sign and magnitude. Its error wraps errRange when the integer is
// beyond 64 bits.
func (c *cursor) integer() (neg bool, mag uint64, err error) {
	switch b := c.peek(); {
	case b == '-', '0' <= b && b <= '9':
	default:
		return false, 0, c.wrong("an integer")
	}
	tok := c.scalar()
	digits := tok
	if neg = tok[0] == '-'; neg {
		digits = tok[1:]
	}
	for _, b := range digits {
		switch {
		case b < '0' || b > '9':
			return neg, 0, fmt.Errorf("%s is not a plain integer; leave out fraction and exponent", quote(tok))
		case err != nil:
		case mag > (math.MaxUint64-uint64(b-'0'))/10:
			err = fmt.Errorf("%s %w", quote(tok), errRange)
		default:
			mag = mag*10 + uint64(b-'0')
		}
	}
	return neg, mag, err
}

// unsigned reads an integer from 0 to 2^64-1.
func (c *cursor) unsigned() (uint64, error) {
	neg, mag, err := c.integer()
	if err == nil && neg && mag > 0 {
		return 0, fmt.Errorf("-%d is negative", mag)
	}
	return mag, err
}

// signed32 reads an integer that fits 32 bits.
func (c *cursor) signed32() (int64, error) {
	neg, mag, err := c.integer()
	if err != nil {
		return 0, err
	}
	if neg {
		if mag > -math.MinInt32 {
			return 0, fmt.Errorf("-%d does not fit 32 bits", mag)
		}
		return -int64(mag), nil
	}
	if mag > math.MaxInt32 {
		return 0, fmt.Errorf("%d does not fit 32 bits", mag)
	}
	return int64(mag), nil
}

// boolean reads true or false.
func (c *cursor) boolean() (bool, error) {
	switch c.peek() {
	case 't', 'f':
		return len(c.scalar()) == len("true"), nil
	}
	return false, c.wrong("true or false")
}
