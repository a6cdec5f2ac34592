package closing

import (
	"context"
	"errors"
	"time"

	"ayumi/rounds"
	"ayumi/steps"
)

// Run closes what is due when Patience is over and whenever the programme's next day begins, ends at once
// what was interrupted, and expires what is over, every hour too, until ctx ends; then it returns nil. What
// fails is logged, counted and tried again: nobody's upload waits for it.
func (c *Closer) Run(ctx context.Context) error {
	c.began = c.cfg.Clock()
	job := rounds.Job{
		Pass:     c.pass,
		Within:   func() time.Duration { return c.began.Add(c.cfg.Patience).Sub(c.cfg.Clock()) },
		Calendar: c.cfg.Calendar, Clock: c.cfg.Clock,
		Failures: c.metrics.failures, Logger: c.cfg.Logger, Failure: "cannot make points final yet, trying again",
	}
	return job.Run(ctx)
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
