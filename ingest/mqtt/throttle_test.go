package mqtt

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"ayumi/ingest"
)

// limited runs a test on a fake clock, with an allowance of 20 uploads at once and some a second for
// each device. Uploads are charged as the pipeline does.
func limited(t *testing.T, perSecond int, f func(t *testing.T, s *pipeServer, gw *fakeGateway)) {
	synctest.Test(t, func(t *testing.T) {
		gw := newFake()
		gw.items = make(chan item, 1<<12)
		gw.submit = func(_ context.Context, env *ingest.Envelope) error {
			env.Allowance.Spend(1, env.ReceivedAt)
			return nil
		}
		cfg := DefaultConfig()
		cfg.Allowances = ingest.NewAllowances(ingest.Rates{Device: ingest.Rate{PerSecond: perSecond, Burst: 20}}, time.Now)
		s := startPipes(t, cfg, gw)
		f(t, s, gw)
		s.stop()
	})
}

// recover20 lets an allowance come back, of which a CONNECT took half.
func recover20() { time.Sleep(2 * time.Second) }

// TestFloodIsSlowed publishes five hundred times as fast as the network takes it: twenty get through
// at once, then ten a second, in order and all acknowledged. Another device is not held up.
func TestFloodIsSlowed(t *testing.T) {
	for name, level := range bothLevels {
		limited(t, 10, func(t *testing.T, s *pipeServer, gw *fakeGateway) {
			const flood = 500
			c, other := connectKeeping(t, s, level, 600), handshake(t, s.dial(), level, "other")
			recover20()
			start := time.Now()
			var writer sync.WaitGroup
			writer.Go(func() {
				for id := 1; id <= flood; id++ {
					c.publish(uint16(id), fmt.Sprint(id))
				}
			})
			for id := 1; id <= flood; id++ {
				it := gw.take(t)
				if it.body != fmt.Sprint(id) {
					t.Fatalf("%s: %q at the place of %d", name, it.body, id)
				}
				if d, want := time.Since(start), time.Duration(max(0, id-20))*100*time.Millisecond; d < want || d > want+time.Millisecond {
					t.Fatalf("%s: publish %d got through after %v, want %v", name, id, d, want)
				}
				it.store()
				c.wantPuback(uint16(id), codeSuccess)
				if id%40 == 0 {
					at := time.Now()
					other.publish(uint16(id), "honest")
					gw.take(t).store()
					other.wantPuback(uint16(id), codeSuccess)
					if d := time.Since(at); d != 0 {
						t.Errorf("%s: the honest device waited %v", name, d)
					}
				}
			}
			writer.Wait()
			if n := testutil.ToFloat64(s.metrics.throttled); n != flood-20 {
				t.Errorf("%s: %v packets are counted as held up, want %d", name, n, flood-20)
			}
			c.nc.Close()
			other.nc.Close()
		})
	}
}

// TestPingWhileThrottled owes twenty seconds: PINGREQ is answered within three all the while, and then
// the publish gets through.
func TestPingWhileThrottled(t *testing.T) {
	for name, level := range bothLevels {
		limited(t, 1, func(t *testing.T, s *pipeServer, gw *fakeGateway) {
			gw.submit = func(_ context.Context, env *ingest.Envelope) error {
				env.Allowance.Spend(40, env.ReceivedAt)
				return nil
			}
			c := connectKeeping(t, s, level, 10)
			c.publish(1, "large")
			gw.take(t).store()
			c.wantPuback(1, codeSuccess)
			c.publish(2, "next")
			for start := time.Now(); time.Since(start) < 20*time.Second; {
				at := time.Now()
				c.ping()
				if d := time.Since(at); d > 3*time.Second {
					t.Errorf("%s: PINGREQ was answered after %v", name, d)
				}
			}
			gw.take(t).store()
			c.wantPuback(2, codeSuccess)
			if n := testutil.ToFloat64(s.metrics.handedOver); n == 0 {
				t.Errorf("%s: nobody read on", name)
			}
			c.nc.Close()
		})
	}
}

// TestPingFloodIsSlowed asks for PINGRESP as fast as it is answered.
func TestPingFloodIsSlowed(t *testing.T) {
	limited(t, 10, func(t *testing.T, s *pipeServer, _ *fakeGateway) {
		c := connectKeeping(t, s, level311, 600)
		recover20()
		start, pings := time.Now(), 0
		for ; time.Since(start) < time.Minute; pings++ {
			c.ping()
		}
		if pings < 500 || pings > 20+60*2*10+1 { // half of them wait and are not charged
			t.Errorf("%d pings were answered in a minute, want twenty and then ten or twenty a second", pings)
		}
		c.nc.Close()
	})
}

// TestConnectingAgainBringsNothing floods on one connection after the other, and on several at once.
func TestConnectingAgainBringsNothing(t *testing.T) {
	limited(t, 10, func(t *testing.T, s *pipeServer, gw *fakeGateway) {
		start, through := time.Now(), 0
		var writers sync.WaitGroup
		for time.Since(start) < 30*time.Second {
			c := connectKeeping(t, s, level5, 600)
			second := &client{t, s.dial(), level5, "device"}
			second.send(connectPacket(level5, "second", "device", "secret"))
			readConnack(t, second.nc)
			for _, nc := range []net.Conn{c.nc, second.nc} {
				writers.Go(func() {
					for id := range 50 {
						if _, err := nc.Write(publishPacket(level5, 1, uint16(id+1), c.topic(), nil)); err != nil {
							return
						}
					}
				})
			}
			for end := time.After(3 * time.Second); end != nil; {
				select {
				case it := <-gw.items:
					it.done.Complete(storedReceipt(), nil)
					through++
				case <-end:
					end = nil
				}
			}
			c.nc.Close()
			second.nc.Close()
		}
		writers.Wait()
		synctest.Wait()
		for ; len(gw.items) > 0; through++ {
			gw.take(t).store()
		}
		seconds := time.Since(start).Seconds()
		if most := 20 + 10*seconds; float64(through) > most || through < 50 {
			t.Errorf("%d publishes got through in %v s, want at most %v and hardly fewer", through, seconds, most)
		}
	})
}

// TestEndWhileThrottled ends connections whose publish is held up for a long time, in every way: none
// of them outlives its reason, and the publish is not submitted.
func TestEndWhileThrottled(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, s *pipeServer, c *client){
		"client leaves": func(t *testing.T, _ *pipeServer, c *client) { c.nc.Close() },
		"client says goodbye": func(t *testing.T, _ *pipeServer, c *client) {
			c.send(packet(typeDisconnect, 0))
			c.wantClosed()
		},
		"client is replaced": func(t *testing.T, s *pipeServer, c *client) {
			fresh := make(chan *client)
			go func() { fresh <- connectKeeping(t, s, level5, 600) }()
			c.wantEnd(codeSessionTakenOver)
			(<-fresh).nc.Close()
		},
		"server stops": func(t *testing.T, s *pipeServer, c *client) {
			go func() {
				if err := s.Shutdown(context.Background()); err != nil {
					t.Error(err)
				}
			}()
			c.wantEnd(codeShuttingDown)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, late := range []bool{false, true} { // with the reading handed over
				limited(t, 1, func(t *testing.T, s *pipeServer, gw *fakeGateway) {
					gw.submit = func(_ context.Context, env *ingest.Envelope) error {
						env.Allowance.Spend(60, env.ReceivedAt)
						return nil
					}
					c := connectKeeping(t, s, level5, 600)
					c.publish(1, "large")
					gw.take(t).store()
					c.wantPuback(1, codeSuccess)
					c.publish(2, "held up")
					synctest.Wait()
					if late {
						time.Sleep(2500 * time.Millisecond)
					}
					at := time.Now()
					end(t, s, c)
					synctest.Wait()
					if d := time.Since(at); d > 2500*time.Millisecond { // a CONNECT is held up for a second
						t.Errorf("it took %v", d)
					}
					c.nc.Close()
					time.Sleep(time.Minute)
					if n := len(serverConns(s.Server)); n != 0 || len(gw.items) > 0 {
						t.Errorf("late %v: %d connections are left, %d publishes were submitted", late, n, len(gw.items))
					}
				})
			}
		})
	}
}

// TestConnectionsPerDevice opens more connections than a device may have: the oldest ones make room,
// and nobody else is touched.
func TestConnectionsPerDevice(t *testing.T) {
	for name, level := range bothLevels {
		t.Run(name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.ConnectionsPerDevice = 3
			s, addr := startServerOn(t, cfg, newFake())
			stranger := connectTo(t, addr, level, "stranger")
			var all []*client
			for i := range 7 {
				c := &client{t, dialRaw(t, addr), level, "device"}
				id := fmt.Sprint("client-", i)
				if i%2 == 1 && level == level311 {
					id = "" // one of no name takes a place too
				}
				c.send(connectPacket(level, id, "device", "secret"))
				readConnack(t, c.nc)
				all = append(all, c)
			}
			for i, c := range all {
				if i < 4 {
					c.wantEnd(codeQuotaExceeded)
				} else {
					c.ping()
				}
			}
			stranger.ping()
			again := &client{t, dialRaw(t, addr), level, "device"} // takes over, and makes nobody else go
			again.send(connectPacket(level, "client-6", "device", "secret"))
			readConnack(t, again.nc)
			all[6].wantEnd(codeSessionTakenOver)
			all[4].ping()
			all[5].ping()
			for _, c := range append(all, again, stranger) {
				c.nc.Close()
			}
			if err := s.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := testutil.ToFloat64(s.metrics.disconnects[causeOverload]); n != 4 {
				t.Errorf("%v connections ended for want of a place, want 4", n)
			}
		})
	}
}
