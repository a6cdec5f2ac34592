package https

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/ingest"
	"ayumi/steps"
)

func TestUploadEnvelope(t *testing.T) {
	body := []byte(`{"seq":1}`)
	for _, c := range []struct {
		name, mediaType, coding string
		body                    []byte
		encoding                steps.Encoding
		bundle                  bool
	}{
		{"protobuf", "application/x-protobuf", "", body, steps.Protobuf, false},
		{"json", "application/json", "", body, steps.JSON, false},
		{"json with charset", "application/json; charset=UTF-8", "", body, steps.JSON, false},
		{"upper case", "Application/JSON", "Identity", body, steps.JSON, false},
		{"upload named", "application/json; message=upload", "", body, steps.JSON, false},
		{"bundle", "application/x-protobuf; message=bundle", "", body, steps.Protobuf, true},
		{"bundle quoted", `application/json;message="bundle"; v=2`, "", body, steps.JSON, true},
		{"gzip", "application/json", "gzip", gz(t, body), steps.JSON, false},
		{"x-gzip", "application/json", "X-GZIP", gz(t, body), steps.JSON, false},
		{"gzip of two members", "application/json", "gzip", append(gz(t, body[:4]), gz(t, body[4:])...), steps.JSON, false},
		{"zstd", "application/json", "zstd", zst(t, body), steps.JSON, false},
		{"zstd of two frames", "application/json", ", zstd,", append(zst(t, body[:4]), zst(t, body[4:])...), steps.JSON, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			gw := &fakeGateway{}
			s, _ := newServer(t, testConfig(), gw, nil)
			r := post(c.body, "Content-Type", c.mediaType)
			if c.coding != "" {
				r.Header.Set("Content-Encoding", c.coding)
			}
			w := answer(s.Handler(), r)
			if got, want := readAll(t, w), c.encoding.String()+" 7.0 stored"; w.StatusCode != 200 || got != want {
				t.Fatalf("%d %q, want 200 %q", w.StatusCode, got, want)
			}
			if got := w.Header.Get("Content-Type"); got != contentType(c.encoding) {
				t.Errorf("Content-Type: %q", got)
			}
			env := gw.last(t)
			if env.Encoding != c.encoding || env.Bundle != c.bundle || env.Transport != steps.HTTPS || env.Topic != "" ||
				!env.ReceivedAt.Equal(testNow) || env.Identity != (steps.Identity{Device: testDevice, Generation: 1}) {
				t.Errorf("envelope %+v", env)
			}
			if !bytes.Equal(env.Body, body) {
				t.Errorf("body %q, want %q", env.Body, body)
			}
		})
	}
}

func TestEmptyBodyIsPassedOn(t *testing.T) {
	gw := &fakeGateway{}
	s, _ := newServer(t, testConfig(), gw, nil)
	for name, r := range map[string]*http.Request{
		"no length": prepare(httptest.NewRequest(http.MethodPost, "/v1/uploads", nil), "Content-Type", typeProtobuf),
		"gzip":      post(gz(t, nil), "Content-Encoding", "gzip"),
	} {
		if w := answer(s.Handler(), r); w.StatusCode != 200 {
			t.Errorf("%s: status %d, want 200", name, w.StatusCode)
		}
		if env := gw.last(t); len(env.Body) != 0 {
			t.Errorf("%s: body %q", name, env.Body)
		}
	}
}

func TestNotAccepted(t *testing.T) {
	for _, c := range []struct {
		name    string
		types   []string
		codings []string
		uri     string
	}{
		{"no type", nil, nil, "/problems/media-type"},
		{"two types", []string{typeJSON, typeJSON}, nil, "/problems/media-type"},
		{"text", []string{"text/plain"}, nil, "/problems/media-type"},
		{"a form, as curl -d sends", []string{"application/x-www-form-urlencoded"}, nil, "/problems/media-type"},
		{"garbled", []string{"application/json;;=;"}, nil, "/problems/media-type"},
		{"another message", []string{"application/json; message=day"}, nil, "/problems/media-type"},
		{"a message twice", []string{"application/json; message=bundle; message=upload"}, nil, "/problems/media-type"},
		{"another charset", []string{"application/json; charset=shift_jis"}, nil, "/problems/media-type"},
		{"brotli", []string{typeJSON}, []string{"br"}, "/problems/content-coding"},
		{"gzip twice", []string{typeJSON}, []string{"gzip, gzip"}, "/problems/content-coding"},
		{"gzip in two fields", []string{typeJSON}, []string{"gzip", "gzip"}, "/problems/content-coding"},
		{"gzip in zstd", []string{typeJSON}, []string{"gzip, zstd"}, "/problems/content-coding"},
	} {
		t.Run(c.name, func(t *testing.T) {
			gw := &fakeGateway{}
			s, _ := newServer(t, testConfig(), gw, nil)
			r := post([]byte("{}"))
			r.Header["Content-Type"], r.Header["Content-Encoding"] = c.types, c.codings
			w := answer(s.Handler(), r)
			if c.uri == "/problems/media-type" {
				checkProblem(t, w, 415, c.uri, "application/x-protobuf", "application/json", "message=bundle")
				if got := w.Header.Get("Accept"); got != "application/x-protobuf, application/json" {
					t.Errorf("Accept: %q", got)
				}
			} else {
				checkProblem(t, w, 415, c.uri, "gzip", "zstd", "identity")
				if got := w.Header.Get("Accept-Encoding"); got != "gzip, zstd, identity" {
					t.Errorf("Accept-Encoding: %q", got)
				}
			}
			if len(gw.envs) != 0 {
				t.Error("it was submitted")
			}
		})
	}
}

// TestOutcomes goes through the table from error kinds to HTTP, for errors of Submit and of Complete.
func TestOutcomes(t *testing.T) {
	secret := errors.New("write /var/lib/ayumi/000017.vlog: no space left on device")
	for _, c := range []struct {
		name   string
		err    error
		status int
		uri    string
		detail string
	}{
		{"invalid", steps.Errorf("decode upload", steps.Invalid, "field seq is missing; send it"), 400, "/problems/invalid", "field seq is missing; send it"},
		{"unauthorized", steps.E("submit", steps.Unauthorized, secret), 401, "/problems/unauthorized", "Basic"},
		{"not found", steps.Errorf("find device", steps.NotFound, "device x; register it"), 404, "/problems/not-found", "register it"},
		{"conflict", steps.Errorf("bind", steps.Conflict, "bound already; end that first"), 409, "/problems/conflict", "end that first"},
		{"overload", steps.Errorf("queue upload", steps.Overload, "the queue is full; wait"), 429, "/problems/overload", "the queue is full"},
		{"unavailable", steps.E("commit group", steps.Unavailable, secret), 503, "/problems/unavailable", "Retry-After"},
		{"internal", steps.E("commit group", steps.Internal, secret), 500, "/problems/internal", "tell the operator"},
		{"unclassified", secret, 500, "/problems/internal", "tell the operator"},
		{"kind of a later version", steps.E("submit", steps.Kind(99), secret), 500, "/problems/internal", "tell the operator"},
	} {
		for _, where := range []string{"Submit", "Complete"} {
			t.Run(c.name+" from "+where, func(t *testing.T) {
				gw := &fakeGateway{submit: func(_ context.Context, _ *ingest.Envelope, done ingest.Completion) error {
					if where == "Submit" {
						return c.err
					}
					done.Complete(nil, c.err)
					return nil
				}}
				s, reg := newServer(t, testConfig(), gw, nil)
				w := answer(s.Handler(), post([]byte("{}")))
				p := checkProblem(t, w, c.status, c.uri, c.detail)
				if c.status >= 500 || c.status == 401 {
					if strings.Contains(p.Detail, "vlog") || strings.Contains(p.Title, "vlog") {
						t.Errorf("the cause leaked: %q", p.Detail)
					}
				}
				if n := metric(t, reg, "ayumi_https_requests_total", "code="+strconv.Itoa(c.status), "route=uploads"); n != 1 {
					t.Errorf("requests_total = %v, want 1", n)
				}
			})
		}
	}
}

func TestReceiptVerdicts(t *testing.T) {
	malformed := func(q steps.QuarantineID) steps.UploadReceipt {
		return steps.UploadReceipt{Device: testDevice, Verdict: steps.Quarantined, Quarantine: q,
			Faults: []steps.Fault{{Series: -1, Reason: steps.ReasonMalformed, Detail: "field seq: not a number at byte 7; send an integer"}}}
	}
	future := steps.UploadReceipt{Device: testDevice, Verdict: steps.Quarantined, Quarantine: "q9",
		Faults: []steps.Fault{{Series: 0, Reason: steps.ReasonFuture, Detail: "the sample lies in the future"}}}
	wholeTopic := steps.UploadReceipt{Verdict: steps.Quarantined, Quarantine: "q8", Faults: []steps.Fault{{Series: -1, Reason: steps.ReasonNotReader}}}
	partMalformed := steps.UploadReceipt{Verdict: steps.Quarantined, Faults: []steps.Fault{{Series: 2, Reason: steps.ReasonMalformed}}}
	stored := steps.UploadReceipt{Device: testDevice, Verdict: steps.Stored}
	for _, c := range []struct {
		name    string
		uploads []steps.UploadReceipt
		refused bool
		body    string
	}{
		{"stored", []steps.UploadReceipt{stored}, false, "json 12.3 stored"},
		{"duplicate", []steps.UploadReceipt{{Verdict: steps.Duplicate}}, false, "json 12.3 duplicate"},
		{"malformed", []steps.UploadReceipt{malformed("q1")}, true, ""},
		{"bundle all malformed", []steps.UploadReceipt{malformed("q1"), malformed("q2")}, true, ""},
		{"bundle partly malformed", []steps.UploadReceipt{malformed("q1"), stored}, false, "json 12.3 quarantined stored"},
		{"future", []steps.UploadReceipt{future}, false, "json 12.3 quarantined"},
		{"not a reader", []steps.UploadReceipt{wholeTopic}, false, "json 12.3 quarantined"},
		{"one series malformed", []steps.UploadReceipt{partMalformed}, false, "json 12.3 quarantined"},
		{"empty bundle", nil, false, "json 12.3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			gw := &fakeGateway{submit: func(_ context.Context, _ *ingest.Envelope, done ingest.Completion) error {
				r := &steps.Receipt{Record: steps.RecordID{Group: 12, Index: 3}, Uploads: c.uploads}
				done.Complete(r, nil)
				*r = steps.Receipt{} // only valid during the call
				return nil
			}}
			s, _ := newServer(t, testConfig(), gw, nil)
			w := answer(s.Handler(), post([]byte("{}")))
			if c.refused {
				p := checkProblem(t, w, 400, "/problems/malformed", "field seq: not a number at byte 7; send an integer")
				if p.Quarantine != "q1" || p.Record != "12.3" {
					t.Errorf("quarantine %q, record %q, want q1 and 12.3", p.Quarantine, p.Record)
				}
				return
			}
			if got := readAll(t, w); w.StatusCode != 200 || got != c.body {
				t.Errorf("%d %q, want 200 %q", w.StatusCode, got, c.body)
			}
		})
	}
}

func TestCredentials(t *testing.T) {
	ok := func(h http.Header) { h.Set("Authorization", "Basic cGVkby0xOnMzY3JldA==") }
	for _, c := range []struct {
		name   string
		header func(http.Header)
		status int
		device string
	}{
		{"right", ok, 200, testDevice},
		{"missing", func(h http.Header) { h.Del("Authorization") }, 401, ""},
		{"bearer", func(h http.Header) { h.Set("Authorization", "Bearer abc") }, 401, ""},
		{"no base64", func(h http.Header) { h.Set("Authorization", "Basic %%%") }, 401, ""},
		{"no colon", func(h http.Header) { h.Set("Authorization", "Basic cGVkbw==") }, 401, ""},
		{"two fields", func(h http.Header) { h.Add("Authorization", h.Get("Authorization")) }, 401, ""},
		{"wrong secret", basic(testDevice, "guess"), 401, ""},
		{"no secret", basic(testDevice, ""), 401, ""},
		{"no device", basic("", testSecret), 401, ""},
		{"no device ID", basic("a/b", testSecret), 401, ""},
		{"device ID too long", basic(strings.Repeat("a", 65), testSecret), 401, ""},
		{"colon escaped", basic("aa%3Abb%3acc", testSecret), 200, "aa:bb:cc"},
		{"bad escape", basic("aa%3", testSecret), 401, ""},
		{"slash escaped", basic("aa%2Fbb", testSecret), 401, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			gw := &fakeGateway{}
			s, _ := newServer(t, testConfig(), gw, nil)
			body := &countingReader{r: strings.NewReader("{}")}
			r := httptest.NewRequest(http.MethodPost, "/v1/uploads", body)
			prepare(r, "Content-Type", typeJSON)
			c.header(r.Header)
			w := answer(s.Handler(), r)
			if c.status == 200 {
				if w.StatusCode != 200 || string(gw.last(t).Identity.Device) != c.device {
					t.Errorf("status %d, want 200 for %q", w.StatusCode, c.device)
				}
				return
			}
			checkProblem(t, w, 401, "/problems/unauthorized", "Basic")
			if body.n != 0 {
				t.Errorf("%d bytes of the body were read", body.n)
			}
		})
	}
}

func TestAuthenticateErrors(t *testing.T) {
	for _, c := range []struct {
		kind   steps.Kind
		status int
		uri    string
	}{
		{steps.Unauthorized, 401, "/problems/unauthorized"},
		{steps.NotFound, 401, "/problems/unauthorized"},
		{steps.Invalid, 401, "/problems/unauthorized"},
		{steps.Overload, 429, "/problems/overload"},
		{steps.Unavailable, 503, "/problems/unavailable"},
		{steps.Internal, 500, "/problems/internal"},
	} {
		t.Run(c.kind.String(), func(t *testing.T) {
			gw := &fakeGateway{auth: func(steps.DeviceID, []byte) (steps.Identity, error) {
				return steps.Identity{}, steps.Errorf("authenticate", c.kind, "device nobody")
			}}
			s, _ := newServer(t, testConfig(), gw, nil)
			p := checkProblem(t, answer(s.Handler(), post(nil)), c.status, c.uri)
			if c.status == 401 && strings.Contains(p.Detail, "nobody") {
				t.Errorf("detail %q tells which devices exist", p.Detail)
			}
		})
	}
}

func TestRoutes(t *testing.T) {
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/v1/uploads", 405, "POST, OPTIONS"},
		{"HEAD", "/v1/uploads", 405, "POST, OPTIONS"},
		{"DELETE", "/v1/uploads", 405, "POST, OPTIONS"},
		{"BREW", "/v1/uploads", 405, "POST, OPTIONS"},
		{"OPTIONS", "/v1/uploads", 204, "POST, OPTIONS"},
		{"POST", "/v1/days", 405, "GET, HEAD, OPTIONS"},
		{"OPTIONS", "/v1/days", 204, "GET, HEAD, OPTIONS"},
		{"HEAD", "/v1/days", 200, ""},
		{"GET", "/v1/days", 200, ""},
		{"GET", "/", 404, ""},
		{"POST", "/v1/uploads/", 404, ""},
		{"GET", "/v1/../v1/days", 404, ""},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			s, _ := newServer(t, testConfig(), &fakeGateway{}, fakeDays(noDays))
			w := answer(s.Handler(), prepare(httptest.NewRequest(c.method, c.path, nil)))
			if got := w.Header.Get("Allow"); got != c.allow {
				t.Errorf("Allow: %q, want %q", got, c.allow)
			}
			switch {
			case c.method == "HEAD":
				if body := readAll(t, w); w.StatusCode != c.status || body != "" {
					t.Errorf("%d %q, want %d without a body", w.StatusCode, body, c.status)
				}
			case c.status == 405:
				checkProblem(t, w, 405, "/problems/method", c.allow)
			case c.status == 404:
				checkProblem(t, w, 404, "/problems/not-found", "/v1/uploads", "/v1/days")
			case w.StatusCode != c.status:
				t.Errorf("status %d, want %d", w.StatusCode, c.status)
			}
		})
	}
}

func TestPanicIsAnswered(t *testing.T) {
	var logged bytes.Buffer
	gw := &fakeGateway{submit: func(context.Context, *ingest.Envelope, ingest.Completion) error { panic("index 7 of table x") }}
	reg := prometheus.NewRegistry()
	s, err := New(testConfig(), gw, nil, slog.New(slog.NewTextHandler(&logged, nil)), reg)
	if err != nil {
		t.Fatal(err)
	}
	p := checkProblem(t, answer(s.Handler(), post([]byte("{}"))), 500, "/problems/internal")
	if strings.Contains(p.Detail, "table x") {
		t.Errorf("detail %q leaks the panic", p.Detail)
	}
	if n := metric(t, reg, "ayumi_https_panics_total"); n != 1 {
		t.Errorf("panics_total = %v, want 1", n)
	}
	if !strings.Contains(logged.String(), "index 7 of table x") || !strings.Contains(logged.String(), "upload_test.go") {
		t.Errorf("the log has no panic with its stack: %s", &logged)
	}
	if n := len(s.places); n != 0 {
		t.Errorf("%d places are still taken", n)
	}
}

func TestLogHoldsNoSecret(t *testing.T) {
	var logged bytes.Buffer
	s, err := New(testConfig(), &fakeGateway{}, fakeDays(noDays),
		slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	answer(s.Handler(), post([]byte("12345")))
	for _, want := range []string{"route=uploads", "method=POST", "code=200", "device=pedo-1", "bytes=5"} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("the log does not say %q: %s", want, &logged)
		}
	}
	r := post(nil)
	r.SetBasicAuth("pedo-1", "other-s3cret")
	answer(s.Handler(), r)
	if strings.Contains(logged.String(), testSecret) || strings.Contains(logged.String(), "Basic") {
		t.Errorf("the log holds a secret: %s", &logged)
	}
}

func TestRetryAfterIsSpread(t *testing.T) {
	cfg := testConfig()
	for draw, want := range map[int64]string{0: "5", 3: "8", 5: "10"} {
		cfg.Rand = func(n int64) int64 {
			if n != 6 {
				t.Errorf("drawn below %d, want 6", n)
			}
			return draw
		}
		gw := &fakeGateway{submit: func(context.Context, *ingest.Envelope, ingest.Completion) error {
			return steps.E("commit", steps.Unavailable, nil)
		}}
		s, _ := newServer(t, cfg, gw, nil)
		if got := answer(s.Handler(), post(nil)).Header.Get("Retry-After"); got != want {
			t.Errorf("Retry-After: %q, want %q", got, want)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"EncodeReceipt": func(c *Config) { c.EncodeReceipt = nil },
		"MaxBodyBytes":  func(c *Config) { c.MaxBodyBytes = -1 },
		"MaxInFlight":   func(c *Config) { c.MaxInFlight = -1 },
		"CommitTimeout": func(c *Config) { c.CommitTimeout = -1 },
	} {
		cfg := testConfig()
		change(&cfg)
		_, err := New(cfg, &fakeGateway{}, nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		if steps.KindOf(err) != steps.Invalid || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: err = %v, want an Invalid one naming it", name, err)
		}
	}
	reg := prometheus.NewRegistry()
	if _, err := New(testConfig(), &fakeGateway{}, nil, slog.New(slog.DiscardHandler), reg); err != nil {
		t.Fatal(err)
	}
	if _, err := New(testConfig(), &fakeGateway{}, nil, slog.New(slog.DiscardHandler), reg); err == nil {
		t.Error("the metrics were registered twice")
	}
}

func basic(user, password string) func(http.Header) {
	return func(h http.Header) {
		r := http.Request{Header: h}
		r.SetBasicAuth(user, password)
	}
}
