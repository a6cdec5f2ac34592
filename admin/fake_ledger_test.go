package admin

import (
	"context"
	"slices"

	"ayumi/review"
	"ayumi/steps"
)

// books is everything behind the ledger's routes, in memory: it answers what it was given and notes what
// it is asked for.
type books struct {
	balances  []steps.Balance
	lines     []steps.Entry
	trial     steps.Totals
	posted    []steps.EntryRequest
	periods   []steps.Period
	closed    []steps.ClosedDay
	late      []steps.LateDay
	reviews   []*review.Review
	have      []steps.PeriodBalance
	asked     []closeAsked
	expired   []steps.PeriodID
	prizes    []steps.Prize
	exchanges []steps.Exchange
	requested []steps.ExchangeRequest
	changes   []steps.ExchangeChange
	done      []steps.Activity
	err       error // of whatever is changed
}

type closeAsked struct {
	day            steps.Day
	by             string
	early, through bool
}

func (b *books) Balance(p steps.ParticipantID) (steps.Balance, error) {
	for _, have := range b.balances {
		if have.Participant == p {
			return have, nil
		}
	}
	return steps.Balance{Participant: p}, nil
}

func (b *books) EachBalance(_ context.Context, fn func(*steps.Balance) error) error {
	for i := range b.balances {
		if err := fn(&b.balances[i]); err != nil {
			return err
		}
	}
	return nil
}

func each[T any](all []T, fn func(T) error) error {
	for _, v := range all {
		if err := fn(v); err != nil {
			return err
		}
	}
	return nil
}

func (b *books) EachEntry(_ context.Context, _ steps.ParticipantID, fn func(steps.Entry) error) error {
	return each(b.lines, fn)
}

func (b *books) Totals(context.Context) (steps.Totals, error) { return b.trial, nil }

func (b *books) Post(_ context.Context, r steps.EntryRequest) (steps.Entry, error) {
	b.posted = append(b.posted, r)
	return steps.Entry{Participant: r.Participant, Kind: r.Kind, Seq: 7, At: now.Unix(), Key: r.Key, By: r.By, Reason: r.Reason,
		Postings: []steps.Posting{{From: steps.AccountIssued, To: steps.AccountAvailable, Period: r.Period, Points: r.Points}}}, b.err
}

func (b *books) CloseDay(_ context.Context, d steps.Day, by string, early bool) (steps.ClosedDay, error) {
	b.asked = append(b.asked, closeAsked{d, by, early, false})
	return steps.ClosedDay{Day: d, State: steps.DayClosed, Period: "2026", At: now.Unix(), By: by, Participants: 2, Points: 9, Held: 1}, b.err
}

func (b *books) CloseThrough(_ context.Context, d steps.Day, by string, early bool) ([]steps.ClosedDay, error) {
	b.asked = append(b.asked, closeAsked{d, by, early, true})
	return []steps.ClosedDay{{Day: d - 1, State: steps.DayClosed}, {Day: d, State: steps.DayClosed}}, b.err
}

func (b *books) Expire(_ context.Context, id steps.PeriodID) (steps.Expiry, error) {
	b.expired = append(b.expired, id)
	return steps.Expiry{Participants: 3, Points: 40}, b.err
}

func (b *books) PeriodOf(steps.Day) steps.Period { return b.periods[len(b.periods)-1] }
func (b *books) Periods() []steps.Period         { return b.periods }

func (b *books) EachClosedDay(_ context.Context, r steps.DayRange, fn func(steps.ClosedDay) error) error {
	return each(slices.DeleteFunc(slices.Clone(b.closed), func(d steps.ClosedDay) bool { return !r.Contains(d.Day) }), fn)
}

func (b *books) Outstanding(context.Context) ([]steps.PeriodBalance, error) { return b.have, nil }

func (b *books) EachLate(_ context.Context, f steps.LateFilter, fn func(steps.LateDay) error) error {
	for _, l := range b.late {
		if !f.Days.Contains(l.Day) || f.Participant != "" && f.Participant != l.Participant || f.Undecided && l.Decision.State != steps.Open {
			continue
		}
		if err := fn(l); err != nil {
			return err
		}
	}
	return nil
}

func (b *books) DiscardLate(_ context.Context, pd steps.ParticipantDay, d steps.Decision) error {
	for i := range b.late {
		if b.late[i].ParticipantDay == pd {
			d.State, d.At = steps.Discarded, now.Unix()
			b.late[i].Decision = d
			return nil
		}
	}
	return steps.Errorf("decide on late data", steps.NotFound, "there is none")
}

func (b *books) PutPrize(_ context.Context, p steps.Prize) (steps.Prize, error) {
	p.Taken = 1
	b.prizes = append(b.prizes, p)
	return p, b.err
}

func (b *books) EachPrize(_ context.Context, fn func(steps.Prize) error) error {
	return each(b.prizes, fn)
}

func (b *books) Exchange(_ context.Context, r steps.ExchangeRequest) (steps.Exchange, error) {
	b.requested = append(b.requested, r)
	return steps.Exchange{ID: 1, Participant: r.Participant, Prize: r.Prize, Price: r.Price, At: now.Unix(), Entry: 3,
		State: steps.ExchangeRequested, ChangedAt: now.Unix(), By: r.By}, b.err
}

func (b *books) ChangeExchange(_ context.Context, c steps.ExchangeChange) (steps.Exchange, error) {
	b.changes = append(b.changes, c)
	return steps.Exchange{ID: c.ID, State: c.State, By: c.By, Reason: c.Reason}, b.err
}

func (b *books) FindExchange(id steps.ExchangeID) (steps.Exchange, error) {
	for _, x := range b.exchanges {
		if x.ID == id {
			return x, nil
		}
	}
	return steps.Exchange{}, steps.Errorf("look up exchange", steps.NotFound, "there is no exchange %d", id)
}

func (b *books) EachExchange(_ context.Context, f steps.ExchangeFilter, fn func(steps.Exchange) error) error {
	return each(slices.DeleteFunc(slices.Clone(b.exchanges), func(x steps.Exchange) bool {
		return f.Participant != "" && x.Participant != f.Participant || f.Prize != "" && x.Prize != f.Prize || f.State != 0 && x.State != f.State
	}), fn)
}

func (b *books) PutActivity(_ context.Context, a steps.Activity) error {
	b.done = append(b.done, a)
	return b.err
}

func (b *books) CancelActivity(_ context.Context, pd steps.ParticipantDay, kind steps.ActivityKind, c steps.Cancellation) error {
	for i := range b.done {
		if b.done[i].ParticipantDay == pd && b.done[i].Kind == kind {
			b.done[i].Cancelled = c
			return b.err
		}
	}
	return steps.Errorf("cancel activity", steps.NotFound, "there is no %s", kind)
}

func (b *books) Activities(p steps.ParticipantID, r steps.DayRange) (out []steps.Activity, err error) {
	for _, a := range b.done {
		if a.Participant == p && r.Contains(a.Day) {
			out = append(out, a)
		}
	}
	return out, nil
}
