// Package prize holds the rules of the catalogue: what a prize is, whether it can be asked for, and
// how an exchange proceeds. It is pure: the store calls it inside the transaction that also moves the
// points, so that no prize is given twice.
package prize

import (
	"ayumi/steps"
)

// maxNameBytes bounds a prize's name in one language.
const maxNameBytes = 400

// Check verifies a prize as staff enter it. The error is Invalid.
func Check(p *steps.Prize) error {
	const op = "check prize"
	switch {
	case p.ID == "":
		return steps.Errorf(op, steps.Invalid, "it has no id; give it one")
	case p.NameJA == "" || p.NameEN == "":
		return steps.Errorf(op, steps.Invalid, "prize %s needs a name in Japanese and in English", p.ID)
	case len(p.NameJA) > maxNameBytes || len(p.NameEN) > maxNameBytes:
		return steps.Errorf(op, steps.Invalid, "the name of prize %s is longer than %d bytes; shorten it", p.ID, maxNameBytes)
	case p.Price < 1 || p.Price > steps.MaxPoints:
		return steps.Errorf(op, steps.Invalid, "prize %s costs %d points; a price is 1 to %d", p.ID, p.Price, steps.MaxPoints)
	case p.Unlimited && p.Stock != 0:
		return steps.Errorf(op, steps.Invalid, "prize %s has a stock of %d and is unlimited; give one of both", p.ID, p.Stock)
	case p.Days.Until != 0 && p.Days.Until < p.Days.From:
		return steps.Errorf(op, steps.Invalid, "prize %s ends before it begins (%s); exchange the days", p.ID, p.Days)
	}
	return nil
}

// Replace puts staff's version of a prize in the place of the one that is there; old is nil for a new
// one. What was taken stays taken: less stock than that is a Conflict.
func Replace(old *steps.Prize, fresh steps.Prize) (steps.Prize, error) {
	if err := Check(&fresh); err != nil {
		return fresh, err
	}
	fresh.Taken = 0
	if old != nil {
		fresh.Taken = old.Taken
	}
	if !fresh.Unlimited && fresh.Stock < fresh.Taken {
		return fresh, steps.Errorf("change prize", steps.Conflict,
			"%d of prize %s are given already; the stock, which counts those, cannot be %d", fresh.Taken, fresh.ID, fresh.Stock)
	}
	return fresh, nil
}

// Take takes one out of the stock at the price that the participant saw. It is a Conflict that says
// what is wrong if the prize cannot be asked for today, costs something else by now, or is gone.
func Take(p *steps.Prize, price steps.Points, today steps.Day) error {
	const op = "exchange points"
	left, limited := p.Left()
	switch {
	case !p.Days.Contains(today):
		return steps.Errorf(op, steps.Conflict, "prize %s can be asked for in %s; today is %s", p.ID, p.Days, today)
	case price != p.Price:
		return steps.Errorf(op, steps.Conflict, "prize %s costs %d points, not %d; ask the participant again at that price", p.ID, p.Price, price)
	case limited && left == 0:
		return steps.Errorf(op, steps.Conflict, "prize %s is out of stock: all %d are given; raise its stock, or choose another", p.ID, p.Stock)
	}
	p.Taken++
	return nil
}

// Return puts one back into the stock.
func Return(p *steps.Prize) error {
	if p.Taken == 0 {
		return steps.Errorf("cancel exchange", steps.Internal, "none of prize %s is taken", p.ID)
	}
	p.Taken--
	return nil
}

// Advance ships or cancels an exchange: requested → shipped, and requested or shipped → cancelled, the
// latter for parcels that came back. again reports that it is there already, so that repeating a change
// is harmless. Everything else is a Conflict; a change without a name, or a cancellation without a
// reason, is Invalid.
func Advance(x *steps.Exchange, c *steps.ExchangeChange, now int64) (again bool, err error) {
	const op = "change exchange"
	switch {
	case c.State != steps.ExchangeShipped && c.State != steps.ExchangeCancelled:
		return false, steps.Errorf(op, steps.Invalid, "an exchange is shipped or cancelled, not %s", c.State)
	case c.By == "":
		return false, steps.Errorf(op, steps.Invalid, "say who does it")
	case c.State == steps.ExchangeCancelled && c.Reason == "":
		return false, steps.Errorf(op, steps.Invalid, "a cancellation needs a reason")
	case x.State == c.State:
		return true, nil
	case x.State == steps.ExchangeCancelled:
		return false, steps.Errorf(op, steps.Conflict, "exchange %d was cancelled by %s (%s)", x.ID, x.By, x.Reason)
	}
	x.State, x.ChangedAt, x.By, x.Reason = c.State, now, c.By, c.Reason
	return false, nil
}
