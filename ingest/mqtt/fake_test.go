package mqtt

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"go.uber.org/goleak"

	"ayumi/ingest"
	"ayumi/steps"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// item is a payload that the fake gateway was given.
type item struct {
	env  ingest.Envelope
	body string
	done ingest.Completion
}

func (it item) store()         { complete(it.done, storedReceipt(), nil) }
func (it item) fail(err error) { complete(it.done, nil, err) }

func (it item) refuse(reason steps.Reason, detail string) {
	complete(it.done, refusedReceipt(reason, detail), nil)
}

// complete is a commit of one payload.
func complete(done ingest.Completion, r *steps.Receipt, err error) {
	if f := done.Complete(r, err); f != nil {
		f.Flush()
	}
}

func storedReceipt() *steps.Receipt {
	return &steps.Receipt{Record: steps.RecordID{Group: 7, Index: 1}, Uploads: []steps.UploadReceipt{{Verdict: steps.Stored}}}
}

func refusedReceipt(reason steps.Reason, detail string) *steps.Receipt {
	return &steps.Receipt{Uploads: []steps.UploadReceipt{{Verdict: steps.Quarantined,
		Faults: []steps.Fault{{Series: -1, Reason: reason, Detail: detail}}}}}
}

// fakeGateway hands every payload to the test, which completes it when it likes.
type fakeGateway struct {
	items  chan item
	submit func(ctx context.Context, env *ingest.Envelope) error // before a payload is queued
	queued func(env *ingest.Envelope)                            // after it is
	auto   bool                                                  // store at once
	tell   bool                                                  // tell the listener that submit may wait
}

func newFake() *fakeGateway { return &fakeGateway{items: make(chan item, 1<<16)} }

func (g *fakeGateway) Authenticate(device steps.DeviceID, secret []byte) (steps.Identity, error) {
	switch string(secret) {
	case "secret":
		return steps.Identity{Device: device, Generation: 3}, nil
	case "down":
		return steps.Identity{}, steps.E("authenticate", steps.Unavailable, nil)
	case "busy":
		return steps.Identity{}, steps.E("authenticate", steps.Overload, nil)
	}
	return steps.Identity{}, steps.E("authenticate", steps.Unauthorized, errors.New("wrong secret"))
}

func (g *fakeGateway) Submit(ctx context.Context, env *ingest.Envelope, done ingest.Completion) error {
	if g.submit != nil {
		if g.tell && env.BeforeWait != nil {
			env.BeforeWait()
		}
		if err := g.submit(ctx, env); err != nil {
			return err
		}
	}
	it := item{env: *env, body: string(env.Body), done: done}
	if g.auto {
		it.store()
		return nil
	}
	g.items <- it
	if g.queued != nil {
		g.queued(env)
	}
	return nil
}

// take returns the next submitted payload.
func (g *fakeGateway) take(tb testing.TB) item {
	tb.Helper()
	select {
	case it := <-g.items:
		return it
	case <-time.After(patience):
		tb.Fatal("nothing was submitted")
		return item{}
	}
}

// client is a test client. What it receives in MQTT 5 is decoded by an independent library.
type client struct {
	testing.TB
	nc    net.Conn
	level protocolLevel
	name  string
}

func connectTo(tb testing.TB, addr string, level protocolLevel, name string, properties ...byte) *client {
	tb.Helper()
	return handshake(tb, dialRaw(tb, addr), level, name, properties...)
}

func handshake(tb testing.TB, nc net.Conn, level protocolLevel, name string, properties ...byte) *client {
	tb.Helper()
	c := &client{tb, nc, level, name}
	c.send(connectPacket(level, name, name, "secret", properties...))
	readConnack(tb, nc)
	return c
}

func (c *client) send(packets ...[]byte) {
	c.Helper()
	for _, p := range packets {
		mustWrite(c, c.nc, p)
	}
}

func (c *client) topic() string { return "ayumi/v1/" + c.name + "/up/pb" }

// publish sends one QoS 1 publish to the device's own topic.
func (c *client) publish(id uint16, body string) {
	c.Helper()
	c.send(publishPacket(c.level, 1, id, c.topic(), []byte(body)))
}

// recv5 reads one packet of MQTT 5.
func (c *client) recv5() packets.Packet {
	c.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(patience))
	p, err := packets.ReadPacket(c.nc)
	if err != nil {
		c.Fatal(err)
	}
	return p.Content
}

// wantPuback reads a PUBACK and returns its Reason String.
func (c *client) wantPuback(id uint16, code reasonCode) string {
	c.Helper()
	if c.level == level311 {
		_ = c.nc.SetReadDeadline(time.Now().Add(patience))
		if p := readRaw(c, c.nc); string(p) != string([]byte{0x40, 2, byte(id >> 8), byte(id)}) {
			c.Fatalf("got % x, want PUBACK %d", p, id)
		}
		return ""
	}
	p, ok := c.recv5().(*packets.Puback)
	if !ok || p.PacketID != id || p.ReasonCode != byte(code) {
		c.Fatalf("got %v, want PUBACK %d with %#x", p, id, code)
	}
	if len(p.Properties.User) > 0 {
		c.Fatalf("PUBACK with user properties %v", p.Properties.User)
	}
	return p.Properties.ReasonString
}

// wantEnd expects the connection to be closed, in MQTT 5 after a DISCONNECT unless code is 0.
func (c *client) wantEnd(code reasonCode) {
	c.Helper()
	if c.level == level5 && code != codeSuccess {
		if p, ok := c.recv5().(*packets.Disconnect); !ok || p.ReasonCode != byte(code) {
			c.Fatalf("got %v, want DISCONNECT %#x", p, code)
		}
	}
	c.wantClosed()
}

func (c *client) wantClosed() {
	c.Helper()
	wantClosed(c, c.nc)
}

func wantClosed(tb testing.TB, nc net.Conn) {
	tb.Helper()
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	rest, err := io.ReadAll(nc)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		tb.Fatal("the connection stays open")
	}
	if len(rest) > 0 {
		tb.Fatalf("unexpected % x before the end", rest)
	}
}

// ping sends PINGREQ and reads PINGRESP: what was sent before has been processed then.
func (c *client) ping() {
	c.Helper()
	c.send(packet(typePingreq, 0))
	_ = c.nc.SetReadDeadline(time.Now().Add(patience))
	if p := readRaw(c, c.nc); p[0] != byte(typePingresp)<<4 || len(p) != 2 {
		c.Fatalf("got % x, want PINGRESP", p)
	}
}

var bothLevels = map[string]protocolLevel{"3.1.1": level311, "5": level5}

// pipeServer serves in-memory connections, for tests on a fake clock.
type pipeServer struct {
	*Server
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once // closes done
	tb    testing.TB
}

func startPipes(tb testing.TB, cfg Config, gw Gateway) *pipeServer {
	s, err := New(cfg, gw, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		tb.Fatal(err)
	}
	p := &pipeServer{Server: s, conns: make(chan net.Conn), done: make(chan struct{}), tb: tb}
	go func() {
		if err := s.Serve(p); err != nil {
			tb.Error(err)
		}
	}()
	return p
}

// stop shuts down; it must be the last thing in a synctest bubble.
func (p *pipeServer) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if err := p.Shutdown(ctx); err != nil {
		p.tb.Error(err)
	}
}

func (p *pipeServer) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours
}

func (p *pipeServer) Accept() (net.Conn, error) {
	select {
	case nc := <-p.conns:
		return nc, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipeServer) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipeServer) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }
