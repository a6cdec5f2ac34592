package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"syscall"

	"ayumi/steps"
)

const (
	typeNDJSON = "application/x-ndjson"
	flushBytes = 32 << 10
	maxLine    = 1 << 20
)

// lastLine ends a stream, one way or the other.
type lastLine struct {
	End   bool      `json:"end,omitempty"`
	Count int       `json:"count,omitempty"` // rows before this line
	Error *document `json:"error,omitempty"`
}

// The two ways in which a last line begins, and no row does.
var (
	endPrefix   = []byte(`{"end":`)
	errorPrefix = []byte(`{"error":`)
)

// stream writes rows as newline-delimited JSON.
type stream struct {
	s       *Server
	w       http.ResponseWriter
	rc      *http.ResponseController
	buf     bytes.Buffer
	enc     *json.Encoder
	n       int
	started bool
}

func (s *Server) newStream(w http.ResponseWriter) *stream {
	st := &stream{s: s, w: w, rc: http.NewResponseController(w)}
	st.enc = json.NewEncoder(&st.buf)
	return st
}

// row adds one row.
func (st *stream) row(v any) error {
	if err := st.enc.Encode(v); err != nil {
		return err
	}
	st.n++
	if st.buf.Len() < flushBytes {
		return nil
	}
	return st.flush()
}

// end finishes the stream. An error before anything was sent is returned, to be answered with a
// status of its own; a later one becomes the last line.
func (st *stream) end(err error) error {
	if err != nil && !st.started {
		return err
	}
	last := lastLine{End: true, Count: st.n}
	if err != nil {
		last = lastLine{Error: problemOf(err)}
		level := slog.LevelWarn
		if errors.Is(err, syscall.EPIPE) || errors.Is(err, context.Canceled) {
			level = slog.LevelDebug // the client has seen enough
		}
		st.s.cfg.Logger.Log(context.Background(), level, "listing stopped", "rows", st.n, "kind", steps.KindOf(err).String())
	}
	if err := st.enc.Encode(last); err != nil {
		panic("admin: a last line cannot be marshalled: " + err.Error())
	}
	_ = st.flush() // a client that left misses the last line and knows by that
	return nil
}

func (st *stream) flush() error {
	if err := st.s.extend(st.w); err != nil {
		return err
	}
	if !st.started {
		st.started = true
		st.w.Header().Set("Content-Type", typeNDJSON)
	}
	if _, err := st.w.Write(st.buf.Bytes()); err != nil {
		return steps.Errorf("send listing", steps.Unavailable, "the client has left or does not read: %w", err)
	}
	st.buf.Reset()
	return st.rc.Flush()
}

// readStream calls fn for every row and returns nil only if the stream was complete.
func readStream[T any](op string, body io.Reader, fn func(*T) error) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	n := 0
	for lines.Scan() {
		line := lines.Bytes()
		if bytes.HasPrefix(line, endPrefix) || bytes.HasPrefix(line, errorPrefix) {
			return readLast(op, line, n)
		}
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			return steps.Errorf(op, steps.Internal, "row %d is not understood: %w; is the gateway of another version?", n+1, err)
		}
		n++
		if err := fn(&v); err != nil {
			return err
		}
	}
	err := lines.Err()
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return brokenOff(op, fmt.Errorf("after %d rows: %w", n, err))
}

func readLast(op string, line []byte, rows int) error {
	var last lastLine
	if err := json.Unmarshal(line, &last); err != nil {
		return brokenOff(op, err)
	}
	switch {
	case last.Error != nil:
		return last.Error.err()
	case last.End && last.Count == rows:
		return nil
	}
	return brokenOff(op, errors.New("its last line does not fit its rows"))
}
