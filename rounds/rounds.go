// Package rounds is the beat of the long-running jobs that have something to do when the programme's next day
// begins: a pass at the start, one at each midnight and at least one an hour, and after a failure another one
// soon. What a pass does is the matter of the room whose job it is.
//
// Invariants: passes of a job never overlap, and none begins after the context has ended.
package rounds

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/steps"
)

// Longest is the longest time between two passes: a clock that was set is noticed within it.
const Longest = time.Hour

// shortest is the shortest time between two passes that succeed.
const shortest = time.Second

// The waits between attempts double from the first to the last.
const (
	FirstRetry = time.Second
	LastRetry  = 5 * time.Minute
)

// Job is what is done again and again. All but Within is needed.
type Job struct {
	// Pass does all that is due. It returns when it is done, has failed, or ctx has ended.
	Pass func(ctx context.Context) error
	// Within, when set, is asked after each pass how soon the next one must begin, 0 or less where midnight is
	// soon enough.
	Within   func() time.Duration
	Calendar steps.Calendar // the programme's
	Clock    func() time.Time
	Failures prometheus.Counter // of passes
	Logger   *slog.Logger
	Failure  string // what the log says of a pass that failed, such as "cannot look at days yet, trying again"
}

// Run makes passes until ctx ends; then it returns nil. A pass that fails is logged, counted and tried again; it
// ends nothing.
func (j *Job) Run(ctx context.Context) error {
	for retry := FirstRetry; ; {
		err := j.Pass(ctx)
		if ctx.Err() != nil {
			return nil
		}
		wait := j.next()
		if err != nil {
			wait = min(wait, retry)
			retry = min(2*retry, LastRetry)
			j.failed(ctx, err, wait)
		} else {
			retry = FirstRetry
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

// next is how long to wait after a pass.
func (j *Job) next() time.Duration {
	now := j.Clock()
	_, end := j.Calendar.Bounds(j.Calendar.Day(now.Unix()))
	wait := time.Unix(end, 0).Sub(now)
	if j.Within != nil {
		if within := j.Within(); within > 0 {
			wait = min(wait, within)
		}
	}
	return min(Longest, max(shortest, wait))
}

// failed tells of a pass that did not come to its end.
func (j *Job) failed(ctx context.Context, err error, wait time.Duration) {
	j.Failures.Inc()
	level := slog.LevelError
	if kind := steps.KindOf(err); kind == steps.Unavailable || kind == steps.Overload {
		level = slog.LevelWarn
	}
	j.Logger.Log(ctx, level, j.Failure, "wait", wait, "error", err)
}
