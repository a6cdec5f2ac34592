package mqtt

import (
	"net"
	"syscall"
	"time"
)

// loop reads many connections on one goroutine, and writes to them on another. Linux has one for
// each processor; elsewhere, over TLS, and before its CONNECT is accepted, a connection is read by a
// goroutine of its own.
//
// A connection in a loop holds no goroutine and, between packets, no buffer. It leaves the loop for a
// goroutine when the packet at hand has to wait (a full window, a full queue, an allowance that is used
// up), when it ends, and when a publish hangs; having gone through what it has read it comes back. So
// whatever takes time is done as it would be without loops, and packets are read and handled by the
// same functions (readOn).
type loop interface {
	// add begins to read c, which is in placeParked. It returns false when the loop cannot.
	add(c *conn) bool
	// remove ends that. What becomes of c is the caller's business.
	remove(c *conn)
	// read is conn.Read of the connection that is being served, with the time. errDrained ends its
	// turn.
	read(c *conn, p []byte) (int, time.Time, error)
	// passOn removes the connection that is being served, whose goroutine has to wait, and has
	// another goroutine go on with the loop.
	passOn(c *conn)
	// flush has c.out written soon. It returns false when the loop is closed.
	flush(c *conn) bool
	close()
}

// Where a connection is read. Whoever moves it on from placeParked or placeServed does so with one
// compare-and-swap, and goes on with it.
const (
	placeOwn    = iota // by a goroutine of its own
	placeParked        // by its loop, when something comes in
	placeServed        // by its loop, right now
)

// loopFor picks the loop of a connection, if it is of a kind that can have one.
func (s *Server) loopFor(nc net.Conn) (loop, syscall.RawConn) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.looped {
		s.looped = true
		var err error
		if s.loops, err = newLoops(s); err != nil {
			s.log.Info("mqtt connections are read by a goroutine each", "err", err)
		}
	}
	raw, err := tcp.SyscallConn()
	if len(s.loops) == 0 || err != nil {
		return nil, nil
	}
	s.nextLoop = (s.nextLoop + 1) % len(s.loops)
	return s.loops[s.nextLoop], raw
}

func (s *Server) closeLoops() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.loops {
		l.close()
	}
}

// enterLoop gives the connection to its loop. Its goroutine goes on with it if that returns false.
func (c *conn) enterLoop() bool {
	c.mu.Lock()
	if !c.armed.IsZero() && !c.halted.Load() { // what ends has a deadline of another kind
		_ = c.nc.SetReadDeadline(time.Time{}) // fails only on a closed socket, as reading will
		c.armed = time.Time{}
	}
	c.mu.Unlock()
	c.park(time.Now())
	c.place.Store(placeParked)
	if !c.loop.add(c) && c.place.CompareAndSwap(placeParked, placeOwn) {
		c.loop.remove(c)
		c.mu.Lock()
		c.loop = nil
		c.mu.Unlock()
		return false
	}
	c.leaveIfHalted()
	return true
}

// park readies a connection for a wait of unknown length.
func (c *conn) park(now time.Time) {
	c.in.park()
	if c.renew {
		c.hear(now)
	}
}

// hear notes that the time of silence begins anew.
func (c *conn) hear(now time.Time) {
	c.renew, c.partial = false, 0
	c.heard.Store(int64(now.Sub(c.srv.epoch)))
}

// silent reports whether a connection in a loop has been silent for too long. One that has a
// goroutine has a read deadline.
func (c *conn) silent(now time.Time) bool {
	return c.place.Load() == placeParked && now.Sub(c.srv.epoch)-time.Duration(c.heard.Load()) > c.idleLimit
}

// leave takes the connection out of its loop before the packet at hand waits or takes long. The
// goroutine that serves it calls it, or the watch in its stead.
func (c *conn) leave() {
	if c.place.CompareAndSwap(placeServed, placeOwn) {
		c.srv.metrics.leftLoop.Inc()
		c.loop.passOn(c)
	}
}

// halt has what comes in thrown away from now on.
func (c *conn) halt() {
	c.halted.Store(true)
	c.leaveIfHalted()
}

// leaveIfHalted gives a connection that is to end, and that its loop would only wait for, a goroutine
// for that. A loop that is at it will see for itself.
func (c *conn) leaveIfHalted() {
	if c.halted.Load() && c.place.CompareAndSwap(placeParked, placeOwn) {
		go func() {
			c.loop.remove(c)
			c.conclude(errEnded)
		}()
	}
}
