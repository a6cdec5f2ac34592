package https

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"ayumi/ingest"
	"ayumi/steps"
)

// charging is a gateway that charges a unit an upload, as the pipeline does.
func charging() *fakeGateway {
	return &fakeGateway{submit: func(_ context.Context, env *ingest.Envelope, done ingest.Completion) error {
		env.Allowance.Spend(1, env.ReceivedAt)
		done.Complete(storedReceipt(7), nil)
		return nil
	}}
}

// limitedConfig allows each device fifty units at once and one a second.
func limitedConfig(now *time.Time) Config {
	cfg := testConfig()
	cfg.Now, cfg.MaxWait = func() time.Time { return *now }, time.Millisecond
	cfg.Allowances = ingest.NewAllowances(ingest.Rates{Device: ingest.Rate{PerSecond: 1, Burst: 50}}, cfg.Now)
	return cfg
}

// TestFloodIsRefused posts more than the allowance: the rest is 429 with the time after which it is
// taken, another device is not held up, and the time named is enough.
func TestFloodIsRefused(t *testing.T) {
	now := testNow
	cfg := limitedConfig(&now)
	s, reg := newServer(t, cfg, charging(), fakeDays(noDays))
	h := s.Handler()
	for i := range 50 {
		if w := answer(h, post([]byte("{}"))); w.StatusCode != 200 {
			t.Fatalf("upload %d: status %d", i, w.StatusCode)
		}
	}
	debt := cfg.Allowances.Hold(steps.Identity{Device: testDevice})
	debt.Spend(20, now) // as for a large upload
	cfg.Allowances.Release(debt)
	w := answer(h, post([]byte("{}")))
	after, err := strconv.Atoi(w.Header.Get("Retry-After"))
	if err != nil || after != 21 {
		t.Errorf("Retry-After: %q, want 21", w.Header.Get("Retry-After"))
	}
	checkProblem(t, w, 429, "/problems/overload", "allowance", "Retry-After")
	checkProblem(t, answer(h, prepare(httptest.NewRequest(http.MethodGet, "/v1/days", nil))), 429, "/problems/overload")
	if n := metric(t, reg, "ayumi_https_throttled_total"); n != 2 {
		t.Errorf("throttled_total = %v, want 2", n)
	}
	other := post([]byte("{}"))
	other.SetBasicAuth("other", testSecret)
	if w := answer(h, other); w.StatusCode != 200 {
		t.Errorf("another device: status %d", w.StatusCode)
	}
	now = now.Add(time.Duration(after) * time.Second)
	if w := answer(h, post([]byte("{}"))); w.StatusCode != 200 {
		t.Errorf("after Retry-After: status %d", w.StatusCode)
	}
}

// TestRefusalIsHeldBack comes back at once, again and again: it gets an answer a second.
func TestRefusalIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.Now = time.Now
		cfg.Allowances = ingest.NewAllowances(ingest.Rates{Device: ingest.Rate{PerSecond: 1, Burst: 1}}, cfg.Now)
		s, _ := newServer(t, cfg, charging(), nil)
		start, taken := time.Now(), 0
		for range 100 {
			if w := answer(s.Handler(), post([]byte("{}"))); w.StatusCode == 200 {
				taken++
			}
		}
		if d := time.Since(start); d < time.Duration(100-taken)*time.Second || taken < 49 {
			t.Errorf("%d of 100 requests were taken in %v", taken, d)
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		start = time.Now()
		answer(s.Handler(), post([]byte("{}")).WithContext(gone))
		if d := time.Since(start); d != 0 {
			t.Errorf("the answer to a client that left was held back for %v", d)
		}
	})
}

// TestDaysAreCharged reads days until nothing is left for an upload.
func TestDaysAreCharged(t *testing.T) {
	now := testNow
	s, _ := newServer(t, limitedConfig(&now), charging(), fakeDays(noDays))
	for range 50 {
		if w := answer(s.Handler(), prepare(httptest.NewRequest(http.MethodGet, "/v1/days", nil))); w.StatusCode != 200 {
			t.Fatalf("status %d", w.StatusCode)
		}
	}
	checkProblem(t, answer(s.Handler(), post([]byte("{}"))), 429, "/problems/overload")
}

// TestThrottledBodyIsNotRead refuses before a byte of the body was read.
func TestThrottledBodyIsNotRead(t *testing.T) {
	now := testNow
	s, _ := newServer(t, limitedConfig(&now), charging(), nil)
	for range 50 {
		answer(s.Handler(), post([]byte("{}")))
	}
	body := &countingReader{r: bytes.NewReader(make([]byte, 1<<16))}
	r := post(nil)
	r.Body, r.ContentLength = io.NopCloser(body), 1<<16
	w := answer(s.Handler(), r)
	if checkProblem(t, w, 429, "/problems/overload"); body.n != 0 || w.Header.Get("Connection") != "close" {
		t.Errorf("%d bytes were read, Connection: %q", body.n, w.Header.Get("Connection"))
	}
}

// TestRequestsPerDevice has one device hold its requests open: it gets no more of the places than its
// share, and others find theirs.
func TestRequestsPerDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.MaxInFlight, cfg.RequestsPerDevice = 4, 3
		cfg.Allowances = ingest.NewAllowances(ingest.DefaultRates(), cfg.Now)
		gw := newHeld()
		s, reg := newServer(t, cfg, gw, nil)
		answers := make(chan *http.Response, 4)
		for range 3 {
			go func() { answers <- answer(s.Handler(), post([]byte("{}"))) }()
		}
		synctest.Wait()
		start := time.Now()
		checkProblem(t, answer(s.Handler(), post([]byte("{}"))), 429, "/problems/overload", "3 requests", "RequestsPerDevice")
		if d := time.Since(start); d != 0 {
			t.Errorf("it was refused after %v", d)
		}
		go func() {
			other := post([]byte("{}"))
			other.SetBasicAuth("other", testSecret)
			answers <- answer(s.Handler(), other)
		}()
		for range 4 {
			(<-gw.done).Complete(storedReceipt(1), nil)
			if w := <-answers; w.StatusCode != 200 {
				t.Errorf("status %d", w.StatusCode)
			}
		}
		if n := metric(t, reg, "ayumi_https_throttled_total"); n != 1 {
			t.Errorf("throttled_total = %v, want 1", n)
		}
		go func() { answers <- answer(s.Handler(), post([]byte("{}"))) }() // the places are free again
		(<-gw.done).Complete(storedReceipt(1), nil)
		if w := <-answers; w.StatusCode != 200 {
			t.Errorf("status %d", w.StatusCode)
		}
	})
}

// TestWaitingIsBounded has a commit stall under many devices: as many as there are places wait for
// one, and who comes then is told so at once. Whoever has no credential never waits.
func TestWaitingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.MaxInFlight = 5
		gw := newHeld()
		s, reg := newServer(t, cfg, gw, nil)
		answers := make(chan *http.Response, 100)
		upload := func(i int) {
			r := post([]byte("{}"))
			r.SetBasicAuth(fmt.Sprint("device-", i), testSecret)
			answers <- answer(s.Handler(), r)
		}
		for i := range 10 {
			go upload(i)
		}
		synctest.Wait()
		start := time.Now()
		for i := range 20 {
			upload(100 + i)
			checkProblem(t, <-answers, 503, "/problems/busy", "Retry-After")
		}
		stranger := post([]byte("{}"))
		stranger.SetBasicAuth(testDevice, "guess")
		checkProblem(t, answer(s.Handler(), stranger), 401, "/problems/unauthorized")
		if d := time.Since(start); d != 0 {
			t.Errorf("they were refused after %v", d)
		}
		for range 5 { // those who waited
			checkProblem(t, <-answers, 503, "/problems/busy")
		}
		for range 5 {
			(<-gw.done).Complete(storedReceipt(1), nil)
			if w := <-answers; w.StatusCode != 200 {
				t.Errorf("status %d", w.StatusCode)
			}
		}
		if n := metric(t, reg, "ayumi_https_shed_total"); n != 25 {
			t.Errorf("shed_total = %v, want 25", n)
		}
		if len(s.waiting) != 0 || len(s.places) != 0 {
			t.Errorf("%d still wait, %d places are taken", len(s.waiting), len(s.places))
		}
	})
}
