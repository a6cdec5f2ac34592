package https

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/ingest"
	"ayumi/steps"
)

// Gateway is what the listener needs behind it.
type Gateway interface {
	// Authenticate checks a credential in constant time. Unauthorized and NotFound errors are
	// answered alike with 401, Overload with 429.
	Authenticate(device steps.DeviceID, secret []byte) (steps.Identity, error)
	// Submit hands over a payload. It returns within ctx. done is called exactly once if the
	// error is nil and never otherwise, as ingest.Completion says.
	Submit(ctx context.Context, env *ingest.Envelope, done ingest.Completion) error
}

// Days answers a caller's own days.
type Days interface {
	// OwnDays returns the caller's days, oldest first, merged over everything acknowledged so far.
	OwnDays(ctx context.Context, device steps.DeviceID, days steps.DayRange) ([]steps.Award, error)
}

// Server is the HTTPS listener.
type Server struct {
	cfg     Config
	gw      Gateway
	days    Days
	log     *slog.Logger
	m       *metrics
	codec   *codec
	http    *http.Server
	places  chan struct{}   // one element a handled request, MaxInFlight at most
	conns   chan struct{}   // one element an open connection, MaxConns at most
	base    context.Context // ends when Shutdown gives up waiting
	abort   context.CancelFunc
	buffers bufferPool
}

// New makes a Server. It returns an Invalid error for a Config that cannot work and whatever reg
// says when the ayumi_https_* metrics are registered there already.
func New(cfg Config, gw Gateway, days Days, log *slog.Logger, reg prometheus.Registerer) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c, err := newCodec(cfg.MaxBodyBytes)
	if err != nil {
		return nil, err
	}
	base, abort := context.WithCancel(context.Background())
	s := &Server{
		cfg: cfg, gw: gw, days: days, log: log, codec: c, base: base, abort: abort,
		places: make(chan struct{}, cfg.MaxInFlight),
		conns:  make(chan struct{}, cfg.MaxConns),
	}
	if s.m, err = newMetrics(reg, func() float64 { return float64(len(s.conns)) }); err != nil {
		abort()
		return nil, err
	}
	s.http = &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: min(readHeaderTimeout, cfg.ReadTimeout),
		ReadTimeout:       cfg.ReadTimeout,
		// Counted from the request's header on, so it covers all that an answer may wait for.
		WriteTimeout:   cfg.ReadTimeout + cfg.MaxWait + cfg.CommitTimeout + writeSlack,
		IdleTimeout:    cfg.IdleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			SendPingTimeout:      30 * time.Second,
			PingTimeout:          15 * time.Second,
		},
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return base },
		ConnState:   s.connState,
	}
	return s, nil
}

// Serve answers requests on l, a listener from NewTLSListener (or a loopback one without TLS), until
// Shutdown, and then returns nil. It closes l.
func (s *Server) Serve(l net.Listener) error {
	err := s.http.Serve(&gate{Listener: l, places: s.conns, done: make(chan struct{})})
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("cannot serve https on %q: %w", l.Addr(), err)
}

// Shutdown stops accepting and lets the requests in flight get their answers. When ctx ends first it
// closes their connections, gives their handlers a second to leave the gateway, and returns an
// error; their clients have no answer and send again.
func (s *Server) Shutdown(ctx context.Context) error {
	defer s.abort()
	err := s.http.Shutdown(ctx)
	if err == nil {
		return nil
	}
	s.abort()
	_ = s.http.Close() // the listeners are closed already; a connection's close error helps nobody
	left := s.awaitHandlers(time.Second)
	return fmt.Errorf("cannot finish all https requests before the deadline, %d still in the gateway: %w", left, err)
}

// awaitHandlers takes every place, so that no handler is left, and returns how many it did not get.
func (s *Server) awaitHandlers(limit time.Duration) int {
	t := time.NewTimer(limit)
	defer t.Stop()
	for i := range cap(s.places) {
		select {
		case s.places <- struct{}{}:
		case <-t.C:
			return cap(s.places) - i
		}
	}
	return 0
}

func (s *Server) connState(_ net.Conn, state http.ConnState) {
	if state == http.StateClosed || state == http.StateHijacked {
		<-s.conns
	}
}
