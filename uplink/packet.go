package uplink

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Control packet types in the upper half of a packet's first byte (MQTT 5.0, 2.1.2).
const (
	typeConnack    = 2
	typePuback     = 4
	typePingresp   = 13
	typeDisconnect = 14
)

// Whole first bytes of the packets that are sent.
const (
	headConnect    = 0x10
	headPublishQ1  = 0x32
	headPingreq    = 0xC0
	headDisconnect = 0xE0
)

// Properties of MQTT 5 that matter to a publisher (MQTT 5.0, 2.2.2.2).
const (
	propReceiveMaximum  = 0x21
	propServerKeepAlive = 0x13
	propMaximumQoS      = 0x24
	propMaximumPacket   = 0x27
	propReasonString    = 0x1F
)

const maxRemaining = 268_435_455 // four length bytes

var errMalformed = errors.New("malformed packet")

func appendLength(b []byte, n int) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

func appendString[T ~string | ~[]byte](b []byte, s T) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s))) //nolint:gosec // callers check the length
	return append(b, s...)
}

// appendConnect writes a CONNECT with a clean start, a user name and a password.
func appendConnect(b []byte, c *MQTTConfig) []byte {
	n := 10 + 2 + len(c.ClientID) + 2 + len(c.Device) + 2 + len(c.Secret)
	if c.Version == 5 {
		n++ // no properties
	}
	b = append(b, headConnect)
	b = appendLength(b, n)
	b = appendString(b, "MQTT")
	b = append(b, c.Version, 0xC2) // user name, password, clean start
	b = binary.BigEndian.AppendUint16(b, uint16(c.KeepAlive.Seconds()))
	if c.Version == 5 {
		b = append(b, 0)
	}
	b = appendString(b, c.ClientID)
	b = appendString(b, string(c.Device))
	return appendString(b, c.Secret)
}

// publishSize returns the remaining length of a PUBLISH.
func publishSize(version byte, topic string, payload []byte) int {
	n := 2 + len(topic) + 2 + len(payload)
	if version == 5 {
		n++
	}
	return n
}

// appendPublish writes a QoS 1 PUBLISH. DUP is never set: sessions are clean, so a payload that is
// sent again is a new message to the server.
func appendPublish(b []byte, version byte, id uint16, topic string, payload []byte) []byte {
	b = append(b, headPublishQ1)
	b = appendLength(b, publishSize(version, topic, payload))
	b = appendString(b, topic)
	b = binary.BigEndian.AppendUint16(b, id)
	if version == 5 {
		b = append(b, 0)
	}
	return append(b, payload...)
}

// connack is what a publisher needs of a CONNACK.
type connack struct {
	code       byte
	reason     string
	receiveMax int // unacknowledged publishes the server allows
	maxPacket  int // bytes of a whole packet, 0 when unlimited
	keepAlive  int // seconds, -1 when the client's own counts
	noQoS1     bool
}

func parseConnack(version byte, body []byte) (connack, error) {
	a := connack{receiveMax: 65535, keepAlive: -1}
	if len(body) < 2 || (version == 4 && len(body) != 2) {
		return a, fmt.Errorf("CONNACK of %d bytes: %w", len(body), errMalformed)
	}
	a.code = body[1]
	if version == 4 || len(body) == 2 {
		return a, nil
	}
	err := eachProperty(body[2:], func(id byte, v uint32, s []byte) {
		switch id {
		case propReceiveMaximum:
			a.receiveMax = int(v)
		case propServerKeepAlive:
			a.keepAlive = int(v)
		case propMaximumQoS:
			a.noQoS1 = v == 0
		case propMaximumPacket:
			a.maxPacket = int(v)
		case propReasonString:
			a.reason = string(s)
		}
	})
	return a, err
}

// parsePuback returns the packet identifier and the reason code, 0 where the packet has none.
func parsePuback(body []byte) (id uint16, reason byte, err error) {
	if len(body) < 2 {
		return 0, 0, fmt.Errorf("PUBACK of %d bytes: %w", len(body), errMalformed)
	}
	if len(body) > 2 {
		reason = body[2]
	}
	return binary.BigEndian.Uint16(body), reason, nil
}

// parseDisconnect returns the server's reason code and its text.
func parseDisconnect(body []byte) (code byte, reason string) {
	if len(body) == 0 {
		return 0, ""
	}
	if len(body) > 1 {
		// A disconnect ends the connection whether its properties are well-formed or not.
		_ = eachProperty(body[1:], func(id byte, _ uint32, s []byte) {
			if id == propReasonString {
				reason = string(s)
			}
		})
	}
	return body[0], reason
}

// eachProperty walks a property list: numbers come as v, strings and binary data as s.
func eachProperty(b []byte, f func(id byte, v uint32, s []byte)) error {
	n, used, ok := varint(b)
	if !ok || len(b)-used < n {
		return fmt.Errorf("property length: %w", errMalformed)
	}
	b = b[used : used+n]
	for len(b) > 0 {
		id := b[0]
		v, s, size, ok := property(id, b[1:])
		if !ok {
			return fmt.Errorf("property 0x%02X: %w", id, errMalformed)
		}
		f(id, v, s)
		b = b[1+size:]
	}
	return nil
}

// property decodes one value by its identifier's type (MQTT 5.0, table 2-4).
func property(id byte, b []byte) (v uint32, s []byte, size int, ok bool) {
	switch id {
	case 0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A: // byte
		if len(b) < 1 {
			return 0, nil, 0, false
		}
		return uint32(b[0]), nil, 1, true
	case 0x13, 0x21, 0x22, 0x23: // two bytes
		if len(b) < 2 {
			return 0, nil, 0, false
		}
		return uint32(binary.BigEndian.Uint16(b)), nil, 2, true
	case 0x02, 0x11, 0x18, 0x27: // four bytes
		if len(b) < 4 {
			return 0, nil, 0, false
		}
		return binary.BigEndian.Uint32(b), nil, 4, true
	case 0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F: // string, binary
		s, ok = prefixed(b)
		return 0, s, 2 + len(s), ok
	case 0x26: // string pair
		key, ok := prefixed(b)
		if !ok {
			return 0, nil, 0, false
		}
		val, ok := prefixed(b[2+len(key):])
		return 0, val, 4 + len(key) + len(val), ok
	}
	return 0, nil, 0, false
}

func prefixed(b []byte) ([]byte, bool) {
	if len(b) < 2 {
		return nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b)-2 < n {
		return nil, false
	}
	return b[2 : 2+n], true
}

func varint(b []byte) (n, used int, ok bool) {
	for i := 0; i < 4 && i < len(b); i++ {
		n |= int(b[i]&0x7F) << (7 * i)
		if b[i] < 0x80 {
			return n, i + 1, true
		}
	}
	return 0, 0, false
}
