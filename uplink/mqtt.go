package uplink

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"ayumi/steps"
)

// MQTTConfig describes one device's connection.
type MQTTConfig struct {
	Addr      string         // host:port
	TLS       *tls.Config    // nil sends in the clear, the secret included
	Device    steps.DeviceID // user name, and whose topics are published to
	Secret    string
	ClientID  string        // the device when empty
	Version   byte          // 4 (MQTT 3.1.1) or 5; 4 when 0
	Window    int           // unacknowledged publishes, 1 to 65535; 32 when 0; a server may lower it
	Timeout   time.Duration // for connecting, and for silence while something is unanswered; 30 s when 0
	KeepAlive time.Duration // at most 65,535 s; 60 s when 0; an MQTT 5 server may set its own

	// Dial opens the transport; nil is a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

func (c *MQTTConfig) fill() error {
	if c.ClientID == "" {
		c.ClientID = string(c.Device)
	}
	if c.Version == 0 {
		c.Version = 4
	}
	if c.Window == 0 {
		c.Window = 32
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.KeepAlive == 0 {
		c.KeepAlive = time.Minute
	}
	switch {
	case c.Version != 4 && c.Version != 5:
		return fmt.Errorf("protocol version %d; use 4 (MQTT 3.1.1) or 5", c.Version)
	case c.Window < 1 || c.Window > 65535:
		return fmt.Errorf("window %d; use 1 to 65535", c.Window)
	case c.KeepAlive < time.Second || c.KeepAlive > 65535*time.Second:
		return fmt.Errorf("keep alive %s; use 1 to 65535 s", c.KeepAlive)
	case c.Timeout < 0:
		return fmt.Errorf("timeout %s is negative", c.Timeout)
	case len(c.ClientID) > 65535 || len(c.Device) > 65535 || len(c.Secret) > 65535:
		return errors.New("client id, device or secret is longer than 65535 bytes")
	}
	return nil
}

const (
	readBuffer  = 4096     // also the largest packet that is accepted
	flushBytes  = 64 << 10 // a publisher that runs ahead of the socket writes by itself from here
	closeLinger = time.Second
)

var errClosed = errors.New("the connection was closed by this side")

// slot is an unacknowledged publish; its index is the packet identifier less one.
type slot struct {
	busy  bool
	acked func(reason byte, err error)
}

// settled is an acknowledgement that was read and not yet handed on.
type settled struct {
	id     uint16
	reason byte
	acked  func(reason byte, err error)
}

// MQTT is a connected publisher. Its methods may be called from several goroutines at once.
//
// Publish appends to a buffer; a writer goroutine sends what has gathered as soon as the socket is
// free, and the publisher itself sends it when the window is full. One reader goroutine matches
// PUBACKs to publishes. Nothing is allocated for a publish.
type MQTT struct {
	cfg       MQTTConfig
	conn      net.Conn
	maxPacket int // bytes, 0 when unlimited
	tick      time.Duration
	room      chan struct{} // one token: an identifier came free while somebody waited
	kick      chan struct{} // one token: there is something to write
	done      chan struct{} // closed when every publish has been reported
	written   chan struct{} // closed when the writer has ended
	closing   sync.Once
	closeErr  error

	wmu   sync.Mutex // held while writing; taken before mu
	spare []byte     // the other write buffer

	mu      sync.Mutex
	out     []byte
	slots   []slot
	free    []uint16 // a ring of unused identifiers, so that they are reused as late as possible
	head    int
	nfree   int
	waiting int
	quiet   chan struct{} // closed when nothing is unacknowledged; nil while nobody waits for that
	dead    error
	heard   bool // since the last watch
	wrote   bool
	pinged  bool
	silent  time.Duration
	unsent  time.Duration
	watcher *time.Timer

	batch []settled // the reader's own
}

// DialMQTT connects and waits for the server's CONNACK. A refusal is a *steps.Error of the code's
// kind with a *Refusal in its chain; an unreachable or silent server is Unavailable.
func DialMQTT(ctx context.Context, cfg MQTTConfig) (*MQTT, error) {
	const op = "connect by MQTT"
	if err := cfg.fill(); err != nil {
		return nil, steps.E(op, steps.Invalid, err)
	}
	dialCtx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	conn, err := dial(dialCtx, &cfg)
	if err != nil {
		return nil, steps.E(op, steps.Unavailable, whyEnded(ctx, err))
	}
	stop := context.AfterFunc(dialCtx, func() { _ = conn.Close() })
	br := bufio.NewReaderSize(conn, readBuffer)
	ack, err := handshake(conn, br, &cfg)
	if !stop() && err == nil {
		err = dialCtx.Err()
	}
	if err != nil {
		_ = conn.Close()
		var refusal *Refusal
		if errors.As(err, &refusal) {
			return nil, steps.E(op, refusal.kind(), err)
		}
		return nil, steps.E(op, steps.Unavailable, whyEnded(ctx, err))
	}
	return start(cfg, conn, br, ack), nil
}

// whyEnded prefers the caller's cancellation to the error of the socket it closed.
func whyEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func dial(ctx context.Context, cfg *MQTTConfig) (net.Conn, error) {
	open := cfg.Dial
	if open == nil {
		open = new(net.Dialer).DialContext
	}
	conn, err := open(ctx, "tcp", cfg.Addr)
	if err != nil || cfg.TLS == nil {
		return conn, err
	}
	tc := cfg.TLS
	if tc.ServerName == "" {
		host, _, err := net.SplitHostPort(cfg.Addr)
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
		tc = tc.Clone()
		tc.ServerName = host
	}
	secure := tls.Client(conn, tc)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return secure, nil
}

func handshake(conn net.Conn, br *bufio.Reader, cfg *MQTTConfig) (connack, error) {
	if _, err := conn.Write(appendConnect(nil, cfg)); err != nil {
		return connack{}, err
	}
	kind, body, err := peekPacket(br)
	if err != nil {
		return connack{}, fmt.Errorf("waiting for CONNACK: %w", err)
	}
	if kind != typeConnack {
		return connack{}, fmt.Errorf("packet type %d where CONNACK was due: %w", kind, errMalformed)
	}
	ack, err := parseConnack(cfg.Version, body)
	switch {
	case err != nil:
		return ack, err
	case ack.code != 0:
		return ack, &Refusal{Packet: "CONNACK", Version: cfg.Version, Code: ack.code, Reason: ack.reason}
	case ack.noQoS1:
		return ack, &Refusal{Packet: "CONNACK", Version: cfg.Version, Code: 0x9B, Reason: "server takes QoS 0 only"}
	case ack.receiveMax == 0:
		return ack, fmt.Errorf("receive maximum 0: %w", errMalformed)
	}
	_, err = br.Discard(len(body))
	return ack, err
}

func start(cfg MQTTConfig, conn net.Conn, br *bufio.Reader, ack connack) *MQTT {
	cfg.Window = min(cfg.Window, ack.receiveMax)
	if ack.keepAlive >= 0 {
		cfg.KeepAlive = time.Duration(ack.keepAlive) * time.Second // 0 is none
	}
	c := &MQTT{
		cfg: cfg, conn: conn, maxPacket: ack.maxPacket, tick: cfg.Timeout / 4,
		room: make(chan struct{}, 1), kick: make(chan struct{}, 1),
		done: make(chan struct{}), written: make(chan struct{}),
		slots: make([]slot, cfg.Window), free: make([]uint16, cfg.Window), nfree: cfg.Window,
	}
	if cfg.KeepAlive > 0 {
		c.tick = min(c.tick, cfg.KeepAlive/4)
	}
	c.tick = max(c.tick, time.Millisecond)
	for i := range c.free {
		c.free[i] = uint16(i + 1) //nolint:gosec // the window is at most 65535
	}
	c.mu.Lock()
	c.watcher = time.AfterFunc(c.tick, c.watch)
	c.mu.Unlock()
	go c.read(br)
	go c.write()
	return c
}

// Window returns how many publishes may be unacknowledged: the configured number or the server's.
func (c *MQTT) Window() int { return c.cfg.Window }

// Publish sends payload to topic with QoS 1. It blocks while the window is full and keeps neither
// payload nor topic.
//
// If it returns nil, acked is called exactly once: with the PUBACK's reason (0 in MQTT 3.1.1; from
// 0x80 on the server refused the payload for good and says why), or with an error if the connection
// ended before the PUBACK was read. It runs on the connection's reader and must neither block nor
// call Publish, Drain or Close. If Publish returns an error, acked is not called.
func (c *MQTT) Publish(ctx context.Context, topic string, payload []byte, acked func(reason byte, err error)) error {
	if err := c.checkSize(topic, payload); err != nil {
		return err
	}
	c.mu.Lock()
	for c.dead == nil && c.nfree == 0 {
		c.waiting++
		c.mu.Unlock()
		err := c.awaitRoom(ctx)
		c.mu.Lock()
		c.waiting--
		if err != nil {
			c.mu.Unlock()
			return err
		}
	}
	if err := c.dead; err != nil {
		c.mu.Unlock()
		return err
	}
	id := c.free[c.head]
	if c.head++; c.head == len(c.free) {
		c.head = 0
	}
	c.nfree--
	c.slots[id-1] = slot{busy: true, acked: acked}
	c.out = appendPublish(c.out, c.cfg.Version, id, topic, payload)
	c.wrote = true
	now := c.nfree == 0 || len(c.out) >= flushBytes
	if c.nfree > 0 && c.waiting > 0 {
		signal(c.room)
	}
	c.mu.Unlock()
	if now {
		c.flush()
	} else {
		signal(c.kick)
	}
	return nil
}

func (c *MQTT) checkSize(topic string, payload []byte) error {
	n := publishSize(c.cfg.Version, topic, payload)
	switch {
	case topic == "" || len(topic) > 65535:
		return steps.Errorf("publish", steps.Invalid, "topic of %d bytes; use 1 to 65535", len(topic))
	case n > maxRemaining:
		return steps.Errorf("publish", steps.Invalid, "packet of %d bytes; MQTT allows %d", n, maxRemaining)
	case c.maxPacket > 0 && n+5 > c.maxPacket:
		return steps.Errorf("publish", steps.Invalid, "packet of about %d bytes; the server takes %d", n+5, c.maxPacket)
	}
	return nil
}

func (c *MQTT) awaitRoom(ctx context.Context) error {
	select {
	case <-c.room:
		return nil
	case <-c.done:
		return nil // the caller finds the connection dead
	case <-ctx.Done():
		return steps.E("publish", steps.Unavailable, context.Cause(ctx))
	}
}

// Drain waits until nothing is unacknowledged and every acknowledgement has been reported. It
// returns the connection's error if that ended first; then every publish has been reported too.
func (c *MQTT) Drain(ctx context.Context) error {
	c.mu.Lock()
	if c.nfree == len(c.free) {
		c.mu.Unlock()
		return nil
	}
	if c.quiet == nil {
		c.quiet = make(chan struct{})
	}
	quiet := c.quiet
	c.mu.Unlock()
	select {
	case <-quiet:
		return nil
	case <-c.done:
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.nfree == len(c.free) {
			return nil
		}
		return c.dead
	case <-ctx.Done():
		return steps.E("wait for acknowledgements", steps.Unavailable, context.Cause(ctx))
	}
}

// Err returns why the connection ended, nil while it lives.
func (c *MQTT) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}

// Done is closed when the connection has ended and every publish has been reported.
func (c *MQTT) Done() <-chan struct{} { return c.done }

// Close sends DISCONNECT, ends the connection and waits until every publish has been reported,
// those without a PUBACK with an error. Call Drain first to lose nothing. It is idempotent.
func (c *MQTT) Close() error {
	c.closing.Do(func() {
		_ = c.conn.SetWriteDeadline(time.Now().Add(closeLinger)) // frees a writer that is stuck
		c.mu.Lock()
		alive := c.dead == nil
		if alive {
			c.dead = steps.E("publish", steps.Unavailable, errClosed)
			c.out = append(c.out, headDisconnect, 0)
		}
		c.mu.Unlock()
		if alive {
			c.flush()
		}
		if err := c.conn.Close(); !errors.Is(err, net.ErrClosed) { // closed already when it died
			c.closeErr = err
		}
	})
	<-c.done
	<-c.written
	return c.closeErr
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// peekPacket reads one packet's head and returns its body in the reader's own buffer: the caller
// discards it when done.
func peekPacket(br *bufio.Reader) (kind byte, body []byte, err error) {
	first, err := br.ReadByte()
	if err != nil {
		return 0, nil, err
	}
	n := 0
	for shift := 0; ; shift += 7 {
		if shift > 21 {
			return 0, nil, fmt.Errorf("remaining length: %w", errMalformed)
		}
		b, err := br.ReadByte()
		if err != nil {
			return 0, nil, err
		}
		if n |= int(b&0x7F) << shift; b < 0x80 {
			break
		}
	}
	if n > br.Size() {
		return 0, nil, fmt.Errorf("packet of %d bytes; a publisher takes %d", n, br.Size())
	}
	body, err = br.Peek(n)
	return first >> 4, body, err
}

// wholePacket reports whether the next packet can be read without waiting.
func wholePacket(br *bufio.Reader) bool {
	n := br.Buffered()
	if n < 2 {
		return false
	}
	b, err := br.Peek(2)
	return err == nil && b[1] < 0x80 && n >= 2+int(b[1])
}
