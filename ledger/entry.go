package ledger

import (
	"slices"

	"ayumi/steps"
)

// MaxReasonBytes bounds a reason, and MaxByBytes the name of who gave it.
const (
	MaxReasonBytes = 1000
	MaxByBytes     = 200
)

// New makes the entry that a request asks for, without the participant's next Seq and the time. What
// is missing or wrong in the request is Invalid.
func New(r *steps.EntryRequest) (*steps.Entry, error) {
	const op = "make entry"
	if r.Participant == "" || r.Key == "" || r.Period == "" {
		return nil, steps.Errorf(op, steps.Invalid, "participant, request key and point period are needed")
	}
	p := steps.Posting{Period: r.Period, Points: r.Points}
	switch r.Kind {
	case steps.EntryBonus:
		p.From, p.To = steps.AccountIssued, steps.AccountAvailable
	case steps.EntryHold:
		p.From, p.To = steps.AccountAvailable, steps.AccountPending
	case steps.EntryRelease:
		p.From, p.To = steps.AccountPending, steps.AccountAvailable
	case steps.EntryCorrection:
		if r.Account != steps.AccountAvailable && r.Account != steps.AccountPending {
			return nil, steps.Errorf(op, steps.Invalid, "a correction changes available or pending points, not %s", r.Account)
		}
		p.From, p.To = steps.AccountIssued, r.Account
		if p.Points < 0 {
			p.From, p.To, p.Points = p.To, p.From, -p.Points
		}
	default:
		return nil, steps.Errorf(op, steps.Invalid, "an entry of the kind %s is not made on request", r.Kind)
	}
	if r.Kind != steps.EntryCorrection && (r.Account != 0 || r.Day != 0) {
		return nil, steps.Errorf(op, steps.Invalid, "only a correction names an account or a day")
	}
	e := &steps.Entry{Participant: r.Participant, Kind: r.Kind, Key: r.Key, Day: r.Day, Reason: r.Reason, By: r.By,
		Postings: []steps.Posting{p}}
	return e, Check(e)
}

// Same reports whether two entries were made of the same request.
func Same(a, b *steps.Entry) bool {
	return a.Participant == b.Participant && a.Kind == b.Kind && a.Key == b.Key && a.Day == b.Day &&
		a.Reason == b.Reason && a.By == b.By && slices.Equal(a.Postings, b.Postings)
}

// Check verifies an entry by itself: its postings move points in a direction that its kind allows,
// and what staff decided has a reason and a name. The error is Invalid.
func Check(e *steps.Entry) error {
	const op = "make entry"
	if len(e.Postings) == 0 {
		return steps.Errorf(op, steps.Invalid, "it moves nothing")
	}
	for _, p := range e.Postings {
		if p.Points < 1 || p.Points > steps.MaxPoints {
			return steps.Errorf(op, steps.Invalid, "%d points; an entry moves 1 to %d", p.Points, steps.MaxPoints)
		}
		if !allowed(e.Kind, p.From, p.To) {
			return steps.Errorf(op, steps.Invalid, "%s does not move points from %s to %s", e.Kind, p.From, p.To)
		}
		if (p.Period == "") == (periodic(p.From) || periodic(p.To)) {
			return steps.Errorf(op, steps.Invalid, "a posting from %s to %s with the point period %q", p.From, p.To, p.Period)
		}
	}
	if staff(e.Kind) && (e.Reason == "" || e.By == "") {
		return steps.Errorf(op, steps.Invalid, "%s needs a reason and who decided it", e.Kind)
	}
	if len(e.Reason) > MaxReasonBytes || len(e.By) > MaxByBytes {
		return steps.Errorf(op, steps.Invalid, "reason or name is too long; at most %d and %d bytes", MaxReasonBytes, MaxByBytes)
	}
	return nil
}

// staff reports whether a kind is a decision of staff.
func staff(k steps.EntryKind) bool {
	switch k {
	case steps.EntryBonus, steps.EntryRefund, steps.EntryCorrection, steps.EntryHold, steps.EntryRelease:
		return true
	}
	return false
}

// periodic reports whether an account is kept by point period.
func periodic(a steps.Account) bool { return a == steps.AccountAvailable || a == steps.AccountPending }

// allowed is the table of who pays whom.
func allowed(k steps.EntryKind, from, to steps.Account) bool {
	either := func(a, b steps.Account) bool { return from == a && to == b || from == b && to == a }
	switch k {
	case steps.EntryAward, steps.EntryCarried:
		return from == steps.AccountIssued && to == steps.AccountProvisional
	case steps.EntryAdjustment:
		return either(steps.AccountIssued, steps.AccountProvisional)
	case steps.EntryFinal:
		return from == steps.AccountProvisional && periodic(to)
	case steps.EntryBonus:
		return from == steps.AccountIssued && to == steps.AccountAvailable
	case steps.EntryExchange:
		return from == steps.AccountAvailable && to == steps.AccountSpent
	case steps.EntryRefund:
		return from == steps.AccountSpent && to == steps.AccountAvailable
	case steps.EntryExpiry:
		return from == steps.AccountAvailable && to == steps.AccountExpired
	case steps.EntryCorrection:
		return either(steps.AccountIssued, steps.AccountAvailable) || either(steps.AccountIssued, steps.AccountPending)
	case steps.EntryHold:
		return from == steps.AccountAvailable && to == steps.AccountPending
	case steps.EntryRelease:
		return from == steps.AccountPending && to == steps.AccountAvailable
	}
	return false
}
