package uplink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"ayumi/steps"
	"ayumi/uplink/uplinktest"
)

func TestConnackRefusals(t *testing.T) {
	for _, tc := range []struct {
		version, code byte
		want          steps.Kind
	}{
		{4, 1, steps.Invalid},
		{4, 2, steps.Invalid},
		{4, 3, steps.Unavailable},
		{4, 4, steps.Unauthorized},
		{4, 5, steps.Unauthorized},
		{5, 0x84, steps.Invalid},
		{5, 0x85, steps.Invalid},
		{5, 0x86, steps.Unauthorized},
		{5, 0x87, steps.Unauthorized},
		{5, 0x88, steps.Unavailable},
		{5, 0x89, steps.Overload},
		{5, 0x97, steps.Overload},
		{5, 0x9F, steps.Overload},
	} {
		t.Run(fmt.Sprintf("v%d 0x%02X", tc.version, tc.code), func(t *testing.T) {
			s := listen(t, uplinktest.Script{Connect: func(uplinktest.Connect) (byte, []byte) {
				return tc.code, append([]byte{propReasonString, 0, 4}, "busy"...)
			}})
			_, err := DialMQTT(t.Context(), MQTTConfig{Addr: s.Addr(), Version: tc.version, Device: "ped-1"})
			if steps.KindOf(err) != tc.want {
				t.Errorf("%v: kind %s, want %s", err, steps.KindOf(err), tc.want)
			}
			var r *Refusal
			if !errors.As(err, &r) || r.Code != tc.code || (tc.version == 5) != (r.Reason == "busy") {
				t.Errorf("refusal is %+v", r)
			}
		})
	}
}

func TestConnackLowersWindow(t *testing.T) {
	var most, now int
	held := []uplinktest.Ack{}
	s := listen(t, uplinktest.Script{
		Connect: func(uplinktest.Connect) (byte, []byte) { return 0, []byte{propReceiveMaximum, 0, 3} },
		Publish: func(p uplinktest.Publish) uplinktest.Answer {
			now++
			most = max(most, now)
			held = append(held, uplinktest.Ack{ID: p.ID})
			if now < 3 {
				return uplinktest.Answer{}
			}
			now = 0
			a := uplinktest.Answer{Acks: held}
			held = nil
			return a
		},
	})
	c := connect(t, MQTTConfig{Addr: s.Addr(), Version: 5, Window: 100})
	if c.Window() != 3 {
		t.Fatalf("window %d, want 3", c.Window())
	}
	l := newLedger()
	for i := range 30 {
		if err := c.Publish(t.Context(), "t", nil, l.take(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.onceEach(t, 30)
	_ = c.Close()
	s.Close()
	if most != 3 {
		t.Errorf("%d publishes were in flight, want 3", most)
	}
}

func TestServerLimits(t *testing.T) {
	t.Run("packet size", func(t *testing.T) {
		s := listen(t, uplinktest.Script{Connect: func(uplinktest.Connect) (byte, []byte) {
			return 0, []byte{propMaximumPacket, 0, 0, 0, 100}
		}})
		c := connect(t, MQTTConfig{Addr: s.Addr(), Version: 5})
		err := c.Publish(t.Context(), "t", make([]byte, 100), nil)
		if steps.KindOf(err) != steps.Invalid {
			t.Errorf("%v, want invalid", err)
		}
		if err := c.Publish(t.Context(), "t", make([]byte, 80), nil); err != nil {
			t.Error(err)
		}
		if err := c.Drain(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("no QoS 1", func(t *testing.T) {
		s := listen(t, uplinktest.Script{Connect: func(uplinktest.Connect) (byte, []byte) { return 0, []byte{propMaximumQoS, 0} }})
		_, err := DialMQTT(t.Context(), MQTTConfig{Addr: s.Addr(), Version: 5})
		if steps.KindOf(err) != steps.Invalid {
			t.Errorf("%v, want invalid", err)
		}
	})
}

func TestConfigErrors(t *testing.T) {
	for name, cfg := range map[string]MQTTConfig{
		"version":    {Version: 3},
		"window":     {Window: 65536},
		"negative":   {Window: -1},
		"keep alive": {KeepAlive: time.Millisecond},
	} {
		if _, err := DialMQTT(t.Context(), cfg); steps.KindOf(err) != steps.Invalid {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
}

func FuzzConnack(f *testing.F) {
	f.Add(byte(5), []byte{0, 0, 3, propReceiveMaximum, 0, 3})
	f.Add(byte(5), []byte{0, 0x87, 7, propReasonString, 0, 4, 'b', 'u', 's', 'y'})
	f.Add(byte(5), []byte{0, 0, 8, 0x26, 0, 1, 'a', 0, 2, 'b', 'c'})
	f.Add(byte(4), []byte{0, 5})
	f.Fuzz(func(t *testing.T, version byte, body []byte) {
		a, err := parseConnack(version, body)
		if err == nil && a.code != body[1] {
			t.Error("the code is not the packet's")
		}
		parseDisconnect(body)
		_, _, _ = parsePuback(body)
	})
}

func TestTLS(t *testing.T) {
	https := httptest.NewTLSServer(http.NotFoundHandler())
	defer https.Close()
	roots := x509.NewCertPool()
	roots.AddCert(https.Certificate())
	s, err := uplinktest.Listen("127.0.0.1:0", &tls.Config{Certificates: https.TLS.Certificates, MinVersion: tls.VersionTLS12}, uplinktest.Script{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := connect(t, MQTTConfig{Addr: s.Addr(), TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}})
	l := newLedger()
	for i := range 100 {
		if err := c.Publish(t.Context(), "t", make([]byte, 1000), l.take(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.onceEach(t, 100)

	var unknown x509.UnknownAuthorityError
	_, err = DialMQTT(t.Context(), MQTTConfig{Addr: s.Addr(), TLS: &tls.Config{MinVersion: tls.VersionTLS12}})
	if steps.KindOf(err) != steps.Unavailable || !errors.As(err, &unknown) {
		t.Errorf("%v, want an unknown authority", err)
	}
	if s.Conns() > 2 {
		t.Errorf("%d connections", s.Conns())
	}
}

func TestDialCancelled(t *testing.T) {
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	s := listen(t, uplinktest.Script{Connect: func(uplinktest.Connect) (byte, []byte) {
		cancel(cause)
		<-ctx.Done()
		return 3, nil
	}})
	if _, err := DialMQTT(ctx, MQTTConfig{Addr: s.Addr()}); err == nil {
		t.Error("connected")
	}
	if _, err := DialMQTT(ctx, MQTTConfig{Addr: s.Addr()}); !errors.Is(err, cause) {
		t.Errorf("%v, want the cause", err)
	}
}
