package mqtt

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"ayumi/ingest"
	"ayumi/steps"
)

// startUnwatched has a server look at its connections only when the test says so.
func startUnwatched(t *testing.T, cfg Config, gw Gateway) (*Server, string) {
	t.Helper()
	s, err := New(cfg, gw, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.watching = true // already
	return s, serveOn(t, s)
}

// parked waits until n connections are in their loops, and returns them.
func parked(t *testing.T, s *Server, n int) []*conn {
	t.Helper()
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		var in []*conn
		for _, c := range serverConns(s) {
			if c.place.Load() == placeParked {
				in = append(in, c)
			}
		}
		if len(in) == n {
			return in
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are in a loop, want %d", len(in), n)
		}
	}
}

// own runs f while the connection, which says nothing, is in no loop.
func own(t *testing.T, c *conn, f func()) {
	t.Helper()
	if !c.place.CompareAndSwap(placeParked, placeOwn) {
		t.Fatal("an idle connection is being read")
	}
	f()
	c.place.Store(placeParked)
}

// connectMany opens enough connections that several share each loop.
func connectMany(t *testing.T, addr string, level protocolLevel, prefix string) []*client {
	clients := make([]*client, 3*runtime.NumCPU())
	for i := range clients {
		clients[i] = connectTo(t, addr, level, fmt.Sprint(prefix, "-", i))
	}
	return clients
}

// TestIdleConnectionHoldsNothing counts goroutines and buffers of connections that have been busy.
func TestIdleConnectionHoldsNothing(t *testing.T) {
	gw := newFake()
	gw.auto = true
	s, addr := startServerOn(t, DefaultConfig(), gw)
	connectTo(t, addr, level5, "first").ping() // with the loops
	before := runtime.NumGoroutine()
	const n = 200
	for i := range n {
		c := connectTo(t, addr, level5, fmt.Sprint("device-", i))
		c.send(publishPacket(level5, 1, 1, c.topic(), make([]byte, 10_000)))
		c.wantPuback(1, codeSuccess)
	}
	for _, c := range parked(t, s, n+1) {
		own(t, c, func() {
			if c.in.buf != nil || c.in.idle != nil || c.in.turn != nil || c.in.busy != nil {
				t.Error("an idle connection keeps a buffer")
			}
		})
	}
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before+10; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines more for %d idle connections", runtime.NumGoroutine()-before, n)
		}
	}
}

// TestLoopAllocatesNothing covers everything from the ready socket to the written PUBACK.
func TestLoopAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	s, addr := startServerOn(t, DefaultConfig(), syncGateway{newFake()})
	c := connectTo(t, addr, level311, "device")
	parked(t, s, 1)
	p, answer := publishPacket(level311, 1, 7, c.topic(), make([]byte, 256)), make([]byte, 4)
	_ = c.nc.SetDeadline(time.Now().Add(patience))
	n := testing.AllocsPerRun(2000, func() {
		if _, err := c.nc.Write(p); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c.nc, answer); err != nil {
			t.Fatal(err)
		}
	})
	if n >= 1 {
		t.Errorf("%v allocations a publish", n)
	}
}

// TestKeepAliveInLoop looks at silent connections with a clock that is ahead.
func TestKeepAliveInLoop(t *testing.T) {
	for name, level := range bothLevels {
		t.Run(name, func(t *testing.T) {
			s, addr := startServerOn(t, DefaultConfig(), newFake())
			c := connectTo(t, addr, level, "device") // keep alive 60 s
			trickle := connectTo(t, addr, level, "trickle")
			c.ping()
			for _, b := range packet(typePingreq, 0)[:1] { // a part of a packet is no packet
				trickle.send([]byte{b})
			}
			all := parked(t, s, 2)
			last := s.epoch
			for _, c := range all {
				if at := s.epoch.Add(time.Duration(c.heard.Load())); at.After(last) {
					last = at
				}
			}
			s.inspect(last.Add(89 * time.Second))
			c.ping()
			parked(t, s, 2)
			s.inspect(time.Now().Add(91 * time.Second))
			want := codeSuccess
			if level == level5 {
				want = codeKeepAliveTimeout
			}
			c.wantEnd(want)
			trickle.wantEnd(want)
			c.nc.Close()
			trickle.nc.Close()
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			if n := testutil.ToFloat64(s.metrics.disconnects[causeKeepAlive]); n != 2 {
				t.Errorf("%v connections ended for their silence, want 2", n)
			}
		})
	}
}

// TestReadDeadlineEndsInLoop has a connection come back with a read deadline that passes.
func TestReadDeadlineEndsInLoop(t *testing.T) {
	s, addr := startServerOn(t, DefaultConfig(), newFake())
	client := connectTo(t, addr, level5, "device")
	c := parked(t, s, 1)[0]
	if !c.place.CompareAndSwap(placeParked, placeOwn) {
		t.Fatal("an idle connection is being read")
	}
	c.loop.remove(c)
	c.armed = time.Now()
	if err := c.nc.SetReadDeadline(c.armed); err != nil {
		t.Fatal(err)
	}
	if !c.enterLoop() {
		t.Fatal("it is not taken back")
	}
	client.ping()
}

// TestLargePacketKeepsAlive sends a large packet in parts: each good part of it counts as a sign of
// life, a few bytes do not.
func TestLargePacketKeepsAlive(t *testing.T) {
	gw := newFake()
	s, addr := startServerOn(t, DefaultConfig(), gw)
	c := connectTo(t, addr, level5, "device")
	conn := parked(t, s, 1)[0]
	p := publishPacket(level5, 1, 1, c.topic(), bytes.Repeat([]byte{7}, 1<<20))
	sent := func(n int) (heard int64) {
		got := testutil.ToFloat64(s.metrics.received)
		c.send(p[:n])
		p = p[n:]
		for testutil.ToFloat64(s.metrics.received) < got+float64(n) {
			runtime.Gosched()
		}
		parked(t, s, 1)
		return conn.heard.Load()
	}
	first := sent(1)
	if second := sent(100); second != first {
		t.Error("a hundred bytes of a large packet count as a sign of life")
	}
	if second := sent(2 * idleBuffer); second <= first {
		t.Error("a good part of a large packet does not count as a sign of life")
	}
	c.send(p)
	it := gw.take(t)
	if len(it.body) != 1<<20 || it.body[1<<19] != 7 {
		t.Error("the packet is mixed up")
	}
	if n := testutil.ToFloat64(s.metrics.leftLoop); n != 1 {
		t.Errorf("the loop was left %v times, want once for a payload that takes long", n)
	}
	it.store()
	c.wantPuback(1, codeSuccess)
	c.ping()
}

// TestLastWords publishes and closes at once: whether the end comes with the data or after it, the
// data is not lost with it.
func TestLastWords(t *testing.T) {
	gw := newFake()
	s, addr := startServerOn(t, DefaultConfig(), gw)
	const n = 300
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = connectTo(t, addr, level311, fmt.Sprint("device-", i))
	}
	parked(t, s, n)
	for i, c := range clients {
		c.send(publishPacket(level311, 0, 0, c.topic(), []byte("last")))
		if i%2 == 0 {
			c.nc.Close()
		} else if err := c.nc.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		gw.take(t).store()
	}
	for i, c := range clients {
		if i%2 != 0 {
			c.wantClosed()
		}
	}
}

// TestShutdownFreesLoops has the gateway hang in every loop until its context ends.
func TestShutdownFreesLoops(t *testing.T) {
	gw := newFake()
	waiting := make(chan struct{}, 100)
	gw.submit = func(ctx context.Context, _ *ingest.Envelope) error {
		waiting <- struct{}{}
		<-ctx.Done()
		return steps.E("submit", steps.Unavailable, ctx.Err())
	}
	s, addr := startServerOn(t, DefaultConfig(), gw)
	clients := connectMany(t, addr, level5, "device")
	parked(t, s, len(clients))
	for _, c := range clients {
		c.publish(1, "x")
	}
	for range s.loops {
		<-waiting
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); steps.KindOf(err) != steps.Unavailable {
		t.Errorf("got %v", err)
	}
	for _, c := range clients {
		c.nc.Close()
	}
}
