package admin

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"ayumi/steps"
)

// Prizes is the catalogue.
type Prizes interface {
	PutPrize(ctx context.Context, p steps.Prize) (steps.Prize, error)
	EachPrize(ctx context.Context, fn func(steps.Prize) error) error
}

// Exchanges gives prizes for points.
type Exchanges interface {
	Exchange(ctx context.Context, r steps.ExchangeRequest) (steps.Exchange, error)
	ChangeExchange(ctx context.Context, c steps.ExchangeChange) (steps.Exchange, error)
	FindExchange(id steps.ExchangeID) (steps.Exchange, error)
	EachExchange(ctx context.Context, f steps.ExchangeFilter, fn func(steps.Exchange) error) error
}

// Prize is an item of the catalogue.
type Prize struct {
	ID        steps.PrizeID `json:"prize"`
	NameJA    string        `json:"name_ja"`
	NameEN    string        `json:"name_en"`
	Price     steps.Points  `json:"price"`
	Unlimited bool          `json:"unlimited,omitempty"`
	Stock     uint64        `json:"stock"`           // that there ever were, those given included
	Taken     uint64        `json:"taken,omitempty"` // given, and not cancelled
	Left      *uint64       `json:"left,omitempty"`  // nil where that is not limited
	From      *steps.Day    `json:"from,omitempty"`  // on which it can be asked for
	Until     *steps.Day    `json:"until,omitempty"`
}

// newPrize is a prize as staff enter it.
type newPrize struct {
	NameJA    string       `json:"name_ja"`
	NameEN    string       `json:"name_en"`
	Price     steps.Points `json:"price"`
	Unlimited bool         `json:"unlimited,omitempty"`
	Stock     uint64       `json:"stock,omitempty"`
	From      *steps.Day   `json:"from,omitempty"`
	Until     *steps.Day   `json:"until,omitempty"`
}

// Exchange is a prize that a participant asked for.
type Exchange struct {
	ID          steps.ExchangeID    `json:"exchange"`
	Participant steps.ParticipantID `json:"participant"`
	Prize       steps.PrizeID       `json:"prize"`
	Price       steps.Points        `json:"price"`
	RequestedAt time.Time           `json:"requested_at"`
	Entry       uint64              `json:"entry"` // of the participant's ledger
	State       string              `json:"state"`
	ChangedAt   time.Time           `json:"changed_at"`
	By          string              `json:"by,omitempty"`
	Reason      string              `json:"reason,omitempty"`
	Refund      uint64              `json:"refund,omitempty"` // the entry that returned the points
}

// ExchangeRequest asks for a prize.
type ExchangeRequest struct {
	Participant steps.ParticipantID `json:"participant"`
	Key         steps.RequestKey    `json:"key"` // new for each thing asked for
	Prize       steps.PrizeID       `json:"prize"`
	Price       steps.Points        `json:"price"` // what the participant was shown
	By          string              `json:"by,omitempty"`
}

// exchangeChange ships or cancels an exchange.
type exchangeChange struct {
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`
}

func prizeOf(p *steps.Prize) Prize {
	out := Prize{ID: p.ID, NameJA: p.NameJA, NameEN: p.NameEN, Price: p.Price, Unlimited: p.Unlimited, Stock: p.Stock,
		Taken: p.Taken, From: dayOrNil(p.Days.From), Until: dayOrNil(p.Days.Until)}
	if left, limited := p.Left(); limited {
		out.Left = &left
	}
	return out
}

func exchangeOf(x *steps.Exchange) Exchange {
	return Exchange{ID: x.ID, Participant: x.Participant, Prize: x.Prize, Price: x.Price, RequestedAt: instant(x.At),
		Entry: x.Entry, State: x.State.String(), ChangedAt: instant(x.ChangedAt), By: x.By, Reason: x.Reason, Refund: x.Refund}
}

func (s *Server) listPrizes(w http.ResponseWriter, r *http.Request) error {
	if _, err := params(r); err != nil {
		return err
	}
	st := s.newStream(w)
	return st.end(s.d.Prizes.EachPrize(r.Context(), func(p steps.Prize) error { return st.row(prizeOf(&p)) }))
}

func (s *Server) putPrize(w http.ResponseWriter, r *http.Request) error {
	id, err := steps.ParsePrizeID(r.PathValue("id"))
	if err != nil {
		return err
	}
	var in newPrize
	if err := decode(w, r, &in); err != nil {
		return err
	}
	p := steps.Prize{ID: id, NameJA: in.NameJA, NameEN: in.NameEN, Price: in.Price, Unlimited: in.Unlimited, Stock: in.Stock}
	if in.From != nil {
		p.Days.From = *in.From
	}
	if in.Until != nil {
		p.Days.Until = *in.Until
	}
	if p, err = s.d.Prizes.PutPrize(r.Context(), p); err != nil {
		return err
	}
	return s.reply(w, http.StatusOK, prizeOf(&p))
}

func (s *Server) requestExchange(w http.ResponseWriter, r *http.Request) error {
	const op = "exchange points"
	var in ExchangeRequest
	err := decode(w, r, &in)
	if err != nil {
		return err
	}
	req := steps.ExchangeRequest{Price: in.Price, Today: s.today(), Periods: s.d.Closing.Periods(), By: in.By}
	if in.Participant == "" {
		return steps.Errorf(op, steps.Invalid, "participant is empty; say who asks for the prize")
	}
	if req.Participant, err = s.whose(op, string(in.Participant)); err != nil {
		return err
	}
	if req.Key, err = requestKey(op, in.Key); err != nil {
		return err
	}
	if req.Prize, err = steps.ParsePrizeID(string(in.Prize)); err != nil {
		return err
	}
	if in.Price < 1 {
		return steps.Errorf(op, steps.Invalid, "price is %d; give the points that the participant was shown", in.Price)
	}
	if in.By != "" {
		if err := named(op, &req.By); err != nil {
			return err
		}
	}
	x, err := s.d.Exchanges.Exchange(r.Context(), req)
	if err != nil {
		return err
	}
	return s.reply(w, http.StatusOK, exchangeOf(&x))
}

func exchangeID(r *http.Request) (steps.ExchangeID, error) {
	n, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil || n == 0 {
		return 0, steps.Errorf("look up exchange", steps.Invalid, "%q is no number of an exchange; they count from 1", r.PathValue("id"))
	}
	return steps.ExchangeID(n), nil
}

func (s *Server) exchange(w http.ResponseWriter, r *http.Request) error {
	id, err := exchangeID(r)
	if err != nil {
		return err
	}
	x, err := s.d.Exchanges.FindExchange(id)
	if err != nil {
		return err
	}
	return s.reply(w, http.StatusOK, exchangeOf(&x))
}

func (s *Server) ship(w http.ResponseWriter, r *http.Request) error {
	return s.changeExchange(w, r, steps.ExchangeShipped)
}

func (s *Server) cancel(w http.ResponseWriter, r *http.Request) error {
	return s.changeExchange(w, r, steps.ExchangeCancelled)
}

func (s *Server) changeExchange(w http.ResponseWriter, r *http.Request, to steps.ExchangeState) error {
	const op = "change exchange"
	id, err := exchangeID(r)
	if err != nil {
		return err
	}
	var in exchangeChange
	if err := decode(w, r, &in); err != nil {
		return err
	}
	switch {
	case to == steps.ExchangeCancelled:
		err = signed(op, &in.By, &in.Reason)
	case in.Reason != "":
		err = steps.Errorf(op, steps.Invalid, "reason is for cancellations; leave it out")
	default:
		err = named(op, &in.By)
	}
	if err != nil {
		return err
	}
	x, err := s.d.Exchanges.ChangeExchange(r.Context(), steps.ExchangeChange{ID: id, State: to, By: in.By, Reason: in.Reason})
	if err != nil {
		return err
	}
	return s.reply(w, http.StatusOK, exchangeOf(&x))
}

var exchangeStates = []steps.ExchangeState{steps.ExchangeRequested, steps.ExchangeShipped, steps.ExchangeCancelled}

func (s *Server) listExchanges(w http.ResponseWriter, r *http.Request) error {
	const op = "list exchanges"
	q, err := params(r, "participant", "prize", "state")
	if err != nil {
		return err
	}
	var f steps.ExchangeFilter
	if f.Participant, err = s.whose(op, q.Get("participant")); err != nil {
		return err
	}
	if text := q.Get("prize"); text != "" {
		if f.Prize, err = steps.ParsePrizeID(text); err != nil {
			return err
		}
	}
	if text := q.Get("state"); text != "" {
		i := slices.IndexFunc(exchangeStates, func(x steps.ExchangeState) bool { return x.String() == text })
		if i < 0 {
			return steps.Errorf(op, steps.Invalid, "there is no state %q; use one of %s", text, names(exchangeStates))
		}
		f.State = exchangeStates[i]
	}
	st := s.newStream(w)
	return st.end(s.d.Exchanges.EachExchange(r.Context(), f, func(x steps.Exchange) error { return st.row(exchangeOf(&x)) }))
}
