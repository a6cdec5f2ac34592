package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ayumi/protocol"
	"ayumi/protocol/native"
	"ayumi/steps"
	"ayumi/uplink/uplinktest"
)

func TestEveryAcknowledgementIsCountedOnce(t *testing.T) {
	for _, tc := range []struct {
		name    string
		version byte
		window  int
		carries int
		raw     int
		topic   string
	}{
		{name: "3.1.1", version: 4, window: 8, topic: "ayumi/v1/ped-a/up/pb"},
		{name: "5", version: 5, window: 8, topic: "ayumi/v1/ped-a/up/pb"},
		{name: "window 1", version: 4, window: 1, topic: "ayumi/v1/ped-a/up/pb"},
		{name: "bundles", version: 5, window: 3, carries: 4, topic: "ayumi/v1/ped-a/bundle/pb"},
		{name: "raw payload", version: 4, window: 8, raw: 300, topic: "ayumi/v1/ped-a/up/pb"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var publishes atomic.Uint64
			s := listen(t, uplinktest.Script{Publish: func(p uplinktest.Publish) uplinktest.Answer {
				publishes.Add(1)
				if p.User == "ped-a" && p.Topic != tc.topic || tc.raw > 0 && len(p.Payload) != tc.raw {
					t.Errorf("%d bytes to topic %s", len(p.Payload), p.Topic)
				}
				return uplinktest.Answer{Acks: []uplinktest.Ack{{ID: p.ID}}}
			}})
			c := load(s.Addr(), 3)
			c.Version, c.Window, c.Raw = tc.version, tc.window, tc.raw
			carried(&c, tc.carries)
			r := mustRun(t, c)
			each := uint64(max(1, tc.carries))
			if r.Acknowledged != publishes.Load()*each || !r.Clean() || r.Acknowledged == 0 {
				t.Errorf("acknowledged %d of %d × %d: %+v", r.Acknowledged, publishes.Load(), each, r)
			}
			if r.UploadsPerSecond == 0 || len(r.Series) != 1 || (tc.raw > 0) != (r.SamplesPerSecond == 0) {
				t.Errorf("%+v", r)
			}
			if r.Latency.P50 > r.Latency.P99 || r.Latency.P99 > r.Latency.P999 || r.Latency.P999 > r.Latency.Max || r.Latency.Max == 0 {
				t.Errorf("latencies %+v", r.Latency)
			}
		})
	}
}

func TestStepsAreWhatTheServerMerged(t *testing.T) {
	held, decoder := model{}, native.NewDecoder(protocol.DefaultLimits())
	s := listen(t, uplinktest.Script{Publish: func(p uplinktest.Publish) uplinktest.Answer {
		u := new(steps.Upload)
		if err := decoder.Upload(u, p.Payload, steps.Protobuf); err != nil {
			t.Error(err)
		}
		held.merge(steps.DeviceID(p.User), u)
		return uplinktest.Answer{Acks: []uplinktest.Ack{{ID: p.ID}}}
	}})
	c := load(s.Addr(), 1) // one connection: the script is called from one goroutine
	c.Days = 1             // wraps many times
	r := mustRun(t, c)
	s.Close()
	if r.Steps != held.steps() || r.Steps == 0 {
		t.Errorf("the server holds %d steps, the generator says %d", held.steps(), r.Steps)
	}
}

// A server that stalls is charged for everything that was due meanwhile, not only for the messages
// that were under way.
func TestOpenLoopCountsTheWaitFromTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const stallAt = 500
		c := piped(t, uplinktest.Script{Publish: func(p uplinktest.Publish) uplinktest.Answer {
			if p.N == stallAt {
				time.Sleep(time.Second)
			}
			return uplinktest.Answer{Acks: []uplinktest.Ack{{ID: p.ID}}}
		}}, 1)
		c.Rate, c.Window, c.Warmup, c.Duration = 100, 1, 0, 10*time.Second
		r := mustRun(t, c)
		if r.Acknowledged != 1000 || !r.Clean() {
			t.Errorf("acknowledged %d of 1000: %+v", r.Acknowledged, r)
		}
		// 100 of 1000 messages were due during the stall, and waited 1 s to 10 ms.
		if l := r.Latency; l.P50 != 0 || l.P99 < 850 || l.P99 > 950 || l.Max != 1000 {
			t.Errorf("latencies %+v", l)
		}
		want := []float64{100, 100, 100, 100, 100, 0, 200, 100, 100, 100}
		for i := range want {
			if d := r.Series[i] - want[i]; d < -1 || d > 1 {
				t.Errorf("second %d: %v, want %v", i, r.Series[i], want[i])
			}
		}
	})
}

func TestOpenLoopSpreadsTheRateOverConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var last atomic.Int64
		c := piped(t, uplinktest.Script{Publish: func(p uplinktest.Publish) uplinktest.Answer {
			at := time.Since(began)
			if gap := at - time.Duration(last.Swap(int64(at))); p.N > 0 && gap != 5*time.Millisecond {
				t.Errorf("%v between two messages, want 5ms", gap)
			}
			return uplinktest.Answer{Acks: []uplinktest.Ack{{ID: p.ID}}}
		}}, 4)
		c.Rate, c.Warmup, c.Duration = 200, time.Second, 2500*time.Millisecond
		r := mustRun(t, c)
		if r.Acknowledged != 700 || r.UploadsPerSecond != 200 {
			t.Errorf("acknowledged %d, %v/s", r.Acknowledged, r.UploadsPerSecond)
		}
		if got := fmt.Sprint(r.Series); got != "[200 200 200]" {
			t.Errorf("series %s", got)
		}
		if took := time.Since(began); took > 3600*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestErrorsAreCounted(t *testing.T) {
	ack := func(p uplinktest.Publish, reason byte) uplinktest.Answer {
		return uplinktest.Answer{Acks: []uplinktest.Ack{{ID: p.ID, Reason: reason}}}
	}
	for _, tc := range []struct {
		name                   string
		publish                func(uplinktest.Publish) uplinktest.Answer
		acked, refused, unsure uint64
		lost                   uint64
		first                  string
	}{
		{"refused", func(p uplinktest.Publish) uplinktest.Answer {
			if p.N%2 == 1 {
				return ack(p, 0x99)
			}
			return ack(p, 0)
		}, 20, 10, 0, 0, "0x99"},
		{"dropped before the acknowledgement", func(p uplinktest.Publish) uplinktest.Answer {
			if p.N == 5 {
				return uplinktest.Answer{Drop: true}
			}
			return ack(p, 0)
		}, 10, 0, 2, 2, "connection 0"},
		{"disconnected with a reason", func(p uplinktest.Publish) uplinktest.Answer {
			return uplinktest.Answer{Raw: []byte{0xE0, 1, 0x8B}}
		}, 0, 0, 2, 2, "0x8B"},
		{"acknowledged twice", func(p uplinktest.Publish) uplinktest.Answer {
			a := ack(p, 0)
			a.Acks = append(a.Acks, a.Acks...)
			return a
		}, 0, 0, 0, 2, "not under way"},
		{"silent", func(p uplinktest.Publish) uplinktest.Answer { return uplinktest.Answer{} }, 0, 0, 16, 2, "timeout"},
		{"a packet too large", func(p uplinktest.Publish) uplinktest.Answer {
			return uplinktest.Answer{Raw: []byte{0x40, 0x80, 0x01}}
		}, 0, 0, 2, 2, "too large"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := piped(t, uplinktest.Script{Publish: tc.publish}, 2)
				c.Version, c.Rate, c.Warmup, c.Duration = 5, 20, 0, time.Second
				began := time.Now()
				r := mustRun(t, c)
				if r.Acknowledged != tc.acked || r.Refused != tc.refused || r.Unacknowledged != tc.unsure || r.Lost != tc.lost {
					t.Errorf("%+v", r)
				}
				if !strings.Contains(r.FirstError, tc.first) {
					t.Errorf("first error %q", r.FirstError)
				}
				if r.Clean() || time.Since(began) > c.Duration+defaultDrain {
					t.Errorf("clean %v after %v", r.Clean(), time.Since(began))
				}
			})
		})
	}
}

func TestConnectionsThatCannotBeOpened(t *testing.T) {
	for _, tc := range []struct {
		name    string
		version byte
		connect func(uplinktest.Connect) (byte, []byte)
		want    string
	}{
		{"refused", 4, func(uplinktest.Connect) (byte, []byte) { return 5, nil }, "0x05"},
		{"window too large", 5, func(uplinktest.Connect) (byte, []byte) {
			return 0, []byte{0x12, 0, 1, 'x', 0x24, 1, 0x27, 0, 1, 0, 0, 0x21, 0, 4}
		}, "window of 4"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := listen(t, uplinktest.Script{Connect: tc.connect})
			c := load(s.Addr(), 2)
			c.Version = tc.version
			_, err := Run(t.Context(), c)
			if err == nil || !strings.Contains(err.Error(), tc.want) || steps.KindOf(err) != steps.Unavailable {
				t.Errorf("%v", err)
			}
		})
	}
	c := load("", 1)
	c.Samples = 0
	if _, err := Run(t.Context(), c); steps.KindOf(err) != steps.Invalid {
		t.Errorf("%v", err)
	}
}

func TestCancelEndsTheRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := listen(t, uplinktest.Script{Publish: func(uplinktest.Publish) uplinktest.Answer {
		cancel()
		return uplinktest.Answer{}
	}})
	c := load(s.Addr(), 3)
	c.Duration = time.Hour
	if _, err := Run(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// echo acknowledges every packet of a fixed size that is written to it, without allocating.
type echo struct {
	net.Conn
	size, id int
	acks     []byte
}

func (e *echo) Write(b []byte) (int, error) {
	for at := 0; at < len(b); at += e.size {
		e.acks = append(e.acks, 0x40, 2, b[at+e.id], b[at+e.id+1])
	}
	return len(b), nil
}

func (e *echo) Read(b []byte) (int, error) {
	n := copy(b, e.acks)
	if n == 0 {
		return 0, io.EOF
	}
	e.acks = e.acks[:copy(e.acks, e.acks[n:])]
	return n, nil
}

func newEcho(t testing.TB, window int) *publisher {
	c := load("", 1)
	c.Window, c.Duration = window, time.Hour
	if err := c.fill(); err != nil {
		t.Fatal(err)
	}
	p := newPublisher(&c, 0, newMeter(&c))
	p.begin(time.Now(), time.Now().Add(time.Hour))
	p.conn = &echo{size: p.packet, id: p.id, acks: make([]byte, 0, 4*window)}
	return p
}

func round(t testing.TB, p *publisher) {
	if _, _, err := p.publish(); err != nil {
		t.Fatal(err)
	}
	if err := p.acknowledged(); err != nil {
		t.Fatal(err)
	}
}

func TestPublishingAllocatesNothing(t *testing.T) {
	p := newEcho(t, 32)
	if n := testing.AllocsPerRun(100, func() { round(t, p) }); n != 0 {
		t.Errorf("%v allocations a round", n)
	}
	if p.nfree != 32 || binary.BigEndian.Uint16(p.out[p.id:]) == 0 {
		t.Errorf("%d of 32 identifiers are free", p.nfree)
	}
}

// BenchmarkRound is the generator's own cost of one message, without a socket.
func BenchmarkRound(b *testing.B) {
	p := newEcho(b, 32)
	b.ReportAllocs()
	for n := 0; n < b.N; n += 32 {
		round(b, p)
	}
}
