package mqtt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/ingest"
	"ayumi/steps"
)

// Gateway is what the listener needs behind it.
type Gateway interface {
	// Authenticate returns who owns the secret; Kind Unauthorized otherwise. Constant time in the
	// secret. It must not keep secret, which is wiped afterwards.
	Authenticate(device steps.DeviceID, secret []byte) (steps.Identity, error)
	// Submit queues a payload; see ingest.Completion. It blocks while the queue is full until ctx
	// ends. Kinds: Unauthorized (credential revoked meanwhile), Overload, Unavailable. env, like
	// its Body, is read only until Submit returns: the next publish reuses it.
	Submit(ctx context.Context, env *ingest.Envelope, done ingest.Completion) error
}

// sessionKey names a client within a device, so that nobody can take over another's connection.
type sessionKey struct {
	device steps.DeviceID
	client string // empty: of no name, which nobody can take over
}

// Server is the listener.
type Server struct {
	cfg     Config
	gw      Gateway
	log     *slog.Logger
	metrics *metrics
	ctx     context.Context // ends when Shutdown gives up waiting
	cancel  context.CancelFunc
	epoch   time.Time     // the monotonic clock's zero
	stopped chan struct{} // closed when Shutdown begins
	idle    chan struct{} // closed when after that nothing is left

	subscribers subscribers

	mu        sync.Mutex
	listeners map[net.Listener]struct{} // being served
	conns     map[*conn]struct{}
	devices   map[steps.DeviceID][]*conn // those that are connected, with their connections, oldest first
	loops     []loop
	nextLoop  int
	looped    bool // loops were made, if they can be
	orphans   int  // payloads submitted by connections that are gone
	watching  bool
	stopping  bool
	settled   bool // idle is closed
}

// New returns a listener that serves nothing yet. reg may be nil.
func New(cfg Config, gw Gateway, log *slog.Logger, reg prometheus.Registerer) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	m, err := newMetrics(reg)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, gw: gw, log: log, metrics: m, epoch: time.Now(),
		stopped: make(chan struct{}), idle: make(chan struct{}),
		listeners: map[net.Listener]struct{}{}, conns: map[*conn]struct{}{}, devices: map[steps.DeviceID][]*conn{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Serve accepts connections from l and closes it in the end. It may be called for several
// listeners; for TLS, l is a tls.Listener. It returns nil after Shutdown.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close() //nolint:errcheck // the error of a second Close says nothing
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		return nil
	}
	s.listeners[l] = struct{}{}
	if !s.watching {
		s.watching = true
		go s.watch()
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.listeners, l)
		s.settleLocked()
	}()
	return s.acceptAll(l)
}

func (s *Server) acceptAll(l net.Listener) error {
	const firstPause, lastPause = 5 * time.Millisecond, time.Second
	pause := firstPause
	for {
		nc, err := l.Accept()
		if err == nil {
			pause = firstPause
			s.start(nc)
			continue
		}
		select {
		case <-s.stopped:
			return nil
		default:
		}
		if t, ok := err.(interface{ Temporary() bool }); !ok || !t.Temporary() {
			return fmt.Errorf("cannot accept mqtt connections on %s: %w", l.Addr(), err)
		}
		s.log.Warn("cannot accept an mqtt connection; raise the limit of open files if it persists", slog.Any("err", err))
		select {
		case <-s.stopped:
			return nil
		case <-time.After(pause):
			pause = min(2*pause, lastPause)
		}
	}
}

// start serves a connection on a goroutine of its own, unless there are too many.
func (s *Server) start(nc net.Conn) {
	s.mu.Lock()
	if s.stopping || len(s.conns) >= s.cfg.MaxConnections {
		s.mu.Unlock()
		s.metrics.connects[connectFull].Inc()
		_ = nc.Close() // nothing was read or written
		return
	}
	c := newConn(s, nc)
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	s.metrics.connections.Inc()
	go c.serve()
}

// claim makes c the connection of its client identifier and closes the one it replaces
// (MQTT-3.1.4-3), or else its device's oldest one if the device has too many. What that one
// submitted goes on and is not acknowledged.
func (s *Server) claim(c *conn) {
	s.mu.Lock()
	own := s.devices[c.key.device]
	why, code := causeTakenOver, codeSessionTakenOver
	at := -1
	if c.key.client != "" {
		at = slices.IndexFunc(own, func(o *conn) bool { return o.key.client == c.key.client })
	}
	if at < 0 && len(own) >= s.cfg.ConnectionsPerDevice {
		at, why, code = 0, causeOverload, codeQuotaExceeded
	}
	var old *conn
	if at >= 0 {
		old = own[at]
		own = slices.Delete(own, at, at+1)
	}
	s.devices[c.key.device] = append(own, c)
	s.mu.Unlock()
	if old != nil {
		old.end(why, code)
	}
}

// disclaimLocked is the opposite of claim.
func (s *Server) disclaimLocked(c *conn) {
	own := s.devices[c.key.device]
	at := slices.Index(own, c)
	switch {
	case at < 0: // replaced, or never accepted
	case len(own) == 1:
		delete(s.devices, c.key.device)
	default:
		s.devices[c.key.device] = slices.Delete(own, at, at+1)
	}
}

// remove forgets a connection that has finished with orphans payloads in flight.
func (s *Server) remove(c *conn, orphans int) {
	s.subscribers.remove(c)
	s.cfg.Allowances.Release(c.env.Allowance)
	s.metrics.connections.Dec()
	s.metrics.disconnects[c.why].Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.disclaimLocked(c)
	s.orphans += orphans
	s.settleLocked()
}

func (s *Server) settleOrphan() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orphans-- // below 0 if remove has yet to add this one
	s.settleLocked()
}

func (s *Server) settleLocked() {
	if s.stopping && !s.settled && len(s.conns) == 0 && len(s.listeners) == 0 && s.orphans == 0 {
		s.settled = true
		close(s.idle)
	}
}

// watch looks at all connections once a second.
func (s *Server) watch() {
	tick := time.NewTicker(stuckAfter)
	defer tick.Stop()
	for {
		select {
		case <-s.stopped:
			return
		case now := <-tick.C:
			s.inspect(now)
		}
	}
}

// inspect hands connections over whose publish has been waiting since the last time (see turn), and
// ends those in a loop that have been silent for too long.
func (s *Server) inspect(now time.Time) {
	var stuck, silent []*conn
	s.mu.Lock()
	for c := range s.conns {
		switch {
		case c.turn.steal():
			stuck = append(stuck, c)
		case c.silent(now):
			silent = append(silent, c)
		}
	}
	s.mu.Unlock()
	for _, c := range stuck {
		s.metrics.handedOver.Inc()
		c.leave()
		// The waiting goroutine goes on reading its packet out of the old buffer.
		c.in = newInbox(c, c.in.unread())
		go c.serve()
	}
	for _, c := range silent {
		c.end(causeKeepAlive, codeKeepAliveTimeout)
	}
}

// Shutdown stops accepting and reading, waits for what was submitted, sends the acknowledgements,
// tells v5 clients (0x8B) and closes. When ctx ends first it closes at once and returns an error;
// it never waits longer, however silent the peers are. It may be called again.
func (s *Server) Shutdown(ctx context.Context) error {
	defer s.closeLoops()
	conns := s.beginShutdown()
	for _, c := range conns {
		c.mu.Lock()
		if c.accepted {
			c.stopLocked(causeShutdown, codeShuttingDown)
		} else {
			c.endLocked(causeShutdown, codeSuccess)
			c.closeSocket()
		}
		c.mu.Unlock()
	}
	select {
	case <-s.idle:
		s.cancel()
		return nil
	case <-ctx.Done():
	}
	s.cancel()
	s.mu.Lock()
	left, orphans := len(s.conns), s.orphans
	for c := range s.conns {
		c.closeSocket()
	}
	s.mu.Unlock()
	return steps.E("shut down mqtt listener", steps.Unavailable,
		errors.Join(fmt.Errorf("%d connections and %d payloads of closed ones were not done in time", left, orphans), ctx.Err()))
}

// beginShutdown closes the listeners and returns the connections that are to stop.
func (s *Server) beginShutdown() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return nil
	}
	s.stopping = true
	close(s.stopped)
	for l := range s.listeners {
		_ = l.Close() // Accept reports it
	}
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.settleLocked()
	return conns
}
