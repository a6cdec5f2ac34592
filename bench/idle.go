package bench

import (
	"context"
	"fmt"
	"io"
	"time"

	"ayumi/steps"
)

// IdleResult is what connections that say nothing took.
type IdleResult struct {
	Connections       int     `json:"connections"`
	ConnectsPerSecond float64 `json:"connects_per_second"`
	Seconds           float64 `json:"seconds"` // that they were open and silent
	Lost              int     `json:"connections_lost"`
	FirstError        string  `json:"first_error,omitempty"`

	// Of Config.ServerPID: resident memory before the first connection, at the end, and the difference
	// for each connection. 0 where they cannot be told.
	BeforeBytes        uint64  `json:"rss_bytes_before"`
	AfterBytes         uint64  `json:"rss_bytes_after"`
	BytesPerConnection float64 `json:"bytes_per_connection"`
	ServerCPUSeconds   float64 `json:"server_cpu_seconds"` // while they were silent
}

// Idle connects all clients by MQTT, has them say nothing for Duration, and pings each of them once to
// see whether it is still served. A connection that cannot be opened is an error (Unavailable).
func Idle(ctx context.Context, c Config) (*IdleResult, error) {
	const op = "hold idle connections"
	c.Window = 1
	if err := c.fill(); err != nil {
		return nil, steps.E(op, steps.Invalid, err)
	}
	if c.HTTPS {
		return nil, steps.Errorf(op, steps.Invalid, "HTTPS connections are closed when idle; use MQTT")
	}
	m := newMeter(&c)
	lanes := make([]lane, len(c.Clients))
	publishers := make([]*publisher, len(lanes))
	for i := range lanes {
		publishers[i] = newPublisher(&c, i, m)
		lanes[i] = publishers[i]
	}
	defer closeAll(lanes)
	before, began := c.usages().server, time.Now()
	if err := connectAll(ctx, &c, lanes); err != nil {
		return nil, steps.E(op, steps.Unavailable, err)
	}
	r := &IdleResult{Connections: len(lanes), Seconds: c.Duration.Seconds()}
	r.ConnectsPerSecond = float64(len(lanes)) / time.Since(began).Seconds()
	connected := c.usages().server
	select {
	case <-time.After(c.Duration):
	case <-ctx.Done():
		return nil, steps.E(op, steps.Unavailable, context.Cause(ctx))
	}
	if after := c.usages().server; before != nil && connected != nil && after != nil {
		r.BeforeBytes, r.AfterBytes = before.RSSBytes, after.RSSBytes
		r.BytesPerConnection = (float64(after.RSSBytes) - float64(before.RSSBytes)) / float64(len(lanes))
		r.ServerCPUSeconds = after.CPUSeconds - connected.CPUSeconds
	}
	for i, p := range publishers {
		if err := p.ping(); err != nil {
			r.Lost++
			if r.FirstError == "" {
				r.FirstError = fmt.Sprintf("connection %d: %v", i, err)
			}
		}
	}
	return r, nil
}

// ping sends PINGREQ and reads PINGRESP.
func (p *publisher) ping() error {
	if err := p.conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	if _, err := p.conn.Write([]byte{0xC0, 0}); err != nil {
		return err
	}
	var answer [2]byte
	if _, err := io.ReadFull(p.conn, answer[:]); err != nil {
		return err
	}
	if answer != [2]byte{0xD0, 0} {
		return fmt.Errorf("packet 0x%02X instead of a PINGRESP: %w", answer[0], errProtocol)
	}
	return nil
}
