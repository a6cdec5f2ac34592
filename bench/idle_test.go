package bench

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ayumi/steps"
	"ayumi/uplink/uplinktest"
)

// TestIdle holds connections open for a minute, in which one of them is lost.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := piped(t, uplinktest.Script{}, 3)
		c.Duration = time.Minute
		var opened atomic.Int32
		dial := c.Dial
		c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if opened.Add(1) == 2 {
				time.AfterFunc(30*time.Second, func() { _ = conn.Close() })
			}
			return conn, err
		}
		start := time.Now()
		r, err := Idle(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d != time.Minute || r.Connections != 3 || r.Lost != 1 || r.FirstError == "" || r.Seconds != 60 {
			t.Errorf("after %v: %+v", d, r)
		}
	})
}

func TestIdleRefuses(t *testing.T) {
	https := load("127.0.0.1:1", 1)
	https.HTTPS = true
	for name, c := range map[string]Config{"HTTPS": https, "nobody": load("127.0.0.1:1", 0)} {
		if _, err := Idle(t.Context(), c); steps.KindOf(err) != steps.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Idle(t.Context(), load("127.0.0.1:1", 1)); steps.KindOf(err) != steps.Unavailable {
		t.Errorf("nobody listens: %v", err)
	}
}
