package mqtt

// header is a fixed header (2.1).
type header struct {
	kind   packetType
	flags  byte
	length int // Remaining Length
}

// parseHeader reads a fixed header off b. size is its length in bytes, or 0 with a nil error when
// b ends inside it. The flags of every type but PUBLISH are fixed (MQTT-2.1.3-1).
//
// A Remaining Length that takes more bytes than it needs is refused for MQTT 5 (MQTT-1.5.5-1);
// 3.1.1 does not forbid it, and small devices that patch a fixed-width length in do exist.
func parseHeader(b []byte, level protocolLevel) (h header, size int, err error) {
	if len(b) < 2 {
		return header{}, 0, nil
	}
	h.kind, h.flags = packetType(b[0]>>4), b[0]&0x0f
	if h.kind == 0 {
		return h, 0, malformed("packet type 0 is reserved")
	}
	if h.kind != typePublish && h.flags != fixedFlags(h.kind) {
		return h, 0, malformed("the reserved flags of the fixed header are wrong")
	}
	length, size, err := varint(b[1:])
	if err != nil || size == 0 {
		return h, 0, err
	}
	if level == level5 && overlong(length, size) {
		return h, 0, errOverlong
	}
	h.length = length
	return h, 1 + size, nil
}

func fixedFlags(t packetType) byte {
	switch t {
	case typePubrel, typeSubscribe, typeUnsubscribe:
		return 2
	}
	return 0
}

// publish is a parsed PUBLISH packet. Its slices point into the packet.
type publish struct {
	topic []byte
	body  []byte
	id    uint16 // Packet Identifier, 0 with QoS 0
	qos   byte   // 0 or 1
}

// The flags of PUBLISH (3.3.1).
const (
	publishRetain = 0x01
	publishQoS    = 0x06
	publishDup    = 0x08
)

var (
	errQoS3         = malformed("the QoS is 3")
	errQoS2         = &protocolError{codeQoSNotSupported, "QoS 2 is not supported"}
	errRetain       = &protocolError{codeRetainNotSupported, "retained messages are not supported"}
	errTopicAlias   = &protocolError{codeTopicAliasInvalid, "topic aliases are not supported"}
	errTopicName    = &protocolError{codeTopicNameInvalid, "the topic is empty or holds a wildcard"}
	errPacketID     = violation("the Packet Identifier is 0")
	errDup          = malformed("DUP is set with QoS 0")
	errSubIDPublish = violation("a client published with a Subscription Identifier")
)

// parsePublish reads the variable header and payload of a PUBLISH packet (3.3). DUP is otherwise
// ignored: clients reuse Packet Identifiers, and storing is idempotent.
func parsePublish(flags byte, b []byte, level protocolLevel) (publish, error) {
	var p publish
	p.qos = flags & publishQoS >> 1
	switch {
	case p.qos == 3: // MQTT-3.3.1-4
		return p, errQoS3
	case p.qos == 2: // MQTT-3.2.2-11
		return p, errQoS2
	case p.qos == 0 && flags&publishDup != 0: // MQTT-3.3.1-2
		return p, errDup
	case level == level5 && flags&publishRetain != 0: // MQTT-3.2.2-14
		return p, errRetain
	}
	c := cursor{b: b}
	p.topic = c.text()
	if p.qos > 0 {
		p.id = c.uint16()
	}
	var props properties
	if level == level5 {
		props = readProperties(&c, inPublish)
	}
	switch {
	case c.err != nil:
		return p, c.err
	case p.qos > 0 && p.id == 0: // MQTT-2.2.1-3
		return p, errPacketID
	case props.has(propTopicAlias): // MQTT-3.3.2-9: our Topic Alias Maximum is 0
		return p, errTopicAlias
	case props.has(propSubscriptionID): // MQTT-3.3.4-6
		return p, errSubIDPublish
	case !validTopicName(p.topic):
		return p, errTopicName
	}
	p.body = c.b
	return p, nil
}

// parseSubscribe reads a SUBSCRIBE packet (3.8) and calls grant for every topic filter, in order.
func parseSubscribe(b []byte, level protocolLevel, grant func(filter []byte)) (id uint16, err error) {
	c, props, err := startFilters(b, level, inSubscribe)
	if err != nil {
		return 0, err
	}
	if props.has(propSubscriptionID) {
		return 0, &protocolError{codeSubscriptionIDRefused, "Subscription Identifiers are not supported"}
	}
	id = c.id
	for len(c.b) > 0 {
		filter := c.filter()
		options := c.uint8()
		if c.err != nil {
			return 0, c.err
		}
		if err := checkSubscribeOptions(options, level); err != nil {
			return 0, err
		}
		grant(filter)
	}
	return id, nil
}

// checkSubscribeOptions checks the Subscription Options of MQTT 5, 3.8.3.1, or the Requested QoS
// of 3.1.1 (MQTT-3-8.3-4).
func checkSubscribeOptions(options byte, level protocolLevel) error {
	reserved, retainHandling := byte(0xc0), options>>4&3
	if level == level311 {
		reserved = 0xfc
	}
	switch {
	case options&reserved != 0: // MQTT-3.8.3-5
		return malformed("reserved bits of the Subscription Options are set")
	case options&3 == 3:
		return malformed("the requested QoS is 3")
	case retainHandling == 3:
		return violation("Retain Handling is 3")
	}
	return nil
}

// parseUnsubscribe reads an UNSUBSCRIBE packet (3.10) and calls remove for every topic filter.
func parseUnsubscribe(b []byte, level protocolLevel, remove func(filter []byte)) (id uint16, err error) {
	c, _, err := startFilters(b, level, inUnsubscribe)
	if err != nil {
		return 0, err
	}
	for len(c.b) > 0 {
		filter := c.filter()
		if c.err != nil {
			return 0, c.err
		}
		remove(filter)
	}
	return c.id, nil
}

// filterCursor stands before the topic filters of SUBSCRIBE or UNSUBSCRIBE.
type filterCursor struct {
	cursor
	id uint16
}

func startFilters(b []byte, level protocolLevel, at place) (filterCursor, properties, error) {
	c := filterCursor{cursor: cursor{b: b}}
	var props properties
	c.id = c.uint16()
	if level == level5 {
		props = readProperties(&c.cursor, at)
	}
	switch {
	case c.err != nil:
		return c, props, c.err
	case c.id == 0: // MQTT-2.2.1-3
		return c, props, errPacketID
	case len(c.b) == 0: // MQTT-3.8.3-2, MQTT-3.10.3-2
		return c, props, violation("the packet names no topic filter")
	}
	return c, props, nil
}

func (c *filterCursor) filter() []byte {
	f := c.text()
	if c.err == nil && len(f) == 0 { // MQTT-4.7.3-1
		c.fail(malformed("a topic filter is empty"))
	}
	return f
}

// parseDisconnect reads the DISCONNECT packet of a client (3.14). sessionExpiry is the one of its
// CONNECT.
func parseDisconnect(b []byte, level protocolLevel, sessionExpiry uint32) error {
	if len(b) == 0 {
		return nil
	}
	c := cursor{b: b}
	if level == level311 {
		return c.end()
	}
	c.uint8() // the reason matters only to a will, which we ignore
	if len(c.b) == 0 {
		return nil
	}
	props := readProperties(&c, inDisconnect)
	if c.err == nil && sessionExpiry == 0 && props.sessionExpiry != 0 { // MQTT 5, 3.14.2.2.2
		return violation("DISCONNECT sets a Session Expiry Interval that CONNECT did not")
	}
	return c.end()
}
