package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// progress shows one changing line on a terminal and nothing anywhere else.
type progress struct {
	mu    sync.Mutex
	w     io.Writer // nil when it is no terminal
	shown time.Time
	width int
}

func newProgress(w io.Writer) *progress {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &progress{w: w}
	}
	return &progress{}
}

// redraw is how often the line changes.
const redraw = 100 * time.Millisecond

// show replaces the line, at most ten times a second.
func (p *progress) show(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w == nil || time.Since(p.shown) < redraw {
		return
	}
	p.shown = time.Now()
	line := fmt.Sprintf(format, args...)
	fmt.Fprintf(p.w, "\r%-*s", p.width, line)
	p.width = utf8.RuneCountInString(line)
}

// done removes the line.
func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w != nil && p.width > 0 {
		fmt.Fprintf(p.w, "\r%*s\r", p.width, "")
	}
	p.w = nil
}
