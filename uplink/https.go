package uplink

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"ayumi/protocol/native"
	"ayumi/steps"
)

// Compression is how a body is compressed, and the name of its Content-Encoding.
type Compression string

// The compressions the gateway takes.
const (
	Plain Compression = ""
	Gzip  Compression = "gzip"
	Zstd  Compression = "zstd"
)

// HTTPSConfig describes one device's way by HTTPS.
type HTTPSConfig struct {
	BaseURL  string      // such as https://gateway.example:8443
	TLS      *tls.Config // nil trusts the system's roots
	Device   steps.DeviceID
	Secret   string
	Compress Compression
	Timeout  time.Duration // for one post with its answer; 30 s when 0

	// Client is used instead of an own one, and TLS is ignored: many devices may share its
	// connections. NewClient makes a fitting one.
	Client *http.Client
}

const (
	uploadsPath = "/v1/uploads"
	maxReceipt  = 16 << 20 // bytes; a reader's bundle of a thousand uploads needs far less
	maxProblem  = 64 << 10
)

// HTTPS posts payloads for one device. Its methods may be called from several goroutines at once.
type HTTPS struct {
	cfg   HTTPSConfig
	url   string
	owned bool // the client is ours to tidy up
	gz    sync.Pool
	zs    *zstd.Encoder
}

// NewClient returns an HTTP client that keeps up to conns idle connections to a gateway, follows no
// redirect (it would carry the secret elsewhere) and leaves compression to the caller.
func NewClient(conf *tls.Config, conns int) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: conf, MaxIdleConns: conns, MaxIdleConnsPerHost: conns,
			IdleConnTimeout: time.Minute, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// NewHTTPS checks the configuration; it sends nothing yet.
func NewHTTPS(cfg HTTPSConfig) (*HTTPS, error) {
	const op = "prepare posting by HTTPS"
	u, err := url.Parse(cfg.BaseURL)
	if err != nil {
		return nil, steps.E(op, steps.Invalid, err)
	}
	if u.Scheme != "https" || u.Host == "" {
		return nil, steps.Errorf(op, steps.Invalid, "base URL %q; write it as https://host:port", cfg.BaseURL)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	h := &HTTPS{cfg: cfg, url: u.JoinPath(uploadsPath).String()}
	switch cfg.Compress {
	case Plain:
	case Gzip:
		h.gz.New = func() any { return gzip.NewWriter(io.Discard) }
	case Zstd:
		if h.zs, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1)); err != nil {
			return nil, steps.E(op, steps.Internal, err)
		}
	default:
		return nil, steps.Errorf(op, steps.Invalid, "compression %q; use gzip, zstd or nothing", cfg.Compress)
	}
	if h.cfg.Client == nil {
		h.cfg.Client, h.owned = NewClient(cfg.TLS, 2), true
	}
	return h, nil
}

// Close lets go of idle connections, unless the client is shared. It is idempotent.
func (h *HTTPS) Close() error {
	if h.owned {
		h.cfg.Client.CloseIdleConnections()
	}
	return nil
}

// Post sends one upload, or a reader's bundle, and returns the gateway's receipt. The payload is
// durable only if the error is nil. body is not kept.
//
// Errors carry the kind of the gateway's answer: 503 is Unavailable and 429 Overload, both with
// RetryAfter where the gateway named a time; 401 and 403 are Unauthorized; a receipt that cannot be
// read is Invalid. No answer, or half of one, is Unavailable.
func (h *HTTPS) Post(ctx context.Context, body []byte, enc steps.Encoding, bundle bool) (*steps.Receipt, error) {
	const op = "post upload"
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Timeout)
	defer cancel()
	req, err := h.request(ctx, body, enc, bundle)
	if err != nil {
		return nil, steps.E(op, steps.Invalid, err)
	}
	resp, err := h.cfg.Client.Do(req)
	if err != nil {
		return nil, steps.E(op, steps.Unavailable, err)
	}
	defer func() {
		_, _ = io.CopyN(io.Discard, resp.Body, maxProblem) // so that the connection can be used again
		_ = resp.Body.Close()
	}()
	if resp.StatusCode != http.StatusOK {
		return nil, problemError(op, resp)
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxReceipt+1))
	if err != nil {
		return nil, steps.E(op, steps.Unavailable, fmt.Errorf("receipt broke off: %w", err))
	}
	if len(answer) > maxReceipt {
		return nil, steps.Errorf(op, steps.Invalid, "receipt of more than %d bytes", maxReceipt)
	}
	return receipt(op, resp.Header.Get("Content-Type"), answer)
}

func receipt(op, contentType string, answer []byte) (*steps.Receipt, error) {
	enc, err := encodingOf(contentType)
	if err != nil {
		return nil, steps.E(op, steps.Invalid, fmt.Errorf("receipt: %w", err))
	}
	r, err := native.ParseReceipt(answer, enc)
	if err != nil {
		return nil, steps.E(op, steps.Invalid, fmt.Errorf("receipt: %w", err))
	}
	return r, nil
}

func (h *HTTPS) request(ctx context.Context, body []byte, enc steps.Encoding, bundle bool) (*http.Request, error) {
	contentType, err := contentTypeOf(enc)
	if err != nil {
		return nil, err
	}
	if body, err = h.compress(body); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(string(h.cfg.Device), h.cfg.Secret)
	req.Header.Set("Accept", contentType)
	if bundle {
		contentType += "; message=bundle"
	}
	req.Header.Set("Content-Type", contentType)
	if h.cfg.Compress != Plain {
		req.Header.Set("Content-Encoding", string(h.cfg.Compress))
	}
	return req, nil
}

func (h *HTTPS) compress(body []byte) ([]byte, error) {
	switch h.cfg.Compress {
	case Gzip:
		w, ok := h.gz.Get().(*gzip.Writer)
		if !ok {
			return nil, errors.New("no gzip writer")
		}
		defer h.gz.Put(w)
		var out bytes.Buffer
		w.Reset(&out)
		if _, err := w.Write(body); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		return out.Bytes(), nil
	case Zstd:
		return h.zs.EncodeAll(body, nil), nil
	}
	// The transport may read on for a moment after it gave up, when the caller has reused body.
	return bytes.Clone(body), nil
}

const (
	typeProtobuf = "application/x-protobuf"
	typeJSON     = "application/json"
)

func contentTypeOf(enc steps.Encoding) (string, error) {
	switch enc {
	case steps.Protobuf:
		return typeProtobuf, nil
	case steps.JSON:
		return typeJSON, nil
	}
	return "", fmt.Errorf("no content type for %s", enc)
}

func encodingOf(contentType string) (steps.Encoding, error) {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return 0, fmt.Errorf("content type %q: %w", contentType, err)
	}
	switch media {
	case typeProtobuf:
		return steps.Protobuf, nil
	case typeJSON:
		return steps.JSON, nil
	}
	return 0, fmt.Errorf("content type %q; expected %s or %s", contentType, typeProtobuf, typeJSON)
}
