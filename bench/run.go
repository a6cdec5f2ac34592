package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ayumi/steps"
)

// lane is one connection of either kind.
type lane interface {
	connect(ctx context.Context, c *Config) error
	// begin sets the moments at which the run starts and at which it must be over.
	begin(started, deadline time.Time)
	run(ctx context.Context)
	close()
	steps() uint64
}

// Run connects all clients, loads the server for Warmup and Duration, waits for what is then
// unacknowledged, and returns what was measured. A connection that cannot be opened is an error
// (Unavailable), one that is lost later is counted. When ctx ends, so does Run, with its error.
func Run(ctx context.Context, c Config) (*Result, error) {
	const op = "run load"
	if err := c.fill(); err != nil {
		return nil, steps.E(op, steps.Invalid, err)
	}
	m := newMeter(&c)
	lanes := make([]lane, len(c.Clients))
	for i := range lanes {
		if c.HTTPS {
			lanes[i] = newPoster(&c, i, m)
		} else {
			lanes[i] = newPublisher(&c, i, m)
		}
	}
	if err := connectAll(ctx, &c, lanes); err != nil {
		return nil, steps.E(op, steps.Unavailable, err)
	}
	stop := context.AfterFunc(ctx, func() { closeAll(lanes) })
	defer stop()
	started := time.Now()
	var wg sync.WaitGroup
	for _, l := range lanes {
		l.begin(started, started.Add(m.end+c.Drain))
	}
	for _, l := range lanes {
		wg.Go(func() { l.run(ctx) })
	}
	marks := c.watch(ctx, &wg, started)
	if ctx.Err() != nil {
		return nil, steps.E(op, steps.Unavailable, context.Cause(ctx))
	}
	r := newResult(&c, m, marks)
	for _, l := range lanes {
		r.Steps += l.steps()
	}
	return r, nil
}

// watch reads the processes' usage at both ends of the measured part and waits for the lanes.
func (c *Config) watch(ctx context.Context, wg *sync.WaitGroup, started time.Time) (m marks) {
	over := make(chan struct{})
	go func() {
		wg.Wait()
		close(over)
	}()
	for _, at := range []struct {
		when time.Duration
		to   *usages
	}{{c.Warmup, &m.begin}, {c.Warmup + c.Duration, &m.end}} {
		timer := time.NewTimer(time.Until(started.Add(at.when)))
		select {
		case <-timer.C:
		case <-over: // every connection was lost
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
		}
		*at.to = c.usages()
	}
	<-over
	return m
}

func connectAll(ctx context.Context, c *Config, lanes []lane) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(dialsAtOnce)
	for i, l := range lanes {
		group.Go(func() error {
			if err := l.connect(gctx, c); err != nil {
				return fmt.Errorf("connection %d to %s: %w", i, c.Addr, err)
			}
			return nil
		})
	}
	err := group.Wait()
	if err != nil {
		closeAll(lanes)
	}
	return err
}

func closeAll(lanes []lane) {
	for _, l := range lanes {
		l.close()
	}
}
