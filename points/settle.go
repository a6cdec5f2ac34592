package points

import (
	"context"
	"sync"

	"ayumi/steps"
)

// Settle returns nil once every day that was dirty when it was called is scored, with the total it
// had then or a newer one, and the awards are durable. It needs an engine that runs. When ctx ends
// first it fails with Overload, and when Run has returned with Unavailable.
//
// It waits for the whole backlog, other participants' days included: seconds after a change of
// rules in a large programme. Callers that cannot wait give ctx a deadline.
func (e *Engine) Settle(ctx context.Context) error {
	const op = "settle points"
	ticket := e.tickets.draw()
	for {
		served, next := e.tickets.served()
		if served >= ticket {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return steps.Errorf(op, steps.Overload, "days still wait to be scored: %w; try again later", ctx.Err())
		case <-e.stopped:
			return steps.Errorf(op, steps.Unavailable, "the points engine has stopped; try again later")
		}
	}
}

// tickets are how callers of Settle wait. A ticket is a number; it is served once a batch that was
// read after it was drawn, and was not full, is stored. However many wait, it is two numbers.
type tickets struct {
	wake chan struct{} // receives a value after a ticket was drawn, capacity 1

	mu   sync.Mutex
	last uint64        // the last ticket drawn
	upTo uint64        // the last ticket served
	next chan struct{} // closed when upTo rises
}

func newTickets() *tickets {
	return &tickets{wake: make(chan struct{}, 1), next: make(chan struct{})}
}

func (t *tickets) draw() uint64 {
	t.mu.Lock()
	t.last++
	n := t.last
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default: // the value that is there already wakes the engine
	}
	return n
}

func (t *tickets) drawn() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

func (t *tickets) served() (upTo uint64, next <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.upTo, t.next
}

func (t *tickets) serve(upTo uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if upTo == t.upTo {
		return
	}
	t.upTo = upTo
	close(t.next)
	t.next = make(chan struct{})
}
