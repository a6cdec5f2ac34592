package https

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"ayumi/steps"
)

const (
	// maxWindow is what a receiver of the zstd coding must support and may refuse to exceed
	// (RFC 9659 section 3). It costs no memory here: whole bodies are decoded without a window.
	maxWindow = 8 << 20
	// A claimed length is trusted up to here; what is beyond grows with the bytes that arrive.
	maxLengthHint = 16 << 10
	// Larger buffers go to the garbage collector rather than back to the pool.
	maxPooled = 128 << 10
)

var (
	errTooLarge = errors.New("too large after decompression")
	errWindow   = errors.New("its window is larger than 8 MiB (RFC 9659)")
	errEmpty    = errors.New("it is empty, which is no compressed stream")
)

// buffer is a byte slice from a pool.
type buffer struct{ b []byte }

type bufferPool struct{ p sync.Pool }

func (p *bufferPool) get() *buffer {
	b, ok := p.p.Get().(*buffer)
	if !ok {
		return &buffer{b: make([]byte, 0, 4<<10)}
	}
	b.b = b.b[:0]
	return b
}

// put gives b back. Nothing may read b.b afterwards.
func (p *bufferPool) put(b *buffer) {
	if cap(b.b) <= maxPooled {
		p.p.Put(b)
	}
}

// readFrom appends all of r, of which limit bytes are expected at most. Memory grows with what was
// read, not with what was promised, and not much beyond the limit.
func (b *buffer) readFrom(r io.Reader, limit int64) error {
	for {
		if n := len(b.b); n == cap(b.b) {
			room := min(max(512, n), int(limit)+1-n)
			b.b = slices.Grow(b.b, max(room, 1))
		}
		n, err := r.Read(b.b[len(b.b):cap(b.b)])
		b.b = b.b[:len(b.b)+n]
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// codec decompresses bodies that have arrived completely, as many at once as there are processors.
type codec struct {
	limit     int64
	zstd      *zstd.Decoder
	inflaters chan *inflater // nil elements are made on first use
}

// inflater is the memory one decompression works in.
type inflater struct {
	src     bytes.Reader
	gzip    gzip.Reader
	scratch []byte // of the limit's size, for zstd
}

func newCodec(limit int64) (*codec, error) {
	n := runtime.GOMAXPROCS(0)
	// WithDecoderMaxMemory would lower the accepted window too, and encoders that stream declare
	// windows of megabytes for bodies of kilobytes. The bound on the output's capacity does not.
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(n), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, steps.E("make zstd decoder", steps.Internal, err)
	}
	c := &codec{limit: limit, zstd: z, inflaters: make(chan *inflater, n)}
	for range n {
		c.inflaters <- nil
	}
	return c, nil
}

// wireLimit bounds a body as received. A compressed one may be a little longer than what it unfolds
// to; without a bound, empty members could go on for ever.
func (c *codec) wireLimit(kind coding) int64 {
	if kind == identity {
		return c.limit
	}
	return c.limit + c.limit/1024 + 4096
}

// inflate appends the decompressed src to dst. It returns errTooLarge beyond the limit, after at
// most a block more of work; any other error says what is wrong with the stream.
func (c *codec) inflate(dst *buffer, src []byte, kind coding) error {
	if len(src) == 0 {
		return errEmpty
	}
	in := <-c.inflaters
	if in == nil {
		in = new(inflater)
	}
	defer func() {
		in.src.Reset(nil)
		c.inflaters <- in
	}()
	if kind == gzipped {
		return in.gunzip(dst, src, c.limit)
	}
	if in.scratch == nil {
		in.scratch = make([]byte, 0, c.limit)
	}
	out, err := c.zstd.DecodeAll(src, in.scratch)
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return errTooLarge
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return errWindow
	case err != nil:
		return err
	case int64(len(out)) > c.limit:
		return errTooLarge
	}
	dst.b = append(dst.b, out...)
	return nil
}

// gunzip reads one or more members (RFC 1952 section 2.2); anything behind the last is an error.
func (in *inflater) gunzip(dst *buffer, src []byte, limit int64) error {
	in.src.Reset(src)
	if err := in.gzip.Reset(&in.src); err != nil {
		return noEOF(err)
	}
	if err := dst.readFrom(io.LimitReader(&in.gzip, limit+1), limit); err != nil {
		return noEOF(err)
	}
	if int64(len(dst.b)) > limit {
		return errTooLarge
	}
	return nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readBody reads and decompresses the request's body. The caller puts the buffer back.
func (x *exchange) readBody(kind coding) (*buffer, *document) {
	limit := x.s.codec.wireLimit(kind)
	if x.r.ContentLength > limit {
		return nil, x.s.tooLarge()
	}
	wire := x.s.buffers.get()
	if n := min(x.r.ContentLength, maxLengthHint); n > 0 {
		wire.b = slices.Grow(wire.b, int(n))
	}
	cut := context.AfterFunc(x.s.stopped, func() { // nothing of it was submitted, so nothing is lost
		_ = http.NewResponseController(x.w).SetReadDeadline(time.Unix(1, 0)) // fails where there is none to wait for
	})
	err := wire.readFrom(http.MaxBytesReader(x.w, x.r.Body, limit), limit)
	cut()
	x.bytes = len(wire.b)
	x.s.m.body.Add(float64(len(wire.b)))
	if err != nil {
		x.s.buffers.put(wire)
		return nil, x.readProblem(err)
	}
	x.whole = true
	if kind == identity {
		return wire, nil
	}
	defer x.s.buffers.put(wire)
	plain := x.s.buffers.get()
	err = x.s.codec.inflate(plain, wire.b, kind)
	x.s.m.decompressed.WithLabelValues(kind.String()).Add(float64(len(plain.b)))
	if err == nil {
		return plain, nil
	}
	x.s.buffers.put(plain)
	if errors.Is(err, errTooLarge) {
		return nil, x.s.tooLarge()
	}
	return nil, newProblem(problemBody, fmt.Sprintf("the body is no valid %s stream: %v; compress it again or send it with Content-Encoding: identity", kind, err))
}

// readProblem says why the body could not be read. When the client left it does not return.
func (x *exchange) readProblem(err error) *document {
	var tooLarge *http.MaxBytesError
	var network net.Error
	switch {
	case errors.As(err, &tooLarge):
		return x.s.tooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded) && x.s.stopped.Err() != nil:
		return problemOf(steps.Errorf("receive upload", steps.Unavailable, "the server is stopping"))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return newProblem(problemSlow, fmt.Sprintf("the body did not arrive within %v; send smaller uploads", x.s.cfg.ReadTimeout))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return newProblem(problemBody, "the body ended before its Content-Length or last chunk; send it again whole")
	case errors.As(err, &network), errors.Is(err, context.Canceled), x.r.Context().Err() != nil:
		x.gone()
	}
	return newProblem(problemBody, "the body's transfer coding is broken; send it again")
}

func (s *Server) tooLarge() *document {
	return newProblem(problemTooLarge, fmt.Sprintf("the body may hold %d bytes after decompression; split it into smaller uploads", s.cfg.MaxBodyBytes))
}
