package mqtt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"ayumi/ingest"
	"ayumi/steps"
)

func TestWindow5(t *testing.T) {
	gw := newFake()
	c := connectTo(t, startServer(t, DefaultConfig(), gw), level5, "device")
	for id := 1; id <= DefaultConfig().ReceiveMaximum+1; id++ {
		c.publish(uint16(id), "x")
	}
	c.wantEnd(codeReceiveMaximum)
	for range DefaultConfig().ReceiveMaximum {
		gw.take(t).store()
	}
}

// TestWindow5Kept publishes again right at each PUBACK: that must never count as too much.
func TestWindow5Kept(t *testing.T) {
	gw := newFake()
	gw.auto = true
	cfg := DefaultConfig()
	cfg.ReceiveMaximum = 2
	c := connectTo(t, startServer(t, cfg, gw), level5, "device")
	c.publish(1, "x")
	c.publish(2, "x")
	for range 5000 {
		c.wantPuback(1, codeSuccess)
		c.publish(1, "x")
		c.wantPuback(2, codeSuccess)
		c.publish(2, "x")
	}
}

func TestTakeover(t *testing.T) {
	for name, level := range bothLevels {
		t.Run(name, func(t *testing.T) {
			gw := newFake()
			addr := startServer(t, DefaultConfig(), gw)
			old := connectTo(t, addr, level, "device")
			old.publish(1, "in mid-commit")
			pending := gw.take(t)
			// Another client identifier of the device, and the same one of another device.
			second := &client{t, dialRaw(t, addr), level, "device"}
			second.send(connectPacket(level, "second", "device", "secret"))
			readConnack(t, second.nc)
			stranger := &client{t, dialRaw(t, addr), level, "stranger"}
			stranger.send(connectPacket(level, "device", "stranger", "secret"))
			readConnack(t, stranger.nc)
			old.ping()

			fresh := connectTo(t, addr, level, "device")
			old.wantEnd(codeSessionTakenOver)
			pending.store()
			fresh.publish(1, "again")
			gw.take(t).store()
			fresh.wantPuback(1, codeSuccess)
			second.ping()
			stranger.ping()
		})
	}
}

// TestTakeoverWhileSubmitBlocks expects the waiting publish of the old connection to be given up.
func TestTakeoverWhileSubmitBlocks(t *testing.T) {
	gw := newFake()
	blocked, first := make(chan struct{}), true
	gw.submit = func(ctx context.Context, _ *ingest.Envelope) error {
		if first {
			first = false
			close(blocked)
			<-ctx.Done()
			return steps.E("submit", steps.Unavailable, ctx.Err())
		}
		return nil
	}
	addr := startServer(t, DefaultConfig(), gw)
	old := connectTo(t, addr, level5, "device")
	old.publish(1, "x")
	<-blocked
	fresh := connectTo(t, addr, level5, "device")
	old.wantEnd(codeSessionTakenOver)
	fresh.publish(1, "x")
	gw.take(t).store()
	fresh.wantPuback(1, codeSuccess)
}

// TestConnectionCap opens many connections that never send CONNECT, and one more.
func TestConnectionCap(t *testing.T) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	n := min(10_000, int(files.Cur)/2-200) // both ends are ours
	cfg := DefaultConfig()
	cfg.MaxConnections, cfg.ConnectTimeout = n, time.Minute
	s, addr := startServerOn(t, cfg, newFake())
	silent := make([]net.Conn, n)
	for i := range silent {
		silent[i] = dialRaw(t, addr)
	}
	wantClosed(t, dialRaw(t, addr)) // accepted in order, so all others are open by now
	if got := len(serverConns(s)); got != n {
		t.Errorf("%d connections, want %d", got, n)
	}
	c := &client{t, silent[0], level5, "device"} // one of them may still connect
	c.send(connectPacket(level5, "device", "device", "secret"))
	readConnack(t, c.nc)
	if got := testutil.ToFloat64(s.metrics.connects[connectFull]); got != 1 {
		t.Errorf("%v connections were refused, want 1", got)
	}
}

// TestHugeLengthsTakeNoMemory claims packets of the largest size that is accepted on many
// connections and sends almost nothing of them.
func TestHugeLengthsTakeNoMemory(t *testing.T) {
	const n = 300
	addr := startServer(t, DefaultConfig(), newFake())
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = connectTo(t, addr, level5, fmt.Sprint("device-", i))
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for _, c := range clients {
		c.send(packet(typePingreq, 0), append([]byte{0x32}, appendVarint(nil, 1<<20)...), make([]byte, 3000))
	}
	for _, c := range clients {
		if p := readRaw(t, c.nc); p[0] != byte(typePingresp)<<4 {
			t.Fatalf("got % x", p)
		}
	}
	if grown := (heap() - before) / n; grown > 2*busyBuffer {
		t.Errorf("a connection took %d bytes for 3,000 received, want at most %d", grown, 2*busyBuffer)
	}
	for _, c := range clients {
		c.nc.Close()
	}
}

func TestShutdownAcknowledges(t *testing.T) {
	for name, level := range bothLevels {
		t.Run(name, func(t *testing.T) {
			gw := newFake()
			s, addr := startServerOn(t, DefaultConfig(), gw)
			silent := dialRaw(t, addr)
			idle := connectTo(t, addr, level, "idle")
			busy := connectTo(t, addr, level, "busy")
			busy.publish(1, "x")
			busy.publish(2, "x")
			gone := connectTo(t, addr, level, "gone")
			first, second := gw.take(t), gw.take(t)
			gone.publish(1, "x")
			orphan := gw.take(t)
			gone.nc.Close()
			shut := make(chan error, 1)
			go func() { shut <- s.Shutdown(context.Background()) }()
			idle.wantEnd(codeShuttingDown)
			wantClosed(t, silent)
			busy.publish(3, "too late")
			first.store()
			busy.wantPuback(1, codeSuccess)
			second.refuse(steps.ReasonFuture, "")
			busy.wantPuback(2, codePayloadFormatInvalid)
			busy.wantEnd(codeShuttingDown)
			select {
			case err := <-shut:
				t.Fatalf("Shutdown returned %v before the last payload was complete", err)
			default:
			}
			orphan.store()
			if err := <-shut; err != nil {
				t.Fatal(err)
			}
			if err := s.Shutdown(context.Background()); err != nil {
				t.Errorf("the second Shutdown: %v", err)
			}
			if _, err := net.Dial("tcp", addr); err == nil {
				t.Error("still accepting")
			}
			if len(gw.items) > 0 {
				t.Error("a publish was submitted after Shutdown began")
			}
		})
	}
}

// TestShutdownIsBounded has peers that neither read nor close and a commit that never ends.
func TestShutdownIsBounded(t *testing.T) {
	gw := newFake()
	synctest.Test(t, func(t *testing.T) {
		gw.items = make(chan item, 10)
		s := startPipes(t, DefaultConfig(), gw)
		stuck := connectKeeping(t, s, level5, 600)
		stuck.publish(1, "x")
		it := gw.take(t)
		deaf := handshake(t, s.dial(), level5, "deaf")
		s.dial()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		err := s.Shutdown(ctx)
		if d := time.Since(start); err == nil || d != 3*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown returned %v after %v", err, d)
		}
		it.store()
		stuck.nc.Close()
		deaf.nc.Close()
		s.stop()
	})
}

func TestServeAfterShutdown(t *testing.T) {
	s, err := New(DefaultConfig(), newFake(), slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is left open: %v", err)
	}
}

// failingListener fails first for a while, then for good.
type failingListener struct{ temporary int }

func (l *failingListener) Accept() (net.Conn, error) {
	if l.temporary--; l.temporary >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept", syscall.EMFILE)}
	}
	return nil, io.ErrUnexpectedEOF
}

func (*failingListener) Close() error { return nil }

func (*failingListener) Addr() net.Addr { return &net.UnixAddr{Name: "failing"} }

// TestAcceptErrors has a listener fail beside one that goes on.
func TestAcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startPipes(t, DefaultConfig(), newFake())
		err := s.Serve(&failingListener{20})
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %v", err)
		}
		c := handshake(t, s.dial(), level5, "device")
		c.ping()
		c.nc.Close()
		s.stop()
	})
}

func TestPanicClosesOneConnection(t *testing.T) {
	boom := func(env *ingest.Envelope) {
		if string(env.Body) == "boom" {
			panic("a bug behind the listener")
		}
	}
	before, after := newFake(), newFake()
	before.submit = func(_ context.Context, env *ingest.Envelope) error { boom(env); return nil }
	after.queued = boom
	for name, gw := range map[string]*fakeGateway{"before queueing": before, "after queueing": after} {
		t.Run(name, func(t *testing.T) {
			s, addr := startServerOn(t, DefaultConfig(), gw)
			bad, good := connectTo(t, addr, level5, "bad"), connectTo(t, addr, level5, "good")
			bad.publish(1, "boom")
			bad.wantEnd(codeUnspecified)
			if gw == after {
				gw.take(t).store()
			}
			good.publish(1, "x")
			gw.take(t).store()
			good.wantPuback(1, codeSuccess)
			if got := testutil.ToFloat64(s.metrics.panics); got != 1 {
				t.Errorf("%v panics were counted", got)
			}
		})
	}
}

// TestChurn connects, publishes, takes over and leaves at random from many goroutines.
func TestChurn(t *testing.T) {
	gw := newBatchGateway(t)
	s, addr := startServerOn(t, DefaultConfig(), gw)
	var acked atomic.Int64
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for round := range 40 {
				level := level311 + protocolLevel(round%2)
				name := fmt.Sprint("device-", (g+round)%5) // so that they take over from each other
				acked.Add(churn(addr, level, name, round))
			}
		})
	}
	wg.Wait()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if acked.Load() == 0 {
		t.Error("nothing was acknowledged")
	}
	if len(s.devices) != 0 || len(s.conns) != 0 || s.orphans != 0 {
		t.Errorf("left: %d devices, %d connections, %d payloads", len(s.devices), len(s.conns), s.orphans)
	}
}

// churn is one connection's life; a takeover may end it anywhere.
func churn(addr string, level protocolLevel, name string, round int) (acked int64) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return 0
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	b := connectPacket(level, name, name, "secret")
	for id := range 20 {
		b = append(b, publishPacket(level, byte(id%4+2)/3, uint16(id+1), "ayumi/v1/"+name+"/up/pb", make([]byte, id*200))...)
	}
	if _, err := nc.Write(b); err != nil {
		return 0
	}
	if round%3 == 0 {
		return 0 // gone without reading
	}
	head := make([]byte, 2)
	for range 11 {
		if _, err := io.ReadFull(nc, head); err != nil {
			return acked
		}
		if _, err := io.CopyN(io.Discard, nc, int64(head[1])); err != nil {
			return acked
		}
		if head[0] == byte(typePuback)<<4 {
			acked++
		}
	}
	_, _ = nc.Write(packet(typeDisconnect, 0)) // it may have been taken over meanwhile
	return acked
}

func TestConfigIsChecked(t *testing.T) {
	if _, err := New(Config{}, newFake(), slog.New(slog.DiscardHandler), nil); steps.KindOf(err) != steps.Invalid {
		t.Errorf("got %v", err)
	}
	reg := prometheus.NewRegistry()
	for range 2 {
		cfg := DefaultConfig()
		cfg.KeepAliveMax = cfg.KeepAliveDefault
		_, err := New(cfg, newFake(), slog.New(slog.DiscardHandler), reg)
		if already := new(prometheus.AlreadyRegisteredError); err != nil && !errors.As(err, already) {
			t.Error(err)
		}
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, err)
	}
}
