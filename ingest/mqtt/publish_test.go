package mqtt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"ayumi/ingest"
	"ayumi/steps"
)

func TestPubackOrderWithRefusals(t *testing.T) {
	for name, level := range bothLevels {
		t.Run(name, func(t *testing.T) {
			gw := newFake()
			c := connectTo(t, startServer(t, DefaultConfig(), gw), level, "device")
			var items []item
			for i := range len(steps.Reasons()) + 1 {
				c.publish(uint16(i+1), fmt.Sprint(i))
				items = append(items, gw.take(t))
			}
			items[0].store()
			for i, r := range steps.Reasons() {
				items[i+1].refuse(r, "fault "+r.String())
			}
			c.wantPuback(1, codeSuccess)
			for i, r := range steps.Reasons() {
				want := codePayloadFormatInvalid
				switch r {
				case steps.ReasonTopic, steps.ReasonUnknownDevice, steps.ReasonUnbound, steps.ReasonNotReader:
					want = codeNotAuthorized
				}
				if text := c.wantPuback(uint16(i+2), want); level == level5 && text != "fault "+r.String() {
					t.Errorf("%v: reason string %q", r, text)
				}
			}
		})
	}
}

// TestPubackOrderProperty publishes at random in windows, completes in batches with random
// verdicts, and expects every PUBACK in the order of the publishes.
func TestPubackOrderProperty(t *testing.T) {
	gw := newFake()
	addr := startServer(t, DefaultConfig(), gw)
	rapid.Check(t, func(rt *rapid.T) {
		c := connectTo(t, addr, level5, "device")
		defer c.nc.Close()
		for range rapid.IntRange(1, 4).Draw(rt, "windows") {
			var items []item
			var ids []uint16
			for range rapid.IntRange(1, DefaultConfig().ReceiveMaximum).Draw(rt, "publishes") {
				id := rapid.Uint16Min(1).Draw(rt, "id")
				ids = append(ids, id)
				c.publish(id, strings.Repeat("x", rapid.IntRange(0, 6000).Draw(rt, "size")))
				items = append(items, gw.take(t))
			}
			var codes []reasonCode
			for _, it := range items {
				if rapid.Bool().Draw(rt, "refused") {
					it.refuse(steps.ReasonFuture, "ahead")
					codes = append(codes, codePayloadFormatInvalid)
				} else {
					it.store()
					codes = append(codes, codeSuccess)
				}
			}
			for i, id := range ids {
				c.wantPuback(id, codes[i])
			}
		}
	})
}

func TestNoPubackWhenCommitFails(t *testing.T) {
	kinds := map[steps.Kind]reasonCode{
		steps.Overload: codeQuotaExceeded, steps.Unauthorized: codeNotAuthorized,
		steps.Unavailable: codeImplementation, steps.Internal: codeUnspecified,
	}
	for name, level := range bothLevels {
		for kind, code := range kinds {
			t.Run(name+" "+kind.String(), func(t *testing.T) {
				gw := newFake()
				c := connectTo(t, startServer(t, DefaultConfig(), gw), level, "device")
				var items []item
				for id := uint16(1); id <= 4; id++ {
					c.publish(id, "x")
					items = append(items, gw.take(t))
				}
				items[0].store()
				items[1].fail(steps.E("commit group", kind, errors.New("disk full")))
				items[2].store()
				items[3].fail(steps.E("commit group", kind, nil))
				c.wantPuback(1, codeSuccess)
				c.wantEnd(code)
			})
		}
	}
}

// TestCompletionsOutOfOrder breaks the contract of ingest.Completion: rather than acknowledging
// out of order the connection ends.
func TestCompletionsOutOfOrder(t *testing.T) {
	gw := newFake()
	c := connectTo(t, startServer(t, DefaultConfig(), gw), level5, "device")
	c.publish(1, "x")
	c.publish(2, "x")
	first, second := gw.take(t), gw.take(t)
	second.store()
	first.store()
	c.wantEnd(codeUnspecified)
}

// TestSubmitRefused expects that what was submitted earlier is still acknowledged.
func TestSubmitRefused(t *testing.T) {
	for name, level := range bothLevels {
		t.Run(name, func(t *testing.T) {
			gw := newFake()
			refused := make(chan struct{})
			gw.submit = func(_ context.Context, env *ingest.Envelope) error {
				if string(env.Body) == "too much" {
					close(refused)
					return steps.E("submit", steps.Overload, nil)
				}
				return nil
			}
			c := connectTo(t, startServer(t, DefaultConfig(), gw), level, "device")
			c.publish(1, "x")
			it := gw.take(t)
			c.publish(2, "too much")
			c.publish(3, "x")
			<-refused
			it.store()
			c.wantPuback(1, codeSuccess)
			c.wantEnd(codeQuotaExceeded)
			select {
			case it := <-gw.items:
				t.Errorf("%q was submitted after a refusal", it.body)
			default:
			}
		})
	}
}

func TestReasonString(t *testing.T) {
	long := strings.Repeat("日本語 too long ", 40)
	tests := []struct {
		name       string
		properties []byte
		detail     string
		want       string
	}{
		{"given", nil, "seq must rise", "seq must rise"},
		{"made fit", nil, "tab\tand \xff and 歩", "tab?and ? and ???"},
		{"cut", nil, strings.Repeat("x", 500), strings.Repeat("x", maxReasonString)},
		{"none", nil, "", ""},
		{"not wanted", []byte{0x17, 0}, "seq must rise", ""},
		{"larger than the client takes", []byte{0x27, 0, 0, 0, 64}, strings.Repeat("x", 60), ""},
		{"as large as the client takes", []byte{0x27, 0, 0, 0, 64}, strings.Repeat("x", 55), strings.Repeat("x", 55)},
	}
	gw := newFake()
	addr := startServer(t, DefaultConfig(), gw)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := connectTo(t, addr, level5, "device", tt.properties...)
			c.publish(9, "x")
			it := gw.take(t)
			it.refuse(steps.ReasonMalformed, tt.detail)
			if got := c.wantPuback(9, codePayloadFormatInvalid); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if got := reasonString(long); !utf8.ValidString(got) || len(got) > maxReasonString {
		t.Errorf("%q is not fit for a UTF-8 Encoded String", got)
	}
}

func TestTopics(t *testing.T) {
	tests := []struct {
		topic  string
		enc    steps.Encoding
		bundle bool
		own    bool
	}{
		{"ayumi/v1/device/up/pb", steps.Protobuf, false, true},
		{"ayumi/v1/device/up/json", steps.JSON, false, true},
		{"ayumi/v1/device/bundle/pb", steps.Protobuf, true, true},
		{"ayumi/v1/device/bundle/json", steps.JSON, true, true},
		{"ayumi/v1/device/up/xml", 0, false, false},
		{"ayumi/v1/device/up", 0, false, false},
		{"ayumi/v1/device/", 0, false, false},
		{"ayumi/v1/devicf/up/pb", 0, false, false},
		{"ayumi/v1/device2/up/pb", 0, false, false},
		{"ayumi/v1/device/receipt", 0, false, false},
		{"歩/数", 0, false, false},
		{"$SYS/x", 0, false, false},
	}
	for name, level := range bothLevels {
		gw := newFake()
		c := connectTo(t, startServer(t, DefaultConfig(), gw), level, "device")
		for i, tt := range tests {
			t.Run(name+" "+tt.topic, func(t *testing.T) {
				c.send(publishPacket(level, 1, uint16(i+1), tt.topic, []byte("body")))
				it := gw.take(t)
				it.store()
				c.wantPuback(uint16(i+1), codeSuccess)
				foreign := tt.topic
				if tt.own {
					foreign = ""
				}
				e := it.env
				if e.Encoding != tt.enc || e.Bundle != tt.bundle || e.Topic != foreign || it.body != "body" ||
					e.Transport != steps.MQTT || e.Identity != (steps.Identity{Device: "device", Generation: 3}) || e.ReceivedAt.IsZero() {
					t.Errorf("envelope %+v", e)
				}
			})
		}
	}
}

func TestPublishProperties(t *testing.T) {
	gw := newFake()
	c := connectTo(t, startServer(t, DefaultConfig(), gw), level5, "device")
	all := props(level5, 0x01, 1, 0x02, 0, 0, 0, 9, 0x03, 0, 1, 'a', 0x08, 0, 1, 'r', 0x09, 0, 1, 0xff, 0x26, 0, 1, 'k', 0, 1, 'v')
	c.send(packet(typePublish, 2|publishDup, text(c.topic()), uint16s(1), all, []byte("body")))
	it := gw.take(t)
	it.store()
	if it.body != "body" {
		t.Errorf("body %q", it.body)
	}
	c.wantPuback(1, codeSuccess)
}

func TestQoS0IsNeverAcknowledged(t *testing.T) {
	for name, level := range bothLevels {
		t.Run(name, func(t *testing.T) {
			gw := newFake()
			c := connectTo(t, startServer(t, DefaultConfig(), gw), level, "device")
			c.send(publishPacket(level, 0, 0, c.topic(), []byte("once")))
			gw.take(t).store()
			if level == level311 {
				c.send(packet(typePublish, publishRetain, text(c.topic()), []byte("RETAIN is ignored")))
				gw.take(t).store()
			}
			c.ping()
			c.send(publishPacket(level, 0, 0, c.topic(), []byte("last")), packet(typeDisconnect, 0))
			if it := gw.take(t); it.body != "last" {
				t.Errorf("got %q", it.body)
			} else {
				it.store()
			}
			c.wantEnd(codeSuccess)
		})
	}
}

func TestProtocolErrors(t *testing.T) {
	own := "ayumi/v1/device/up/pb"
	publish := func(flags byte, topic string, id []byte, properties ...byte) []byte {
		return packet(typePublish, flags, text(topic), id, props(level5, properties...))
	}
	one := uint16s(1)
	tests := []struct {
		name   string
		packet []byte
		code   reasonCode
	}{
		{"retain", publish(3, own, one), codeRetainNotSupported},
		{"QoS 2", publish(4, own, one), codeQoSNotSupported},
		{"QoS 3", publish(6, own, one), codeMalformed},
		{"DUP with QoS 0", publish(8, own, nil), codeMalformed},
		{"topic alias", publish(2, own, one, 0x23, 0, 1), codeTopicAliasInvalid},
		{"topic alias 0", publish(2, own, one, 0x23, 0, 0), codeTopicAliasInvalid},
		{"topic alias alone", publish(2, "", one, 0x23, 0, 1), codeTopicAliasInvalid},
		{"empty topic", publish(2, "", one), codeTopicNameInvalid},
		{"+ in topic", publish(2, "a/+", one), codeTopicNameInvalid},
		{"# in topic", publish(2, "a/#", one), codeTopicNameInvalid},
		{"U+0000 in topic", publish(2, "a\x00", one), codeMalformed},
		{"bad UTF-8 in topic", publish(2, "a\xff", one), codeMalformed},
		{"packet id 0", publish(2, own, uint16s(0)), codeProtocolError},
		{"subscription identifier in PUBLISH", publish(2, own, one, 0x0B, 1), codeProtocolError},
		{"property twice", publish(2, own, one, 0x01, 0, 0x01, 0), codeProtocolError},
		{"unknown property", publish(2, own, one, 0x7f), codeMalformed},
		{"property of CONNECT", publish(2, own, one, 0x21, 0, 1), codeMalformed},
		{"payload format 2", publish(2, own, one, 0x01, 2), codeProtocolError},
		{"wildcard in response topic", publish(2, own, one, 0x08, 0, 1, '#'), codeProtocolError},
		{"property cut off", packet(typePublish, 2, text(own), one, []byte{3, 0x02, 0}), codeMalformed},
		{"overlong property length", packet(typePublish, 2, text(own), one, []byte{0x80, 0}), codeMalformed},
		{"overlong remaining length", []byte{0xc0, 0x80, 0x00}, codeMalformed},
		{"second CONNECT", connectPacket(level5, "c", "device", "secret"), codeProtocolError},
		{"AUTH", packet(typeAuth, 0, []byte{0x18, 0}), codeProtocolError},
		{"PUBACK of nothing", packet(typePuback, 0, one), codeProtocolError},
		{"PUBREL", packet(typePubrel, 2, one), codeProtocolError},
		{"CONNACK", packet(typeConnack, 0, []byte{0, 0, 0}), codeProtocolError},
		{"PINGRESP", packet(typePingresp, 0), codeProtocolError},
		{"type 0", []byte{0, 0}, codeMalformed},
		{"flags of PINGREQ", packet(typePingreq, 1), codeMalformed},
		{"flags of SUBSCRIBE", packet(typeSubscribe, 0, one), codeMalformed},
		{"PINGREQ with a body", packet(typePingreq, 0, one), codeMalformed},
		{"SUBSCRIBE of nothing", packet(typeSubscribe, 2, one, []byte{0}), codeProtocolError},
		{"SUBSCRIBE id 0", packet(typeSubscribe, 2, uint16s(0), []byte{0}, text("a"), []byte{0}), codeProtocolError},
		{"SUBSCRIBE QoS 3", packet(typeSubscribe, 2, one, []byte{0}, text("a"), []byte{3}), codeMalformed},
		{"SUBSCRIBE reserved option", packet(typeSubscribe, 2, one, []byte{0}, text("a"), []byte{0x40}), codeMalformed},
		{"SUBSCRIBE retain handling 3", packet(typeSubscribe, 2, one, []byte{0}, text("a"), []byte{0x30}), codeProtocolError},
		{"SUBSCRIBE empty filter", packet(typeSubscribe, 2, one, []byte{0}, text(""), []byte{0}), codeMalformed},
		{"SUBSCRIBE identifier", packet(typeSubscribe, 2, one, []byte{2, 0x0B, 1}, text("a"), []byte{0}), codeSubscriptionIDRefused},
		{"UNSUBSCRIBE of nothing", packet(typeUnsubscribe, 2, one, []byte{0}), codeProtocolError},
		{"DISCONNECT sets a session expiry", packet(typeDisconnect, 0, []byte{0, 5, 0x11, 0, 0, 0, 9}), codeProtocolError},
		{"too large", append([]byte{0x32}, appendVarint(nil, maxRemainingLength)...), codePacketTooLarge},
	}
	gw := newFake()
	addr := startServer(t, DefaultConfig(), gw)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := connectTo(t, addr, level5, "device")
			c.send(tt.packet, packet(typePingreq, 0)) // what follows is not answered
			c.wantEnd(tt.code)
		})
	}
	if len(gw.items) > 0 {
		t.Errorf("%d payloads were submitted", len(gw.items))
	}
}

func TestProtocolErrors311(t *testing.T) {
	one, own := uint16s(1), "ayumi/v1/device/up/pb"
	tests := map[string][]byte{
		"QoS 2":              packet(typePublish, 4, text(own), one),
		"QoS 3":              packet(typePublish, 6, text(own), one),
		"empty topic":        packet(typePublish, 2, text(""), one),
		"packet id 0":        packet(typePublish, 2, text(own), uint16s(0)),
		"no packet id":       packet(typePublish, 2, text(own)),
		"SUBSCRIBE reserved": packet(typeSubscribe, 2, one, text("a"), []byte{4}),
		"DISCONNECT, body":   packet(typeDisconnect, 0, []byte{0}),
		"AUTH":               packet(typeAuth, 0),
		"second CONNECT":     connectPacket(level311, "c", "device", "secret"),
		"too large":          append([]byte{0x32}, appendVarint(nil, maxRemainingLength)...),
	}
	addr := startServer(t, DefaultConfig(), newFake())
	for name, p := range tests {
		t.Run(name, func(t *testing.T) {
			c := connectTo(t, addr, level311, "device")
			c.send(p)
			c.wantEnd(codeSuccess)
		})
	}
}

func TestLargePublish(t *testing.T) {
	gw := newFake()
	cfg := DefaultConfig()
	c := connectTo(t, startServer(t, cfg, gw), level311, "device")
	room := cfg.MaxPacketBytes - len(publishPacket(level311, 1, 1, c.topic(), nil)) - 2
	for i, size := range []int{0, 1, idleBuffer, busyBuffer, busyBuffer + 1, 1 << 20, room, 10} {
		body := bytes.Repeat([]byte{byte('a' + i)}, size)
		c.publish(uint16(i+1), string(body))
		it := gw.take(t)
		if it.body != string(body) {
			t.Fatalf("size %d: got %d other bytes", size, len(it.body))
		}
		it.store()
		c.wantPuback(uint16(i+1), codeSuccess)
	}
	c.publish(99, strings.Repeat("x", room+1))
	c.wantEnd(codePacketTooLarge)
}

// TestPacketIDReuse sends the same Packet Identifier with DUP on a new connection.
func TestPacketIDReuse(t *testing.T) {
	gw := newFake()
	addr := startServer(t, DefaultConfig(), gw)
	c := connectTo(t, addr, level5, "device")
	c.publish(1, "first")
	first := gw.take(t)
	c.nc.Close()
	c = connectTo(t, addr, level5, "device")
	c.send(packet(typePublish, 2|publishDup, text(c.topic()), uint16s(1), []byte{0}, []byte("first")))
	again := gw.take(t)
	c.publish(1, "another payload under a used identifier")
	other := gw.take(t)
	first.store() // must not acknowledge on the new connection
	c.ping()
	again.refuse(steps.ReasonFuture, "")
	other.store()
	c.wantPuback(1, codePayloadFormatInvalid)
	c.wantPuback(1, codeSuccess)
}
