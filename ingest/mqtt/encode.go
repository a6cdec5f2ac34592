package mqtt

import "encoding/binary"

func appendVarint(dst []byte, v int) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

func varintLen(v int) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// appendConnack311 writes a CONNACK. Session Present is 0: no session is kept (MQTT-3.2.2-3).
func appendConnack311(dst []byte, code returnCode) []byte {
	return append(dst, byte(typeConnack)<<4, 2, 0, byte(code))
}

// connackInfo is what a successful v5 CONNACK tells the client (MQTT 5, 3.2.2.3).
type connackInfo struct {
	receiveMaximum uint16
	maximumPacket  uint32
	assignedID     string // "" when the client named itself
	serverKeep     uint16 // seconds, 0 when the client's stands
	endSession     bool   // the client asked for a session that we do not keep
}

func appendConnack5(dst []byte, code reasonCode, info *connackInfo) []byte {
	var props []byte
	if info != nil {
		props = make([]byte, 0, 64)
		if info.endSession {
			props = binary.BigEndian.AppendUint32(append(props, byte(propSessionExpiry)), 0)
		}
		props = binary.BigEndian.AppendUint16(append(props, byte(propReceiveMaximum)), info.receiveMaximum)
		props = append(props, byte(propMaximumQoS), 1, byte(propRetainAvailable), 0)
		props = binary.BigEndian.AppendUint32(append(props, byte(propMaximumPacket)), info.maximumPacket)
		if info.assignedID != "" {
			props = appendText(append(props, byte(propAssignedClientID)), info.assignedID)
		}
		props = append(props, byte(propWildcardAvailable), 0, byte(propSubIDAvailable), 0, byte(propSharedAvailable), 0)
		if info.serverKeep != 0 {
			props = binary.BigEndian.AppendUint16(append(props, byte(propServerKeepAlive)), info.serverKeep)
		}
	}
	dst = append(dst, byte(typeConnack)<<4)
	dst = appendVarint(dst, 2+varintLen(len(props))+len(props))
	dst = append(dst, 0, byte(code))
	return append(appendVarint(dst, len(props)), props...)
}

// appendPuback writes a PUBACK. Only v5 has a reason; text is its Reason String, at most
// maxReasonString bytes, and is left out when empty.
func appendPuback(dst []byte, id uint16, code reasonCode, text string) []byte {
	if code == codeSuccess { // MQTT 5, 3.4.2.1: the reason can be omitted
		return append(dst, byte(typePuback)<<4, 2, byte(id>>8), byte(id))
	}
	if text == "" {
		return append(dst, byte(typePuback)<<4, 3, byte(id>>8), byte(id), byte(code))
	}
	props := 3 + len(text)
	dst = appendVarint(append(dst, byte(typePuback)<<4), 3+varintLen(props)+props)
	dst = append(dst, byte(id>>8), byte(id), byte(code))
	dst = append(appendVarint(dst, props), byte(propReasonString))
	return appendText(dst, text)
}

// appendFilterAck writes a SUBACK or UNSUBACK. codes is empty for a 3.1.1 UNSUBACK.
func appendFilterAck(dst []byte, t packetType, level protocolLevel, id uint16, codes []byte) []byte {
	length := 2 + len(codes)
	if level == level5 {
		length++
	}
	dst = appendVarint(append(dst, byte(t)<<4), length)
	dst = append(dst, byte(id>>8), byte(id))
	if level == level5 {
		dst = append(dst, 0) // no properties
	}
	return append(dst, codes...)
}

func appendPingresp(dst []byte) []byte { return append(dst, byte(typePingresp)<<4, 0) }

// appendDisconnect5 writes a DISCONNECT. In 3.1.1 a server just closes.
func appendDisconnect5(dst []byte, code reasonCode) []byte {
	return append(dst, byte(typeDisconnect)<<4, 1, byte(code))
}

// publishLen is the size of what appendPublish writes.
func publishLen(level protocolLevel, topic string, payload int) (remaining, total int) {
	remaining = 2 + len(topic) + payload
	if level == level5 {
		remaining++
	}
	return remaining, 1 + varintLen(remaining) + remaining
}

// appendPublish writes a PUBLISH with QoS 0.
func appendPublish(dst []byte, level protocolLevel, topic string, payload []byte) []byte {
	remaining, _ := publishLen(level, topic, len(payload))
	dst = appendVarint(append(dst, byte(typePublish)<<4), remaining)
	dst = appendText(dst, topic)
	if level == level5 {
		dst = append(dst, 0) // no properties
	}
	return append(dst, payload...)
}

// maxReasonString is the longest Reason String, in bytes.
const maxReasonString = 120

// reasonString makes a fault's detail fit for a UTF-8 Encoded String: printable ASCII, bounded.
func reasonString(detail string) string {
	if len(detail) > maxReasonString {
		detail = detail[:maxReasonString]
	}
	for i := 0; i < len(detail); i++ {
		if detail[i] < ' ' || detail[i] > '~' {
			return asciiOnly(detail)
		}
	}
	return detail
}

func asciiOnly(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}
