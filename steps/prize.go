package steps

import "fmt"

// PrizeID names an item of the catalogue.
type PrizeID string

// ParsePrizeID checks s against the ID alphabet and length.
func ParsePrizeID(s string) (PrizeID, error) {
	if err := checkID(s); err != nil {
		return "", E("parse prize id", Invalid, err)
	}
	return PrizeID(s), nil
}

// Prize is an item for which points are exchanged.
type Prize struct {
	ID        PrizeID
	NameJA    string
	NameEN    string
	Price     Points
	Unlimited bool
	Stock     uint64   // how many there are to give in all, those given included; unless Unlimited
	Taken     uint64   // exchanges that are not cancelled; kept by the store
	Days      DayRange // on which it can be asked for
}

// Left returns how many can still be asked for; ok is false where that is not limited.
func (p *Prize) Left() (n uint64, ok bool) {
	if p.Unlimited {
		return 0, false
	}
	return p.Stock - min(p.Stock, p.Taken), true
}

// ExchangeID numbers exchanges from 1 in the order in which they were made. It is short, so that it
// can be told on the phone.
type ExchangeID uint64

// ExchangeState is how far an exchange has come.
type ExchangeState uint8

// The states, as stored.
const (
	ExchangeRequested ExchangeState = 1
	ExchangeShipped   ExchangeState = 2
	ExchangeCancelled ExchangeState = 3 // points and stock were returned
)

var exchangeStateNames = [...]string{"", "requested", "shipped", "cancelled"}

// String returns the state's name.
func (s ExchangeState) String() string {
	if s > 0 && int(s) < len(exchangeStateNames) {
		return exchangeStateNames[s]
	}
	return fmt.Sprintf("exchange state(%d)", uint8(s))
}

// Exchange is a prize that a participant asked for.
type Exchange struct {
	ID          ExchangeID
	Participant ParticipantID
	Prize       PrizeID
	Price       Points // when it was asked for
	At          int64  // UTC seconds
	Entry       uint64 // Seq of the ledger entry that paid for it
	State       ExchangeState
	ChangedAt   int64  // UTC seconds, of the last change of the state
	By          string // who changed it
	Reason      string // why it was cancelled
	Refund      uint64 // Seq of the entry that returned the points, 0 while there is none
}

// ExchangeRequest asks for a prize.
type ExchangeRequest struct {
	Participant ParticipantID
	Key         RequestKey
	Prize       PrizeID
	Price       Points   // what the participant was shown; another price by now is a conflict
	Today       Day      // the programme's date
	Periods     []Period // the point periods there are
	By          string   // who asks; "" is the participant
}

// ExchangeChange ships or cancels an exchange.
type ExchangeChange struct {
	ID     ExchangeID
	State  ExchangeState // ExchangeShipped or ExchangeCancelled
	By     string
	Reason string // mandatory for a cancellation
}

// ExchangeFilter narrows a listing. Zero fields do not narrow.
type ExchangeFilter struct {
	Participant ParticipantID
	Prize       PrizeID
	State       ExchangeState
}
