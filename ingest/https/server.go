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
	// ExplainDay returns what one of the caller's days earned and why, to be sent as JSON. It is NotFound on a
	// day on which the device was nobody's.
	ExplainDay(ctx context.Context, device steps.DeviceID, day steps.Day) (any, error)
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
	waiting chan struct{}   // one element a request that waits for a place, as many at most
	conns   chan struct{}   // one element an open connection, MaxConns at most
	base    context.Context // ends when Shutdown gives up waiting
	abort   context.CancelFunc
	stopped context.Context // ends when Shutdown begins
	stop    context.CancelFunc
	taken   int // places that Shutdown took for good
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
	stopped, stop := context.WithCancel(base)
	s := &Server{
		cfg: cfg, gw: gw, days: days, log: log, codec: c, base: base, abort: abort, stopped: stopped, stop: stop,
		places:  make(chan struct{}, cfg.MaxInFlight),
		waiting: make(chan struct{}, cfg.MaxInFlight),
		conns:   make(chan struct{}, cfg.MaxConns),
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
			// What a client may send before anybody reads it. The defaults are a megabyte each.
			MaxReceiveBufferPerConnection: maxUnread,
			MaxReceiveBufferPerStream:     maxUnread,
			SendPingTimeout:               30 * time.Second,
			PingTimeout:                   15 * time.Second,
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

// Shutdown stops accepting, cuts requests that are still being received, and lets those that were
// received get their answers. When ctx ends first it closes their connections, gives their handlers
// a second to leave the gateway, and returns an error; their clients have no answer and send again.
func (s *Server) Shutdown(ctx context.Context) error {
	defer s.abort()
	s.stop()
	closed := make(chan error, 1)
	go func() { closed <- s.http.Shutdown(ctx) }()
	if left := s.awaitHandlers(ctx); left == 0 {
		// Nobody is in the gateway. What is still open said nothing, or is reading its answer.
		select {
		case err := <-closed:
			return err
		case <-time.After(answerLinger):
			_ = s.http.Close() // the listeners are closed already; a connection's close error helps nobody
			<-closed
			return nil
		}
	}
	s.abort()
	_ = s.http.Close() // as above
	err := <-closed
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if left := s.awaitHandlers(last); left > 0 {
		err = errors.Join(err, fmt.Errorf("%d are still in the gateway", left))
	}
	return fmt.Errorf("cannot finish all https requests before the deadline: %w", err)
}

// answerLinger is how long an answer that was given may take to be read when the server stops.
const answerLinger = 250 * time.Millisecond

// awaitHandlers takes every place, so that no handler is left, and returns how many it did not get
// until ctx ended.
func (s *Server) awaitHandlers(ctx context.Context) int {
	for s.taken < cap(s.places) {
		select {
		case s.places <- struct{}{}:
			s.taken++
		case <-ctx.Done():
			return cap(s.places) - s.taken
		}
	}
	return 0
}

func (s *Server) connState(_ net.Conn, state http.ConnState) {
	if state == http.StateClosed || state == http.StateHijacked {
		<-s.conns
	}
}
