package mqtt

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ayumi/ingest"
	"ayumi/steps"
)

// onFakeClock runs a test in a bubble, in which time passes only while everybody waits.
func onFakeClock(t *testing.T, gw *fakeGateway, f func(t *testing.T, s *pipeServer)) {
	synctest.Test(t, func(t *testing.T) {
		gw.items = make(chan item, 1<<12)
		s := startPipes(t, DefaultConfig(), gw)
		f(t, s)
		s.stop()
	})
}

// connectKeeping connects with a keep alive time in seconds.
func connectKeeping(t *testing.T, s *pipeServer, level protocolLevel, keepAlive uint16) *client {
	t.Helper()
	c := &client{t, s.dial(), level, "device"}
	c.send(packet(typeConnect, 0, text("MQTT"), []byte{byte(level), flagUser | flagPassword | flagCleanStart}, uint16s(keepAlive),
		props(level), text("device"), text("device"), text("secret")))
	readConnack(t, c.nc)
	return c
}

func TestKeepAlive(t *testing.T) {
	for name, level := range bothLevels {
		onFakeClock(t, newFake(), func(t *testing.T, s *pipeServer) {
			c := connectKeeping(t, s, level, 10)
			for range 20 { // 14 s is more than a keep alive time and less than one and a half
				time.Sleep(14 * time.Second)
				c.ping()
			}
			start := time.Now()
			want := codeSuccess
			if level == level5 {
				want = codeKeepAliveTimeout
			}
			c.wantEnd(want)
			if d := time.Since(start); d < 15*time.Second || d > 17*time.Second {
				t.Errorf("%s: closed after %v, want 15 to 17 s", name, d)
			}
		})
	}
}

// TestKeepAliveDuringStall stalls the commit for ten minutes: PINGREQ is answered, nobody is cut
// off, and the PUBACK comes in the end.
func TestKeepAliveDuringStall(t *testing.T) {
	for _, level := range bothLevels {
		gw := newFake()
		onFakeClock(t, gw, func(t *testing.T, s *pipeServer) {
			c := connectKeeping(t, s, level, 10)
			c.publish(1, "x")
			it := gw.take(t)
			for range 60 {
				time.Sleep(10 * time.Second)
				c.ping()
			}
			it.store()
			c.wantPuback(1, codeSuccess)
			c.nc.Close()
		})
	}
}

// TestKeepAliveWhileSubmitBlocks fills the gateway's queue: a publish waits in Submit, another
// goroutine answers PINGREQ meanwhile, and a client that says nothing is not cut off either.
func TestKeepAliveWhileSubmitBlocks(t *testing.T) {
	for _, level := range bothLevels {
		gw := newFake()
		onFakeClock(t, gw, func(t *testing.T, s *pipeServer) {
			full := make(chan struct{})
			gw.submit = func(ctx context.Context, _ *ingest.Envelope) error {
				select {
				case <-full:
					return nil
				case <-ctx.Done():
					return steps.E("submit", steps.Unavailable, ctx.Err())
				}
			}
			c := connectKeeping(t, s, level, 10)
			c.publish(1, "first")
			for range 60 {
				time.Sleep(10 * time.Second)
				c.ping()
			}
			go func() { // the pipe takes no more than is read
				for id := uint16(2); id <= 4; id++ {
					c.publish(id, fmt.Sprint(id))
				}
			}()
			time.Sleep(10 * time.Minute) // silent, since its publishes are not read
			close(full)
			for id := uint16(1); id <= 4; id++ {
				it := gw.take(t)
				if id > 1 && it.body != fmt.Sprint(id) {
					t.Errorf("%q at the place of %d", it.body, id)
				}
				it.store()
				c.wantPuback(id, codeSuccess)
			}
			c.ping()
			c.nc.Close()
		})
	}
}

// TestSubmitBlocksAndPeerGoes expects that a publish that waits is given up when its client is
// gone, but not when the client took leave properly.
func TestSubmitBlocksAndPeerGoes(t *testing.T) {
	for _, polite := range []bool{false, true} {
		gw := newFake()
		onFakeClock(t, gw, func(t *testing.T, s *pipeServer) {
			free, given := make(chan struct{}), make(chan error, 1)
			gw.submit = func(ctx context.Context, _ *ingest.Envelope) error {
				select {
				case <-free:
				case <-ctx.Done():
				}
				given <- ctx.Err()
				return ctx.Err()
			}
			c := connectKeeping(t, s, level5, 10)
			c.send(publishPacket(level5, 0, 0, c.topic(), []byte("once")))
			time.Sleep(5 * time.Second)
			if polite {
				c.send(packet(typeDisconnect, 0))
			}
			c.nc.Close()
			time.Sleep(time.Second)
			close(free)
			if err := <-given; (err == nil) != polite {
				t.Errorf("polite %v: the submission's context says %v", polite, err)
			}
			synctest.Wait()
			if polite {
				gw.take(t).store()
			}
		})
	}
}

// TestWindow311 expects that reading stops at the window and goes on as PUBACKs are sent, with
// PINGREQ answered in between.
func TestWindow311(t *testing.T) {
	gw := newFake()
	onFakeClock(t, gw, func(t *testing.T, s *pipeServer) {
		window := DefaultConfig().ReceiveMaximum
		c := connectKeeping(t, s, level311, 10)
		var items []item
		for id := 1; id <= window+1; id++ {
			c.publish(uint16(id), fmt.Sprint(id))
		}
		for range window {
			items = append(items, gw.take(t))
		}
		for range 6 {
			time.Sleep(10 * time.Second)
			c.ping()
		}
		if len(gw.items) > 0 {
			t.Fatal("more than the window was submitted")
		}
		go c.publish(uint16(window+2), "x")
		time.Sleep(time.Minute)
		for id := 1; id <= window+2; id++ {
			if len(items) == 0 {
				items = append(items, gw.take(t))
			}
			items[0].store()
			items = items[1:]
			c.wantPuback(uint16(id), codeSuccess)
		}
		c.nc.Close()
	})
}

func TestQoS0Window(t *testing.T) {
	for _, level := range bothLevels {
		gw := newFake()
		onFakeClock(t, gw, func(t *testing.T, s *pipeServer) {
			window := DefaultConfig().ReceiveMaximum
			c := connectKeeping(t, s, level, 10)
			for range window + 1 {
				c.send(publishPacket(level, 0, 0, c.topic(), nil))
			}
			time.Sleep(14 * time.Second)
			if len(gw.items) != window {
				t.Fatalf("%d QoS 0 publishes in flight, want %d", len(gw.items), window)
			}
			for range window + 1 {
				gw.take(t).store()
			}
			c.ping()
			c.nc.Close()
		})
	}
}

func TestConnectDeadline(t *testing.T) {
	prefix := connectPacket(level5, "c", "device", "secret")
	for name, trickle := range map[string]bool{"silent": false, "trickle": true} {
		onFakeClock(t, newFake(), func(t *testing.T, s *pipeServer) {
			nc := s.dial()
			start := time.Now()
			var writer sync.WaitGroup
			if trickle { // a byte a second must not keep it open
				writer.Go(func() {
					for i := range prefix {
						if _, err := nc.Write(prefix[i : i+1]); err != nil {
							return
						}
						time.Sleep(time.Second)
					}
				})
			}
			wantClosed(t, nc)
			if d := time.Since(start); d != DefaultConfig().ConnectTimeout {
				t.Errorf("%s: closed after %v", name, d)
			}
			nc.Close()
			writer.Wait()
		})
	}
}

func TestConnectDeadlineOfTLS(t *testing.T) {
	serverTLS, _ := selfSigned(t)
	synctest.Test(t, func(t *testing.T) {
		s := startPipes(t, DefaultConfig(), newFake())
		ours, theirs := net.Pipe()
		start := time.Now()
		s.conns <- tls.Server(theirs, serverTLS)
		wantClosed(t, ours)
		if d := time.Since(start); d != DefaultConfig().ConnectTimeout {
			t.Errorf("closed after %v", d)
		}
		s.stop()
	})
}

// TestLargePacketOverSlowNetwork sends 1 MiB at 1 KiB/s, for which one keep alive time is much
// too short; 1 B/s is cut off.
func TestLargePacketOverSlowNetwork(t *testing.T) {
	gw := newFake()
	onFakeClock(t, gw, func(t *testing.T, s *pipeServer) {
		c := connectKeeping(t, s, level5, 60)
		p := publishPacket(level5, 1, 1, c.topic(), make([]byte, 1<<20))
		for len(p) > 0 {
			n := min(len(p), 1<<10)
			c.send(p[:n])
			p = p[n:]
			time.Sleep(time.Second)
		}
		gw.take(t).store()
		c.wantPuback(1, codeSuccess)
		start := time.Now()
		var writer sync.WaitGroup
		writer.Go(func() {
			b := append([]byte{0x32}, appendVarint(nil, 1<<20)...)
			for {
				if _, err := c.nc.Write(b); err != nil {
					return
				}
				b = []byte{0}
				time.Sleep(time.Second)
			}
		})
		c.wantEnd(codeKeepAliveTimeout)
		if d := time.Since(start); d > 100*time.Second {
			t.Errorf("one byte a second kept the connection open for %v", d)
		}
		c.nc.Close()
		writer.Wait()
	})
}

// TestSlowReader has a client that reads nothing: the committer and another client do not notice,
// and it is cut off after WriteTimeout.
func TestSlowReader(t *testing.T) {
	gw := newFake()
	onFakeClock(t, gw, func(t *testing.T, s *pipeServer) {
		slow := connectKeeping(t, s, level311, 600)
		other := handshake(t, s.dial(), level5, "other")
		start := time.Now()
		for id := uint16(1); id <= 20; id++ {
			slow.publish(id, "x")
			gw.take(t).store()
			other.publish(id, "y")
			gw.take(t).store()
			other.wantPuback(id, codeSuccess)
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("the other client waited %v", d)
		}
		time.Sleep(2 * DefaultConfig().WriteTimeout)
		synctest.Wait()
		if n := len(serverConns(s.Server)); n != 1 {
			t.Errorf("%d connections are left, want 1", n)
		}
		slow.nc.Close()
		other.nc.Close()
	})
}

// TestRepliesToSlowReaderAreBounded asks for PINGRESPs without reading them.
func TestRepliesToSlowReaderAreBounded(t *testing.T) {
	onFakeClock(t, newFake(), func(t *testing.T, s *pipeServer) {
		c := connectKeeping(t, s, level311, 600)
		asked := 0
		for {
			_ = c.nc.SetWriteDeadline(time.Now().Add(time.Second))
			if _, err := c.nc.Write(packet(typePingreq, 0)); err != nil {
				break
			}
			asked++
		}
		if limit := (replyBuffer + DefaultConfig().ReceiptBuffer) / 2; asked > limit+idleBuffer {
			t.Errorf("%d unread replies were buffered, want about %d", asked, limit)
		}
		c.nc.Close()
	})
}

func serverConns(s *Server) []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*conn
	for c := range s.conns {
		all = append(all, c)
	}
	return all
}
