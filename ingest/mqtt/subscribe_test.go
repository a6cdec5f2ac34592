package mqtt

import (
	"bytes"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"ayumi/steps"
)

func receiptConfig() Config {
	cfg := DefaultConfig()
	cfg.EncodeReceipt = func(dst []byte, r *steps.Receipt, enc steps.Encoding) []byte {
		if r.Record.Index == 666 {
			panic("a bug in the encoder")
		}
		return append(dst, enc.String()+" "+r.Record.String()...)
	}
	return cfg
}

func subscribePacket(level protocolLevel, id uint16, options byte, filters ...string) []byte {
	b := [][]byte{uint16s(id), props(level)}
	for _, f := range filters {
		b = append(b, text(f), []byte{options})
	}
	return packet(typeSubscribe, 2, b...)
}

func (c *client) wantPacket(want []byte) {
	c.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(patience))
	if got := readRaw(c, c.nc); !bytes.Equal(got, want) {
		c.Fatalf("got % x, want % x", got, want)
	}
}

func TestSubscribe(t *testing.T) {
	filters := []string{"ayumi/v1/device/receipt", "#", "ayumi/v1/+/receipt", "ayumi/v1/other/receipt", "ayumi/v1/device/up/pb",
		"$share/g/ayumi/v1/device/receipt", "ayumi/v1/device/receipt/x"}
	for name, level := range bothLevels {
		t.Run(name, func(t *testing.T) {
			c := connectTo(t, startServer(t, receiptConfig(), newFake()), level, "device")
			for qos := range byte(3) {
				c.send(subscribePacket(level, 7, qos, filters...))
				if level == level311 {
					c.wantPacket([]byte{0x90, 9, 0, 7, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80})
					continue
				}
				p := c.recv5().(*packets.Suback)
				if p.PacketID != 7 || !bytes.Equal(p.Reasons, []byte{0, 0x87, 0x87, 0x87, 0x87, 0x87, 0x87}) {
					t.Errorf("got %v", p)
				}
			}
			unsubscribe := packet(typeUnsubscribe, 2, uint16s(8), props(level), text("#"), text(filters[0]), text(filters[0]))
			c.send(unsubscribe)
			if level == level311 {
				c.wantPacket([]byte{0xb0, 2, 0, 8})
			} else if p := c.recv5().(*packets.Unsuback); p.PacketID != 8 || !bytes.Equal(p.Reasons, []byte{0x11, 0, 0x11}) {
				t.Errorf("got %v", p)
			}
			c.ping()
		})
	}
}

func TestNoReceiptsWithoutEncoder(t *testing.T) {
	c := connectTo(t, startServer(t, DefaultConfig(), newFake()), level311, "device")
	c.send(subscribePacket(level311, 1, 0, "ayumi/v1/device/receipt"))
	c.wantPacket([]byte{0x90, 3, 0, 1, 0x80})
}

func TestReceipts(t *testing.T) {
	gw := newFake()
	s, addr := startServerOn(t, receiptConfig(), gw)
	own := "ayumi/v1/device/receipt"
	for name, level := range bothLevels {
		t.Run(name, func(t *testing.T) {
			c := connectTo(t, addr, level, "device")
			c.send(subscribePacket(level, 1, 1, own))
			c.wantPacket(appendFilterAck(nil, typeSuback, level, 1, []byte{0}))
			wantReceipt := func(payload string) {
				t.Helper()
				c.wantPacket(publishPacket(level, 0, 0, own, []byte(payload)))
			}
			for topic, want := range map[string]string{"ayumi/v1/device/up/json": "json 7.1", "ayumi/v1/device/bundle/pb": "pb 7.1", "odd": "json 7.1"} {
				c.send(publishPacket(level, 1, 5, topic, nil))
				gw.take(t).store()
				c.wantPuback(5, codeSuccess)
				wantReceipt(want)
			}
			c.send(publishPacket(level, 0, 0, "odd", nil)) // QoS 0 gets a receipt too
			gw.take(t).store()
			wantReceipt("json 7.1")

			c.publish(6, "x") // the encoder's panic stays in the listener and costs only the receipt
			it := gw.take(t)
			complete(it.done, &steps.Receipt{Record: steps.RecordID{Index: 666}}, nil)
			c.wantPuback(6, codeSuccess)

			c.send(packet(typeUnsubscribe, 2, uint16s(8), props(level), text(own)))
			c.recvAny()
			c.publish(7, "x")
			gw.take(t).store()
			c.wantPuback(7, codeSuccess)
			c.ping()
		})
	}
	if got := testutil.ToFloat64(s.metrics.panics); got != 2 {
		t.Errorf("%v panics were counted, want 2", got)
	}
}

func (c *client) recvAny() { readRaw(c, c.nc) }

// TestReceiptsOfSlowReader fills the receipt buffer: receipts are dropped, PUBACKs are not.
func TestReceiptsOfSlowReader(t *testing.T) {
	gw := newFake()
	cfg := receiptConfig()
	cfg.ReceiptBuffer = 200
	s := startPipes(t, cfg, gw)
	defer s.stop()
	c := handshake(t, s.dial(), level311, "device")
	c.send(subscribePacket(level311, 1, 0, "ayumi/v1/device/receipt"))
	c.wantPacket([]byte{0x90, 3, 0, 1, 0})
	const n = 50
	for id := uint16(1); id <= n; id++ {
		c.publish(id, "x") // the pipe holds nothing: the first PUBACK already blocks the writer
		gw.take(t).store()
	}
	next, receipts := byte(1), 0
	for next <= n {
		switch p := readRaw(t, c.nc); p[0] {
		case byte(typePuback) << 4:
			if p[3] != next {
				t.Fatalf("PUBACK % x, want %d", p, next)
			}
			next++
		case byte(typePublish) << 4:
			receipts++
		}
	}
	dropped := testutil.ToFloat64(s.metrics.receiptsDropped)
	if dropped == 0 || receipts == 0 || receipts+int(dropped) < n-4 {
		t.Errorf("%d receipts came and %v were dropped of %d", receipts, dropped, n)
	}
	c.nc.Close()
}

func TestReceiptLargerThanClientTakes(t *testing.T) {
	gw := newFake()
	cfg := DefaultConfig()
	cfg.EncodeReceipt = func(dst []byte, _ *steps.Receipt, _ steps.Encoding) []byte { return append(dst, make([]byte, 100)...) }
	s, addr := startServerOn(t, cfg, gw)
	c := connectTo(t, addr, level5, "device", 0x27, 0, 0, 0, 64)
	c.send(subscribePacket(level5, 1, 0, "ayumi/v1/device/receipt"))
	c.recvAny()
	c.publish(1, "x")
	gw.take(t).store()
	c.wantPuback(1, codeSuccess)
	c.ping()
	if got := testutil.ToFloat64(s.metrics.receiptsDropped); got != 1 {
		t.Errorf("%v receipts were dropped, want 1", got)
	}
}
