package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ayumi/steps"
	"ayumi/uplink/uplinktest"
)

// inbox notes what a server received and what Deliver reported.
type inbox struct {
	mu       sync.Mutex
	received map[string]int
	first    []string
	acks     map[int]Ack
	double   int
}

func newInbox() *inbox { return &inbox{received: map[string]int{}, acks: map[int]Ack{}} }

func (b *inbox) receive(body []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.received[string(body)]++; b.received[string(body)] == 1 {
		b.first = append(b.first, string(body))
	}
}

func (b *inbox) report(a Ack) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.acks[a.Index]; ok {
		b.double++
	}
	b.acks[a.Index] = a
}

func (b *inbox) check(t *testing.T, n int) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.acks) != n || b.double > 0 {
		t.Errorf("%d payloads were reported, %d twice; want %d", len(b.acks), b.double, n)
	}
	for i, a := range b.acks {
		if a.Err == nil && b.received[string(numbered(i).Body)] == 0 {
			t.Errorf("payload %d is acknowledged and never arrived", i)
		}
	}
}

func numbered(i int) Payload {
	return Payload{Body: fmt.Appendf(nil, "payload %d", i), Encoding: steps.JSON, Bundle: i%2 == 1}
}

// pipedServer dials fresh pipes to one scripted server.
func pipedServer(t *testing.T, script uplinktest.Script) *MQTTConfig {
	s := uplinktest.New(script)
	t.Cleanup(s.Close)
	cfg := piped(s)
	return &cfg
}

func TestDeliverOverDroppedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := newInbox()
		cfg := pipedServer(t, uplinktest.Script{Publish: func(p uplinktest.Publish) uplinktest.Answer {
			box.receive(p.Payload)
			// Every connection swallows an acknowledgement or three, then drops.
			if p.N > 10 {
				return uplinktest.Answer{Drop: true}
			}
			if p.N > 7 {
				return uplinktest.Answer{}
			}
			return uplinktest.Answer{Acks: []uplinktest.Ack{{ID: p.ID}}}
		}})
		const n = 100
		stats, err := Deliver(t.Context(), DeliverConfig{MQTT: cfg}, n, numbered, box.report)
		if err != nil {
			t.Fatal(err)
		}
		box.check(t, n)
		if stats.Connects < 13 || stats.Resent < 24 || stats.Failures < 12 {
			t.Errorf("stats %+v", stats)
		}
		for i, body := range box.first {
			if body != string(numbered(i).Body) {
				t.Fatalf("payload %q arrived first in place %d", body, i)
			}
		}
	})
}

func TestDeliverReasons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := newInbox()
		cfg := pipedServer(t, uplinktest.Script{Publish: func(p uplinktest.Publish) uplinktest.Answer {
			box.receive(p.Payload)
			ack := uplinktest.Ack{ID: p.ID}
			switch {
			case string(p.Payload) == "payload 3":
				ack.Reason = 0x99
			case p.Conn == 0 && string(p.Payload) == "payload 5":
				ack.Reason = 0x97
			}
			return uplinktest.Answer{Acks: []uplinktest.Ack{ack}}
		}})
		cfg.Version = 5
		stats, err := Deliver(t.Context(), DeliverConfig{MQTT: cfg}, 8, numbered, box.report)
		if err != nil {
			t.Fatal(err)
		}
		box.check(t, 8)
		if a := box.acks[3]; a.Reason != 0x99 || a.Err != nil {
			t.Errorf("payload 3: %+v", a)
		}
		if a := box.acks[5]; a.Reason != 0 || box.received["payload 5"] != 2 || stats.Resent != 1 {
			t.Errorf("payload 5: %+v, received %d times, %+v", a, box.received["payload 5"], stats)
		}
	})
}

func TestDeliverGivesUp(t *testing.T) {
	refuse := func(code byte) uplinktest.Script {
		return uplinktest.Script{Connect: func(uplinktest.Connect) (byte, []byte) { return code, nil }}
	}
	t.Run("refused credential", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			box, began := newInbox(), time.Now()
			stats, err := Deliver(t.Context(), DeliverConfig{MQTT: pipedServer(t, refuse(5))}, 4, numbered, box.report)
			if steps.KindOf(err) != steps.Unauthorized || stats.Failures != 0 || time.Since(began) > 0 {
				t.Errorf("%v after %s, %+v", err, time.Since(began), stats)
			}
			box.check(t, 4)
			if steps.KindOf(box.acks[2].Err) != steps.Unauthorized {
				t.Errorf("payload 2: %v", box.acks[2].Err)
			}
		})
	})
	t.Run("patience", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			box, began := newInbox(), time.Now()
			retry := Retry{Patience: 20 * time.Second, Jitter: func() float64 { return 0.5 }}
			stats, err := Deliver(t.Context(), DeliverConfig{MQTT: pipedServer(t, refuse(3)), Retry: retry}, 4, numbered, box.report)
			took := time.Since(began)
			if steps.KindOf(err) != steps.Unavailable || took < 20*time.Second || took > 26*time.Second {
				t.Errorf("%v after %s", err, took)
			}
			if stats.Failures < 8 || stats.Failures > 14 {
				t.Errorf("%d attempts; the pauses should grow", stats.Failures)
			}
			box.check(t, 4)
		})
	})
	t.Run("cancelled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			box := newInbox()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			_, err := Deliver(ctx, DeliverConfig{MQTT: pipedServer(t, refuse(3))}, 4, numbered, box.report)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v, want a deadline", err)
			}
			box.check(t, 4)
		})
	})
	t.Run("no way", func(t *testing.T) {
		if _, err := Deliver(t.Context(), DeliverConfig{}, 0, numbered, nil); steps.KindOf(err) != steps.Invalid {
			t.Errorf("%v, want invalid", err)
		}
	})
}

func TestDeliverOverServerRestart(t *testing.T) {
	box := newInbox()
	half := make(chan struct{})
	var once sync.Once
	script := uplinktest.Script{Publish: func(p uplinktest.Publish) uplinktest.Answer {
		box.receive(p.Payload)
		if string(p.Payload) == "payload 50" {
			once.Do(func() { close(half) })
		}
		return uplinktest.Answer{Acks: []uplinktest.Ack{{ID: p.ID}}}
	}}
	s := listen(t, script)
	var restarted *uplinktest.Server
	var wg sync.WaitGroup
	wg.Go(func() {
		<-half
		s.Close()
		var err error
		if restarted, err = uplinktest.Listen(s.Addr(), nil, script); err != nil {
			t.Error(err)
		}
	})
	cfg := MQTTConfig{Addr: s.Addr(), Device: "ped-1", Window: 4}
	_, err := Deliver(t.Context(), DeliverConfig{MQTT: &cfg, Retry: Retry{First: time.Millisecond}}, 200, numbered, box.report)
	wg.Wait()
	if restarted != nil {
		defer restarted.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	box.check(t, 200)
}

func TestDeliverByHTTPS(t *testing.T) {
	box := newInbox()
	n := 0
	url, conf := gateway(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch n++; {
		case n == 2:
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case n == 4:
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_ = conn.Close()
			return
		case string(body) == "payload 6":
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		box.receive(body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, storedReceipt)
	})
	h := poster(t, HTTPSConfig{BaseURL: url, TLS: conf})
	stats, err := Deliver(t.Context(), DeliverConfig{HTTPS: h, Retry: Retry{First: time.Millisecond}}, 10, numbered, box.report)
	if err != nil {
		t.Fatal(err)
	}
	box.check(t, 10)
	if stats.Failures != 2 || stats.Resent != 2 {
		t.Errorf("stats %+v", stats)
	}
	for i, a := range box.acks {
		if i == 6 {
			if steps.KindOf(a.Err) != steps.Invalid {
				t.Errorf("payload 6: %v", a.Err)
			}
		} else if a.Receipt == nil {
			t.Errorf("payload %d has no receipt", i)
		}
	}
}

func TestDeliverByHTTPSUnauthorized(t *testing.T) {
	url, conf := gateway(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	box := newInbox()
	_, err := Deliver(t.Context(), DeliverConfig{HTTPS: poster(t, HTTPSConfig{BaseURL: url, TLS: conf})}, 3, numbered, box.report)
	if steps.KindOf(err) != steps.Unauthorized {
		t.Errorf("%v, want unauthorized", err)
	}
	box.check(t, 3)
}

func TestPauseHeedsServer(t *testing.T) {
	d := delivery{cfg: DeliverConfig{Retry: Retry{First: time.Second, Max: 8 * time.Second}}}
	down := steps.E("post", steps.Unavailable, &Wait{After: 5 * time.Second, Err: net.ErrClosed})
	if got := d.stretch(time.Second, down); got != 5*time.Second {
		t.Errorf("pause %s, want the server's 5 s", got)
	}
	down.Err = &Wait{After: time.Hour, Err: net.ErrClosed}
	if got := d.stretch(time.Second, down); got != 8*time.Second {
		t.Errorf("pause %s, want at most 8 s", got)
	}
}
