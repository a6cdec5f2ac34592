package points

import (
	"cmp"
	"context"

	"ayumi/steps"
)

// outbox has awards stored, one batch after the other in the order in which they come, while the next ones are
// being scored.
type outbox struct {
	store func(context.Context, []steps.Award) error
	batch []steps.Award // under way, or done
	done  chan error    // of the batch under way, nil without one
}

// put waits for the batch before, has another one stored, and returns the memory of the one before. The error
// is that of the batch before, or of ctx.
func (o *outbox) put(ctx context.Context, awards []steps.Award) (free []steps.Award, err error) {
	if err := cmp.Or(o.wait(), ctx.Err()); err != nil {
		return awards[:0], err
	}
	free, o.batch = o.batch[:0], awards
	done := make(chan error, 1)
	o.done = done
	go func() { done <- o.store(ctx, awards) }()
	return free, nil
}

// wait waits for the batch under way, if there is one.
func (o *outbox) wait() error {
	if o.done == nil {
		return nil
	}
	err := <-o.done
	o.done = nil
	return err
}
