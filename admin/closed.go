package admin

import (
	"net/http"

	"ayumi/steps"
)

func (s *Server) listClosed(w http.ResponseWriter, r *http.Request) error {
	q, err := params(r, "from", "to")
	if err != nil {
		return err
	}
	days, err := dayRange(q)
	if err != nil {
		return err
	}
	st := s.newStream(w)
	return st.end(s.d.Closed.EachClosedDay(r.Context(), days, func(d steps.ClosedDay) error { return st.row(closedOf(&d)) }))
}

func (s *Server) closeDays(w http.ResponseWriter, r *http.Request) error {
	const op = "close day"
	var in CloseRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	if err := named(op, &in.By); err != nil {
		return err
	}
	var days []steps.ClosedDay
	var err error
	switch {
	case (in.Day == nil) == (in.Through == nil):
		return steps.Errorf(op, steps.Invalid, "give either day or through")
	case in.Day != nil:
		days = make([]steps.ClosedDay, 1)
		days[0], err = s.d.Closing.CloseDay(r.Context(), *in.Day, in.By, in.Early)
	default:
		days, err = s.d.Closing.CloseThrough(r.Context(), *in.Through, in.By, in.Early)
	}
	if err != nil {
		return err
	}
	out := closedDays{Days: make([]ClosedDay, len(days))}
	for i := range days {
		out.Days[i] = closedOf(&days[i])
	}
	return s.reply(w, http.StatusOK, out)
}

func (s *Server) listLate(w http.ResponseWriter, r *http.Request) error {
	const op = "list late days"
	q, err := params(r, "from", "to", "participant", "undecided")
	if err != nil {
		return err
	}
	var f steps.LateFilter
	if f.Days, err = dayRange(q); err != nil {
		return err
	}
	if f.Participant, err = s.whose(op, q.Get("participant")); err != nil {
		return err
	}
	if f.Undecided, err = flag(q, "undecided"); err != nil {
		return err
	}
	if err := s.settle(r.Context(), op); err != nil {
		return err
	}
	st := s.newStream(w)
	return st.end(s.d.Closed.EachLate(r.Context(), f, func(l steps.LateDay) error { return st.row(lateOf(&l)) }))
}

func (s *Server) discardLate(w http.ResponseWriter, r *http.Request) error {
	const op = "discard late data"
	var in lateDecision
	if err := decode(w, r, &in); err != nil {
		return err
	}
	p, err := steps.ParseParticipantID(string(in.Participant))
	if err != nil {
		return err
	}
	if in.Day == nil {
		return steps.Errorf(op, steps.Invalid, "day is missing; give the closed day")
	}
	if err := signed(op, &in.By, &in.Reason); err != nil {
		return err
	}
	pd := steps.ParticipantDay{Participant: p, Day: *in.Day}
	if err := s.d.Closed.DiscardLate(r.Context(), pd, steps.Decision{By: in.By, Reason: in.Reason}); err != nil {
		return err
	}
	var out LateDay
	err = s.d.Closed.EachLate(r.Context(), steps.LateFilter{Days: steps.DayRange{From: pd.Day, Until: pd.Day}, Participant: p},
		func(l steps.LateDay) error { out = lateOf(&l); return nil })
	if err != nil {
		return err
	}
	return s.reply(w, http.StatusOK, out)
}

// listPeriods lists the periods that have begun, the newest first, with what everybody has of them, and
// those that the programme does not have any more and that hold points.
func (s *Server) listPeriods(w http.ResponseWriter, r *http.Request) error {
	if _, err := params(r); err != nil {
		return err
	}
	have, err := s.d.Closed.Outstanding(r.Context())
	if err != nil {
		return err
	}
	held := map[steps.PeriodID]steps.PeriodBalance{}
	for _, b := range have {
		held[b.Period] = b
	}
	periods := s.d.Closing.Periods()
	now := s.d.Closing.PeriodOf(s.today()).ID
	st := s.newStream(w)
	for i := len(periods) - 1; i >= 0; i-- {
		b, some := held[periods[i].ID]
		delete(held, periods[i].ID)
		if !some && periods[i].ID != now {
			continue
		}
		b.Period = periods[i].ID
		if err := st.row(s.periodBalance(&b, periods)); err != nil {
			return st.end(err)
		}
	}
	for _, b := range have {
		if _, unknown := held[b.Period]; unknown {
			if err := st.row(s.periodBalance(&b, periods)); err != nil {
				return st.end(err)
			}
		}
	}
	return st.end(nil)
}

func (s *Server) expire(w http.ResponseWriter, r *http.Request) error {
	if err := decode(w, r, &struct{}{}); err != nil {
		return err
	}
	done, err := s.d.Closing.Expire(r.Context(), steps.PeriodID(r.PathValue("id")))
	if err != nil {
		return err
	}
	return s.reply(w, http.StatusOK, Expiry{done.Participants, done.Points})
}
