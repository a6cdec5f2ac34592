package closing

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/steps"
)

// Days is what the closer needs of the store to close days.
type Days interface {
	// OpenDays returns the days that have points and are not closed, in order.
	OpenDays() []steps.Day
	EachClosedDay(ctx context.Context, r steps.DayRange, fn func(steps.ClosedDay) error) error
	// CloseDay makes a day's points final, or goes on where an earlier call was interrupted. It is
	// Unavailable while data that came in before the first call wait to be scored.
	CloseDay(ctx context.Context, r steps.CloseRequest) (steps.ClosedDay, error)
	EachLate(ctx context.Context, f steps.LateFilter, fn func(steps.LateDay) error) error
}

// Balances is what the closer needs of the store to expire points.
type Balances interface {
	// Outstanding returns what everybody together has of each period.
	Outstanding(ctx context.Context) ([]steps.PeriodBalance, error)
	// Expire takes what participants have available of a period that is over.
	Expire(ctx context.Context, p steps.Period, today steps.Day) (steps.Expiry, error)
}

// Engine is the points engine: Settle returns when all that was acknowledged is scored.
type Engine interface {
	Settle(ctx context.Context) error
}

// Reviews looks for days that seem wrong; what they hold is pending when the day is closed.
type Reviews interface {
	// Screen looks at everybody's day.
	Screen(ctx context.Context, day steps.Day) error
}

// Config says when and for whom days are closed. All but Clock is needed.
type Config struct {
	Periods  *Periods
	Calendar steps.Calendar
	Clock    func() time.Time // time.Now when nil
	// Patience is how long after Run began nothing that is due is closed, so that devices which could not
	// deliver while the gateway was away have their turn.
	Patience time.Duration
	Logger   *slog.Logger
	Metrics  prometheus.Registerer
}

// Closer closes days and expires points. New makes it, one goroutine runs it, any may ask it.
type Closer struct {
	cfg      Config
	days     Days
	balances Balances
	engine   Engine
	reviews  Reviews
	metrics  *metrics
	busy     chan struct{} // holds a value while somebody closes or expires
	began    time.Time     // when Run did
	done     steps.Day     // on which everything due was closed; Run's
}

// New prepares a closer and registers its metrics.
func New(cfg Config, days Days, balances Balances, engine Engine, reviews Reviews) (*Closer, error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, err
	}
	return &Closer{cfg: cfg, days: days, balances: balances, engine: engine, reviews: reviews, metrics: m, busy: make(chan struct{}, 1)}, nil
}

// automatic is who closes a day when staff have not.
const automatic = "ayumi"

func (c *Closer) today() steps.Day { return c.cfg.Calendar.Day(c.cfg.Clock().Unix()) }

// alone waits until nobody else closes or expires; the returned function lets the next one in.
func (c *Closer) alone(ctx context.Context, op string) (done func(), err error) {
	select {
	case c.busy <- struct{}{}:
		return func() { <-c.busy }, nil
	case <-ctx.Done():
		return nil, steps.Errorf(op, steps.Overload, "another closing is under way: %w; try again later", context.Cause(ctx))
	}
}

// PeriodOf returns the point period into which a day's points go.
func (c *Closer) PeriodOf(day steps.Day) steps.Period { return c.cfg.Periods.Of(day) }

// OpenUntil returns the last calendar day on which late data of day change its points.
func (c *Closer) OpenUntil(day steps.Day) steps.Day { return c.cfg.Periods.OpenUntil(day) }

// Periods returns the point periods that have begun, by rising date.
func (c *Closer) Periods() []steps.Period { return c.cfg.Periods.Until(c.today()) }

// unclosed is a day to be closed.
type unclosed struct {
	day    steps.Day
	period steps.PeriodID // into which its closing was begun, "" if it was not
}

// unclosed returns the days up to through that are not closed, in order: those with points, and those before
// one of them that follow a day with points or a closed one. The others would be closed for nothing, and
// for years ahead when a clock is wrong.
func (c *Closer) unclosed(ctx context.Context, through steps.Day) ([]unclosed, error) {
	open := c.days.OpenDays() // before the closed ones: a day that is closed meanwhile is in both
	state := map[steps.Day]steps.ClosedDay{}
	first, last := through+1, steps.Day(0)
	if len(open) > 0 {
		first, last = open[0], min(through, open[len(open)-1])
	}
	err := c.days.EachClosedDay(ctx, steps.DayRange{}, func(d steps.ClosedDay) error {
		state[d.Day] = d
		first = min(first, d.Day)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for d := max(first, last-MaxFinalAfter); d <= last; d++ {
		open = append(open, d)
	}
	for d, s := range state {
		if s.State == steps.DayClosing {
			open = append(open, d)
		}
	}
	slices.Sort(open)
	var days []unclosed
	for _, d := range slices.Compact(open) {
		if s := state[d]; d <= through && s.State != steps.DayClosed {
			days = append(days, unclosed{d, s.Period})
		}
	}
	return days, nil
}

// closeDue closes the days that late data no longer change, up to the first that they do; or only those
// whose closing was begun.
func (c *Closer) closeDue(ctx context.Context, today steps.Day, begun bool) error {
	days, err := c.unclosed(ctx, today-1)
	if err != nil {
		return err
	}
	due := slices.IndexFunc(days, func(u unclosed) bool {
		return u.period == "" && c.cfg.Periods.OpenUntil(u.day) >= today
	})
	if due >= 0 {
		days = days[:due]
	}
	if begun {
		days = slices.DeleteFunc(days, func(u unclosed) bool { return u.period == "" })
	}
	for i := range days {
		c.metrics.due.Set(float64(len(days) - i))
		if _, err := c.closeDay(ctx, &days[i], automatic); err != nil {
			return err
		}
	}
	c.metrics.due.Set(0)
	return nil
}

// closeDay closes one day.
func (c *Closer) closeDay(ctx context.Context, u *unclosed, by string) (steps.ClosedDay, error) {
	begin := c.cfg.Clock()
	r := steps.CloseRequest{Day: u.day, Period: cmp.Or(u.period, c.cfg.Periods.Of(u.day).ID), By: by}
	closed, err := c.screened(ctx, u, r)
	if err != nil && steps.KindOf(err) == steps.Unavailable && ctx.Err() == nil {
		// Data came in since the points were settled. What comes from now on does not hold it up again.
		if err = c.engine.Settle(ctx); err == nil {
			closed, err = c.screened(ctx, u, r)
		}
	}
	if err != nil {
		return closed, err
	}
	took := c.cfg.Clock().Sub(begin)
	c.metrics.closed(&closed, took)
	c.cfg.Logger.Info("day closed", "day", closed.Day, "period", closed.Period, "by", closed.By,
		"participants", closed.Participants, "points", closed.Points, "held", closed.Held, "took", took)
	return closed, nil
}

// screened closes a day after it was looked at; what was begun is held or not already.
func (c *Closer) screened(ctx context.Context, u *unclosed, r steps.CloseRequest) (closed steps.ClosedDay, err error) {
	if u.period == "" {
		if err := c.reviews.Screen(ctx, u.day); err != nil {
			return closed, err
		}
	}
	return c.days.CloseDay(ctx, r)
}

// CloseDay closes a day for staff, with by's name, unless it is closed; then it returns how it was. The
// day has to be over, and those before it closed. While late data still change its points it is a
// Conflict unless early.
func (c *Closer) CloseDay(ctx context.Context, day steps.Day, by string, early bool) (steps.ClosedDay, error) {
	var was steps.ClosedDay
	err := c.days.EachClosedDay(ctx, steps.DayRange{From: day, Until: day}, func(d steps.ClosedDay) error {
		was = d
		return nil
	})
	if err != nil || was.State == steps.DayClosed {
		return was, err
	}
	days, err := c.closeThrough(ctx, day, by, early, func(days []unclosed) ([]unclosed, error) {
		if len(days) == 0 || days[len(days)-1].day != day {
			days = append(days, unclosed{day: day})
		}
		if first := days[0].day; first != day {
			return nil, steps.Errorf("close day", steps.Conflict, "%s is open, and days are closed in order; close it first, or close through %s", first, day)
		}
		return days, nil
	})
	if err != nil {
		return steps.ClosedDay{}, err
	}
	return days[0], nil
}

// CloseThrough closes a day and all before it that are open, and returns those that it closed. For the
// rest it is as CloseDay. An error may leave some of them closed, which are returned beside it.
func (c *Closer) CloseThrough(ctx context.Context, day steps.Day, by string, early bool) ([]steps.ClosedDay, error) {
	return c.closeThrough(ctx, day, by, early, func(days []unclosed) ([]unclosed, error) { return days, nil })
}

func (c *Closer) closeThrough(ctx context.Context, day steps.Day, by string, early bool,
	choose func([]unclosed) ([]unclosed, error),
) ([]steps.ClosedDay, error) {
	const op = "close day"
	today := c.today()
	if day >= today {
		return nil, steps.Errorf(op, steps.Invalid, "%s is not over; today is %s, and only days before it can be closed", day, today)
	}
	done, err := c.alone(ctx, op)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := c.engine.Settle(ctx); err != nil {
		return nil, err
	}
	days, err := c.unclosed(ctx, day)
	if err == nil {
		days, err = choose(days)
	}
	if err != nil {
		return nil, err
	}
	for _, u := range days {
		if last := c.cfg.Periods.OpenUntil(u.day); last >= today && !early {
			return nil, steps.Errorf(op, steps.Conflict, "late data of %s count until %s; close it after that, or say that it is to be closed early",
				u.day, last)
		}
	}
	var closed []steps.ClosedDay
	for i := range days {
		d, err := c.closeDay(ctx, &days[i], by)
		if err != nil {
			return closed, err
		}
		closed = append(closed, d)
	}
	return closed, nil
}

// expireDue takes the points of all periods that are over.
func (c *Closer) expireDue(ctx context.Context, today steps.Day) error {
	have, err := c.balances.Outstanding(ctx)
	if err != nil {
		return err
	}
	c.metrics.outstanding(have)
	for _, p := range c.cfg.Periods.Until(today) {
		over := p.Expires != 0 && p.Expires < today
		i := slices.IndexFunc(have, func(b steps.PeriodBalance) bool { return b.Period == p.ID })
		if !over || i < 0 || have[i].Available == 0 {
			continue
		}
		if _, err := c.expire(ctx, p, today); err != nil {
			return err
		}
		have[i].Available = 0
	}
	c.metrics.outstanding(have)
	return nil
}

func (c *Closer) expire(ctx context.Context, p steps.Period, today steps.Day) (steps.Expiry, error) {
	done, err := c.balances.Expire(ctx, p, today)
	if err != nil {
		return done, err
	}
	c.metrics.expired.Add(float64(done.Points))
	c.cfg.Logger.Info("points expired", "period", p.ID, "last_day", p.Expires, "participants", done.Participants, "points", done.Points)
	return done, nil
}

// Expire takes what participants have available of a period that is over. The closer does so by itself;
// this is for points that came back meanwhile. A period that the programme does not have is NotFound, one
// that is not over a Conflict, and one without a last day Invalid.
func (c *Closer) Expire(ctx context.Context, id steps.PeriodID) (steps.Expiry, error) {
	const op = "expire points"
	today := c.today()
	all := c.cfg.Periods.Until(today)
	i := slices.IndexFunc(all, func(p steps.Period) bool { return p.ID == id })
	if i < 0 {
		return steps.Expiry{}, steps.Errorf(op, steps.NotFound, "there is no point period %q that has begun; list the periods", id)
	}
	done, err := c.alone(ctx, op)
	if err != nil {
		return steps.Expiry{}, err
	}
	defer done()
	return c.expire(ctx, all[i], today)
}
