package admin

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"ayumi/steps"
)

// registered reads the participant of a path, who must be known: a misspelt ID must not get points.
func (s *Server) registered(r *http.Request) (steps.ParticipantID, error) {
	p, err := steps.ParseParticipantID(r.PathValue("id"))
	if err != nil {
		return "", err
	}
	if _, ok := s.d.Registry.Participant(p); !ok {
		return "", steps.Errorf("find participant", steps.NotFound, "participant %q is not registered; check the ID", p)
	}
	return p, nil
}

func (s *Server) balance(w http.ResponseWriter, r *http.Request) error {
	p, err := s.registered(r)
	if err != nil {
		return err
	}
	if err := s.settle(r.Context(), "show balance"); err != nil {
		return err
	}
	b, err := s.d.Ledger.Balance(p)
	if err != nil {
		return err
	}
	return s.reply(w, http.StatusOK, s.balanceOf(&b, s.d.Closing.Periods()))
}

func (s *Server) listBalances(w http.ResponseWriter, r *http.Request) error {
	if _, err := params(r); err != nil {
		return err
	}
	if err := s.settle(r.Context(), "list balances"); err != nil {
		return err
	}
	periods := s.d.Closing.Periods()
	st := s.newStream(w)
	return st.end(s.d.Ledger.EachBalance(r.Context(), func(b *steps.Balance) error { return st.row(s.balanceOf(b, periods)) }))
}

// balanceOf shows a balance with what is known of its periods.
func (s *Server) balanceOf(b *steps.Balance, periods []steps.Period) Balance {
	out := Balance{Participant: b.Participant, Provisional: b.Provisional, Available: b.Available(), Pending: b.Pending(),
		Entries: b.Entries, Periods: make([]PeriodBalance, len(b.Periods))}
	for i := range b.Periods {
		p := s.periodBalance(&b.Periods[i], periods)
		if p.Spendable {
			out.Spendable += p.Available
		}
		out.Periods[i] = p
	}
	return out
}

func (s *Server) periodBalance(b *steps.PeriodBalance, periods []steps.Period) PeriodBalance {
	out := PeriodBalance{Period: b.Period, Available: b.Available, Pending: b.Pending}
	if i := slices.IndexFunc(periods, func(p steps.Period) bool { return p.ID == b.Period }); i >= 0 {
		p := &periods[i]
		out.From, out.Until, out.Expires = &p.Days.From, &p.Days.Until, dayOrNil(p.Expires)
		out.Spendable = p.Expires == 0 || s.today() <= p.Expires
	}
	return out
}

func (s *Server) statement(w http.ResponseWriter, r *http.Request) error {
	p, err := s.registered(r)
	if err != nil {
		return err
	}
	if err := s.settle(r.Context(), "show statement"); err != nil {
		return err
	}
	st := s.newStream(w)
	return st.end(s.d.Ledger.EachEntry(r.Context(), p, func(e steps.Entry) error { return st.row(entryOf(&e)) }))
}

func (s *Server) totals(w http.ResponseWriter, r *http.Request) error {
	if err := s.settle(r.Context(), "show totals"); err != nil {
		return err
	}
	t, err := s.d.Ledger.Totals(r.Context())
	if err != nil {
		return err
	}
	return s.reply(w, http.StatusOK, Totals{
		Provisional: t[steps.AccountProvisional], Pending: t[steps.AccountPending], Available: t[steps.AccountAvailable],
		Issued: t[steps.AccountIssued], Spent: t[steps.AccountSpent], Expired: t[steps.AccountExpired], Sum: t.Sum(),
	})
}

// staffKinds are the entries that staff ask for.
var staffKinds = []steps.EntryKind{steps.EntryBonus, steps.EntryCorrection, steps.EntryHold, steps.EntryRelease}

func (s *Server) postEntry(w http.ResponseWriter, r *http.Request) error {
	p, err := s.registered(r)
	if err != nil {
		return err
	}
	var in EntryRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	req, err := s.entryRequest(r.Context(), p, &in)
	if err != nil {
		return err
	}
	e, err := s.d.Ledger.Post(r.Context(), req)
	if err != nil {
		return err
	}
	return s.reply(w, http.StatusOK, entryOf(&e))
}

// entryRequest checks what is asked for, and finds the period that was not named.
func (s *Server) entryRequest(ctx context.Context, p steps.ParticipantID, in *EntryRequest) (r steps.EntryRequest, err error) {
	const op = "post entry"
	i := slices.IndexFunc(staffKinds, func(k steps.EntryKind) bool { return k.String() == in.Kind })
	if i < 0 {
		return r, steps.Errorf(op, steps.Invalid, "kind is %q; use one of %s", in.Kind, names(staffKinds))
	}
	r = steps.EntryRequest{Participant: p, Kind: staffKinds[i], Points: in.Points}
	if r.Key, err = requestKey(op, in.Key); err != nil {
		return r, err
	}
	if err := signed(op, &in.By, &in.Reason); err != nil {
		return r, err
	}
	r.By, r.Reason = in.By, in.Reason
	correction := r.Kind == steps.EntryCorrection
	switch {
	case !correction && in.Points < 1, in.Points == 0, in.Points > steps.MaxPoints, in.Points < -steps.MaxPoints:
		return r, steps.Errorf(op, steps.Invalid, "points is %d; a %s moves 1 to %d, and only a correction may be negative",
			in.Points, in.Kind, steps.MaxPoints)
	case !correction && (in.Day != nil || in.Account != ""):
		return r, steps.Errorf(op, steps.Invalid, "day and account are for corrections, and this is a %s; leave them out", in.Kind)
	}
	if correction {
		switch in.Account {
		case "", steps.AccountAvailable.String():
			r.Account = steps.AccountAvailable
		case steps.AccountPending.String():
			r.Account = steps.AccountPending
		default:
			return r, steps.Errorf(op, steps.Invalid, "account is %q; use available or pending", in.Account)
		}
	}
	if in.Day != nil {
		r.Day = *in.Day
	}
	r.Period, err = s.entryPeriod(ctx, in)
	return r, err
}

// entryPeriod is the period that a request names, or else that of its closed day, or today's.
func (s *Server) entryPeriod(ctx context.Context, in *EntryRequest) (id steps.PeriodID, err error) {
	const op = "post entry"
	switch {
	case in.Period != "":
		return s.knownPeriod(ctx, in.Period)
	case in.Day == nil:
		return s.d.Closing.PeriodOf(s.today()).ID, nil
	}
	err = s.d.Closed.EachClosedDay(ctx, steps.DayRange{From: *in.Day, Until: *in.Day}, func(d steps.ClosedDay) error {
		id = d.Period
		return nil
	})
	if err == nil && id == "" {
		err = steps.Errorf(op, steps.Conflict, "day: %s is not closed; only closed days are corrected, open ones change with their data", in.Day)
	}
	return id, err
}

// knownPeriod checks a period's ID: one of the programme's, or one that holds points from before the rules
// were changed.
func (s *Server) knownPeriod(ctx context.Context, id steps.PeriodID) (steps.PeriodID, error) {
	if slices.ContainsFunc(s.d.Closing.Periods(), func(p steps.Period) bool { return p.ID == id }) {
		return id, nil
	}
	have, err := s.d.Closed.Outstanding(ctx)
	if err != nil {
		return "", err
	}
	if slices.ContainsFunc(have, func(p steps.PeriodBalance) bool { return p.Period == id }) {
		return id, nil
	}
	return "", steps.Errorf("post entry", steps.NotFound, "period: there is no point period %q that has begun; list the periods", id)
}

// requestKey checks the key of a request.
func requestKey(op string, k steps.RequestKey) (steps.RequestKey, error) {
	if k == "" {
		return "", steps.Errorf(op, steps.Invalid, "key is empty; choose one, new for each thing asked for, so that asking twice is harmless")
	}
	return steps.ParseRequestKey(string(k))
}

// signed checks who decides and why; neither may be missing, since both are kept for good.
func signed(op string, by, reason *string) error {
	if err := named(op, by); err != nil {
		return err
	}
	*reason = strings.TrimSpace(*reason)
	switch {
	case *reason == "":
		return steps.Errorf(op, steps.Invalid, "reason is empty; say why")
	case len(*reason) > maxReason:
		return steps.Errorf(op, steps.Invalid, "reason has more than %d bytes; shorten it", maxReason)
	}
	return nil
}

// named checks who does something.
func named(op string, by *string) error {
	*by = strings.TrimSpace(*by)
	switch {
	case *by == "":
		return steps.Errorf(op, steps.Invalid, "by is empty; say who decides")
	case len(*by) > maxName:
		return steps.Errorf(op, steps.Invalid, "by has more than %d bytes; shorten it", maxName)
	}
	return nil
}
