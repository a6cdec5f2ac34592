package admin

import (
	"context"
	"time"

	"ayumi/steps"
)

// Ledger is what the routes of balances and entries need of the store.
type Ledger interface {
	Balance(p steps.ParticipantID) (steps.Balance, error)
	// EachBalance calls fn in the order of the IDs; the balance is valid during the call only.
	EachBalance(ctx context.Context, fn func(*steps.Balance) error) error
	EachEntry(ctx context.Context, p steps.ParticipantID, fn func(steps.Entry) error) error
	Totals(ctx context.Context) (steps.Totals, error)
	Post(ctx context.Context, r steps.EntryRequest) (steps.Entry, error)
}

// Closing closes days and expires points; *closing.Closer satisfies it.
type Closing interface {
	CloseDay(ctx context.Context, day steps.Day, by string, early bool) (steps.ClosedDay, error)
	// CloseThrough returns the days that it closed, also beside an error.
	CloseThrough(ctx context.Context, day steps.Day, by string, early bool) ([]steps.ClosedDay, error)
	Expire(ctx context.Context, id steps.PeriodID) (steps.Expiry, error)
	PeriodOf(day steps.Day) steps.Period
	// Periods returns those that have begun, by rising date.
	Periods() []steps.Period
}

// ClosedDays is what the routes of closed days and late data need of the store.
type ClosedDays interface {
	EachClosedDay(ctx context.Context, r steps.DayRange, fn func(steps.ClosedDay) error) error
	Outstanding(ctx context.Context) ([]steps.PeriodBalance, error)
	EachLate(ctx context.Context, f steps.LateFilter, fn func(steps.LateDay) error) error
	DiscardLate(ctx context.Context, pd steps.ParticipantDay, d steps.Decision) error
}

// Balance is what a participant has.
type Balance struct {
	Participant steps.ParticipantID `json:"participant"`
	Provisional steps.Points        `json:"provisional"` // of days that are not closed
	Available   steps.Points        `json:"available"`   // final, of all periods
	Pending     steps.Points        `json:"pending"`     // held for review
	Spendable   steps.Points        `json:"spendable"`   // available in periods that are not over
	Entries     uint64              `json:"entries"`
	Periods     []PeriodBalance     `json:"periods"`
}

// PeriodBalance is what a participant, or everybody, has of one point period.
type PeriodBalance struct {
	Period    steps.PeriodID `json:"period"`
	From      *steps.Day     `json:"from,omitempty"`    // nil for a period that the programme does not have
	Until     *steps.Day     `json:"until,omitempty"`   // the last day that earns its points
	Expires   *steps.Day     `json:"expires,omitempty"` // the last day on which they are good; nil is never
	Spendable bool           `json:"spendable"`
	Available steps.Points   `json:"available"`
	Pending   steps.Points   `json:"pending"`
}

// Entry is one line of a participant's ledger.
type Entry struct {
	At       time.Time        `json:"at"`
	Kind     string           `json:"kind"`
	Seq      uint64           `json:"seq,omitempty"` // of the entries, 0 for the lines of a day
	Key      steps.RequestKey `json:"key,omitempty"`
	Postings []Posting        `json:"postings"`
	Day      *steps.Day       `json:"day,omitempty"`
	Steps    uint64           `json:"steps,omitempty"`
	RuleSet  string           `json:"rule_set,omitempty"`
	Exchange steps.ExchangeID `json:"exchange,omitempty"`
	By       string           `json:"by,omitempty"`
	Reason   string           `json:"reason,omitempty"`
}

// Posting moves points from one account to another.
type Posting struct {
	From   string         `json:"from"`
	To     string         `json:"to"`
	Period steps.PeriodID `json:"period,omitempty"`
	Points steps.Points   `json:"points"`
}

// Totals is the trial balance. Sum is zero.
type Totals struct {
	Provisional steps.Points `json:"provisional"`
	Pending     steps.Points `json:"pending"`
	Available   steps.Points `json:"available"`
	Issued      steps.Points `json:"issued"`
	Spent       steps.Points `json:"spent"`
	Expired     steps.Points `json:"expired"`
	Sum         steps.Points `json:"sum"`
}

// EntryRequest asks for a bonus, a correction, a hold or a release.
type EntryRequest struct {
	Kind    string           `json:"kind"`
	Key     steps.RequestKey `json:"key"`               // new for each thing asked for
	Points  steps.Points     `json:"points"`            // of a correction: what it adds, negative to take
	Period  steps.PeriodID   `json:"period,omitempty"`  // that of the day, or today's, when absent
	Account string           `json:"account,omitempty"` // of a correction: available, the default, or pending
	Day     *steps.Day       `json:"day,omitempty"`     // of a correction: the closed day that it is about
	By      string           `json:"by"`
	Reason  string           `json:"reason"`
}

// ClosedDay is a day whose points are final.
type ClosedDay struct {
	Day          steps.Day      `json:"day"`
	State        string         `json:"state"`
	Period       steps.PeriodID `json:"period"`
	ClosedAt     time.Time      `json:"closed_at"`
	By           string         `json:"by"`
	Participants int            `json:"participants"`
	Points       steps.Points   `json:"points"`
	Held         steps.Points   `json:"held"`
}

// CloseRequest asks for one day to be closed, or for all up to one.
type CloseRequest struct {
	Day     *steps.Day `json:"day,omitempty"`
	Through *steps.Day `json:"through,omitempty"`
	Early   bool       `json:"early,omitempty"` // though late data would still count
	By      string     `json:"by"`
}

// closedDays answers a CloseRequest: what was closed.
type closedDays struct {
	Days []ClosedDay `json:"days"`
}

// LateDay is a closed day whose data changed afterwards.
type LateDay struct {
	Participant steps.ParticipantID `json:"participant"`
	Day         steps.Day           `json:"day"`
	NotedAt     time.Time           `json:"noted_at"`
	Steps       uint64              `json:"steps"`
	Points      steps.Points        `json:"points"` // what it would have earned
	Final       steps.Points        `json:"final"`  // what it earned, corrections included
	RuleSet     string              `json:"rule_set"`
	State       string              `json:"state"`
	Decision    *Decision           `json:"decision,omitempty"` // nil while open
}

// lateDecision asks for late data to be discarded.
type lateDecision struct {
	Participant steps.ParticipantID `json:"participant"`
	Day         *steps.Day          `json:"day"`
	By          string              `json:"by"`
	Reason      string              `json:"reason"`
}

// Expiry is what the end of a period took.
type Expiry struct {
	Participants int          `json:"participants"`
	Points       steps.Points `json:"points"`
}

func dayOrNil(d steps.Day) *steps.Day {
	if d == 0 {
		return nil
	}
	return &d
}

func entryOf(e *steps.Entry) Entry {
	out := Entry{At: instant(e.At), Kind: e.Kind.String(), Seq: e.Seq, Key: e.Key, Postings: make([]Posting, len(e.Postings)),
		Day: dayOrNil(e.Day), Steps: e.Steps, RuleSet: e.RuleSet, Exchange: e.Exchange, By: e.By, Reason: e.Reason}
	for i, p := range e.Postings {
		out.Postings[i] = Posting{From: p.From.String(), To: p.To.String(), Period: p.Period, Points: p.Points}
	}
	return out
}

func closedOf(d *steps.ClosedDay) ClosedDay {
	return ClosedDay{Day: d.Day, State: d.State.String(), Period: d.Period, ClosedAt: instant(d.At), By: d.By,
		Participants: d.Participants, Points: d.Points, Held: d.Held}
}

func lateOf(l *steps.LateDay) LateDay {
	out := LateDay{Participant: l.Participant, Day: l.Day, NotedAt: instant(l.At), Steps: l.Steps, Points: l.Points,
		Final: l.Final, RuleSet: l.RuleSet, State: l.Decision.State.String()}
	if d := l.Decision; d.State != steps.Open {
		out.Decision = &Decision{At: instant(d.At), By: d.By, Reason: d.Reason}
	}
	return out
}
