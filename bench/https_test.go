package bench

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ayumi/protocol"
	"ayumi/protocol/native"
	"ayumi/steps"
)

// httpsLoad is a short run against a handler.
func httpsLoad(t *testing.T, n int, h http.HandlerFunc) Config {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	c := load(strings.TrimPrefix(s.URL, "https://"), n)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	c.HTTPS, c.TLS = true, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return c
}

func TestEveryReceiptIsCountedOnce(t *testing.T) {
	for _, tc := range []struct {
		name        string
		carries     int
		contentType string
	}{
		{"uploads", 0, "application/x-protobuf"},
		{"bundles", 3, "application/x-protobuf; message=bundle"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var posts atomic.Uint64
			each := max(1, tc.carries)
			c := httpsLoad(t, 2, func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				user, secret, _ := r.BasicAuth()
				if err != nil || r.Header.Get("Content-Type") != tc.contentType || !strings.HasPrefix(user, "ped-") || secret != "secret" {
					t.Errorf("%v, %q, user %q", err, r.Header, user)
				}
				uploads := decode(t, native.NewDecoder(protocol.DefaultLimits()), body, tc.carries > 0)
				if len(uploads) != each {
					t.Errorf("%d uploads in a message", len(uploads))
				}
				posts.Add(1)
				receipt := steps.Receipt{Uploads: make([]steps.UploadReceipt, each)}
				for i := range receipt.Uploads {
					receipt.Uploads[i].Verdict = steps.Stored
				}
				_, _ = w.Write(native.AppendReceipt(nil, &receipt, steps.Protobuf))
			})
			carried(&c, tc.carries)
			r := mustRun(t, c)
			if r.Acknowledged != posts.Load()*uint64(each) || !r.Clean() || r.Acknowledged == 0 || r.Latency.Max == 0 {
				t.Errorf("acknowledged %d of %d × %d: %+v", r.Acknowledged, posts.Load(), each, r)
			}
		})
	}
}

func TestHTTPSErrorsAreCounted(t *testing.T) {
	for _, tc := range []struct {
		name  string
		serve http.HandlerFunc
		check func(*Result) bool
		first string
	}{
		{"unavailable", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "the disk is full", http.StatusServiceUnavailable)
		}, func(r *Result) bool { return r.Acknowledged == 0 && r.Refused > 0 && r.Lost == 0 }, "the disk is full"},
		{"quarantined", func(w http.ResponseWriter, _ *http.Request) {
			receipt := steps.Receipt{Uploads: []steps.UploadReceipt{{Verdict: steps.Quarantined}}}
			_, _ = w.Write(native.AppendReceipt(nil, &receipt, steps.Protobuf))
		}, func(r *Result) bool { return r.Refused == r.Acknowledged && r.Refused > 0 }, "quarantined"},
		{"cut off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			func(r *Result) bool { return r.Lost == 2 && r.Unacknowledged == 2 && r.Acknowledged == 0 }, "EOF"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := mustRun(t, httpsLoad(t, 2, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				tc.serve(w, r)
			}))
			if !tc.check(r) || r.Clean() || !strings.Contains(r.FirstError, tc.first) {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestRateHoldsOverHTTPS(t *testing.T) {
	var posts atomic.Uint64
	c := httpsLoad(t, 2, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		posts.Add(1)
	})
	c.Rate, c.Warmup, c.Duration = 100, 0, 60*time.Millisecond // 3 uploads from each connection
	if r := mustRun(t, c); posts.Load() != 6 || r.Acknowledged != 6 || !r.Clean() {
		t.Errorf("%d posts: %+v", posts.Load(), r)
	}
}
