package mqtt

import "bytes"

// connect is a parsed CONNECT packet. Its slices point into the packet.
type connect struct {
	level       protocolLevel // valid even where parseConnect fails, 0 when it was not reached
	cleanStart  bool          // Clean Session in 3.1.1
	keepAlive   uint16        // seconds
	clientID    []byte
	hasUser     bool
	user        []byte
	hasPassword bool
	password    []byte
	props       properties
}

// The Connect Flags (MQTT 5, 3.1.2.3).
const (
	flagReserved   = 0x01
	flagCleanStart = 0x02
	flagWill       = 0x04
	flagWillQoS    = 0x18
	flagWillRetain = 0x20
	flagPassword   = 0x40
	flagUser       = 0x80
)

var errVersion = &protocolError{codeUnsupportedVersion, "the protocol level is neither 4 (3.1.1) nor 5"}

// parseConnect reads the variable header and payload of a CONNECT packet (3.1). With an error,
// level says in which form the client understands the refusal.
func parseConnect(b []byte) (connect, error) {
	var p connect
	c := cursor{b: b}
	name := c.binary()
	level := protocolLevel(c.uint8())
	switch {
	case c.err != nil:
		return p, c.err
	case bytes.Equal(name, []byte("MQIsdp")): // MQTT 3.1
		p.level = level
		return p, errVersion
	case !bytes.Equal(name, []byte("MQTT")): // MQTT-3.1.2-1
		return p, violation("the protocol name is not MQTT")
	}
	p.level = level
	if level != level311 && level != level5 {
		return p, errVersion
	}
	flags := c.uint8()
	p.keepAlive = c.uint16()
	if err := checkConnectFlags(flags, level); c.err == nil && err != nil {
		return p, err
	}
	p.cleanStart = flags&flagCleanStart != 0
	if level == level5 {
		p.props = readProperties(&c, inConnect)
	} else {
		p.props.requestProblem = true
	}
	p.clientID = c.text()
	if flags&flagWill != 0 {
		skipWill(&c, level)
	}
	if p.hasUser = flags&flagUser != 0; p.hasUser {
		p.user = c.text()
	}
	if p.hasPassword = flags&flagPassword != 0; p.hasPassword {
		p.password = c.binary()
	}
	return p, c.end()
}

func checkConnectFlags(flags byte, level protocolLevel) error {
	switch {
	case flags&flagReserved != 0: // MQTT-3.1.2-3
		return malformed("the reserved Connect Flag is set")
	case flags&flagWillQoS == flagWillQoS: // MQTT-3.1.2-12
		return malformed("the will's QoS is 3")
	case flags&flagWill == 0 && flags&(flagWillQoS|flagWillRetain) != 0: // MQTT-3.1.2-11, 13
		return malformed("will flags are set without a will")
	case level == level311 && flags&flagUser == 0 && flags&flagPassword != 0: // 3.1.1, MQTT-3.1.2-22
		return malformed("a password without a user name")
	}
	return nil
}

// skipWill checks the form of a will, which is then ignored.
func skipWill(c *cursor, level protocolLevel) {
	if level == level5 {
		readProperties(c, inWill)
	}
	topic := c.text()
	if c.err == nil && !validTopicName(topic) {
		c.fail(&protocolError{codeTopicNameInvalid, "the will's topic is empty or holds a wildcard"})
	}
	c.binary()
}
