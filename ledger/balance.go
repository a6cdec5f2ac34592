package ledger

import (
	"cmp"
	"slices"

	"ayumi/steps"
)

// Apply does to b what e moves in and out of the participant's accounts. It is a Conflict, and b stays
// as it is, if an account would become negative.
func Apply(b *steps.Balance, e *steps.Entry) error {
	after := *b
	after.Periods = slices.Clone(b.Periods)
	for _, p := range e.Postings {
		Add(&after, p.From, p.Period, -p.Points)
		Add(&after, p.To, p.Period, p.Points)
	}
	if after.Provisional < 0 {
		return steps.Errorf("post entry", steps.Conflict, "participant %s has %d provisional points; %d are missing",
			b.Participant, b.Provisional, -after.Provisional)
	}
	for _, p := range after.Periods {
		if p.Available < 0 {
			return missing(b, p, steps.AccountAvailable, -p.Available)
		}
		if p.Pending < 0 {
			return missing(b, p, steps.AccountPending, -p.Pending)
		}
	}
	after.Periods = slices.DeleteFunc(after.Periods, func(p steps.PeriodBalance) bool {
		return p.Available == 0 && p.Pending == 0
	})
	*b = after
	return nil
}

func missing(b *steps.Balance, p steps.PeriodBalance, a steps.Account, n steps.Points) error {
	have := b.Of(p.Period)
	points := have.Available
	if a == steps.AccountPending {
		points = have.Pending
	}
	return steps.Errorf("post entry", steps.Conflict, "participant %s has %d %s points of the period %s; %d are missing",
		b.Participant, points, a, p.Period, n)
}

// Add adds n points, or takes them for n < 0, to one account of b, without looking whether it becomes
// negative. Those of the programme are not in b.
func Add(b *steps.Balance, a steps.Account, period steps.PeriodID, n steps.Points) {
	switch {
	case a == steps.AccountProvisional:
		b.Provisional += n
		return
	case !periodic(a):
		return
	}
	i, found := slices.BinarySearchFunc(b.Periods, period, func(p steps.PeriodBalance, id steps.PeriodID) int {
		return cmp.Compare(p.Period, id)
	})
	if !found {
		b.Periods = slices.Insert(b.Periods, i, steps.PeriodBalance{Period: period})
	}
	if a == steps.AccountAvailable {
		b.Periods[i].Available += n
	} else {
		b.Periods[i].Pending += n
	}
}

// Spend returns the postings of an exchange: the price is taken from the points that expire first.
// Points of a period that is over, or that is not among the periods, cannot be spent. A price that is
// not covered is a Conflict that says how much is missing.
func Spend(b *steps.Balance, price steps.Points, periods []steps.Period, today steps.Day) ([]steps.Posting, error) {
	const op = "exchange points"
	if price < 1 || price > steps.MaxPoints {
		return nil, steps.Errorf(op, steps.Invalid, "a price of %d points; it is 1 to %d", price, steps.MaxPoints)
	}
	var postings []steps.Posting
	rest := price
	for _, p := range spendable(periods, today) {
		n := min(rest, b.Of(p.ID).Available)
		if n == 0 {
			continue
		}
		postings = append(postings, steps.Posting{From: steps.AccountAvailable, To: steps.AccountSpent, Period: p.ID, Points: n})
		if rest -= n; rest == 0 {
			return postings, nil
		}
	}
	return nil, steps.Errorf(op, steps.Conflict, "participant %s has %d points to exchange; the price is %d, so %d are missing",
		b.Participant, price-rest, price, rest)
}

// spendable returns the periods that are not over, those that expire first before the others.
func spendable(periods []steps.Period, today steps.Day) []steps.Period {
	order := make([]steps.Period, 0, len(periods))
	for _, p := range periods {
		if p.Expires == 0 || today <= p.Expires {
			order = append(order, p)
		}
	}
	slices.SortFunc(order, func(a, b steps.Period) int {
		never := func(p steps.Period) int {
			if p.Expires == 0 {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(never(a), never(b)), cmp.Compare(a.Expires, b.Expires),
			cmp.Compare(a.Days.From, b.Days.From), cmp.Compare(a.ID, b.ID))
	})
	return slices.CompactFunc(order, func(a, b steps.Period) bool { return a.ID == b.ID })
}

// Reverse returns the postings that undo an exchange: each amount goes back to the period that it came
// from, also when that is over by now.
func Reverse(exchange []steps.Posting) []steps.Posting {
	back := slices.Clone(exchange)
	for i := range back {
		back[i].From, back[i].To = back[i].To, back[i].From
	}
	return back
}

// Expire returns the posting that ends a period, and false if the participant has nothing of it that
// could expire. What is held for review stays held.
func Expire(b *steps.Balance, period steps.PeriodID) (steps.Posting, bool) {
	n := b.Of(period).Available
	return steps.Posting{From: steps.AccountAvailable, To: steps.AccountExpired, Period: period, Points: n}, n > 0
}
