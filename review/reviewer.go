package review

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/merge"
	"ayumi/plausibility"
	"ayumi/rounds"
	"ayumi/steps"
)

// Days is what the reviewer needs of the store to read days.
type Days interface {
	// OpenDays returns the days that have points and are not closed, in order.
	OpenDays() []steps.Day
	// StoredDays returns the days in the range that anybody has steps on, in order.
	StoredDays(r steps.DayRange) ([]steps.Day, error)
	// EachDay calls fn for every participant-day in the range, by day and participant.
	EachDay(ctx context.Context, r steps.DayRange, p steps.ParticipantID, fn func(steps.Award) error) error
	// EachMinutes calls fn for each of days, by day and participant, with the merged minutes, which hold during the call.
	EachMinutes(ctx context.Context, days []steps.ParticipantDay, fn func(steps.DayTotal, []uint32) error) error
	Sources(pd steps.ParticipantDay) (day *merge.Day, found bool, err error)
	Policy() merge.Config
}

// Book is what the reviewer needs of the store to keep what it found.
type Book interface {
	// EachPrints calls fn for each of the people, by ID; what it is given holds during the call.
	EachPrints(ctx context.Context, people []steps.ParticipantID, fn func(i int, p *Prints) error) error
	PutPrints(ctx context.Context, people []Prints) error
	EachReview(ctx context.Context, f Filter, fn func(*Review) error) error
	// NoteReviews applies Note, and returns the reviews that changed.
	NoteReviews(ctx context.Context, found []Finding) ([]Review, error)
}

// Config says what is flagged and what is held. All but the Holds and Clock is needed.
type Config struct {
	Limits plausibility.Config
	// HoldSevere holds a day's points from the score on that plausibility.Config suggests.
	HoldSevere bool
	// HoldKinds are kinds of flags that hold a day's points whatever the score.
	HoldKinds []plausibility.Kind
	// CompareDays is with how many days before it a participant's day is compared, 1 or more. Their fingerprints are
	// kept. Nightly looks go back as far.
	CompareDays int
	Calendar    steps.Calendar
	Clock       func() time.Time // time.Now when nil
	Logger      *slog.Logger
	Metrics     prometheus.Registerer
}

// Reviewer looks at days. New makes it, one goroutine runs it, any may ask it.
type Reviewer struct {
	cfg     Config
	scorer  *plausibility.Scorer
	days    Days
	book    Book
	metrics *metrics
	busy    chan struct{} // holds a value while somebody looks
	done    steps.Day     // on which all open days were looked at; Run's
}

// New prepares a reviewer and registers its metrics. Unusable limits are Invalid.
func New(cfg Config, days Days, book Book) (*Reviewer, error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	scorer, err := plausibility.New(cfg.Limits)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, err
	}
	return &Reviewer{cfg: cfg, scorer: scorer, days: days, book: book, metrics: m, busy: make(chan struct{}, 1)}, nil
}

func (r *Reviewer) today() steps.Day { return r.cfg.Calendar.Day(r.cfg.Clock().Unix()) }

// Screen looks at all of a day, as must be before it is closed.
func (r *Reviewer) Screen(ctx context.Context, day steps.Day) error {
	_, err := r.look(ctx, day, true, nil)
	return err
}

// Progress is how far Look has come: done of so many people of a day, and the outcome when the day is done.
type Progress struct {
	Day      steps.Day
	Done, Of int
	Outcome  *Outcome
}

// Look looks at all of the days in the range that have steps, closed ones and today included, and tells how far it
// has come; an error of tell ends it. An open range is the days that are not closed.
func (r *Reviewer) Look(ctx context.Context, days steps.DayRange, tell func(Progress) error) error {
	list, err := r.days.StoredDays(days)
	if err != nil {
		return err
	}
	if days == (steps.DayRange{}) {
		list = r.days.OpenDays()
	}
	for _, day := range list {
		out, err := r.look(ctx, day, true, func(done, of int) error { return tell(Progress{Day: day, Done: done, Of: of}) })
		if err != nil {
			return err
		}
		if err := tell(Progress{Day: day, Done: out.Participants, Of: out.Participants, Outcome: &out}); err != nil {
			return err
		}
	}
	return r.measure(ctx)
}

// look looks at a day when nobody else does.
func (r *Reviewer) look(ctx context.Context, day steps.Day, full bool, tell func(done, of int) error) (Outcome, error) {
	select {
	case r.busy <- struct{}{}:
		defer func() { <-r.busy }()
	case <-ctx.Done():
		return Outcome{}, steps.Errorf("look at day", steps.Overload, "another look is under way: %w; try again later", context.Cause(ctx))
	}
	if tell == nil {
		tell = func(int, int) error { return nil }
	}
	begin := r.cfg.Clock()
	l := look{r: r, day: day, full: full, tell: tell}
	if err := l.run(ctx); err != nil {
		return l.out, err
	}
	took := r.cfg.Clock().Sub(begin)
	r.metrics.looked(&l.out, took)
	if l.out.Flagged > 0 {
		r.cfg.Logger.Info("days flagged for review", "day", day, "participants", l.out.Participants, "scored", l.out.Scored,
			"flagged", l.out.Flagged, "held", l.out.Held, "took", took)
	}
	return l.out, nil
}

// Run looks at what changed in the open days that are over, when it begins and whenever the programme's next day
// does, until ctx ends; then it returns nil. Open reviews are counted every hour too. What fails is logged, counted
// and tried again: nobody's upload waits for it.
func (r *Reviewer) Run(ctx context.Context) error {
	job := rounds.Job{
		Pass: r.pass, Calendar: r.cfg.Calendar, Clock: r.cfg.Clock,
		Failures: r.metrics.failures, Logger: r.cfg.Logger, Failure: "cannot look at days yet, trying again",
	}
	return job.Run(ctx)
}

// pass looks at the open days that are over, not more than CompareDays ago, once a day. A day that cannot be
// looked at does not keep the others from it.
func (r *Reviewer) pass(ctx context.Context) error {
	if today := r.today(); today != r.done {
		var failed error
		for _, day := range r.days.OpenDays() {
			if day >= today {
				break
			}
			if day < today-steps.Day(r.cfg.CompareDays) {
				continue // of which nothing is kept, so that all of it would be looked at every night
			}
			if _, err := r.look(ctx, day, false, nil); err != nil {
				failed = errors.Join(failed, err)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if failed != nil {
			return failed
		}
		r.done = today
	}
	return r.measure(ctx)
}

// measure counts what waits for staff.
func (r *Reviewer) measure(ctx context.Context) error {
	var n [Upheld + 1]int
	err := r.book.EachReview(ctx, Filter{Undecided: true}, func(v *Review) error {
		n[v.State]++
		return nil
	})
	if err != nil {
		return err
	}
	for _, s := range []State{Open, Held} {
		r.metrics.waiting.WithLabelValues(s.String()).Set(float64(n[s]))
	}
	return nil
}
