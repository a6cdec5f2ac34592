package mqtt

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"ayumi/ingest"
	"ayumi/steps"
)

// TestLoopGoesOn has publishes of one device wait in each of the ways there are, until the loops are
// free of them: everybody else in the same loops is served meanwhile.
func TestLoopGoesOn(t *testing.T) {
	for _, tc := range []struct {
		name string
		tell bool // the gateway tells that it will wait
	}{{"queue full", true}, {"gateway hangs", false}} {
		t.Run(tc.name, func(t *testing.T) {
			gw := newFake()
			gw.tell = tc.tell
			release, waiting := make(chan struct{}), make(chan struct{}, 100)
			gw.submit = func(_ context.Context, env *ingest.Envelope) error {
				if string(env.Body) == "wait" {
					waiting <- struct{}{}
					<-release
				}
				return nil
			}
			s, addr := startUnwatched(t, DefaultConfig(), gw)
			slow, others := connectMany(t, addr, level5, "slow"), connectMany(t, addr, level5, "other")
			parked(t, s, len(slow)+len(others))
			for _, c := range slow {
				c.publish(1, "wait")
				<-waiting
				if n := len(connOf(t, s, c.name).in.buf); n > loopBuffer {
					t.Errorf("a connection whose small packet waits holds %d bytes of buffer", n)
				}
				if !tc.tell { // two looks, after which the loop is somebody else's
					s.inspect(time.Now())
					s.inspect(time.Now())
				}
			}
			for id := uint16(1); id <= 20; id++ {
				for _, c := range others {
					c.publish(id, "x")
					gw.take(t).store()
					c.wantPuback(id, codeSuccess)
				}
			}
			for _, c := range slow {
				c.publish(2, "next")
			}
			s.inspect(time.Now())
			s.inspect(time.Now())
			close(release)
			for range 2 * len(slow) {
				gw.take(t).store()
			}
			for _, c := range slow {
				c.wantPuback(1, codeSuccess)
				c.wantPuback(2, codeSuccess)
			}
			comeBack(t, s, slices.Concat(slow, others))
		})
	}
}

// connOf returns the connection of a device, which has one.
func connOf(t *testing.T, s *Server, device string) *conn {
	t.Helper()
	for _, c := range serverConns(s) {
		if string(c.key.device) == device {
			return c
		}
	}
	t.Fatalf("%s is not connected", device)
	return nil
}

// comeBack pings until the clients, who have no other connections beside them, are all in a loop. Who
// was handed over comes back with a packet, but not with one that comes before the publish it was
// handed over for has quite ended, a moment after its PUBACK.
func comeBack(t *testing.T, s *Server, clients []*client) {
	t.Helper()
	for _, c := range clients {
		c.ping()
		deadline := time.Now().Add(patience)
		for served := connOf(t, s, c.name); served.place.Load() == placeOwn; c.ping() {
			if time.Now().After(deadline) {
				t.Fatalf("%s answers, and is in no loop", c.name)
			}
		}
	}
	parked(t, s, len(clients))
}

// TestThrottleInLoop has as many devices as the loops would need to stand still use up their allowance,
// for half a minute or for a moment: everybody else in the same loops is served meanwhile, and with the
// allowance the connections come back.
func TestThrottleInLoop(t *testing.T) {
	for _, tc := range []struct {
		name      string
		perSecond int
		comesBack bool
	}{{"for half a minute", 1, false}, {"for a moment", 1000, true}} {
		t.Run(tc.name, func(t *testing.T) {
			gw := newFake()
			gw.submit = func(_ context.Context, env *ingest.Envelope) error {
				if string(env.Body) == "large" {
					env.Allowance.Spend(1000, env.ReceivedAt)
				}
				return nil
			}
			cfg := DefaultConfig()
			cfg.Allowances = ingest.NewAllowances(ingest.Rates{Device: ingest.Rate{PerSecond: tc.perSecond, Burst: 30}}, time.Now)
			s, addr := startServerOn(t, cfg, gw)
			slow, others := connectMany(t, addr, level311, "slow"), connectMany(t, addr, level311, "other")
			parked(t, s, len(slow)+len(others))
			for _, c := range slow {
				c.publish(1, "large")
				gw.take(t).store()
				c.wantPuback(1, codeSuccess)
				c.publish(2, "held up")
			}
			if !tc.comesBack {
				parked(t, s, len(others))
				for _, c := range others {
					c.publish(1, "x")
					if it := gw.take(t); it.body != "x" {
						t.Fatalf("%q was submitted", it.body)
					} else {
						it.store()
					}
					c.wantPuback(1, codeSuccess)
				}
				return
			}
			for range slow {
				gw.take(t).store()
			}
			for _, c := range slow {
				c.wantPuback(2, codeSuccess)
			}
			parked(t, s, len(slow)+len(others))
			if n := testutil.ToFloat64(s.metrics.leftLoop); n != float64(len(slow)) {
				t.Errorf("loops were left %v times, want %d", n, len(slow))
			}
		})
	}
}

// TestWindowInLoop expects that a full window keeps nobody else from being read, and that PINGREQ is
// answered although the next publish waits.
func TestWindowInLoop(t *testing.T) {
	gw := newFake()
	cfg := DefaultConfig()
	cfg.ReceiveMaximum = 4
	s, addr := startUnwatched(t, cfg, gw)
	full, others := connectMany(t, addr, level311, "full"), connectMany(t, addr, level311, "other")
	parked(t, s, len(full)+len(others))
	var items []item
	for _, c := range full {
		for id := uint16(1); id <= 5; id++ {
			c.publish(id, c.name)
		}
		c.send(packet(typePingreq, 0))
		for range 4 {
			items = append(items, gw.take(t))
		}
	}
	parked(t, s, len(others))
	for _, c := range others {
		c.publish(1, "x")
		gw.take(t).store()
		c.wantPuback(1, codeSuccess)
	}
	s.inspect(time.Now())
	s.inspect(time.Now())
	for _, c := range full {
		if p := readRaw(t, c.nc); p[0] != byte(typePingresp)<<4 {
			t.Fatalf("got % x, want PINGRESP", p)
		}
	}
	if len(gw.items) > 0 {
		t.Fatal("more than the window was submitted")
	}
	for _, it := range items {
		it.store()
	}
	for range full {
		gw.take(t).store()
	}
	for _, c := range full {
		for id := uint16(1); id <= 5; id++ {
			c.wantPuback(id, codeSuccess)
		}
	}
	comeBack(t, s, slices.Concat(full, others))
}

// TestSlowReaderInLoop lets so much output wait that a socket takes it in parts: nobody waits for its
// client, and it is all there, in order, when the client reads at last.
func TestSlowReaderInLoop(t *testing.T) {
	gw := newFake()
	cfg := DefaultConfig()
	cfg.ReceiptBuffer, cfg.ReceiveMaximum = 64<<20, 1000
	size := 50_000
	cfg.EncodeReceipt = func(dst []byte, r *steps.Receipt, _ steps.Encoding) []byte {
		return append(binary.BigEndian.AppendUint32(dst, r.Record.Index), make([]byte, size)...)
	}
	s, addr := startServerOn(t, cfg, gw)
	slow, others := connectTo(t, addr, level311, "slow"), connectMany(t, addr, level311, "other")
	slow.send(packet(typeSubscribe, 2, uint16s(1), text("ayumi/v1/slow/receipt"), []byte{0}))
	if p := readRaw(t, slow.nc); p[0] != byte(typeSuback)<<4 {
		t.Fatalf("got % x, want SUBACK", p)
	}
	parked(t, s, 1+len(others))
	const publishes = 300
	for i := range publishes {
		slow.publish(uint16(i+1), "x")
		it := gw.take(t)
		complete(it.done, &steps.Receipt{Record: steps.RecordID{Index: uint32(i)}, Uploads: storedReceipt().Uploads}, nil)
		if i%10 == 0 {
			for _, c := range others {
				c.publish(1, "y")
				gw.take(t).store()
				c.wantPuback(1, codeSuccess)
			}
		}
	}
	acks, receipts := 0, 0
	_ = slow.nc.SetReadDeadline(time.Now().Add(patience))
	for r := io.Reader(slow.nc); acks < publishes || receipts < publishes; {
		kind, body := readLong(t, r)
		switch kind {
		case typePuback:
			if acks++; binary.BigEndian.Uint16(body) != uint16(acks) {
				t.Fatalf("PUBACK %d at the place of %d", binary.BigEndian.Uint16(body), acks)
			}
		case typePublish:
			topic := 2 + int(binary.BigEndian.Uint16(body))
			if got := binary.BigEndian.Uint32(body[topic:]); got != uint32(receipts) || len(body) != topic+4+size {
				t.Fatalf("receipt %d of %d bytes at the place of %d", got, len(body), receipts)
			}
			receipts++
		default:
			t.Fatalf("unexpected packet type %d", kind)
		}
	}
	slow.ping()
	for _, c := range parked(t, s, 1+len(others)) {
		c.mu.Lock()
		if !c.out.writing && !c.out.armed.IsZero() { // it would pass, and then nothing could be written
			t.Error("a write deadline is left behind")
		}
		c.mu.Unlock()
	}
}

// readLong reads a packet of any length.
func readLong(t *testing.T, r io.Reader) (kind packetType, body []byte) {
	t.Helper()
	var one [1]byte
	var head []byte
	for len(head) < 2 || head[len(head)-1] >= 0x80 {
		if _, err := io.ReadFull(r, one[:]); err != nil {
			t.Fatal(err)
		}
		head = append(head, one[0])
	}
	n, _, err := varint(head[1:])
	if err != nil {
		t.Fatal(err)
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		t.Fatal(err)
	}
	return packetType(head[0] >> 4), body
}

// TestRandomWaits publishes more than windows and queue take, through a gateway that hangs now and
// then, while the watch looks as often as it can: in loops and without them, all is acknowledged in
// order.
func TestRandomWaits(t *testing.T) {
	for _, looped := range []bool{true, false} {
		t.Run(fmt.Sprint("loops ", looped), func(t *testing.T) {
			gw := &hangingGateway{newBatchGateway(t)}
			cfg := DefaultConfig()
			cfg.ReceiveMaximum = 3
			s, addr := startServerOn(t, cfg, gw)
			s.mu.Lock()
			s.looped = !looped // made already, so that there are none
			s.mu.Unlock()
			stop := make(chan struct{})
			var watch, clients sync.WaitGroup
			watch.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						s.inspect(time.Now())
						runtime.Gosched()
					}
				}
			})
			all := make([]*client, 20)
			for i := range all {
				all[i] = connectTo(t, addr, level311, fmt.Sprint("device-", i))
				clients.Go(func() { publishAll(t, all[i], 400) })
			}
			clients.Wait()
			close(stop)
			watch.Wait()
			if looped {
				comeBack(t, s, all)
			}
		})
	}
}

// publishAll sends publishes in random pieces, with PINGREQs between them, and reads the answers.
func publishAll(t *testing.T, c *client, n int) {
	var stream []byte
	for id := 1; id <= n; id++ {
		stream = append(stream, publishPacket(c.level, 1, uint16(id), c.topic(), make([]byte, rand.IntN(600)))...)
		if id%50 == 0 {
			stream = append(stream, packet(typePingreq, 0)...)
		}
	}
	var writer sync.WaitGroup
	writer.Go(func() {
		for len(stream) > 0 {
			k := min(len(stream), 1+rand.IntN(3000))
			if _, err := c.nc.Write(stream[:k]); err != nil {
				t.Error(err)
				return
			}
			stream = stream[k:]
		}
	})
	_ = c.nc.SetReadDeadline(time.Now().Add(patience))
	head := make([]byte, 4)
	for next, pings := 1, 0; next <= n || pings < n/50; {
		if _, err := io.ReadFull(c.nc, head[:2]); err != nil {
			t.Error(err)
			break
		}
		if head[0] == byte(typePingresp)<<4 {
			pings++
			continue
		}
		if _, err := io.ReadFull(c.nc, head[2:]); err != nil || binary.BigEndian.Uint16(head[2:]) != uint16(next) {
			t.Errorf("% x, %v at the place of PUBACK %d", head, err, next)
			break
		}
		next++
	}
	writer.Wait()
}

// hangingGateway takes its time now and then, with and without telling so.
type hangingGateway struct{ *batchGateway }

func (g *hangingGateway) Submit(ctx context.Context, env *ingest.Envelope, done ingest.Completion) error {
	for range rand.IntN(20) / 17 {
		for range rand.IntN(200) {
			runtime.Gosched()
		}
		if env.BeforeWait != nil && rand.IntN(2) == 0 {
			env.BeforeWait()
		}
		for range rand.IntN(200) {
			runtime.Gosched()
		}
	}
	return g.batchGateway.Submit(ctx, env, done)
}
