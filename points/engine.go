package points

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/steps"
)

// Days is what the engine needs from the store.
type Days interface {
	Source
	// Changed receives a value after days became dirty. It has capacity 1, so several changes can
	// be one value, and it is never closed. A value is sent only after Dirty would show the change.
	Changed() <-chan struct{}
	// Dirty returns up to max dirty days that it has not returned since Redo. Fewer than max means that
	// there are no others. What Source says of a dirty day afterwards is at least as new as its mark.
	Dirty(max int) ([]steps.DirtyDay, error)
	// Redo has Dirty return again those that it has returned and that are still dirty.
	Redo()
	// PutAwards stores awards durably and, with them, clears the days whose Mark is still current.
	// The others stay dirty; so do all that are killed or fail before everything is stored, if awards without
	// a Mark are among them. It does not keep awards after it returned. Storing an award again replaces it
	// while its day is open; a closed day keeps its points and parts, and is dirty again if the award is Open.
	PutAwards(ctx context.Context, awards []steps.Award) error
	// Scoring returns what SetScoring last stored, the zero Scoring if nothing.
	Scoring() (steps.Scoring, error)
	// SetScoring stores durably under which rules everything has been scored, and through which day.
	SetScoring(ctx context.Context, s steps.Scoring) error
}

// EngineConfig says how days are scored.
type EngineConfig struct {
	Rules       *RuleBook
	Calendar    steps.Calendar   // the programme's
	Clock       func() time.Time // time.Now when nil
	Batch       int              // most dirty days scored and stored together; 0 is DefaultBatch
	Every       time.Duration    // least time between passes that nobody waits for; 0 is DefaultEvery
	Checkpoints int              // participants whose counts are kept from pass to pass; 0 is DefaultCheckpoints
}

// DefaultBatch is the Batch of an EngineConfig that gives none.
const DefaultBatch = 1 << 15

// DefaultEvery is the Every of an EngineConfig that gives none. Under a steady stream every device's
// day changes with every upload; scoring it a few times a second is enough.
const DefaultEvery = 250 * time.Millisecond

// DefaultCheckpoints is the Checkpoints of an EngineConfig that gives none: some 50 MB, and only where
// points of a day depend on other days.
const DefaultCheckpoints = 1 << 18

// The waits between attempts while the store is overloaded or unavailable double from the first
// to the last.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// Engine scores dirty days. NewEngine makes it, one goroutine runs it, any may call Settle, Rules and
// SetRules.
type Engine struct {
	cfg     EngineConfig
	days    Days
	people  People
	log     *slog.Logger
	metrics *metrics

	rules   atomic.Pointer[RuleBook]
	changed chan struct{} // receives a value after SetRules, capacity 1

	started atomic.Bool
	stopped chan struct{} // closed when Run returns
	tickets *tickets

	// Of the goroutine that runs it.
	batch   batch
	outbox  outbox
	scoring steps.Scoring
	sweep   *sweep        // under way
	awards  []steps.Award // of the sweep, not stored yet
	next    time.Time     // when the sweep makes room for dirty days
}

// NewEngine prepares an engine and registers its metrics. Without rules, or with a negative setting, it
// fails with Invalid.
func NewEngine(cfg EngineConfig, days Days, people People, log *slog.Logger, reg prometheus.Registerer) (*Engine, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	m, err := newMetrics(reg)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		cfg: cfg, days: days, people: people, log: log, metrics: m,
		changed: make(chan struct{}, 1), stopped: make(chan struct{}), tickets: newTickets(),
	}
	e.outbox.store = func(ctx context.Context, awards []steps.Award) error {
		return e.retry(ctx, func(ctx context.Context) error { return days.PutAwards(ctx, awards) })
	}
	e.rules.Store(cfg.Rules)
	return e, nil
}

// fill checks the configuration and enters what it leaves out.
func (c *EngineConfig) fill() error {
	const op = "set up points engine"
	switch {
	case c.Rules == nil:
		return steps.Errorf(op, steps.Invalid, "there are no rules; load a preset or a rules file")
	case c.Batch < 0:
		return steps.Errorf(op, steps.Invalid, "batch is %d; give 1 or more, or 0 for %d", c.Batch, DefaultBatch)
	case c.Every < 0:
		return steps.Errorf(op, steps.Invalid, "every is %s; give a positive duration, or 0 for %s", c.Every, DefaultEvery)
	case c.Checkpoints < 0:
		return steps.Errorf(op, steps.Invalid, "checkpoints is %d; give 1 or more, or 0 for %d", c.Checkpoints, DefaultCheckpoints)
	}
	c.Batch = cmp.Or(c.Batch, DefaultBatch)
	c.Every = cmp.Or(c.Every, DefaultEvery)
	c.Checkpoints = cmp.Or(c.Checkpoints, DefaultCheckpoints)
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return nil
}

// Rules returns the rules that are in force.
func (e *Engine) Rules() *RuleBook { return e.rules.Load() }

// SetRules puts other rules into force. Every stored day is scored again unless they score alike.
func (e *Engine) SetRules(rules *RuleBook) {
	e.rules.Store(rules)
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// Run scores dirty days until ctx ends, and then returns nil. It first scores every stored day again if
// the stored awards come from other rules than the engine's, and so it does after SetRules. While the
// store is overloaded or unavailable, or the rules cannot score a day, it waits and tries again; any other
// error ends it and is returned. What is dirty when it ends stays dirty. An engine runs once.
func (e *Engine) Run(ctx context.Context) error {
	if e.started.Swap(true) {
		return steps.Errorf("run points engine", steps.Internal, "it was run before; make a new one")
	}
	defer close(e.stopped)
	err := e.run(ctx)
	_ = e.outbox.wait() // it was begun in vain, or err says why it failed
	if stop := ctx.Err(); stop != nil && errors.Is(err, stop) {
		return nil
	}
	return err
}

func (e *Engine) run(ctx context.Context) error {
	if err := e.begin(ctx); err != nil {
		return err
	}
	pause, midnight := time.NewTimer(e.cfg.Every), time.NewTimer(e.untilTomorrow())
	defer pause.Stop()
	defer midnight.Stop()
	for {
		pause.Reset(e.cfg.Every)
		midnight.Reset(e.untilTomorrow())
		err := e.pass(ctx)
		if steps.KindOf(err) == steps.Invalid {
			if err := e.standBy(ctx, err); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := e.await(ctx, pause.C, midnight.C); err != nil {
			return err
		}
	}
}

// pass scores everything that is to be scored.
func (e *Engine) pass(ctx context.Context) error {
	if err := e.keepUp(ctx); err != nil {
		return err
	}
	due := e.tickets.drawn() // before Dirty, which sees all that was dirty when they were drawn
	if err := e.drain(ctx); err != nil {
		return err
	}
	e.tickets.serve(due)
	return nil
}

// standBy waits, after a day that the rules cannot score (a condition that divides by zero), for other
// rules or other data. Uploads go on meanwhile: a mistake in the rules must not keep devices from being
// acknowledged. What is dirty stays dirty.
func (e *Engine) standBy(ctx context.Context, cause error) error {
	e.metrics.retries.Inc()
	e.log.Error("the rules cannot score a day, and nothing is scored until they can; mend the rules and reload them", "err", cause)
	timer := time.NewTimer(lastRetry)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-e.changed:
		return nil
	case <-timer.C:
		return nil
	}
}

// begin finds out how far an engine before this one came.
func (e *Engine) begin(ctx context.Context) error {
	e.batch = batch{people: e.people, checkpoints: newCheckpoints(e.cfg.Checkpoints)}
	return e.retry(ctx, func(context.Context) (err error) {
		e.scoring, err = e.days.Scoring()
		return err
	})
}

// await returns when somebody waits for points, when the pause is over and days have changed, when
// there are other rules, or when a day has ended.
func (e *Engine) await(ctx context.Context, pause, midnight <-chan time.Time) error {
	var changed <-chan struct{} // nil, and never ready, during the pause
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.tickets.wake:
			return nil
		case <-e.changed:
			return nil
		case <-midnight:
			return nil
		case <-pause:
			changed = e.days.Changed()
		case <-changed:
			return nil
		}
	}
}

func (e *Engine) today() steps.Day { return e.cfg.Calendar.Day(e.cfg.Clock().Unix()) }

func (e *Engine) untilTomorrow() time.Duration {
	_, end := e.cfg.Calendar.Bounds(e.today())
	return time.Unix(end, 0).Sub(e.cfg.Clock())
}

// drain scores batches until one is not full, and returns when all are stored. It does not wait for an empty
// one: under a steady stream of changes there may be none, and what became dirty meanwhile has sent a value
// to Changed.
func (e *Engine) drain(ctx context.Context) error {
	begin := time.Now()
	e.days.Redo() // nothing that Dirty returned is on its way to the store
	any := false
	for full := true; full; {
		n, err := e.step(ctx)
		if err != nil {
			return err
		}
		any, full = any || n > 0, n >= e.cfg.Batch
	}
	if any {
		if err := e.outbox.wait(); err != nil {
			return err
		}
	}
	e.metrics.dirty.Set(0)
	e.metrics.pass.Observe(time.Since(begin).Seconds())
	return nil
}

// step scores one batch and returns how many dirty days were in it.
func (e *Engine) step(ctx context.Context) (n int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	var days []steps.DirtyDay
	err = e.retry(ctx, func(context.Context) (err error) {
		days, err = e.days.Dirty(e.cfg.Batch)
		return err
	})
	if err != nil || len(days) == 0 {
		return 0, err
	}
	e.metrics.dirty.Set(float64(len(days)))
	if err := e.score(ctx, days, false); err != nil {
		return 0, err
	}
	e.metrics.scored.Add(float64(len(days)))
	return len(days), nil
}

// score scores dirty days, or everything from them on, and has the awards stored. Where open days are scored beside
// what closed ones keep, it waits for them, and scores once more if a day was closed meanwhile.
func (e *Engine) score(ctx context.Context, days []steps.DirtyDay, onwards bool) error {
	for again := true; again; {
		e.batch.scorer = e.scorer()
		alone := e.batch.book.keeps()
		if alone {
			if err := e.outbox.wait(); err != nil {
				return err
			}
		}
		var awards []steps.Award
		err := e.retry(ctx, func(ctx context.Context) (err error) {
			awards, err = e.batch.awardAll(ctx, days, onwards)
			return err
		})
		if err != nil {
			return err
		}
		if e.sweep != nil {
			e.sweep.passBy(e.batch.histories)
		}
		if e.batch.awards, err = e.outbox.put(ctx, awards); err != nil || !alone {
			return err
		}
		if again, err = e.overtaken(ctx); err != nil {
			return err
		}
	}
	return nil
}

// overtaken waits until a batch is stored, and reports whether a day was closed since what closed days keep was
// read.
func (e *Engine) overtaken(ctx context.Context) (again bool, err error) {
	if err := e.outbox.wait(); err != nil {
		return false, err
	}
	err = e.retry(ctx, func(ctx context.Context) (err error) {
		again, err = e.batch.overtaken(ctx)
		return err
	})
	return again, err
}

func (e *Engine) scorer() scorer {
	return scorer{book: e.Rules(), source: e.days, calendar: e.cfg.Calendar, today: e.today()}
}

// retry calls attempt until it succeeds, fails for good, or ctx ends.
func (e *Engine) retry(ctx context.Context, attempt func(context.Context) error) error {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		err := attempt(ctx)
		if kind := steps.KindOf(err); err == nil || kind != steps.Unavailable && kind != steps.Overload {
			return err
		}
		e.metrics.retries.Inc()
		e.log.Warn("the store does not accept awards, trying again", "wait", wait, "error", err)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}
