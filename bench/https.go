package bench

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ayumi/protocol/native"
	"ayumi/steps"
)

// poster is one HTTPS connection that is kept open, with one request under way at a time.
//
// It writes HTTP/1.1 itself, a request and its body in one write: net/http's client takes several
// times as much of the processor for a request as the rest of the generator, which shares its
// cores with the server. Answers are read by net/http.
type poster struct {
	index    int
	conn     net.Conn
	br       *bufio.Reader
	template *template
	meter    *meter
	pace     pace
	started  time.Time
	deadline time.Time
	request  []byte
	body     int // offset of the body in request
	answer   []byte
	pending  bool
}

const maxReceipt = 16 << 20

func newPoster(c *Config, index int, m *meter) *poster {
	client := &c.Clients[index]
	p := &poster{index: index, meter: m, pace: newPace(c, index)}
	p.template = newTemplate(c, client, newRandom(index))
	var b strings.Builder
	fmt.Fprintf(&b, "POST /v1/uploads HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-protobuf", c.Addr)
	if len(client.Carries) > 0 {
		b.WriteString("; message=bundle")
	}
	fmt.Fprintf(&b, "\r\nAccept: application/x-protobuf\r\nContent-Length: %d\r\n", len(p.template.body))
	if client.User != "" {
		user := url.PathEscape(client.User)
		user = strings.ReplaceAll(user, ":", "%3A")
		fmt.Fprintf(&b, "Authorization: Basic %s\r\n", base64.StdEncoding.EncodeToString([]byte(user+":"+client.Secret)))
	}
	b.WriteString("\r\n")
	p.body = b.Len()
	p.request = append([]byte(b.String()), p.template.body...)
	return p
}

func (p *poster) connect(ctx context.Context, c *Config) (err error) {
	if p.conn, err = dial(ctx, c); err == nil {
		p.br = bufio.NewReaderSize(p.conn, readBuffer)
	}
	return err
}

func (p *poster) begin(started, deadline time.Time) { p.started, p.deadline = started, deadline }

func (p *poster) close() {
	if p.conn != nil {
		_ = p.conn.Close() // the run is given up
	}
}

// run posts until the end.
func (p *poster) run(ctx context.Context) {
	if err := p.loop(ctx); err != nil {
		unacked := uint64(0)
		if p.pending {
			unacked = 1
		}
		p.meter.fail(p.index, err, unacked)
	}
	_ = p.conn.Close()
}

func (p *poster) loop(ctx context.Context) error {
	if err := p.conn.SetDeadline(p.deadline); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Since(p.started)
		due, more := p.pace.due(now)
		if !more {
			return nil
		}
		if due > now {
			timer.Reset(due - now)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if err := p.post(due); err != nil {
			return err
		}
	}
}

// post sends one message and waits for its receipt.
func (p *poster) post(due time.Duration) error {
	p.template.patch(p.request[p.body:], p.pace.n)
	p.pace.n++
	p.pending = true
	if _, err := p.conn.Write(p.request); err != nil {
		return err
	}
	resp, err := http.ReadResponse(p.br, nil)
	if err != nil {
		return err
	}
	p.answer, err = readAll(p.answer[:0], io.LimitReader(resp.Body, maxReceipt))
	_ = resp.Body.Close() // it was read
	if err != nil {
		return err
	}
	p.pending = false
	now := time.Since(p.started)
	if resp.StatusCode != http.StatusOK {
		p.meter.refuse(p.meter.bundle, fmt.Errorf("status %s: %.200s", resp.Status, p.answer))
	} else if err := p.receipt(now, now-due); err != nil {
		return err
	}
	if resp.Close {
		return fmt.Errorf("the server closes the connection after status %s", resp.Status)
	}
	return nil
}

// receipt counts what a receipt acknowledges. A server other than the gateway answers without one.
func (p *poster) receipt(now, took time.Duration) error {
	p.meter.ack(now, 1)
	p.meter.latency(p.index, now, took, 1)
	if len(p.answer) == 0 {
		return nil
	}
	r, err := native.ParseReceipt(p.answer, steps.Protobuf)
	if err != nil {
		return err
	}
	for i := range r.Uploads {
		if u := &r.Uploads[i]; u.Verdict == steps.Quarantined {
			p.meter.refuse(1, fmt.Errorf("quarantined: %+v", u.Faults))
		}
	}
	return nil
}

// readAll is io.ReadAll into memory that is there already.
func readAll(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// steps returns what a gateway holds of the connection's devices, when all is acknowledged.
func (p *poster) steps() uint64 { return p.template.steps(p.pace.n) }
