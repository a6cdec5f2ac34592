package mqtt

// propertyID is a Property Identifier (MQTT 5, 2.2.2.2).
type propertyID byte

// The properties that a client may send.
const (
	propPayloadFormat     propertyID = 0x01
	propMessageExpiry     propertyID = 0x02
	propContentType       propertyID = 0x03
	propResponseTopic     propertyID = 0x08
	propCorrelationData   propertyID = 0x09
	propSubscriptionID    propertyID = 0x0B
	propSessionExpiry     propertyID = 0x11
	propAssignedClientID  propertyID = 0x12
	propServerKeepAlive   propertyID = 0x13
	propAuthMethod        propertyID = 0x15
	propAuthData          propertyID = 0x16
	propRequestProblem    propertyID = 0x17
	propWillDelay         propertyID = 0x18
	propRequestResponse   propertyID = 0x19
	propReasonString      propertyID = 0x1F
	propReceiveMaximum    propertyID = 0x21
	propTopicAliasMaximum propertyID = 0x22
	propTopicAlias        propertyID = 0x23
	propMaximumQoS        propertyID = 0x24
	propRetainAvailable   propertyID = 0x25
	propUser              propertyID = 0x26
	propMaximumPacket     propertyID = 0x27
	propWildcardAvailable propertyID = 0x28
	propSubIDAvailable    propertyID = 0x29
	propSharedAvailable   propertyID = 0x2A
)

// place is where a property block stands.
type place uint8

// The places in which a client sends properties.
const (
	inConnect place = 1 << iota
	inWill
	inPublish
	inSubscribe
	inUnsubscribe
	inDisconnect
)

// fieldKind is the data type of a property's value (MQTT 5, 1.5).
type fieldKind uint8

const (
	kindFlag fieldKind = iota // a byte that is 0 or 1
	kindUint16
	kindUint32
	kindVarint
	kindBinary
	kindText
	kindTextPair
)

type propertyRule struct {
	kind    fieldKind
	in      place
	nonzero bool // a zero value is a protocol error
}

// ruleOf says where a property may stand and what it looks like (MQTT 5, table 2-4). A property
// that only a server sends has no place here and is malformed.
func ruleOf(id propertyID) propertyRule {
	switch id {
	case propPayloadFormat:
		return propertyRule{kind: kindFlag, in: inPublish | inWill}
	case propMessageExpiry:
		return propertyRule{kind: kindUint32, in: inPublish | inWill}
	case propContentType, propResponseTopic:
		return propertyRule{kind: kindText, in: inPublish | inWill}
	case propCorrelationData:
		return propertyRule{kind: kindBinary, in: inPublish | inWill}
	case propSubscriptionID: // in PUBLISH only from server to client (MQTT-3.3.4-6)
		return propertyRule{kind: kindVarint, in: inPublish | inSubscribe, nonzero: true}
	case propSessionExpiry:
		return propertyRule{kind: kindUint32, in: inConnect | inDisconnect}
	case propAuthMethod:
		return propertyRule{kind: kindText, in: inConnect}
	case propAuthData:
		return propertyRule{kind: kindBinary, in: inConnect}
	case propRequestProblem, propRequestResponse:
		return propertyRule{kind: kindFlag, in: inConnect}
	case propWillDelay:
		return propertyRule{kind: kindUint32, in: inWill}
	case propReasonString:
		return propertyRule{kind: kindText, in: inDisconnect}
	case propReceiveMaximum:
		return propertyRule{kind: kindUint16, in: inConnect, nonzero: true}
	case propTopicAliasMaximum:
		return propertyRule{kind: kindUint16, in: inConnect}
	case propTopicAlias:
		return propertyRule{kind: kindUint16, in: inPublish}
	case propMaximumPacket:
		return propertyRule{kind: kindUint32, in: inConnect, nonzero: true}
	case propUser:
		return propertyRule{kind: kindTextPair, in: inConnect | inWill | inPublish | inSubscribe | inUnsubscribe | inDisconnect}
	}
	return propertyRule{}
}

// properties is what the listener wants to know of a property block. Absent properties have the
// value that the specification gives them.
type properties struct {
	seen           uint64 // bit ID, for every property in the block
	sessionExpiry  uint32
	maximumPacket  uint32 // 0 when absent: no limit
	requestProblem bool
}

func (p *properties) has(id propertyID) bool { return p.seen&(1<<id) != 0 }

// readProperties reads a block of properties: its length, then as many bytes.
func readProperties(c *cursor, at place) properties {
	p := properties{requestProblem: true}
	block := cursor{b: c.take(c.varint())}
	for c.err == nil && block.err == nil && len(block.b) > 0 {
		readProperty(&block, at, &p)
	}
	if block.err != nil {
		c.fail(block.err)
	} else if p.has(propAuthData) && !p.has(propAuthMethod) { // MQTT 5, 3.1.2.11.10
		c.fail(violation("Authentication Data without an Authentication Method"))
	}
	return p
}

func readProperty(c *cursor, at place, p *properties) {
	id := propertyID(c.uint8()) // all identifiers are below 0x80, so one byte codes them
	rule := ruleOf(id)
	if rule.in&at == 0 {
		c.fail(malformed("a property is unknown or does not belong to its packet"))
		return
	}
	if p.has(id) && id != propUser {
		c.fail(violation("a property is given twice"))
		return
	}
	p.seen |= 1 << id
	v := readValue(c, rule.kind, id)
	if rule.nonzero && v == 0 && c.err == nil {
		c.fail(violation("a property that must not be zero is zero"))
	}
	switch id {
	case propSessionExpiry:
		p.sessionExpiry = v
	case propMaximumPacket:
		p.maximumPacket = v
	case propRequestProblem:
		p.requestProblem = v == 1
	}
}

// readValue reads a property's value and returns it if it is a number.
func readValue(c *cursor, kind fieldKind, id propertyID) uint32 {
	switch kind {
	case kindFlag:
		v := c.uint8()
		if v > 1 {
			c.fail(violation("a property that is 0 or 1 has another value"))
		}
		return uint32(v)
	case kindUint16:
		return uint32(c.uint16())
	case kindUint32:
		return c.uint32()
	case kindVarint:
		return uint32(c.varint())
	case kindBinary:
		c.binary()
	case kindText:
		text := c.text()
		if id == propResponseTopic && c.err == nil && !validTopicName(text) { // MQTT-3.3.2-14
			c.fail(violation("a Response Topic is empty or holds a wildcard"))
		}
	case kindTextPair:
		c.text()
		c.text()
	}
	return 0
}
