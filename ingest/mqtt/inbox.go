package mqtt

import (
	"io"
	"sync"
)

const (
	idleBuffer = 2 << 10  // what an idle connection holds, unless it is in a loop
	loopBuffer = 4 << 10  // borrowed by one in a loop for its turn, or for as long as its packet waits
	busyBuffer = 16 << 10 // borrowed while more than that is on its way
)

var (
	loopBuffers = sync.Pool{New: func() any { return new([loopBuffer]byte) }}
	busyBuffers = sync.Pool{New: func() any { return new([busyBuffer]byte) }}
)

// inbox buffers what a connection received. Unlike bufio.Reader it lends out packets of any size
// in place, it grows only once the bytes are there, so that a claimed length costs a peer as much
// as it costs us, and it falls back to its small buffer before every read that may block for long,
// or to none at all (park).
type inbox struct {
	src  io.Reader
	buf  []byte // idle, *turn, *busy, what was left when it was parked or, for a large packet, its own
	r, w int    // buf[r:w] is unread
	idle []byte // nil in a loop
	turn *[loopBuffer]byte
	busy *[busyBuffer]byte
}

func newInbox(src io.Reader, unread []byte) inbox {
	in := inbox{src: src, idle: make([]byte, idleBuffer)}
	in.buf = in.idle
	if len(unread) > len(in.buf) {
		in.buf = make([]byte, len(unread))
	}
	in.w = copy(in.buf, unread)
	return in
}

// unread returns what is buffered. It is valid until the next fill.
func (in *inbox) unread() []byte { return in.buf[in.r:in.w] }

// skip takes n buffered bytes off the front. They stay in place until the next fill.
func (in *inbox) skip(n int) { in.r += n }

// fill reads once, making room so that need bytes from the front can become contiguous.
func (in *inbox) fill(need int) error {
	if in.r == in.w {
		in.release()
	}
	switch {
	case in.w < len(in.buf) && len(in.buf)-in.r >= need:
	case in.idle == nil && in.turn == nil && in.busy == nil && need <= loopBuffer:
		in.turn = loopBuffers.Get().(*[loopBuffer]byte)
		in.move(in.turn[:])
	case in.busy == nil && len(in.buf) < busyBuffer:
		in.busy = busyBuffers.Get().(*[busyBuffer]byte)
		in.move(in.busy[:])
	case in.r > 0:
		in.move(in.buf)
	case in.w == len(in.buf): // full, and it was all received
		full := in.buf
		in.move(make([]byte, min(need, 2*len(full))))
		in.giveBack()
	}
	n, err := in.src.Read(in.buf[in.w:])
	in.w += n
	if n > 0 {
		return nil
	}
	return err
}

func (in *inbox) move(to []byte) {
	in.w = copy(to, in.buf[in.r:in.w])
	in.r, in.buf = 0, to
}

// release returns to the small buffer. Nothing may be unread.
func (in *inbox) release() {
	in.r, in.w, in.buf = 0, 0, in.idle
	in.giveBack()
}

// park keeps what is unread and nothing else, unless that is a good part of a large packet.
func (in *inbox) park() {
	rest := in.unread()
	if len(rest) > idleBuffer {
		return
	}
	in.r, in.w, in.buf, in.idle = 0, len(rest), append([]byte(nil), rest...), nil
	in.giveBack()
}

func (in *inbox) giveBack() {
	if in.turn != nil {
		loopBuffers.Put(in.turn)
		in.turn = nil
	}
	if in.busy != nil {
		busyBuffers.Put(in.busy)
		in.busy = nil
	}
}
