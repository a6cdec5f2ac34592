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
// Whoever has something to say appends to it. The whole buffer is taken and written with one call, so
// all PUBACKs of a commit (steps.Flusher), and of the commits that ended during the last write, share
// one syscall.
//
// The flusher of the connection's loop makes one attempt, which never waits. What it cannot do (a
// socket that is full, TLS, the goodbye) is left to a writer goroutine of the connection, which exists
// only while there is something to write. One that blocks holds up its own connection and nobody else
// and needs no tuning: whatever a pool of writers does to a peer that does not read (a short deadline, a
// second chance elsewhere), some other connection waits meanwhile, and a TLS connection does not survive
// a write that timed out.
type outbox struct {
	pending  *outBuffer // nil when nothing waits, so that an idle connection holds no buffer
	writing  bool       // the flusher or a writer goroutine is at it
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

// recycle keeps the buffer for another connection.
func (b *outBuffer) recycle() {
	if cap(b.b) <= keptBuffer {
		b.b = b.b[:0]
		outBuffers.Put(b)
	}
}

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

// flushLocked has the output written, unless there is none or somebody is at it.
func (c *conn) flushLocked() {
	if c.out.writing || c.out.broken || c.out.pending == nil && c.state < closing {
		return
	}
	if c.out.writer == nil {
		c.out.writer = c.write
	}
	c.out.writing = true
	if c.loop != nil && c.state < closing && c.loop.flush(c) {
		return
	}
	go c.out.writer()
}

// write is the writer goroutine.
func (c *conn) write() {
	for {
		out, last := c.takeOut()
		switch {
		case out != nil:
			err := c.send(out.b)
			out.recycle()
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

// takeOut takes the output, or with none left ends the writing unless the connection is closing: then
// there is one thing left to be done.
// It is here that a PUBACK counts as sent: the client may answer it before the write returns.
func (c *conn) takeOut() (out *outBuffer, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.pending == nil {
		c.out.writing = c.state >= closing
		if !c.out.writing && c.loop != nil && !c.out.armed.IsZero() { // the flusher writes next, with no deadline
			_ = c.nc.SetWriteDeadline(time.Time{}) // fails only on a closed socket, as writing will
			c.out.armed = time.Time{}
		}
		return nil, c.out.writing
	}
	out, c.out.pending = c.out.pending, nil
	c.unacked -= c.out.pubacks
	c.out.pubacks, c.out.receipts = 0, 0
	c.wakeLocked()
	return out, false
}

// putBack returns what of out was not written. Then a writer has to be started.
func (c *conn) putBack(out *outBuffer, written int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out.b = append(out.b[:0], out.b[written:]...)
	if later := c.out.pending; later != nil {
		out.b = append(out.b, later.b...)
		later.recycle()
	}
	c.out.pending = out
}

// written ends a flush, or begins the next one.
func (c *conn) written() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.writing = false
	c.flushLocked()
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
