package https

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ayumi/ingest"
)

// pipes is a listener in memory, so that connections live in a synctest bubble with its clock.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// dial returns the client's end and a channel closed when the server accepted the connection.
func (p *pipes) dial(t *testing.T) (net.Conn, <-chan struct{}) {
	client, server := net.Pipe()
	accepted := make(chan struct{})
	go func() {
		select {
		case p.conns <- server:
			close(accepted)
		case <-p.done:
			server.Close()
		}
	}()
	t.Cleanup(func() { client.Close() })
	return client, accepted
}

// servePipes runs a server in the current bubble.
func servePipes(t *testing.T, cfg Config, gw Gateway) (*Server, *pipes) {
	s, _ := newServer(t, cfg, gw, fakeDays(noDays))
	p := newPipes()
	served := make(chan error, 1)
	go func() { served <- s.Serve(p) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = s.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, p
}

const uploadHead = "POST /v1/uploads HTTP/1.1\r\nHost: a\r\nAuthorization: Basic cGVkby0xOnMzY3JldA==\r\nContent-Type: application/json\r\n"

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatalf("sending: %v", err)
	}
}

func receive(t *testing.T, c net.Conn) *http.Response {
	t.Helper()
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("answer's body: %v", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	return r
}

// TestSlowBody trickles a byte a second. ReadTimeout ends it, and its place is free again.
func TestSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := servePipes(t, testConfig(), &fakeGateway{})
		c, _ := p.dial(t)
		start := time.Now()
		send(t, c, uploadHead+"Content-Length: 1000\r\n\r\n")
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 1000 {
				time.Sleep(time.Second)
				if _, err := c.Write([]byte(" ")); err != nil {
					return
				}
			}
		})
		w := receive(t, c)
		if d := time.Since(start); d != 30*time.Second {
			t.Errorf("answered after %v, want 30s", d)
		}
		if w.Header.Get("Connection") == "" && !w.Close {
			t.Error("the connection stays open")
		}
		checkProblem(t, w, 408, "/problems/slow", "30s", "smaller")
		c.Close()
		wg.Wait()
		synctest.Wait()
		if len(s.places) != 0 {
			t.Error("a place is still taken")
		}
	})
}

func TestSlowHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := servePipes(t, testConfig(), &fakeGateway{})
		c, _ := p.dial(t)
		start := time.Now()
		send(t, c, "POST /v1/uploads HTTP/1.1\r\nHost: a\r\n")
		if _, err := io.ReadAll(c); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d != readHeaderTimeout {
			t.Errorf("closed after %v, want %v", d, readHeaderTimeout)
		}
	})
}

func TestIdleConnectionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := servePipes(t, testConfig(), &fakeGateway{})
		c, _ := p.dial(t)
		send(t, c, uploadHead+"Content-Length: 2\r\n\r\n{}")
		if w := receive(t, c); w.StatusCode != 200 {
			t.Fatalf("status %d", w.StatusCode)
		}
		start := time.Now()
		if _, err := io.ReadAll(c); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d != 2*time.Minute {
			t.Errorf("closed after %v, want 2m", d)
		}
	})
}

// TestReadTimeoutDuringCommit: net/http takes the passing of ReadTimeout for a client that left, but
// the commit goes on and is answered.
func TestReadTimeoutDuringCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.ReadTimeout = time.Second
		gw := newHeld()
		_, p := servePipes(t, cfg, gw)
		c, _ := p.dial(t)
		send(t, c, uploadHead+"Content-Length: 2\r\n\r\n{}")
		done := <-gw.done
		time.Sleep(5 * time.Second)
		done.Complete(storedReceipt(4), nil)
		if w := receive(t, c); w.StatusCode != 200 || readAll(t, w) != "json 4.0 stored" {
			t.Errorf("status %d, want 200 with the receipt", w.StatusCode)
		}
		send(t, c, uploadHead+"Content-Length: 2\r\n\r\n{}") // the connection still works
		(<-gw.done).Complete(storedReceipt(5), nil)
		if w := receive(t, c); w.StatusCode != 200 {
			t.Errorf("second upload: status %d", w.StatusCode)
		}
	})
}

// TestClientThatLeft: nothing blocks, and the place is free again once the commit is done.
func TestClientThatLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gw := newHeld()
		s, p := servePipes(t, testConfig(), gw)
		c, _ := p.dial(t)
		send(t, c, uploadHead+"Content-Length: 2\r\n\r\n{}")
		done := <-gw.done
		c.Close()
		synctest.Wait()
		done.Complete(storedReceipt(4), nil)
		synctest.Wait()
		if len(s.places) != 0 {
			t.Error("a place is still taken")
		}
	})
}

func TestHalfClosedClientIsAnswered(t *testing.T) {
	gw := newHeld()
	c := servePlain(t, testConfig(), gw)
	send(t, c, uploadHead+"Content-Length: 2\r\n\r\n{}")
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	(<-gw.done).Complete(storedReceipt(4), nil)
	if w := receive(t, c); w.StatusCode != 200 || readAll(t, w) != "json 4.0 stored" {
		t.Errorf("status %d, want 200 with the receipt", w.StatusCode)
	}
}

// TestHostileBodies writes requests by hand. None of them may be submitted or answered 200.
func TestHostileBodies(t *testing.T) {
	for _, c := range []struct {
		name, text string
		halfClose  bool
		status     int
		uri        string
	}{
		{"shorter than its Content-Length", uploadHead + "Content-Length: 100\r\n\r\n{}", true, 400, "/problems/body"},
		{"chunks without end", uploadHead + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", true, 400, "/problems/body"},
		{"chunk size garbled", uploadHead + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", false, 400, "/problems/body"},
		{"length beyond the limit", uploadHead + "Content-Length: 2000000\r\n\r\n", false, 413, "/problems/too-large"},
		{"no credential and no body sent", "POST /v1/uploads HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n", false, 401, "/problems/unauthorized"},
		{"no credential, expecting 100", "POST /v1/uploads HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n", false, 401, "/problems/unauthorized"},
		{"wrong type and no body sent", strings.Replace(uploadHead, "json", "xml", 1) + "Content-Length: 1000\r\n\r\n", false, 415, "/problems/media-type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			gw := &fakeGateway{}
			conn := servePlain(t, testConfig(), gw)
			send(t, conn, c.text)
			if c.halfClose {
				if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			checkProblem(t, receive(t, conn), c.status, c.uri)
			if len(gw.envs) != 0 {
				t.Error("it was submitted")
			}
		})
	}
}

func TestLostConnectionIsNoAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gw := &fakeGateway{}
		s, reg := newServer(t, testConfig(), gw, nil)
		r := post(nil)
		r.Body, r.ContentLength = io.NopCloser(failing{&net.OpError{Op: "read", Err: errors.New("connection reset by peer")}}), 10
		w := httptest.NewRecorder()
		func() {
			defer func() {
				if v := recover(); v != http.ErrAbortHandler {
					t.Errorf("recovered %v, want http.ErrAbortHandler so that net/http does not answer 200", v)
				}
			}()
			s.Handler().ServeHTTP(w, r)
		}()
		if n := metric(t, reg, "ayumi_https_requests_total", "code=499", "route=uploads"); n != 1 {
			t.Errorf("requests_total{code=499} = %v, want 1", n)
		}
		if metric(t, reg, "ayumi_https_panics_total") != 0 {
			t.Error("it was counted as a panic")
		}
		if len(s.places) != 0 {
			t.Error("a place is still taken")
		}
	})
}

func TestExpectContinue(t *testing.T) {
	c := servePlain(t, testConfig(), &fakeGateway{})
	send(t, c, uploadHead+"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
	r := bufio.NewReader(c)
	for _, want := range []string{"HTTP/1.1 100 Continue\r\n", "\r\n"} {
		if line, err := r.ReadString('\n'); err != nil || line != want {
			t.Fatalf("%q, %v, want %q", line, err, want)
		}
	}
	send(t, c, "{}")
	w, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if readAll(t, w); w.StatusCode != 200 {
		t.Errorf("status %d, want 200", w.StatusCode)
	}
}

func TestMaxInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.MaxInFlight = 1
		gw := newHeld()
		s, reg := newServer(t, cfg, gw, nil)
		first := make(chan *http.Response, 1)
		go func() { first <- answer(s.Handler(), post([]byte("{}"))) }()
		done := <-gw.done

		start := time.Now()
		checkProblem(t, answer(s.Handler(), post([]byte("{}"))), 503, "/problems/busy", "more than 1 requests", "MaxInFlight", "Retry-After")
		if d := time.Since(start); d != time.Second {
			t.Errorf("refused after %v, want 1s", d)
		}
		if n := metric(t, reg, "ayumi_https_shed_total"); n != 1 {
			t.Errorf("shed_total = %v, want 1", n)
		}

		third := make(chan *http.Response, 1)
		go func() { third <- answer(s.Handler(), post([]byte("{}"))) }()
		time.Sleep(time.Second / 2)
		done.Complete(storedReceipt(1), nil)
		(<-gw.done).Complete(storedReceipt(2), nil)
		if w := <-first; w.StatusCode != 200 {
			t.Errorf("first: status %d", w.StatusCode)
		}
		if w := <-third; w.StatusCode != 200 {
			t.Errorf("the one that found a place in time: status %d", w.StatusCode)
		}
	})
}

func TestMaxConns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.MaxConns = 2
		_, p := servePipes(t, cfg, &fakeGateway{})
		open := func(ch <-chan struct{}) bool {
			synctest.Wait()
			select {
			case <-ch:
				return true
			default:
				return false
			}
		}
		first, a := p.dial(t)
		_, b := p.dial(t)
		if !open(a) || !open(b) {
			t.Fatal("the first two connections were not accepted")
		}
		_, c := p.dial(t)
		if open(c) {
			t.Fatal("a third connection was accepted")
		}
		first.Close()
		if !open(c) {
			t.Error("the third connection was not accepted when a place was free")
		}
	})
}

func TestShutdownAnswersWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gw := newHeld()
		s, p := servePipes(t, testConfig(), gw)
		c, _ := p.dial(t)
		send(t, c, uploadHead+"Content-Length: 2\r\n\r\n{}")
		done := <-gw.done
		finished := make(chan error, 1)
		go func() { finished <- s.Shutdown(context.Background()) }()
		time.Sleep(3 * time.Second)
		select {
		case err := <-finished:
			t.Fatalf("Shutdown returned %v with an upload in flight", err)
		default:
		}
		late, accepted := p.dial(t)
		synctest.Wait()
		select {
		case <-accepted:
			t.Error("a connection was accepted during the shutdown")
		default:
		}
		late.Close()
		done.Complete(storedReceipt(4), nil)
		if w := receive(t, c); w.StatusCode != 200 {
			t.Errorf("status %d, want 200", w.StatusCode)
		}
		if err := <-finished; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := s.Shutdown(context.Background()); err != nil {
			t.Errorf("second Shutdown: %v", err)
		}
	})
}

func TestShutdownIsBounded(t *testing.T) {
	for name, stuck := range map[string]bool{"waiting for the commit": false, "stuck in the gateway": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				entered, release := make(chan struct{}), make(chan struct{})
				gw := &fakeGateway{submit: func(context.Context, *ingest.Envelope, ingest.Completion) error {
					close(entered)
					if stuck {
						<-release
					}
					return nil
				}}
				s, p := servePipes(t, testConfig(), gw)
				c, _ := p.dial(t)
				send(t, c, uploadHead+"Content-Length: 2\r\n\r\n{}")
				<-entered
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
				defer cancel()
				start := time.Now()
				err := s.Shutdown(ctx)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Shutdown: %v, want the deadline's error", err)
				}
				if d := time.Since(start); d > 3*time.Second {
					t.Errorf("Shutdown took %v, want 3s at most", d)
				}
				if b, _ := io.ReadAll(c); bytes.Contains(b, []byte("200 OK")) {
					t.Errorf("the upload was acknowledged: %s", b)
				}
				close(release)
			})
		})
	}
}

func TestServeFails(t *testing.T) {
	s, _ := newServer(t, testConfig(), &fakeGateway{}, nil)
	if err := s.Serve(brokenListener{newPipes()}); err == nil || !strings.Contains(err.Error(), "out of files") {
		t.Errorf("Serve: %v, want the listener's error", err)
	}
	if n := len(s.conns); n != 0 {
		t.Errorf("%d connections counted", n)
	}
}

type brokenListener struct{ *pipes }

func (brokenListener) Accept() (net.Conn, error) { return nil, errors.New("out of files") }
