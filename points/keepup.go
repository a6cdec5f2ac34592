package points

import (
	"context"
	"slices"
	"time"

	"ayumi/steps"
)

// keepUp has every day scored again that what happened since does not make dirty: the rules have
// changed, or days have ended without a sending that somebody owed.
func (e *Engine) keepUp(ctx context.Context) error {
	book, today := e.Rules(), e.today()
	now := steps.Scoring{Rules: book.Fingerprint(), Through: today}
	if now == e.scoring {
		return nil
	}
	s := &sweep{first: firstDay, from: firstDay, last: noEnd}
	switch duty := steps.Day(book.needs.duty); {
	case now.Rules != e.scoring.Rules:
		e.log.Info("rules are new or changed, scoring every stored day",
			"programme", book.Programme(), "was", e.scoring.Rules, "now", now.Rules)
		e.metrics.rescores.Inc()
	case duty > 0 && e.scoring.Through < today:
		s.first, s.last = e.scoring.Through-duty+1, today-duty
		s.from, _ = book.Window(s.first, nil)
		_, s.last = book.Window(s.last, nil)
	default:
		s = nil
	}
	if s != nil {
		if err := e.scoreAll(ctx, s); err != nil {
			return err
		}
		if book != e.Rules() { // and they changed again
			return e.keepUp(ctx)
		}
	}
	return e.retry(ctx, func(ctx context.Context) error {
		err := e.days.SetScoring(ctx, now)
		if err == nil {
			e.scoring = now
		}
		return err
	})
}

// scoreAll runs a sweep, and scores dirty days in between.
func (e *Engine) scoreAll(ctx context.Context, s *sweep) error {
	begin := time.Now()
	s.scorer, s.people = e.scorer(), e.people
	e.batch.checkpoints.forget()
	s.at, s.passed = s.from, map[steps.ParticipantID]steps.Day{}
	e.sweep, e.awards = s, e.awards[:0]
	defer func() { e.sweep = nil }()
	e.next = begin.Add(e.cfg.Every)
	scored, told := 0, begin
	s.emit = func(stored *steps.Award, now *DayScore, parts steps.Parts) error {
		a := *stored
		a.Points, a.RuleSet, a.Parts, a.Open = now.Points, now.RuleSet, parts, s.book.keeps() && !s.closed
		e.awards = append(e.awards, a)
		scored++
		if len(e.awards) < e.cfg.Batch {
			return nil
		}
		if t := time.Now(); t.Sub(told) >= tellEvery {
			told = t
			e.log.Info("scoring stored days", "day", s.at, "scored", scored, "seconds", int(t.Sub(begin).Seconds()))
		}
		return e.putSwept(ctx)
	}
	if err := s.run(ctx); err != nil {
		return err
	}
	if err := e.putSwept(ctx); err != nil {
		return err
	}
	if s.remembers() {
		if err := e.catchUp(ctx, s.passed); err != nil {
			return err
		}
	}
	if err := e.outbox.wait(); err != nil {
		return err
	}
	e.metrics.scored.Add(float64(scored))
	e.log.Info("stored days are scored", "scored", scored, "seconds", int(time.Since(begin).Seconds()))
	return nil
}

// firstDay comes before every day that anybody has steps for.
const firstDay steps.Day = -1 << 20

// tellEvery is how often a sweep says how far it is.
const tellEvery = 10 * time.Second

// putSwept has what the sweep has scored so far stored, and then lets dirty days go first.
func (e *Engine) putSwept(ctx context.Context) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	if e.awards, err = e.outbox.put(ctx, e.awards); err != nil || time.Now().Before(e.next) {
		return err
	}
	err = e.drain(ctx)
	e.next = time.Now().Add(e.cfg.Every)
	return err
}

// catchUp scores those whom a sweep left alone, each from a day on.
func (e *Engine) catchUp(ctx context.Context, from map[steps.ParticipantID]steps.Day) error {
	days := make([]steps.DirtyDay, 0, len(from))
	for p, first := range from {
		days = append(days, steps.DirtyDay{ParticipantDay: steps.ParticipantDay{Participant: p, Day: first}})
	}
	for some := range slices.Chunk(days, e.cfg.Batch) {
		if err := e.score(ctx, some, true); err != nil {
			return err
		}
	}
	return nil
}
