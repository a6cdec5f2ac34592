package https

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ayumi/ingest"
	"ayumi/steps"
)

// held is a gateway that accepts uploads and leaves them to the test to complete.
type held struct {
	fakeGateway
	done chan ingest.Completion
}

func newHeld() *held {
	h := &held{done: make(chan ingest.Completion, 16)}
	h.submit = func(_ context.Context, _ *ingest.Envelope, done ingest.Completion) error {
		h.done <- done
		return nil
	}
	return h
}

// TestAckLaw looks at the response before and after the commit.
func TestAckLaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gw := newHeld()
		s, _ := newServer(t, testConfig(), gw, nil)
		w := &watchedWriter{ResponseRecorder: httptest.NewRecorder()}
		var wg sync.WaitGroup
		wg.Go(func() { s.Handler().ServeHTTP(w, post([]byte("{}"))) })
		synctest.Wait()
		if w.touched() {
			t.Fatal("the response was written before the commit")
		}
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if w.touched() {
			t.Fatal("the response was written before the commit")
		}
		(<-gw.done).Complete(storedReceipt(3), nil)
		wg.Wait()
		if w.Code != 200 || w.Body.String() != "json 3.0 stored" {
			t.Errorf("%d %q, want 200 and the receipt", w.Code, w.Body)
		}
	})
}

// watchedWriter knows whether anything of the response was written.
type watchedWriter struct {
	*httptest.ResponseRecorder
	mu    sync.Mutex
	wrote bool
}

func (w *watchedWriter) WriteHeader(code int) {
	w.mu.Lock()
	w.wrote = true
	w.mu.Unlock()
	w.ResponseRecorder.WriteHeader(code)
}

func (w *watchedWriter) touched() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wrote
}

func TestCommitTimeout(t *testing.T) {
	for name, late := range map[string]func(ingest.Completion){
		"late success":   func(c ingest.Completion) { c.Complete(storedReceipt(1), nil) },
		"late failure":   func(c ingest.Completion) { c.Complete(nil, errors.New("disk")) },
		"late and twice": func(c ingest.Completion) { c.Complete(storedReceipt(1), nil); c.Complete(storedReceipt(1), nil) },
		"never":          func(ingest.Completion) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gw := newHeld()
				s, reg := newServer(t, testConfig(), gw, nil)
				start := time.Now()
				w := answer(s.Handler(), post([]byte("{}")))
				if d := time.Since(start); d != 10*time.Second {
					t.Errorf("answered after %v, want 10s", d)
				}
				checkProblem(t, w, 503, "/problems/unconfirmed", "10s", "CommitTimeout", "Retry-After", "counts once")
				late(<-gw.done) // must neither block nor touch the response
				if n := metric(t, reg, "ayumi_https_commit_timeouts_total"); n != 1 {
					t.Errorf("commit_timeouts_total = %v, want 1", n)
				}
				want := map[string]float64{"never": 0, "late and twice": 2}[name]
				if name == "late success" || name == "late failure" {
					want = 1
				}
				if n := metric(t, reg, "ayumi_https_late_commits_total"); n != want {
					t.Errorf("late_commits_total = %v, want %v", n, want)
				}
				if len(s.places) != 0 {
					t.Error("a place is still taken")
				}
			})
		})
	}
}

// TestCommitAtTheDeadline lets the commit and the timeout meet, many times. Whoever is first decides;
// the answer is one or the other, and the race detector finds nothing.
func TestCommitAtTheDeadline(t *testing.T) {
	outcomes := map[int]int{}
	for range 500 {
		synctest.Test(t, func(t *testing.T) {
			gw := newHeld()
			s, _ := newServer(t, testConfig(), gw, nil)
			var wg sync.WaitGroup
			wg.Go(func() {
				c := <-gw.done
				time.Sleep(s.cfg.CommitTimeout)
				c.Complete(storedReceipt(1), nil)
			})
			w := answer(s.Handler(), post([]byte("{}")))
			wg.Wait()
			outcomes[w.StatusCode]++
			if body := readAll(t, w); w.StatusCode == 200 && body != "json 1.0 stored" {
				t.Errorf("200 with %q", body)
			}
		})
	}
	if outcomes[200]+outcomes[503] != 500 {
		t.Errorf("outcomes %v, want 200 and 503 alone", outcomes)
	}
	t.Logf("outcomes %v", outcomes)
}

func TestSubmitThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gw := &fakeGateway{submit: func(ctx context.Context, _ *ingest.Envelope, _ ingest.Completion) error {
			<-ctx.Done()
			return fmt.Errorf("queue: %w", ctx.Err())
		}}
		s, _ := newServer(t, testConfig(), gw, nil)
		checkProblem(t, answer(s.Handler(), post([]byte("{}"))), 503, "/problems/unconfirmed")
	})
}

func TestCompleteTwice(t *testing.T) {
	gw := &fakeGateway{submit: func(_ context.Context, _ *ingest.Envelope, done ingest.Completion) error {
		done.Complete(nil, steps.E("commit", steps.Unavailable, nil))
		done.Complete(storedReceipt(1), nil)
		return nil
	}}
	s, _ := newServer(t, testConfig(), gw, nil)
	checkProblem(t, answer(s.Handler(), post([]byte("{}"))), 503, "/problems/unavailable")
}

func TestCompleteWithoutReceipt(t *testing.T) {
	gw := &fakeGateway{submit: func(_ context.Context, _ *ingest.Envelope, done ingest.Completion) error {
		done.Complete(nil, nil)
		return nil
	}}
	s, _ := newServer(t, testConfig(), gw, nil)
	checkProblem(t, answer(s.Handler(), post([]byte("{}"))), 500, "/problems/internal")
}

// committer completes uploads from one goroutine, in groups, as the store does. An upload's body is
// a number, and so is its receipt's group.
type committer struct {
	fakeGateway
	queue chan work
	wg    sync.WaitGroup
}

type work struct {
	group uint64
	done  ingest.Completion
}

func newCommitter() *committer {
	c := &committer{queue: make(chan work, 256)}
	c.submit = func(ctx context.Context, env *ingest.Envelope, done ingest.Completion) error {
		n, err := strconv.ParseUint(string(env.Body), 10, 64)
		if err != nil {
			return steps.E("decode", steps.Invalid, err)
		}
		clear(env.Body) // nobody else may be reading it
		select {
		case c.queue <- work{n, done}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	c.wg.Go(func() {
		var r steps.Receipt
		for w := range c.queue {
			r = *storedReceipt(w.group)
			w.done.Complete(&r, nil)
			r.Record.Group = 0 // not valid after the call
		}
	})
	return c
}

func (c *committer) stop() { close(c.queue); c.wg.Wait() }

// TestConcurrentUploads checks that everybody gets the receipt of their own upload.
func TestConcurrentUploads(t *testing.T) {
	gw := newCommitter()
	t.Cleanup(gw.stop)
	v := serveTLS(t, testConfig(), gw, nil)
	var wg sync.WaitGroup
	for i, client := range []*http.Client{v.client, v.http1} {
		for j := range 16 {
			wg.Go(func() {
				for k := range 50 {
					n := i*10_000 + j*100 + k
					body := []byte(strconv.Itoa(n))
					r := newUpload(t, v.url, body)
					if k%3 == 1 {
						r = newUpload(t, v.url, gz(t, body))
						r.Header.Set("Content-Encoding", "gzip")
					}
					w, err := client.Do(r)
					if err != nil {
						t.Errorf("upload %d: %v", n, err)
						return
					}
					if w.ProtoMajor != 2-i {
						t.Errorf("HTTP/%d, want HTTP/%d", w.ProtoMajor, 2-i)
					}
					if got, want := readAll(t, w), fmt.Sprintf("json %d.0 stored", n); got != want {
						t.Errorf("upload %d got %q", n, got)
					}
				}
			})
		}
	}
	wg.Wait()
	if n := metric(t, v.reg, "ayumi_https_requests_total", "code=200", "route=uploads"); n != 1600 {
		t.Errorf("requests_total = %v, want 1600", n)
	}
	if n := metric(t, v.reg, "ayumi_https_request_seconds", "route=uploads"); n != 1600 {
		t.Errorf("request_seconds_count = %v, want 1600", n)
	}
	if n := metric(t, v.reg, "ayumi_https_in_flight_requests"); n != 0 {
		t.Errorf("in_flight_requests = %v, want 0", n)
	}
}

func newUpload(t *testing.T, url string, body []byte) *http.Request {
	r, err := http.NewRequest(http.MethodPost, url+"/v1/uploads", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return prepare(r, "Content-Type", typeJSON)
}
