package uplink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
	"go.uber.org/goleak"

	"ayumi/steps"
	"ayumi/uplink/uplinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t testing.TB, script uplinktest.Script) *uplinktest.Server {
	t.Helper()
	s, err := uplinktest.Listen("127.0.0.1:0", nil, script)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func connect(t testing.TB, cfg MQTTConfig) *MQTT {
	t.Helper()
	if cfg.Device == "" {
		cfg.Device, cfg.Secret = "ped-1", "hush"
	}
	c, err := DialMQTT(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ledger notes what was reported of each publish.
type ledger struct {
	mu    sync.Mutex
	times map[int]int
	good  map[int]byte
	bad   map[int]error
	order []int
}

func newLedger() *ledger {
	return &ledger{times: map[int]int{}, good: map[int]byte{}, bad: map[int]error{}}
}

func (l *ledger) take(i int) func(byte, error) {
	return func(reason byte, err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.times[i]++
		l.order = append(l.order, i)
		if err != nil {
			l.bad[i] = err
		} else {
			l.good[i] = reason
		}
	}
}

func (l *ledger) onceEach(t *testing.T, n int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.times) != n {
		t.Errorf("%d publishes were reported, want %d", len(l.times), n)
	}
	for i, k := range l.times {
		if k != 1 {
			t.Errorf("publish %d was reported %d times", i, k)
		}
	}
}

// collector is mochi's hook that authenticates and keeps what was published.
type collector struct {
	mochi.HookBase
	mu   sync.Mutex
	got  map[string]int
	user string
}

func (c *collector) ID() string { return "collector" }

func (c *collector) Provides(b byte) bool {
	return bytes.Contains([]byte{mochi.OnConnectAuthenticate, mochi.OnACLCheck, mochi.OnPublish}, []byte{b})
}

func (c *collector) OnConnectAuthenticate(_ *mochi.Client, pk packets.Packet) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.user = string(pk.Connect.Username)
	return string(pk.Connect.Password) == "hush"
}

func (c *collector) OnACLCheck(*mochi.Client, string, bool) bool { return true }

func (c *collector) OnPublish(_ *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got[fmt.Sprintf("%s q%d dup%v %s", pk.TopicName, pk.FixedHeader.Qos, pk.FixedHeader.Dup, pk.Payload)]++
	return pk, nil
}

func startMochi(t *testing.T) (*collector, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hook := &collector{got: map[string]int{}}
	srv := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := srv.AddHook(hook, nil); err != nil {
		t.Fatal(err)
	}
	if err := srv.AddListener(listeners.NewNet("t", l)); err != nil {
		t.Fatal(err)
	}
	if err := srv.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	return hook, l.Addr().String()
}

func TestPublishToIndependentBroker(t *testing.T) {
	for _, version := range []byte{4, 5} {
		t.Run(fmt.Sprintf("version %d", version), func(t *testing.T) {
			hook, addr := startMochi(t)
			c := connect(t, MQTTConfig{Addr: addr, Version: version, Window: 20})
			topic := UploadTopic("ped-1", steps.Protobuf)
			l := newLedger()
			const n = 500
			for i := range n {
				if err := c.Publish(t.Context(), topic, fmt.Appendf(nil, "payload %d", i), l.take(i)); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
			l.onceEach(t, n)
			if len(l.bad) > 0 {
				t.Errorf("%d publishes failed", len(l.bad))
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			hook.mu.Lock()
			defer hook.mu.Unlock()
			if hook.user != "ped-1" || len(hook.got) != n {
				t.Errorf("broker knows %q and %d messages, want ped-1 and %d", hook.user, len(hook.got), n)
			}
			if k := hook.got["ayumi/v1/ped-1/up/pb q1 dupfalse payload 7"]; k != 1 {
				t.Errorf("payload 7 came %d times", k)
			}
		})
	}
}

func TestIndependentBrokerRefusesSecret(t *testing.T) {
	_, addr := startMochi(t)
	for _, version := range []byte{4, 5} {
		_, err := DialMQTT(t.Context(), MQTTConfig{Addr: addr, Version: version, Device: "ped-1", Secret: "wrong"})
		if steps.KindOf(err) != steps.Unauthorized {
			t.Errorf("version %d: %v, want unauthorized", version, err)
		}
	}
}

func TestReorderedAcks(t *testing.T) {
	var held []uplinktest.Ack
	s := listen(t, uplinktest.Script{Publish: func(p uplinktest.Publish) uplinktest.Answer {
		ack := uplinktest.Ack{ID: p.ID}
		if p.N%5 == 2 {
			ack.Reason = 0x99
		}
		held = append([]uplinktest.Ack{ack}, held...)
		if len(held) < 10 {
			return uplinktest.Answer{}
		}
		a := uplinktest.Answer{Acks: held}
		held = nil
		return a
	}})
	c := connect(t, MQTTConfig{Addr: s.Addr(), Version: 5, Window: 10})
	l := newLedger()
	for i := range 100 {
		if err := c.Publish(t.Context(), "t", []byte("x"), l.take(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.onceEach(t, 100)
	if len(l.order) < 2 || l.order[0] != 9 || l.order[9] != 0 {
		t.Errorf("reported in the order %v", l.order[:10])
	}
	for i := range 100 {
		want := byte(0)
		if i%5 == 2 {
			want = 0x99
		}
		if l.good[i] != want {
			t.Errorf("publish %d has reason 0x%02X, want 0x%02X", i, l.good[i], want)
		}
	}
}

func TestConnectionDropsBeforeAck(t *testing.T) {
	s := listen(t, uplinktest.Script{Publish: func(p uplinktest.Publish) uplinktest.Answer {
		if p.N == 6 {
			return uplinktest.Answer{Drop: true}
		}
		if p.N >= 4 {
			return uplinktest.Answer{}
		}
		return uplinktest.Answer{Acks: []uplinktest.Ack{{ID: p.ID}}}
	}})
	c := connect(t, MQTTConfig{Addr: s.Addr(), Window: 8})
	l := newLedger()
	taken := 0
	for i := range 20 {
		if err := c.Publish(t.Context(), "t", []byte("x"), l.take(i)); err != nil {
			if steps.KindOf(err) != steps.Unavailable {
				t.Errorf("publish: %v", err)
			}
			break
		}
		taken++
	}
	if err := c.Drain(t.Context()); steps.KindOf(err) != steps.Unavailable {
		t.Errorf("drain: %v", err)
	}
	<-c.Done()
	l.onceEach(t, taken)
	for i := range taken {
		if _, ok := l.good[i]; ok != (i < 4) {
			t.Errorf("publish %d: acknowledged %v", i, ok)
		}
	}
	if err := c.Publish(t.Context(), "t", nil, l.take(99)); err == nil || l.times[99] != 0 {
		t.Error("a dead connection took a publish")
	}
}

func TestNonsenseEndsConnection(t *testing.T) {
	for name, raw := range map[string][]byte{
		"PUBACK of nothing":  {0x40, 2, 0, 9},
		"PUBACK of zero":     {0x40, 2, 0, 0},
		"PUBACK twice":       {0x40, 2, 0, 1, 0x40, 2, 0, 1},
		"short PUBACK":       {0x40, 1, 0},
		"endless length":     {0x40, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F},
		"huge packet":        {0x40, 0xFF, 0xFF, 0xFF, 0x7F},
		"PUBLISH":            {0x30, 3, 0, 1, 't'},
		"CONNACK once more":  {0x20, 2, 0, 0},
		"DISCONNECT":         {0xE0, 1, 0x8B},
		"DISCONNECT, reason": {0xE0, 7, 0x8B, 5, propReasonString, 0, 2, 'n', 'o'},
		"DISCONNECT, broken": {0xE0, 3, 0x8B, 9, 9},
	} {
		t.Run(name, func(t *testing.T) {
			s := listen(t, uplinktest.Script{Publish: func(p uplinktest.Publish) uplinktest.Answer {
				return uplinktest.Answer{Raw: raw}
			}})
			c := connect(t, MQTTConfig{Addr: s.Addr(), Version: 5})
			l := newLedger()
			if err := c.Publish(t.Context(), "t", nil, l.take(0)); err != nil {
				t.Fatal(err)
			}
			<-c.Done()
			l.onceEach(t, 1)
			if name != "PUBACK twice" && l.bad[0] == nil {
				t.Error("the publish counts as acknowledged")
			}
			if steps.KindOf(c.Err()) != steps.Unavailable {
				t.Errorf("connection ended with %v", c.Err())
			}
		})
	}
}

func TestCloseReportsUnacknowledged(t *testing.T) {
	arrived := make(chan struct{}, 3)
	s := listen(t, uplinktest.Script{Publish: func(uplinktest.Publish) uplinktest.Answer {
		arrived <- struct{}{}
		return uplinktest.Answer{}
	}})
	c := connect(t, MQTTConfig{Addr: s.Addr()})
	l := newLedger()
	for i := range 3 {
		if err := c.Publish(t.Context(), "t", nil, l.take(i)); err != nil {
			t.Fatal(err)
		}
		<-arrived
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	l.onceEach(t, 3)
	if len(l.bad) != 3 || !errors.Is(l.bad[0], errClosed) {
		t.Errorf("reported %v", l.bad)
	}
}

func TestPublishWaitsForRoom(t *testing.T) {
	s := listen(t, uplinktest.Script{Publish: func(uplinktest.Publish) uplinktest.Answer { return uplinktest.Answer{} }})
	c := connect(t, MQTTConfig{Addr: s.Addr(), Window: 1})
	if err := c.Publish(t.Context(), "t", nil, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Publish(ctx, "t", nil, func(byte, error) { t.Error("reported") }); !errors.Is(err, context.Canceled) {
		t.Errorf("publish: %v", err)
	}
	if err := c.Drain(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("drain: %v", err)
	}
}

func TestManyPublishers(t *testing.T) {
	s := listen(t, uplinktest.Script{})
	c := connect(t, MQTTConfig{Addr: s.Addr(), Window: 4})
	l := newLedger()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				if err := c.Publish(t.Context(), "t", []byte("abc"), l.take(g*200+i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := c.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.onceEach(t, 1600)
}

// piped returns a config whose connections end in s, inside a synctest bubble.
func piped(s *uplinktest.Server) MQTTConfig {
	return MQTTConfig{Addr: "pipe:1", Device: "ped-1", Dial: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go s.Serve(there)
		return here, nil
	}}
}

func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := uplinktest.New(uplinktest.Script{Connect: func(c uplinktest.Connect) (byte, []byte) {
			if c.KeepAlive != 60 {
				t.Errorf("keep alive %d s, want 60", c.KeepAlive)
			}
			return 0, []byte{propServerKeepAlive, 0, 20}
		}})
		cfg := piped(s)
		cfg.Version = 5
		c := connect(t, cfg)
		time.Sleep(61 * time.Second) // the bubble's clock, which costs nothing
		if n := s.Pings(); n < 4 || n > 6 {
			t.Errorf("%d pings in 61 s with the server's keep alive of 20 s", n)
		}
		if c.Err() != nil {
			t.Error(c.Err())
		}
		_ = c.Close()
		s.Close()
		synctest.Wait()
	})
}

func TestSilence(t *testing.T) {
	for name, publish := range map[string]bool{"unanswered publish": true, "unanswered ping": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := uplinktest.New(uplinktest.Script{NoPong: true, Publish: func(uplinktest.Publish) uplinktest.Answer { return uplinktest.Answer{} }})
				cfg := piped(s)
				cfg.Timeout, cfg.KeepAlive = 10*time.Second, 40*time.Second
				began := time.Now()
				c := connect(t, cfg)
				l := newLedger()
				if publish {
					if err := c.Publish(t.Context(), "t", nil, l.take(0)); err != nil {
						t.Fatal(err)
					}
				}
				<-c.Done()
				took, least, most := time.Since(began), 10*time.Second, 16*time.Second
				if !publish {
					least, most = 30*time.Second, 40*time.Second
				}
				if took < least || took > most {
					t.Errorf("ended after %s, want %s to %s", took, least, most)
				}
				if publish && (l.bad[0] == nil || steps.KindOf(l.bad[0]) != steps.Unavailable) {
					t.Errorf("reported %v", l.bad[0])
				}
				_ = c.Close()
				s.Close()
			})
		})
	}
}

func TestConnectTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var there net.Conn
		_, err := DialMQTT(t.Context(), MQTTConfig{Addr: "pipe:1", Timeout: 7 * time.Second,
			Dial: func(context.Context, string, string) (here net.Conn, err error) {
				here, there = net.Pipe()
				return here, nil
			}})
		if steps.KindOf(err) != steps.Unavailable {
			t.Errorf("%v, want unavailable", err)
		}
		_ = there.Close()
	})
}
