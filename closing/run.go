package closing

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"ayumi/steps"
)

// look is the longest time between passes: a clock that was set is noticed within it, and points that
// came back into a period that is over expire.
const look = time.Hour

// The waits between attempts double from the first to the last.
const (
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

// Run closes what is due when Patience is over and whenever the programme's next day begins, ends at once
// what was interrupted, and expires what is over, every hour too, until ctx ends; then it returns nil. What
// fails is logged, counted and tried again: nobody's upload waits for it.
func (c *Closer) Run(ctx context.Context) error {
	c.began = c.cfg.Clock()
	for retry := firstRetry; ; {
		err := c.pass(ctx)
		if ctx.Err() != nil {
			return nil
		}
		wait := c.next()
		if err != nil {
			wait = min(wait, retry)
			retry = min(2*retry, lastRetry)
			c.failed(ctx, err, wait)
		} else {
			retry = firstRetry
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// failed tells of a pass that did not come to its end.
func (c *Closer) failed(ctx context.Context, err error, wait time.Duration) {
	c.metrics.failures.Inc()
	level := slog.LevelError
	if kind := steps.KindOf(err); kind == steps.Unavailable || kind == steps.Overload {
		level = slog.LevelWarn
	}
	c.cfg.Logger.Log(ctx, level, "cannot make points final yet, trying again", "wait", wait, "error", err)
}

// next is how long to wait after a pass.
func (c *Closer) next() time.Duration {
	now := c.cfg.Clock()
	_, end := c.cfg.Calendar.Bounds(c.cfg.Calendar.Day(now.Unix()))
	wait := time.Unix(end, 0).Sub(now)
	if patience := c.began.Add(c.cfg.Patience).Sub(now); patience > 0 {
		wait = min(wait, patience)
	}
	return min(look, max(time.Second, wait))
}

// pass does all that is due.
func (c *Closer) pass(ctx context.Context) error {
	done, err := c.alone(ctx, "close days")
	if err != nil {
		return err
	}
	defer done()
	today := c.today()
	if today != c.done {
		if err := c.engine.Settle(ctx); err != nil {
			return err
		}
		patient := c.cfg.Clock().Sub(c.began) < c.cfg.Patience
		if err := c.closeDue(ctx, today, patient); err != nil {
			return err
		}
		if !patient {
			c.done = today
		}
	}
	if err := c.expireDue(ctx, today); err != nil {
		return err
	}
	return c.measure(ctx)
}

// mostLate bounds the counting of late days: rules that were edited afterwards can list every closed day.
const mostLate = 100_000

var errEnough = errors.New("enough")

// measure counts what waits for staff, and says how far days are closed.
func (c *Closer) measure(ctx context.Context) error {
	late := 0
	err := c.days.EachLate(ctx, steps.LateFilter{Undecided: true}, func(steps.LateDay) error {
		if late++; late == mostLate {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	c.metrics.late.Set(float64(late))
	return c.days.EachClosedDay(ctx, steps.DayRange{}, func(d steps.ClosedDay) error {
		c.metrics.reached(d.Day)
		return nil
	})
}
