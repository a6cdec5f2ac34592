package mqtt

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"ayumi/ingest"
)

// connState is where a connection is in its life. It only rises.
type connState uint8

const (
	open     connState = iota
	closing            // nothing is appended to the output any more; what is there is written
	finished           // the socket is closed and no goroutine reads
)

// conn is one connection. Whoever reads it, a goroutine of its own or its loop, owns the fields of the
// first two groups; when a publish waits for long, a second goroutine reads on (see turn).
type conn struct {
	srv *Server
	nc  net.Conn
	in  inbox

	// Set by CONNECT.
	established   bool            // it was accepted
	loop          loop            // nil: none; written under mu
	raw           syscall.RawConn // of nc; for the loop
	fd            int             // its place in the loop's table; the loop's mu guards it
	level         protocolLevel
	env           ingest.Envelope // of the publish at hand; the next one reuses it
	ownTopics     string          // "ayumi/v1/{device}/"
	key           sessionKey
	sessionExpiry uint32
	maximumPacket uint32 // the client's, 0: no limit
	problemInfo   bool   // the client takes a Reason String

	// The read deadline, and what takes its place in a loop.
	idleLimit time.Duration // one and a half keep alive times; 0 before CONNECT
	armed     time.Time     // when the deadline was last renewed
	heard     atomic.Int64  // when the time of silence began, since srv.epoch
	renew     bool          // a packet, or a good part of a large one, came in since
	partial   int           // bytes read since renew was last set
	arrived   time.Time     // when the last bytes came in

	ctx    context.Context // ends with the connection; for Submit
	cancel context.CancelFunc
	turn   turn
	place  atomic.Uint32 // placeOwn and so on
	halted atomic.Bool   // stopping or closing: what comes in is thrown away

	mu       sync.Mutex // never held across a socket write or a Submit
	cond     sync.Cond  // anything below changed that somebody waits for
	waiting  int        // readers that wait on cond
	state    connState
	accepted bool // CONNACK with success
	why      cause
	out      outbox

	submitted uint32 // publishes admitted, in order
	completed uint32 // completions, in order
	inFlight  int    // admitted and not completed
	unacked   int    // QoS 1, admitted and its PUBACK not taken by a writer
	qos0      int    // QoS 0, in flight

	stopping bool // admit nothing more; close once inFlight is 0
	stopWhy  cause
	stopCode reasonCode

	receiptTopic string // "" unless the client subscribed
}

var (
	errEnded      = errors.New("the connection is ending")
	errHandedOver = errors.New("another goroutine reads on")
	errDrained    = errors.New("nothing is left to be read at present")
	errGoodbye    = errors.New("the client disconnected")
	errWindow     = &protocolError{codeReceiveMaximum, "more unacknowledged publishes than Receive Maximum"}
	errTooLarge   = &protocolError{codePacketTooLarge, "the packet is larger than Maximum Packet Size"}
)

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, nc: nc, renew: true}
	c.cond.L = &c.mu
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	c.in = newInbox(c, nil)
	return c
}

// serve is the connection's reading goroutine.
func (c *conn) serve() { c.goOn(c.readOn()) }

// goOn goes on with what readOn returned, until a loop or another goroutine does or the connection
// has ended.
func (c *conn) goOn(err error) {
	for err == errDrained {
		if c.enterLoop() {
			return
		}
		err = c.readOn()
	}
	if err != errHandedOver {
		c.conclude(err)
	}
}

// readOn reads and handles packets, beginning with CONNECT. It always returns an error: errDrained
// when the loop is to wait for more, errHandedOver when the connection is not the caller's any more.
func (c *conn) readOn() (err error) {
	err = errEnded // after a panic
	defer c.confine()
	if !c.established {
		if c.established = c.establish(); !c.established {
			return errEnded
		}
	}
	return c.readPackets()
}

// conclude ends the connection and returns when it has ended.
func (c *conn) conclude(err error) {
	defer c.finish()
	defer c.confine()
	c.endWith(err)
	c.drain()
}

func (c *conn) readPackets() error {
	for {
		h, body, err := c.readPacket()
		if err != nil {
			return err
		}
		if c.halted.Load() {
			return errEnded
		}
		if err := c.handle(h, body); err != nil {
			return err
		}
	}
}

// readPacket returns the next packet. body is valid until the next call.
func (c *conn) readPacket() (h header, body []byte, err error) {
	var size int
	for {
		h, size, err = parseHeader(c.in.unread(), c.level)
		if err != nil {
			return h, nil, err
		}
		if size > 0 {
			break
		}
		if err := c.in.fill(len(c.in.unread()) + 1); err != nil {
			return h, nil, err
		}
	}
	limit := c.srv.cfg.MaxPacketBytes
	if c.level == 0 {
		limit = connectBytes
		if h.kind != typeConnect { // MQTT-3.1.0-1
			return h, nil, violation("the first packet is not CONNECT")
		}
	}
	if size+h.length > limit {
		return h, nil, errTooLarge
	}
	for len(c.in.unread()) < size+h.length {
		if err := c.in.fill(size + h.length); err != nil {
			return h, nil, err
		}
	}
	body = c.in.unread()[size : size+h.length]
	c.in.skip(size + h.length)
	c.renew = true
	return h, body, nil
}

// Read reads from the socket for the inbox. It sends the connection to its loop rather than wait,
// but not while a goroutine waits in a publish that was taken from it: that one may still call leave.
func (c *conn) Read(p []byte) (n int, err error) {
	switch {
	case c.place.Load() == placeServed:
		n, c.arrived, err = c.loop.read(c, p)
	case c.loop != nil && !c.turn.handedOver():
		return 0, errDrained
	default:
		n, err = c.readWaiting(p)
	}
	if n == 0 {
		return 0, err
	}
	if c.partial += n; c.partial >= idleBuffer {
		c.renew = true
	}
	c.srv.metrics.received.Add(float64(n))
	return n, err
}

// readWaiting is Read on a goroutine of the connection's own. Before CONNECT the deadline is a fixed
// moment. After it, it is renewed whenever a packet came in, and for large packets every idleBuffer
// bytes, so that a slow network may deliver them; the step is coarse because a deadline costs a lock.
func (c *conn) readWaiting(p []byte) (int, error) {
	if c.renew && c.idleLimit > 0 {
		now := time.Now()
		c.hear(now)
		step := c.idleLimit * 2 / 3 / keepAliveSlack
		if now.Sub(c.armed) > step {
			c.armed = now
			c.mu.Lock()
			if c.state < closing { // then the linger deadline stands
				_ = c.nc.SetReadDeadline(now.Add(c.idleLimit + step)) // fails only on a closed socket, as Read will
			}
			c.mu.Unlock()
		}
	}
	n, err := c.nc.Read(p)
	c.arrived = time.Now()
	return n, err
}

func (c *conn) handle(h header, body []byte) error {
	switch h.kind {
	case typePublish:
		p, err := parsePublish(h.flags, body, c.level)
		if err != nil {
			return err
		}
		return c.publish(p)
	case typePingreq, typeSubscribe, typeUnsubscribe:
		return c.request(h.kind, body)
	case typeDisconnect:
		if err := parseDisconnect(body, c.level, c.sessionExpiry); err != nil {
			return err
		}
		return errGoodbye
	case typeConnect: // MQTT-3.1.0-2
		return violation("a second CONNECT")
	case typeAuth: // MQTT 5, 4.12: only after an Authentication Method in CONNECT, which is refused
		return violation("AUTH without an Authentication Method")
	default: // acknowledgements of what we never send, and packets that only a server sends
		return violation("the packet type is none that a client may send here")
	}
}

// request answers a packet that asks for an answer and brings no upload.
func (c *conn) request(kind packetType, body []byte) error {
	if err := c.control(controlUnits); err != nil {
		return err
	}
	switch kind {
	case typeSubscribe:
		return c.subscribe(body)
	case typeUnsubscribe:
		return c.unsubscribe(body)
	}
	if len(body) > 0 {
		return errTrailing
	}
	return c.reply(appendPingresp)
}

// reply appends a packet to the output. It waits while a client that asks but does not read has
// too much of it already.
func (c *conn) reply(appendTo func([]byte) []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.out.len() > replyBuffer+c.srv.cfg.ReceiptBuffer && c.state < closing {
		c.waitLocked()
	}
	if c.state >= closing {
		return errEnded
	}
	out := c.out.buffer()
	before := len(out.b)
	out.b = appendTo(out.b)
	if c.maximumPacket > 0 && len(out.b)-before > int(c.maximumPacket) { // MQTT-3.1.2-24
		out.b = out.b[:before]
	}
	c.flushLocked()
	return nil
}

// waitLocked waits for a change of what mu guards. If a loop's goroutine has to, another one goes on
// with the loop.
func (c *conn) waitLocked() {
	c.leave()
	c.waiting++
	c.cond.Wait()
	c.waiting--
}

// wakeLocked wakes whoever waits. It is on the hot path, and Broadcast is not free.
func (c *conn) wakeLocked() {
	if c.waiting > 0 {
		c.cond.Broadcast()
	}
}

// endWith ends the connection for what reading returned.
func (c *conn) endWith(err error) {
	if err == errEnded {
		return
	}
	why, code := causeLost, codeSuccess
	var perr *protocolError
	switch {
	case errors.As(err, &perr):
		why, code = causeProtocol, perr.code
		if err == errWindow {
			why = causeWindow
		}
	case err == errGoodbye:
		why = causeClient
	case errors.Is(err, os.ErrDeadlineExceeded):
		why, code = causeKeepAlive, codeKeepAliveTimeout
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping && why == causeKeepAlive {
		return // we stopped reading first
	}
	c.endLocked(why, code)
	c.srv.log.Debug("mqtt connection ends", slog.String("device", string(c.env.Identity.Device)),
		slog.String("cause", c.why.String()), slog.Any("err", err))
}

// end closes the connection for a reason that did not come from its own input.
func (c *conn) end(why cause, code reasonCode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endLocked(why, code)
}

// endLocked begins to close: what is in the output is still written, a v5 client is told the code
// unless it is 0, and no PUBACK is appended any more. Only the first call counts.
func (c *conn) endLocked(why cause, code reasonCode) {
	if c.state >= closing {
		return
	}
	c.state, c.why = closing, why
	c.halt()
	if c.accepted && c.level == level5 && code != codeSuccess && !c.out.broken {
		out := c.out.buffer()
		out.b = appendDisconnect5(out.b, code)
	}
	if why != causeClient { // who said goodbye has a right to what it sent before
		c.cancel()
	}
	c.flushLocked()
	c.cond.Broadcast()
}

// stopLocked admits no publish any more and closes once all that were admitted are complete, so
// that nothing durable goes unacknowledged and comes again.
func (c *conn) stopLocked(why cause, code reasonCode) {
	if c.state >= closing || c.stopping {
		return
	}
	c.stopping, c.stopWhy, c.stopCode = true, why, code
	c.halt()
	if c.inFlight == 0 {
		c.endLocked(why, code)
	}
	c.cond.Broadcast()
}

// drain throws input away until the peer closes or its time to do so is over. A deadline that
// passes while admitted publishes are pending is not the end of them.
func (c *conn) drain() {
	trash := make([]byte, drainBuffer)
	for {
		if _, err := c.nc.Read(trash); err == nil {
			continue
		} else if !errors.Is(err, os.ErrDeadlineExceeded) {
			c.end(causeLost, codeSuccess)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for c.state < closing {
			c.waitLocked()
		}
		return
	}
}

// finish ends what is left of the connection. It returns when no goroutine of it is left.
func (c *conn) finish() {
	c.mu.Lock()
	c.endLocked(causeLost, codeSuccess)
	for c.out.writing {
		c.waitLocked()
	}
	c.mu.Unlock()
	_ = c.nc.Close() // nothing is left to lose
	c.mu.Lock()
	for c.turn.handedOver() {
		c.waitLocked()
	}
	c.state = finished
	orphans := c.inFlight
	c.mu.Unlock()
	c.cancel()
	c.in.release()
	c.srv.remove(c, orphans)
}

// confine is deferred: a panic ends this connection and no other.
func (c *conn) confine() {
	if r := recover(); r != nil {
		c.panicked(r)
	}
}

func (c *conn) panicked(r any) {
	c.srv.metrics.panics.Inc()
	c.srv.log.Error("mqtt connection closed by a panic", slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
	c.end(causePanic, codeUnspecified)
}
