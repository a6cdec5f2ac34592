package mqtt

import (
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// readyMax is how many connections a loop takes up at once.
const readyMax = 128

// interest is edge-triggered: an event says that something came in since the last read.
const interest = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET

// epoll is the loop of Linux. Its goroutine waits for an epoll instance of its own through the Go
// runtime's poller, so that it takes no thread while nothing comes in, and serves what is ready one
// connection after the other, one read(2) each.
//
// When the packet at hand has to wait, its goroutine stays with it and another one leads on (lead):
// all the state of the loop is here and none on a stack.
type epoll struct {
	srv  *Server
	out  *flusher
	file *os.File
	raw  syscall.RawConn // of file

	mu sync.Mutex
	by []*conn // those in the loop, by descriptor

	// The rest belongs to the goroutine that leads.
	events  [readyMax]unix.EpollEvent
	conns   [readyMax]*conn
	ready   int // how many of them there are
	next    int // the first that was not served yet
	now     time.Time
	pollErr error
	poll    func(fd uintptr) bool // for raw.Read; made once

	// The turn of the connection at hand.
	buf     []byte
	n       int
	err     error
	attempt func(fd uintptr) bool // for a connection's raw.Read; made once
	done    bool                  // it has had its read
	hangup  bool                  // the peer has closed, or there is an error to be read
	more    bool                  // something may be left to be read
}

func newLoops(s *Server) (loops []loop, err error) {
	for range min(runtime.NumCPU(), runtime.GOMAXPROCS(0)) {
		l, err := newEpoll(s)
		if err != nil {
			for _, l := range loops {
				l.close()
			}
			return nil, err
		}
		loops = append(loops, l)
	}
	return loops, nil
}

func newEpoll(s *Server) (*epoll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that os.NewFile gives it to the runtime's poller
		return nil, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(fd))
	}
	l := &epoll{srv: s, out: newFlusher(), file: os.NewFile(uintptr(fd), "epoll")}
	if l.raw, err = l.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, l.file.Close())
	}
	l.poll, l.attempt = l.pollOnce, l.readOnce
	go l.lead()
	go l.out.run()
	return l, nil
}

func (l *epoll) close() {
	_ = l.file.Close() // wait reports it
	l.out.close()
}

// flush implements loop.
func (l *epoll) flush(c *conn) bool { return l.out.flush(c) }

// add implements loop.
func (l *epoll) add(c *conn) bool {
	ok := false
	err := c.raw.Control(func(fd uintptr) {
		l.mu.Lock()
		for int(fd) >= len(l.by) {
			l.by = append(l.by, nil)
		}
		l.by[fd], c.fd = c, int(fd)
		l.mu.Unlock()
		ok = l.control(unix.EPOLL_CTL_ADD, fd) == nil
	})
	return err == nil && ok
}

// remove implements loop.
func (l *epoll) remove(c *conn) {
	l.mu.Lock()
	if c.fd < len(l.by) && l.by[c.fd] == c {
		l.by[c.fd] = nil
	}
	l.mu.Unlock()
	_ = c.raw.Control(func(fd uintptr) { _ = l.control(unix.EPOLL_CTL_DEL, fd) }) // closed, it is in no instance any more
}

// control changes what is waited for. The instance may be closed by now, but not its number: its
// file is kept, and the runtime closes it only when nobody uses it.
func (l *epoll) control(op int, fd uintptr) error {
	var failed error
	err := l.raw.Control(func(epfd uintptr) {
		failed = unix.EpollCtl(int(epfd), op, int(fd), &unix.EpollEvent{Events: interest, Fd: int32(fd)})
	})
	return errors.Join(err, failed)
}

// lead is the loop. It returns when the loop is closed, or when another goroutine leads.
func (l *epoll) lead() {
	l.now = time.Now() // it may take over from one that hung
	for {
		for l.next < l.ready {
			c, e := l.conns[l.next], l.events[l.next].Events
			l.conns[l.next] = nil
			l.next++
			if c == nil || !c.place.CompareAndSwap(placeParked, placeServed) {
				continue // it left meanwhile
			}
			l.hangup = e&^unix.EPOLLIN != 0
			if !l.serve(c) {
				return
			}
		}
		if !l.wait() {
			return
		}
	}
}

// wait waits for connections to be ready. It returns false when the loop is closed.
func (l *epoll) wait() bool {
	l.ready, l.next = 0, 0
	if err := l.raw.Read(l.poll); err != nil {
		return false
	}
	if l.pollErr != nil {
		l.srv.log.Error("mqtt event loop ended; its connections will run out of time", "err", l.pollErr)
		return false
	}
	l.mu.Lock()
	for i := range l.ready {
		l.conns[i] = l.by[l.events[i].Fd]
	}
	l.mu.Unlock()
	l.now = time.Now()
	return true
}

// pollOnce takes what is ready, and has the runtime wait if that is nothing.
func (l *epoll) pollOnce(fd uintptr) bool {
	for {
		n, err := unix.EpollWait(int(fd), l.events[:], 0)
		if err == unix.EINTR {
			continue
		}
		l.ready, l.pollErr = max(n, 0), err
		return err != nil || n > 0
	}
}

// serve gives a connection its turn. It reports whether its caller still leads.
func (l *epoll) serve(c *conn) (leads bool) {
	l.done, l.more = false, l.hangup
	err := c.readOn()
	switch {
	case err == errHandedOver:
		return false
	case c.place.Load() != placeServed: // it had to wait
		c.goOn(err)
		return false
	case err != errDrained:
		c.place.Store(placeOwn)
		l.remove(c)
		go c.conclude(err)
		return true
	}
	more := l.more
	c.park(l.now)
	c.place.Store(placeParked)
	if more {
		_ = c.raw.Control(func(fd uintptr) { _ = l.control(unix.EPOLL_CTL_MOD, fd) }) // closed, it ends by itself
	}
	c.leaveIfHalted()
	return true
}

// read implements loop: one read(2) a turn. One that does not fill p has taken all there was, so
// that there is no need to be told so by another.
func (l *epoll) read(c *conn, p []byte) (int, time.Time, error) {
	if l.done {
		return 0, l.now, errDrained
	}
	l.done, l.buf = true, p
	err := c.raw.Read(l.attempt)
	l.buf = nil
	switch {
	case err != nil:
		return 0, l.now, err
	case l.err == unix.EAGAIN || l.err == unix.EINTR:
		l.more = l.more || l.err == unix.EINTR
		return 0, l.now, errDrained
	case l.err != nil:
		return 0, l.now, os.NewSyscallError("read", l.err)
	case l.n == 0:
		return 0, l.now, io.EOF
	}
	l.more = l.more || l.n == len(p)
	return l.n, l.now, nil
}

func (l *epoll) readOnce(fd uintptr) bool {
	l.n, l.err = unix.Read(int(fd), l.buf)
	return true
}

// passOn implements loop.
func (l *epoll) passOn(c *conn) {
	l.remove(c)
	go l.lead()
}
