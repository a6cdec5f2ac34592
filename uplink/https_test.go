package uplink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"ayumi/steps"
)

// storedReceipt is a gateway's answer as the wire contract writes it.
const storedReceipt = `{"record":"7.0","received_at":"2026-11-23T01:02:03Z","uploads":[{"device":"app-1","boot":1,"seq":5,"verdict":"stored"}]}`

func gateway(t *testing.T, h http.HandlerFunc) (url string, conf *tls.Config) {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s.URL, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

func poster(t *testing.T, cfg HTTPSConfig) *HTTPS {
	t.Helper()
	if cfg.Device == "" {
		cfg.Device, cfg.Secret = "app-1", "hush"
	}
	h, err := NewHTTPS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func unpack(r *http.Request) (string, error) {
	var in io.Reader = r.Body
	switch r.Header.Get("Content-Encoding") {
	case "gzip":
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return "", err
		}
		in = z
	case "zstd":
		z, err := zstd.NewReader(r.Body)
		if err != nil {
			return "", err
		}
		defer z.Close()
		in = z
	}
	b, err := io.ReadAll(in)
	return string(b), err
}

func TestPost(t *testing.T) {
	body := strings.Repeat("steps ", 100)
	for _, tc := range []struct {
		name     string
		compress Compression
		enc      steps.Encoding
		bundle   bool
		want     string
	}{
		{"protobuf", Plain, steps.Protobuf, false, "application/x-protobuf"},
		{"JSON, gzip", Gzip, steps.JSON, false, "application/json"},
		{"bundle, zstd", Zstd, steps.Protobuf, true, "application/x-protobuf; message=bundle"},
		{"JSON bundle", Plain, steps.JSON, true, "application/json; message=bundle"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			url, conf := gateway(t, func(w http.ResponseWriter, r *http.Request) {
				user, secret, _ := r.BasicAuth()
				got, err := unpack(r)
				if r.Method != http.MethodPost || r.URL.Path != "/v1/uploads" || user != "app-1" || secret != "hush" {
					t.Errorf("%s %s by %q %q", r.Method, r.URL.Path, user, secret)
				}
				if err != nil || got != body || r.Header.Get("Content-Type") != tc.want {
					t.Errorf("%d bytes of %q, %v", len(got), r.Header.Get("Content-Type"), err)
				}
				w.Header().Set("Content-Type", "application/json; charset=utf-8")
				_, _ = io.WriteString(w, storedReceipt)
			})
			h := poster(t, HTTPSConfig{BaseURL: url, TLS: conf, Compress: tc.compress})
			for range 2 {
				r, err := h.Post(t.Context(), []byte(body), tc.enc, tc.bundle)
				if err != nil {
					t.Fatal(err)
				}
				if len(r.Uploads) != 1 || r.Uploads[0].Verdict != steps.Stored {
					t.Errorf("receipt %+v", r)
				}
			}
		})
	}
}

func TestPostRefused(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status int
		header map[string]string
		body   string
		want   steps.Kind
		after  time.Duration
		text   string
	}{
		{name: "problem", status: 400, header: map[string]string{"Content-Type": "application/problem+json"},
			body: `{"type":"about:blank","title":"Bad upload","detail":"seq is missing"}`, want: steps.Invalid, text: "400 Bad upload: seq is missing"},
		{name: "broken problem", status: 413, header: map[string]string{"Content-Type": "application/problem+json"},
			body: `{"title":`, want: steps.Invalid, text: "413 Request Entity Too Large"},
		{name: "plain text", status: 401, body: "no", want: steps.Unauthorized, text: "401 Unauthorized"},
		{name: "forbidden", status: 403, want: steps.Unauthorized},
		{name: "not found", status: 404, want: steps.NotFound},
		{name: "conflict", status: 409, want: steps.Conflict},
		{name: "busy", status: 429, header: map[string]string{"Retry-After": "7"}, want: steps.Overload, after: 7 * time.Second},
		{name: "down", status: 503, want: steps.Unavailable, after: 90 * time.Second,
			header: map[string]string{"Date": "Mon, 23 Nov 2026 01:00:00 GMT", "Retry-After": "Mon, 23 Nov 2026 01:01:30 GMT"}},
		{name: "down, no time", status: 503, want: steps.Unavailable},
		{name: "down, odd time", status: 503, header: map[string]string{"Retry-After": "soon"}, want: steps.Unavailable},
		{name: "bug", status: 500, want: steps.Internal},
		{name: "redirect", status: 307, header: map[string]string{"Location": "https://elsewhere.invalid/"}, want: steps.Invalid},
		{name: "receipt of an unknown type", status: 200, header: map[string]string{"Content-Type": "text/html"}, body: "<p>", want: steps.Invalid},
		{name: "receipt that is none", status: 200, header: map[string]string{"Content-Type": "application/json"}, body: "[", want: steps.Invalid},
		{name: "receipt that breaks off", status: 200, header: map[string]string{"Content-Type": "application/json", "Content-Length": "999"}, body: "{", want: steps.Unavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			url, conf := gateway(t, func(w http.ResponseWriter, _ *http.Request) {
				for k, v := range tc.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			})
			_, err := poster(t, HTTPSConfig{BaseURL: url, TLS: conf}).Post(t.Context(), []byte("x"), steps.JSON, false)
			if err == nil || steps.KindOf(err) != tc.want || !strings.Contains(err.Error(), tc.text) {
				t.Fatalf("%v of kind %s; want %s, %q", err, steps.KindOf(err), tc.want, tc.text)
			}
			after, ok := RetryAfter(err)
			if after != tc.after || ok != (tc.after > 0) {
				t.Errorf("retry after %s %v, want %s", after, ok, tc.after)
			}
		})
	}
}

func TestPostNeedsTrust(t *testing.T) {
	url, _ := gateway(t, func(http.ResponseWriter, *http.Request) { t.Error("the secret went to a server nobody vouched for") })
	_, err := poster(t, HTTPSConfig{BaseURL: url}).Post(t.Context(), nil, steps.JSON, false)
	var unknown x509.UnknownAuthorityError
	if steps.KindOf(err) != steps.Unavailable || !errors.As(err, &unknown) {
		t.Errorf("%v, want an unknown authority", err)
	}
}

func TestPostTimesOut(t *testing.T) {
	url, conf := gateway(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	_, err := poster(t, HTTPSConfig{BaseURL: url, TLS: conf, Timeout: 20 * time.Millisecond}).Post(t.Context(), nil, steps.JSON, false)
	if steps.KindOf(err) != steps.Unavailable || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want a deadline", err)
	}
}

func TestHTTPSConfigErrors(t *testing.T) {
	for name, cfg := range map[string]HTTPSConfig{
		"in the clear": {BaseURL: "http://localhost:1"},
		"no host":      {BaseURL: "https:///x"},
		"no URL":       {BaseURL: "://"},
		"compression":  {BaseURL: "https://h", Compress: "brotli"},
	} {
		if _, err := NewHTTPS(cfg); steps.KindOf(err) != steps.Invalid {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	h := poster(t, HTTPSConfig{BaseURL: "https://h"})
	if _, err := h.Post(t.Context(), nil, 0, false); steps.KindOf(err) != steps.Invalid {
		t.Errorf("no encoding: %v, want invalid", err)
	}
}
