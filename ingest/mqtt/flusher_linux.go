package mqtt

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// flusher writes the output of a loop's connections, one after the other and one attempt each: what
// a socket does not take at once is left to a writer of the connection's own, so that nobody waits
// for it.
type flusher struct {
	mu     sync.Mutex
	wake   sync.Cond
	due    []*conn
	closed bool

	// Owned by its goroutine.
	taken   []*conn
	buf     []byte
	n       int
	err     error
	attempt func(fd uintptr) bool // for a connection's raw.Write; made once
}

func newFlusher() *flusher {
	f := new(flusher)
	f.wake.L = &f.mu
	f.attempt = f.writeOnce
	return f
}

// flush has a connection written soon, unless the flusher is closed.
func (f *flusher) flush(c *conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.due = append(f.due, c)
	if len(f.due) == 1 {
		f.wake.Signal()
	}
	return true
}

func (f *flusher) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.wake.Signal()
}

// run writes until the flusher is closed, and then what is left.
func (f *flusher) run() {
	for f.take() {
		for i, c := range f.taken {
			f.taken[i] = nil
			f.write(c)
		}
	}
}

// take waits for connections to be due and takes them all.
func (f *flusher) take() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.due) == 0 {
		if f.closed {
			return false
		}
		f.wake.Wait()
	}
	f.due, f.taken = f.taken[:0], f.due
	return true
}

func (f *flusher) write(c *conn) {
	out, last := c.takeOut()
	if out == nil {
		if last {
			go c.out.writer()
		}
		return
	}
	n, err := f.try(c, out.b)
	c.srv.metrics.sent.Add(float64(n))
	switch {
	case err != nil:
		c.breakOut(err)
	case n < len(out.b):
		c.putBack(out, n)
		go c.out.writer()
	default:
		out.recycle()
		c.written()
	}
}

// try writes as much of b as the socket takes.
func (f *flusher) try(c *conn, b []byte) (int, error) {
	f.buf = b
	err := c.raw.Write(f.attempt)
	f.buf = nil
	switch {
	case err != nil:
		return 0, err
	case f.err == unix.EAGAIN || f.err == unix.EINTR:
		return 0, nil
	case f.err != nil:
		return 0, os.NewSyscallError("write", f.err)
	}
	return f.n, nil
}

func (f *flusher) writeOnce(fd uintptr) bool {
	f.n, f.err = unix.Write(int(fd), f.buf)
	return true
}
