package mqtt

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	paho "github.com/eclipse/paho.golang/packets"
	mochi "github.com/mochi-mqtt/server/v2/packets"
	"pgregory.net/rapid"
)

// clientPackets are valid packets of every type that a client may send, by level and name.
func clientPackets(level protocolLevel) map[string][]byte {
	one, own := uint16s(1), "ayumi/v1/device/up/pb"
	all := map[string][]byte{
		"CONNECT": connectPacket(level, "client", "device", "secret"),
		"CONNECT with will": packet(typeConnect, 0, text("MQTT"), []byte{byte(level), flagUser | flagPassword | flagWill}, uint16s(60),
			props(level, 0x11, 0, 0, 0, 9), text("client"), props(level, 0x18, 0, 0, 0, 9), text("will"), text("gone"), text("device"), text("secret")),
		"PUBLISH QoS 0": publishPacket(level, 0, 0, own, nil),
		"PUBLISH QoS 1": publishPacket(level, 1, 1, own, nil),
		"SUBSCRIBE":     packet(typeSubscribe, 2, one, props(level, 0x26, 0, 1, 'k', 0, 1, 'v'), text("a/#"), []byte{1}),
		"UNSUBSCRIBE":   packet(typeUnsubscribe, 2, one, props(level), text("a/#")),
		"PINGREQ":       packet(typePingreq, 0),
		"DISCONNECT":    packet(typeDisconnect, 0),
		"PUBACK":        packet(typePuback, 0, one),
		"PUBREC":        packet(typePubrec, 0, one),
		"PUBREL":        packet(typePubrel, 2, one),
		"PUBCOMP":       packet(typePubcomp, 0, one),
		"AUTH":          packet(typeAuth, 0),
	}
	if level == level5 {
		all["PUBLISH with properties"] = packet(typePublish, 2, text(own), one,
			props(level, 0x01, 1, 0x02, 0, 0, 0, 9, 0x03, 0, 1, 'a', 0x08, 0, 1, 'r', 0x09, 0, 1, 0xff))
		all["DISCONNECT with reason"] = packet(typeDisconnect, 0, []byte{4, 0})
	}
	return all
}

// parsed is what the packets of interest amount to, for comparing parsers.
type parsed struct {
	kind    packetType
	id      uint16
	topic   string
	body    string
	client  string
	user    string
	filters []string
}

// parse runs the parser that belongs to a packet, as conn.handle does.
func parse(h header, body []byte, level protocolLevel) (parsed, error) {
	p := parsed{kind: h.kind}
	collect := func(filter []byte) { p.filters = append(p.filters, string(filter)) }
	var err error
	switch h.kind {
	case typeConnect:
		var c connect
		c, err = parseConnect(body)
		p.client, p.user = string(c.clientID), string(c.user)
	case typePublish:
		var m publish
		m, err = parsePublish(h.flags, body, level)
		p.id, p.topic, p.body = m.id, string(m.topic), string(m.body)
	case typeSubscribe:
		p.id, err = parseSubscribe(body, level, collect)
	case typeUnsubscribe:
		p.id, err = parseUnsubscribe(body, level, collect)
	case typeDisconnect:
		err = parseDisconnect(body, level, 1)
	default:
		err = errEnded // not taken from clients, or without content
	}
	return p, err
}

// TestTruncatedPackets cuts every packet at every byte, with a header that tells the truth about
// the length: parsers must refuse each, and the listener must survive it on a connection.
func TestTruncatedPackets(t *testing.T) {
	addr := startServer(t, DefaultConfig(), newFake())
	for name, level := range bothLevels {
		for kind, whole := range clientPackets(level) {
			t.Run(name+" "+kind, func(t *testing.T) {
				h, size, err := parseHeader(whole, level)
				if err != nil || size == 0 {
					t.Fatal(err)
				}
				for n := range len(whole) - size {
					body := whole[size : size+n]
					empty := n == 0 || level == level5 && n == 1 // DISCONNECT may leave out its reason, and its properties
					if _, err := parse(h, body, level); err == nil && !(h.kind == typeDisconnect && empty) {
						t.Errorf("accepted % x", body)
					}
					if h.kind == typeConnect || n > 12 {
						continue
					}
					nc := dialRaw(t, addr)
					b := append(connectPacket(level, "", "device", "secret"), packet(h.kind, h.flags, body)...)
					mustWrite(t, nc, append(b, packet(typeDisconnect, 0)...))
					readConnackOf(t, nc)
					nc.Close()
				}
			})
		}
	}
	connectTo(t, addr, level5, "device").ping()
}

func readConnackOf(t *testing.T, nc interface{ Read([]byte) (int, error) }) {
	t.Helper()
	if p := readRaw(t, nc); p[0] != byte(typeConnack)<<4 {
		t.Fatalf("got % x", p)
	}
}

// parseMochi and parsePaho decode with independent libraries. Neither checks everything that the
// specification asks for.
func parseMochi(h header, body []byte, level protocolLevel) (p parsed, err error) {
	defer func() {
		if r := recover(); r != nil { // a truncated SUBSCRIBE panics
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	pk := mochi.Packet{ProtocolVersion: byte(level)}
	if err := pk.FixedHeader.Decode(byte(h.kind)<<4 | h.flags); err != nil {
		return p, err
	}
	pk.FixedHeader.Remaining = len(body)
	p.kind = h.kind
	validity := mochi.CodeSuccess
	switch h.kind {
	case typeConnect:
		err = pk.ConnectDecode(body)
		p.client, p.user = pk.Connect.ClientIdentifier, string(pk.Connect.Username)
		validity = pk.ConnectValidate()
	case typePublish:
		err = pk.PublishDecode(body)
		p.id, p.topic, p.body = pk.PacketID, pk.TopicName, string(pk.Payload)
		validity = pk.PublishValidate(0)
	case typeSubscribe:
		err = pk.SubscribeDecode(body)
		validity = pk.SubscribeValidate()
	case typeUnsubscribe:
		err = pk.UnsubscribeDecode(body)
		validity = pk.UnsubscribeValidate()
	case typeDisconnect:
		err = pk.DisconnectDecode(body)
	}
	if h.kind == typeSubscribe || h.kind == typeUnsubscribe {
		p.id = pk.PacketID
		for _, f := range pk.Filters {
			p.filters = append(p.filters, f.Filter)
		}
	}
	if err == nil && validity.Code >= mochi.ErrUnspecifiedError.Code {
		err = validity
	}
	return p, err
}

func parsePaho(h header, body []byte) (p parsed, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	cp, err := paho.ReadPacket(bytes.NewReader(packet(h.kind, h.flags, body)))
	if err != nil {
		return p, err
	}
	p.kind = packetType(cp.Type)
	switch c := cp.Content.(type) {
	case *paho.Connect:
		p.client, p.user = c.ClientID, c.Username
	case *paho.Publish:
		p.id, p.topic, p.body = c.PacketID, c.Topic, string(c.Payload)
	case *paho.Subscribe:
		p.id = c.PacketID
		for _, s := range c.Subscriptions {
			p.filters = append(p.filters, s.Topic)
		}
	case *paho.Unsubscribe:
		p.id, p.filters = c.PacketID, c.Topics
	}
	return p, nil
}

func (p parsed) equal(o parsed) bool {
	return p.kind == o.kind && p.id == o.id && p.topic == o.topic && p.body == o.body &&
		p.client == o.client && p.user == o.user && slices.Equal(p.filters, o.filters)
}

// FuzzPackets reads a stream of packets: no panic, every slice within its packet, and whatever we
// accept reads the same in at least one of two independent libraries, and in no accepting one
// differently.
func FuzzPackets(f *testing.F) {
	for _, level := range bothLevels {
		for _, p := range clientPackets(level) {
			f.Add(byte(level), p)
		}
		f.Add(byte(level), bytes.Join([][]byte{publishPacket(level, 1, 7, "a", []byte("b")), packet(typePingreq, 0)}, nil))
	}
	f.Fuzz(func(t *testing.T, l byte, b []byte) {
		level := level311 + protocolLevel(l%2)
		for len(b) > 0 {
			h, size, err := parseHeader(b, level)
			if err != nil || size == 0 || len(b) < size+h.length {
				return
			}
			body := b[size : size+h.length]
			b = b[size+h.length:]
			ours, err := parse(h, body, level)
			if err != nil {
				var perr *protocolError
				if err != errEnded && (!errors.As(err, &perr) || perr.code < codeUnspecified) {
					t.Fatalf("error %v has no code", err)
				}
				continue
			}
			compare(t, h, body, level, ours)
		}
	})
}

func compare(t *testing.T, h header, body []byte, level protocolLevel, ours parsed) {
	t.Helper()
	if h.kind == typeConnect {
		p, _ := parseConnect(body)
		level = p.level
	}
	theirs, mochiErr := parseMochi(h, body, level)
	if mochiErr == nil && !ours.equal(theirs) {
		t.Fatalf("% x: we read %+v, mochi %+v", body, ours, theirs)
	}
	var pahoErr error = errEnded // it knows only MQTT 5
	if level == level5 {
		theirs, pahoErr = parsePaho(h, body)
		if pahoErr == nil && !ours.equal(theirs) {
			t.Fatalf("% x: we read %+v, paho %+v", body, ours, theirs)
		}
	}
	if mochiErr != nil && pahoErr != nil && !knownStrictness(h, body, mochiErr) {
		t.Fatalf("% x: only we accept it: %+v; %v; %v", body, ours, mochiErr, pahoErr)
	}
}

// knownStrictness lists what mochi refuses against the specification.
func knownStrictness(h header, body []byte, err error) bool {
	if h.kind != typeConnect {
		return false
	}
	p, _ := parseConnect(body)
	switch err {
	case mochi.ErrProtocolViolationFlagNoPassword: // a password may be empty
		return p.hasPassword && len(p.password) == 0
	case mochi.ErrProtocolViolationWillFlagNoPayload: // and so may a will's payload
		return true
	}
	return false
}

// FuzzOwnPackets makes valid packets with the independent library and expects that we accept them
// and read the same.
func FuzzOwnPackets(f *testing.F) { f.Fuzz(rapid.MakeFuzz(checkForeignPackets)) }

func TestForeignPackets(t *testing.T) { rapid.Check(t, checkForeignPackets) }

func checkForeignPackets(t *rapid.T) {
	word := rapid.StringMatching(`[a-z歩0-9 /]{1,12}`)
	user := []paho.User{{Key: word.Draw(t, "key"), Value: word.Draw(t, "value")}}
	id := rapid.Uint16Min(1).Draw(t, "id")
	var cp *paho.ControlPacket
	want := parsed{id: id}
	switch rapid.IntRange(0, 3).Draw(t, "type") {
	case 0:
		cp = paho.NewControlPacket(paho.PUBLISH)
		m := cp.Content.(*paho.Publish)
		m.QoS, m.PacketID, m.Topic = 1, id, word.Draw(t, "topic")
		m.Payload = rapid.SliceOf(rapid.Byte()).Draw(t, "payload")
		expiry := rapid.Uint32().Draw(t, "expiry")
		m.Properties = &paho.Properties{MessageExpiry: &expiry, ContentType: "x", User: user}
		want.topic, want.body = m.Topic, string(m.Payload)
	case 1:
		cp = paho.NewControlPacket(paho.SUBSCRIBE)
		s := cp.Content.(*paho.Subscribe)
		s.PacketID, s.Properties = id, &paho.Properties{User: user}
		s.Subscriptions = []paho.SubOptions{{Topic: word.Draw(t, "filter"), QoS: 1, RetainHandling: 2, NoLocal: true}, {Topic: "#"}}
		want.filters = []string{s.Subscriptions[0].Topic, "#"}
	case 2:
		cp = paho.NewControlPacket(paho.UNSUBSCRIBE)
		u := cp.Content.(*paho.Unsubscribe)
		u.PacketID, u.Topics, u.Properties = id, []string{word.Draw(t, "filter")}, &paho.Properties{User: user}
		want.filters = u.Topics
	default:
		cp = paho.NewControlPacket(paho.CONNECT)
		c := cp.Content.(*paho.Connect)
		c.ClientID, c.UsernameFlag, c.Username, c.PasswordFlag = word.Draw(t, "client"), true, word.Draw(t, "user"), true
		c.Password = rapid.SliceOf(rapid.Byte()).Draw(t, "password")
		c.WillFlag, c.WillTopic, c.WillQOS, c.WillProperties = true, word.Draw(t, "will"), 1, &paho.Properties{User: user}
		c.WillMessage = c.Password
		maximum := rapid.Uint32Min(1).Draw(t, "maximum")
		c.Properties = &paho.Properties{MaximumPacketSize: &maximum, User: user}
		want = parsed{client: c.ClientID, user: c.Username}
	}
	var b bytes.Buffer
	if _, err := cp.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	h, size, err := parseHeader(b.Bytes(), level5)
	if err != nil || size+h.length != b.Len() {
		t.Fatalf("header %+v: %v", h, err)
	}
	want.kind = h.kind
	got, err := parse(h, b.Bytes()[size:], level5)
	if err != nil || !got.equal(want) {
		t.Fatalf("% x: got %+v, %v, want %+v", b.Bytes(), got, err, want)
	}
}
