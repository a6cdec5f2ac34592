package points

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/steps"
)

// Days is what the engine needs from the store. Its methods are called from one goroutine.
type Days interface {
	// Changed receives a value after days became dirty. It has capacity 1, so several changes can
	// be one value, and it is never closed. A value is sent only after Dirty would show the change.
	Changed() <-chan struct{}
	// Dirty returns up to max dirty days with their current merged totals. Fewer than max means
	// that there are no others.
	Dirty(max int) ([]steps.DirtyDay, error)
	// PutAwards stores awards durably and, with them, clears the days whose Mark is still current.
	// The others stay dirty. It does not keep awards after it returned. Storing an award again
	// replaces it while its day is open; a closed day keeps its points.
	PutAwards(ctx context.Context, awards []steps.Award) error
	// RulesFingerprint returns what Rescore last stored, "" if nothing.
	RulesFingerprint() (string, error)
	// Rescore marks every stored day dirty and stores the fingerprint, durably and together. It is
	// called again with the same fingerprint after it failed.
	Rescore(ctx context.Context, fingerprint string) error
}

// People is what the engine needs from the registry.
type People interface {
	// Born returns the participant's date of birth, and false if it is not known.
	Born(p steps.ParticipantID) (born steps.Day, known bool)
}

// EngineConfig says how days are scored.
type EngineConfig struct {
	Rules *RuleBook
	Batch int           // most days scored and stored together; 0 is DefaultBatch
	Every time.Duration // least time between passes that nobody waits for; 0 is DefaultEvery
}

// DefaultBatch is the Batch of an EngineConfig that gives none.
const DefaultBatch = 1 << 15

// DefaultEvery is the Every of an EngineConfig that gives none. Under a steady stream every device's
// day changes with every upload; scoring it a few times a second is enough.
const DefaultEvery = 250 * time.Millisecond

// The waits between attempts while the store is overloaded or unavailable double from the first
// to the last.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// Engine scores dirty days. NewEngine makes it, one goroutine runs it, any may call Settle.
type Engine struct {
	rules   *RuleBook
	batch   int
	every   time.Duration
	days    Days
	people  People
	log     *slog.Logger
	metrics *metrics

	started atomic.Bool
	stopped chan struct{} // closed when Run returns
	tickets *tickets
	awards  []steps.Award // reused from batch to batch
}

// NewEngine prepares an engine and registers its metrics. Without rules, or with a negative batch,
// it fails with Invalid.
func NewEngine(cfg EngineConfig, days Days, people People, log *slog.Logger, reg prometheus.Registerer) (*Engine, error) {
	const op = "set up points engine"
	if cfg.Rules == nil {
		return nil, steps.Errorf(op, steps.Invalid, "there are no rules; load a preset or a rules file")
	}
	if cfg.Batch < 0 {
		return nil, steps.Errorf(op, steps.Invalid, "batch is %d; give 1 or more, or 0 for %d", cfg.Batch, DefaultBatch)
	}
	if cfg.Batch == 0 {
		cfg.Batch = DefaultBatch
	}
	if cfg.Every < 0 {
		return nil, steps.Errorf(op, steps.Invalid, "every is %s; give a positive duration, or 0 for %s", cfg.Every, DefaultEvery)
	}
	if cfg.Every == 0 {
		cfg.Every = DefaultEvery
	}
	m, err := newMetrics(reg)
	if err != nil {
		return nil, err
	}
	return &Engine{
		rules: cfg.Rules, batch: cfg.Batch, every: cfg.Every, days: days, people: people, log: log, metrics: m,
		stopped: make(chan struct{}), tickets: newTickets(),
	}, nil
}

// Run scores dirty days until ctx ends, and then returns nil. It first marks every day dirty if the
// stored awards come from other rules than the engine's. While the store is overloaded or
// unavailable it waits and tries again; any other error of the store ends it and is returned. What
// is dirty when it ends stays dirty. An engine runs once.
func (e *Engine) Run(ctx context.Context) error {
	if e.started.Swap(true) {
		return steps.Errorf("run points engine", steps.Internal, "it was run before; make a new one")
	}
	defer close(e.stopped)
	err := e.run(ctx)
	if stop := ctx.Err(); stop != nil && errors.Is(err, stop) {
		return nil
	}
	return err
}

func (e *Engine) run(ctx context.Context) error {
	if err := e.adopt(ctx); err != nil {
		return err
	}
	pause := time.NewTimer(e.every)
	defer pause.Stop()
	for {
		pause.Reset(e.every)
		if err := e.drain(ctx); err != nil {
			return err
		}
		if err := e.await(ctx, pause.C); err != nil {
			return err
		}
	}
}

// await returns when somebody waits for points, or when the pause is over and days have changed.
func (e *Engine) await(ctx context.Context, pause <-chan time.Time) error {
	var changed <-chan struct{} // nil, and never ready, during the pause
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.tickets.wake:
			return nil
		case <-pause:
			changed = e.days.Changed()
		case <-changed:
			return nil
		}
	}
}

// adopt has every stored day scored again unless it was scored under the same rules.
func (e *Engine) adopt(ctx context.Context) error {
	now := e.rules.Fingerprint()
	var stored string
	err := e.retry(ctx, func(context.Context) (err error) {
		stored, err = e.days.RulesFingerprint()
		return err
	})
	if err != nil || stored == now {
		return err
	}
	// Once begun, Rescore is repeated until it succeeds, without looking at the fingerprint again:
	// an attempt that failed may have stored it and not marked the days.
	err = e.retry(ctx, func(ctx context.Context) error { return e.days.Rescore(ctx, now) })
	if err != nil {
		return err
	}
	e.metrics.rescores.Inc()
	e.log.Info("rules are new or changed, scoring every stored day",
		"programme", e.rules.Programme(), "was", stored, "now", now)
	return nil
}

// drain scores batches until one is not full. It does not wait for an empty one: under a steady
// stream of changes there may be none, and what became dirty meanwhile has sent a value to Changed.
func (e *Engine) drain(ctx context.Context) error {
	begin := time.Now()
	for full := true; full; {
		err := e.retry(ctx, func(ctx context.Context) (err error) {
			full, err = e.step(ctx)
			return err
		})
		if err != nil {
			return err
		}
	}
	e.metrics.pass.Observe(time.Since(begin).Seconds())
	return nil
}

// step scores one batch and reports whether it was full.
func (e *Engine) step(ctx context.Context) (full bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	due := e.tickets.drawn() // before Dirty, which sees all that was dirty when they were drawn
	days, err := e.days.Dirty(e.batch)
	if err != nil {
		return false, err
	}
	e.metrics.dirty.Set(float64(len(days)))
	if len(days) > 0 {
		e.score(days)
		if err := e.days.PutAwards(ctx, e.awards); err != nil {
			return false, err
		}
		e.metrics.scored.Add(float64(len(days)))
	}
	if len(days) >= e.batch {
		return true, nil
	}
	e.metrics.dirty.Set(0)
	e.tickets.serve(due)
	return false, nil
}

// score fills e.awards with what the days earn.
func (e *Engine) score(days []steps.DirtyDay) {
	e.awards = e.awards[:0]
	for _, d := range days {
		award := steps.Award{ParticipantDay: d.ParticipantDay, Steps: d.Steps, Mark: d.Mark}
		if set, ok := e.rules.On(d.Day); ok {
			age := UnknownAge
			if born, known := e.people.Born(d.Participant); known {
				age = Age(born, d.Day)
			}
			award.Points, award.RuleSet = set.Score(d.Steps, age).Points, set.ID()
		}
		e.awards = append(e.awards, award)
	}
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
