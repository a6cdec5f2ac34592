package steps

import (
	"fmt"
	"strings"
)

// Account is where points are. Every posting moves an amount from one account to another, so the
// balances of all accounts together are always zero.
type Account uint8

// The accounts, as stored. The first three are a participant's own and are never negative; the
// others are the programme's.
const (
	AccountProvisional Account = 1 // earned on days that are not closed
	AccountPending     Account = 2 // held for review, by point period
	AccountAvailable   Account = 3 // can be exchanged, by point period
	AccountIssued      Account = 4 // where points come from: minus all that was ever awarded
	AccountSpent       Account = 5 // exchanged for prizes
	AccountExpired     Account = 6 // not exchanged in time
)

var accountNames = [...]string{"", "provisional", "pending", "available", "issued", "spent", "expired"}

// String returns the account's name.
func (a Account) String() string {
	if a > 0 && int(a) < len(accountNames) {
		return accountNames[a]
	}
	return fmt.Sprintf("account(%d)", uint8(a))
}

// EntryKind says why points moved.
type EntryKind uint8

// The kinds, as stored. The first four are lines of a day; the others are a participant's entries.
const (
	EntryAward      EntryKind = 1  // a day's first points
	EntryAdjustment EntryKind = 2  // a day that is not closed was scored anew
	EntryCarried    EntryKind = 3  // earlier awards and adjustments of a day, summed up
	EntryFinal      EntryKind = 4  // a day was closed
	EntryBonus      EntryKind = 5  // given by staff
	EntryExchange   EntryKind = 6  // a prize was asked for
	EntryRefund     EntryKind = 7  // an exchange was cancelled
	EntryExpiry     EntryKind = 8  // a point period is over
	EntryCorrection EntryKind = 9  // staff put right what was final
	EntryHold       EntryKind = 10 // staff hold points for review
	EntryRelease    EntryKind = 11 // and let them go
)

var entryKindNames = [...]string{"", "award", "adjustment", "carried", "final", "bonus", "exchange",
	"refund", "expiry", "correction", "hold", "release"}

// String returns the kind's name.
func (k EntryKind) String() string {
	if k > 0 && int(k) < len(entryKindNames) {
		return entryKindNames[k]
	}
	return fmt.Sprintf("entry kind(%d)", uint8(k))
}

// PeriodID names a point period, such as "spring@2026-04-01" or "2026".
type PeriodID string

// ParsePeriodID checks s against the ID alphabet and length. A period that the rules name is followed
// by an @ and its first day, as in "spring@2026-04-01".
func ParsePeriodID(s string) (PeriodID, error) {
	const op = "parse period id"
	name, from, dated := strings.Cut(s, "@")
	if err := checkID(name); err != nil {
		return "", E(op, Invalid, err)
	}
	if dated {
		if _, err := ParseDay(from); err != nil {
			return "", E(op, Invalid, err)
		}
	}
	return PeriodID(s), nil
}

// Period is a stretch of days whose points can be exchanged until one date.
type Period struct {
	ID      PeriodID
	Days    DayRange // the days that earn them
	Expires Day      // the last day on which they can be exchanged; 0 is never
}

// RequestKey is chosen by whoever asks for an entry, once for each thing asked for. Asking again with
// the same key is answered with the entry that is there.
type RequestKey string

// ParseRequestKey checks s against the ID alphabet and length.
func ParseRequestKey(s string) (RequestKey, error) {
	if err := checkID(s); err != nil {
		return "", E("parse request key", Invalid, err)
	}
	return RequestKey(s), nil
}

// MaxPoints bounds one posting, so that no sum of them overflows.
const MaxPoints Points = 1 << 40

// Posting moves points from one account to another.
type Posting struct {
	From, To Account
	Period   PeriodID // of the participant's pending or available account; "" where there is neither
	Points   Points   // 1 to MaxPoints
}

// Totals sums postings by account: the trial balance. The index is the Account.
type Totals [AccountExpired + 1]Points

// Move adds one posting.
func (t *Totals) Move(p Posting) {
	t[p.From] -= p.Points
	t[p.To] += p.Points
}

// Add adds other totals.
func (t *Totals) Add(o *Totals) {
	for i := range t {
		t[i] += o[i]
	}
}

// Sum is zero whatever was moved.
func (t *Totals) Sum() (n Points) {
	for _, v := range t {
		n += v
	}
	return n
}

// Entry is one line of a participant's ledger: what moved, when and why.
type Entry struct {
	Participant ParticipantID
	Kind        EntryKind
	Seq         uint64     // 1, 2, … through the participant's entries; 0 for the lines of a day
	At          int64      // UTC seconds
	Key         RequestKey // "" where nobody asked
	Postings    []Posting
	Day         Day        // lines of a day, and corrections of one; 0 otherwise
	Steps       uint64     // award, adjustment: what the points were computed from
	RuleSet     string     // award, adjustment: and by which rules
	Exchange    ExchangeID // exchange, refund
	Reason      string     // mandatory where staff decide
	By          string     // who asked; mandatory where staff decide
}

// EntryRequest asks for a bonus, a correction, a hold or a release.
type EntryRequest struct {
	Participant ParticipantID
	Key         RequestKey
	Kind        EntryKind
	Period      PeriodID
	// Account is the one that a correction changes: AccountAvailable, or AccountPending.
	Account Account
	// Points is the amount. That of a correction is signed: what it adds.
	Points Points
	// Day is the closed day that a correction is about, 0 for none. Such a correction also takes the
	// day's late data off the list if it brings the day to the points that the late data would have
	// earned.
	Day    Day
	Reason string
	By     string
}

// PeriodBalance is what a participant has of one point period.
type PeriodBalance struct {
	Period    PeriodID
	Available Points
	Pending   Points
}

// Balance is what a participant has.
type Balance struct {
	Participant ParticipantID
	Provisional Points          // of the days that are not closed
	Periods     []PeriodBalance // ascending by Period, those that hold something
	Entries     uint64          // how many entries there are, the newest one's Seq
}

// Of returns what the balance holds of a period.
func (b *Balance) Of(p PeriodID) PeriodBalance {
	for _, have := range b.Periods {
		if have.Period == p {
			return have
		}
	}
	return PeriodBalance{Period: p}
}

// Available returns what can be exchanged, over all periods, expired or not.
func (b *Balance) Available() (n Points) {
	for _, p := range b.Periods {
		n += p.Available
	}
	return n
}

// Pending returns what is held for review, over all periods.
func (b *Balance) Pending() (n Points) {
	for _, p := range b.Periods {
		n += p.Pending
	}
	return n
}

// CloseRequest asks for a day to be closed: its points become final.
type CloseRequest struct {
	Day    Day
	Period PeriodID // to which the day's points go
	By     string   // who or what closes it
	// Held reports whether a participant's points of the day are held though no review holds them. nil holds
	// none more. It is asked once for everybody with points, by the caller's goroutine.
	Held func(ParticipantID) bool
}

// CloseState is how far the closing of a day has come.
type CloseState uint8

// The states, as stored.
const (
	DayClosing CloseState = 1 // its points are fixed, and some are not posted yet
	DayClosed  CloseState = 2
)

var closeStateNames = [...]string{"", "closing", "closed"}

// String returns the state's name.
func (s CloseState) String() string {
	if s > 0 && int(s) < len(closeStateNames) {
		return closeStateNames[s]
	}
	return fmt.Sprintf("close state(%d)", uint8(s))
}

// ClosedDay is a day whose points are fixed.
type ClosedDay struct {
	Day          Day
	State        CloseState
	Period       PeriodID
	At           int64 // UTC seconds, when its points were fixed
	By           string
	Participants int    // who got points so far
	Points       Points // that went to available
	Held         Points // that went to pending
}

// Expiry is what the end of a point period took.
type Expiry struct {
	Participants int
	Points       Points
}

// LateDay is a closed day whose data changed afterwards so that it would have earned other points.
type LateDay struct {
	ParticipantDay
	At       int64  // UTC seconds, when it was first noted
	Steps    uint64 // the total now
	Points   Points // what it would have earned
	Parts    Parts  // of these
	Final    Points // what it earned, corrections included
	Kept     Parts  // of these
	RuleSet  string
	Decision Decision // Discarded once staff have decided to leave the day as it is
}

// LateFilter narrows a listing of late days. Zero fields do not narrow.
type LateFilter struct {
	Days        DayRange
	Participant ParticipantID
	Undecided   bool
	Even        bool // also days that would have earned as many points as they have, by other rules
}
