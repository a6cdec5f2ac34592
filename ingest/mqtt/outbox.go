package mqtt

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// outbox holds what waits to be written to one connection. Its connection's mu guards it.
//
// Whoever has something to say appends to it; a writer goroutine exists only while there is
// something to write. It takes the whole buffer and writes it with one call, so all PUBACKs of a
// commit (steps.Flusher), and of the commits that ended during the last write, share one syscall.
//
// A goroutine for each connection that has output, instead of a pool of flushers: whatever a pool
// does to a peer that does not read (a short deadline, a second chance elsewhere), some other
// connection waits meanwhile, and a TLS connection does not survive a write that timed out. A
// goroutine that blocks holds up its own connection and nobody else and needs no tuning. Measured
// side by side, a pool of four took the same processor time a publish.
type outbox struct {
	pending  *outBuffer // nil when nothing waits, so that an idle connection holds no buffer
	writing  bool       // a writer goroutine exists
	broken   bool       // nothing can be written any more
	due      bool       // Complete has handed the connection out to be flushed
	pubacks  int        // PUBACKs in pending
	receipts int        // bytes of receipts in pending
	armed    time.Time  // when the write deadline was last renewed; the writer's
	writer   func()     // conn.write, made once so that starting a writer allocates nothing
}

type outBuffer struct{ b []byte }

// keptBuffer is the largest output buffer that is kept for another connection.
const keptBuffer = 16 << 10

var outBuffers = sync.Pool{New: func() any { return &outBuffer{b: make([]byte, 0, 512)} }}

// buffer returns what to append to.
func (o *outbox) buffer() *outBuffer {
	if o.pending == nil {
		o.pending = outBuffers.Get().(*outBuffer)
	}
	return o.pending
}

func (o *outbox) len() int {
	if o.pending == nil {
		return 0
	}
	return len(o.pending.b)
}

// flushLocked starts a writer if there is something to do for one.
func (c *conn) flushLocked() {
	if c.out.writing || c.out.broken || c.out.pending == nil && c.state < closing {
		return
	}
	if c.out.writer == nil {
		c.out.writer = c.write
	}
	c.out.writing = true
	go c.out.writer()
}

// write is the writer goroutine.
func (c *conn) write() {
	for {
		out, last := c.takeOut()
		switch {
		case out != nil:
			err := c.send(out.b)
			if cap(out.b) <= keptBuffer {
				out.b = out.b[:0]
				outBuffers.Put(out)
			}
			if err != nil {
				c.breakOut(err)
				return
			}
		case last:
			c.closeWrite()
			return
		default:
			return
		}
	}
}

// takeOut takes the output, or with none left ends the writer unless the connection is closing.
// It is here that a PUBACK counts as sent: the client may answer it before the write returns.
func (c *conn) takeOut() (out *outBuffer, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.pending == nil {
		c.out.writing = c.state >= closing
		return nil, c.out.writing
	}
	out, c.out.pending = c.out.pending, nil
	c.unacked -= c.out.pubacks
	c.out.pubacks, c.out.receipts = 0, 0
	c.wakeLocked()
	return out, false
}

// closeWrite is the last thing that a writer does: it closes the writing half and leaves the peer
// a moment to do the same. Closing a socket with unread input resets it at once, and the reset
// can overtake the last PUBACKs.
func (c *conn) closeWrite() {
	_ = c.nc.SetWriteDeadline(time.Now().Add(c.srv.cfg.WriteTimeout)) // for the alert of TLS; fails only on a closed socket
	if half, ok := c.nc.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		c.closeSocket()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.nc.SetReadDeadline(time.Now().Add(lingerTimeout)) // fails only on a closed socket
	c.out.writing, c.out.broken = false, true
	c.cond.Broadcast()
}

// send writes b. The deadline is renewed in steps, because setting one costs as much as a lock.
func (c *conn) send(b []byte) error {
	if now := time.Now(); now.Sub(c.out.armed) > c.srv.cfg.WriteTimeout/10 {
		c.out.armed = now
		if err := c.nc.SetWriteDeadline(now.Add(c.srv.cfg.WriteTimeout * 11 / 10)); err != nil {
			return err
		}
	}
	n, err := c.nc.Write(b)
	c.srv.metrics.sent.Add(float64(n))
	return err
}

// breakOut ends a connection to which nothing can be written.
func (c *conn) breakOut(err error) {
	why := causeLost
	if errors.Is(err, os.ErrDeadlineExceeded) {
		why = causeSlowReader
	}
	c.closeSocket()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.writing, c.out.broken, c.out.pending = false, true, nil
	c.endLocked(why, codeSuccess)
	c.cond.Broadcast()
}

// closeSocket closes the connection at once. The Close of a TLS connection may wait for the peer
// to take its alert, so the socket below it is closed.
func (c *conn) closeSocket() {
	nc := c.nc
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = t.NetConn()
	}
	_ = nc.Close() // the connection is given up
}
