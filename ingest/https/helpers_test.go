package https

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"ayumi/ingest"
	"ayumi/pki"
	"ayumi/steps"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testDevice = "pedo-1"
	testSecret = "s3cret"
)

var testNow = time.Date(2026, 11, 23, 0, 30, 0, 0, time.UTC)

// fakeGateway accepts testDevice with testSecret and stores everything at once, unless a function
// says otherwise.
type fakeGateway struct {
	auth   func(steps.DeviceID, []byte) (steps.Identity, error)
	submit func(context.Context, *ingest.Envelope, ingest.Completion) error

	mu   sync.Mutex
	envs []ingest.Envelope // with copied bodies
}

func (g *fakeGateway) Authenticate(device steps.DeviceID, secret []byte) (steps.Identity, error) {
	if g.auth != nil {
		return g.auth(device, secret)
	}
	if string(secret) != testSecret {
		return steps.Identity{}, steps.Errorf("authenticate", steps.Unauthorized, "device %q: wrong secret", device)
	}
	return steps.Identity{Device: device, Generation: 1}, nil
}

func (g *fakeGateway) Submit(ctx context.Context, env *ingest.Envelope, done ingest.Completion) error {
	if g.submit != nil {
		return g.submit(ctx, env, done)
	}
	g.mu.Lock()
	e := *env
	e.Body = bytes.Clone(env.Body)
	g.envs = append(g.envs, e)
	g.mu.Unlock()
	done.Complete(storedReceipt(7), nil)
	return nil
}

func (g *fakeGateway) last(t *testing.T) ingest.Envelope {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.envs) == 0 {
		t.Fatal("nothing was submitted")
	}
	return g.envs[len(g.envs)-1]
}

type fakeDays func(context.Context, steps.DeviceID, steps.DayRange) ([]steps.Award, error)

func (f fakeDays) OwnDays(ctx context.Context, d steps.DeviceID, r steps.DayRange) ([]steps.Award, error) {
	return f(ctx, d, r)
}

// ExplainDay explains a day by its name.
func (f fakeDays) ExplainDay(_ context.Context, d steps.DeviceID, day steps.Day) (any, error) {
	if day < 0 {
		return nil, steps.Errorf("explain day", steps.NotFound, "%s was nobody's on %s", d, day)
	}
	return map[string]any{"day": day, "device": d}, nil
}

func noDays(context.Context, steps.DeviceID, steps.DayRange) ([]steps.Award, error) { return nil, nil }

func storedReceipt(group uint64) *steps.Receipt {
	return &steps.Receipt{Record: steps.RecordID{Group: group}, ReceivedAt: testNow.Unix(),
		Uploads: []steps.UploadReceipt{{Device: testDevice, Verdict: steps.Stored}}}
}

// testReceipt is the encoder of the tests; the protocol's own is tested with the protocol.
func testReceipt(dst []byte, r *steps.Receipt, enc steps.Encoding) []byte {
	dst = fmt.Appendf(dst, "%s %s", enc, r.Record)
	for _, u := range r.Uploads {
		dst = fmt.Appendf(dst, " %s", u.Verdict)
	}
	return dst
}

func testConfig() Config {
	tokyo, err := steps.NewCalendar("Asia/Tokyo")
	if err != nil {
		panic(err)
	}
	return Config{EncodeReceipt: testReceipt, Calendar: tokyo, Now: func() time.Time { return testNow }, Rand: func(int64) int64 { return 0 }}
}

func newServer(t testing.TB, cfg Config, gw Gateway, days Days) (*Server, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	s, err := New(cfg, gw, days, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return s, reg
}

// metric returns a counter's or gauge's value, or a histogram's count; labels are "name=value".
func metric(t *testing.T, reg *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	series:
		for _, m := range f.GetMetric() {
			for i, l := range m.GetLabel() {
				if i >= len(labels) || l.GetName()+"="+l.GetValue() != labels[i] {
					continue series
				}
			}
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return 0
}

// post makes an upload request with the right credential.
func post(body []byte, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/v1/uploads", bytes.NewReader(body))
	return prepare(r, append([]string{"Content-Type", typeJSON}, header...)...)
}

// prepare adds the credential and fields; a field that comes twice replaces the former.
func prepare(r *http.Request, header ...string) *http.Request {
	r.SetBasicAuth(testDevice, testSecret)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func answer(h http.Handler, r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func readAll(t *testing.T, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return string(b)
}

// checkProblem validates a problem document field by field and returns it.
func checkProblem(t *testing.T, r *http.Response, status int, uri string, detail ...string) document {
	t.Helper()
	body := readAll(t, r)
	if r.StatusCode != status {
		t.Fatalf("status %d, want %d; body %s", r.StatusCode, status, body)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/problem+json", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
		"Content-Length": fmt.Sprint(len(body)),
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := r.Header.Get("Retry-After"); (got != "") != (status == 429 || status == 503) {
		t.Errorf("Retry-After: %q with status %d", got, status)
	}
	if got := r.Header.Get("WWW-Authenticate"); (got == `Basic realm="ayumi"`) != (status == 401) {
		t.Errorf("WWW-Authenticate: %q with status %d", got, status)
	}
	var p document
	d := json.NewDecoder(strings.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		t.Fatalf("problem document %q: %v", body, err)
	}
	if p.Type != uri || p.Status != status || p.Title == "" || p.Detail == "" {
		t.Errorf("problem %+v, want type %s, status %d, a title and a detail", p, uri, status)
	}
	for _, want := range detail {
		if !strings.Contains(p.Detail, want) {
			t.Errorf("detail %q does not say %q", p.Detail, want)
		}
	}
	return p
}

// live is a server on a loopback port with TLS from the own CA.
type live struct {
	*Server
	reg    *prometheus.Registry
	url    string
	caFile string
	client *http.Client // HTTP/2
	http1  *http.Client
}

func serveTLS(t *testing.T, cfg Config, gw Gateway, days Days) *live {
	t.Helper()
	dir := t.TempDir()
	b, err := pki.Load(dir, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, reg := newServer(t, cfg, gw, days)
	served := make(chan error, 1)
	go func() { served <- s.Serve(NewTLSListener(l, b.TLS)) }()
	pem, err := os.ReadFile(b.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	client := func(protos ...string) *http.Client {
		return &http.Client{Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: pool, NextProtos: protos},
			ForceAttemptHTTP2: protos[0] == "h2", MaxIdleConnsPerHost: 64, DisableCompression: true,
		}}
	}
	v := &live{s, reg, "https://" + l.Addr().String(), b.CAFile, client("h2"), client("http/1.1")}
	t.Cleanup(func() {
		v.client.CloseIdleConnections()
		v.http1.CloseIdleConnections()
		shutDown(t, s, served)
	})
	return v
}

// shutDown ends a server and waits for Serve.
func shutDown(t testing.TB, s *Server, served <-chan error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// servePlain is a server on a loopback port without TLS, for requests written byte by byte.
func servePlain(t *testing.T, cfg Config, gw Gateway) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, _ := newServer(t, cfg, gw, fakeDays(noDays))
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() {
		c.Close()
		shutDown(t, s, served)
	})
	return c
}

func gz(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// zst compresses as a stream, so the frame declares a window and no content size.
func zst(t testing.TB, b []byte, opts ...zstd.EOption) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, append([]zstd.EOption{zstd.WithEncoderConcurrency(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	for len(b) > 0 {
		n := min(len(b), 100_000)
		if _, err := w.Write(b[:n]); err != nil {
			t.Fatal(err)
		}
		b = b[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}
