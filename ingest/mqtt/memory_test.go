package mqtt

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ayumi/ingest"
)

// sink is a connection that takes everything and says nothing.
type sink struct{ net.Conn }

func (sink) Write(b []byte) (int, error)      { return len(b), nil }
func (sink) SetReadDeadline(time.Time) error  { return nil }
func (sink) SetWriteDeadline(time.Time) error { return nil }
func (sink) Close() error                     { return nil }

// syncGateway stores within Submit.
type syncGateway struct{ *fakeGateway }

var oneReceipt = storedReceipt()

func (syncGateway) Submit(_ context.Context, _ *ingest.Envelope, done ingest.Completion) error {
	complete(done, oneReceipt, nil)
	return nil
}

// TestPublishAllocatesNothing covers everything from the parsed header to the written PUBACK.
func TestPublishAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, level := range bothLevels {
		s, err := New(DefaultConfig(), syncGateway{newFake()}, slog.New(slog.DiscardHandler), nil)
		if err != nil {
			t.Fatal(err)
		}
		c := newConn(s, sink{})
		c.level, c.accepted, c.ownTopics = level, true, "ayumi/v1/device/"
		p := publishPacket(level, 1, 7, "ayumi/v1/device/up/pb", bytes.Repeat([]byte{'x'}, 256))
		h, size, _ := parseHeader(p, level)
		run := func() {
			if err := c.handle(h, p[size:]); err != nil {
				t.Fatal(err)
			}
			for writing := true; writing; runtime.Gosched() { // nobody is woken when the writer is done
				c.mu.Lock()
				writing = c.out.writing
				c.mu.Unlock()
			}
		}
		if n := testing.AllocsPerRun(2000, run); n >= 1 {
			t.Errorf("%s: %v allocations a publish", name, n)
		}
		c.cancel()
	}
}

// TestPutBack expects what was not written before what came later.
func TestPutBack(t *testing.T) {
	s, err := New(DefaultConfig(), newFake(), slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	c := newConn(s, sink{})
	defer c.cancel()
	c.out.buffer().b = []byte("later")
	c.putBack(&outBuffer{[]byte("sent and not")}, len("sent "))
	if got := string(c.out.pending.b); got != "and notlater" {
		t.Errorf("%q waits", got)
	}
}

// TestInbox reads packets of random sizes in random pieces.
func TestInbox(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(1, 300), rapid.IntRange(1, 100_000)), 1, 20).Draw(t, "sizes")
		for i, n := range sizes {
			stream = append(stream, bytes.Repeat([]byte{byte(i + 1)}, n)...)
		}
		pieces := rapid.IntRange(1, 40_000).Draw(t, "pieces")
		in, small := newInbox(&chunks{stream, pieces}, nil), idleBuffer
		for i, n := range sizes {
			for len(in.unread()) < n {
				if err := in.fill(n); err != nil {
					t.Fatal(err)
				}
				if limit := max(busyBuffer, 2*len(in.unread())+idleBuffer); len(in.buf) > limit {
					t.Fatalf("%d bytes of buffer for %d received", len(in.buf), len(in.unread()))
				}
			}
			if got := in.unread()[:n]; got[0] != byte(i+1) || got[n-1] != byte(i+1) {
				t.Fatalf("packet %d is mixed up", i)
			}
			in.skip(n)
			switch rapid.IntRange(0, 3).Draw(t, "then") {
			case 0: // it is handed over
				in, small = newInbox(in.src, in.unread()), idleBuffer
			case 1: // it is in a loop
				left := len(in.unread())
				in.park()
				if left <= idleBuffer {
					small = 0
					if len(in.buf) != left || in.turn != nil || in.busy != nil {
						t.Fatalf("%d bytes of buffer for %d that wait", len(in.buf), left)
					}
				}
			}
		}
		err := in.fill(1)
		if in.release(); err != io.EOF || len(in.buf) != small || in.turn != nil || in.busy != nil {
			t.Fatalf("at the end: %v with a buffer of %d", err, len(in.buf))
		}
	})
}

// chunks is a reader that gives up to n bytes at a time.
type chunks struct {
	b []byte
	n int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.n)], c.b)
	c.b = c.b[n:]
	return n, nil
}

// BenchmarkIdleConnection reports what an idle, connected client costs the process, and how fast
// clients connect. The client ends are bare sockets that take no memory of ours.
func BenchmarkIdleConnection(b *testing.B) {
	addr := startServer(b, DefaultConfig(), newFake())
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	const n = 9_000
	debug.FreeOSMemory()
	before := residentBytes(b)
	for b.Loop() {
		var fds []int
		start := time.Now()
		for i := range n {
			fds = append(fds, bareClient(b, tcp, fmt.Sprint("pedometer-", i)))
		}
		b.ReportMetric(n/time.Since(start).Seconds(), "connects/s")
		runtime.GC()
		debug.FreeOSMemory()
		b.ReportMetric(float64(residentBytes(b)-before)/n, "RSS-bytes/conn")
		for _, fd := range fds {
			_ = syscall.Close(fd) // the benchmark is over
		}
	}
}

func bareClient(b *testing.B, addr *net.TCPAddr, name string) int {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}); err != nil {
		b.Fatal(err)
	}
	if _, err := syscall.Write(fd, connectPacket(level5, name, name, "secret")); err != nil {
		b.Fatal(err)
	}
	answer := make([]byte, 64)
	if n, err := syscall.Read(fd, answer); err != nil || n < 4 || answer[3] != 0 {
		b.Fatal("no CONNACK: ", err)
	}
	return fd
}

func residentBytes(b *testing.B) int {
	var size, resident int
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip(err)
	}
	if _, err := fmt.Sscan(string(statm), &size, &resident); err != nil {
		b.Fatal(err)
	}
	return resident * os.Getpagesize()
}
