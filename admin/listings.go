package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"ayumi/steps"
)

// listDays waits until points reflect all that was acknowledged, then streams.
func (s *Server) listDays(w http.ResponseWriter, r *http.Request) error {
	q, err := params(r, "from", "to", "participant")
	if err != nil {
		return err
	}
	days, err := dayRange(q)
	if err != nil {
		return err
	}
	const op = "list days"
	p, err := s.whose(op, q.Get("participant"))
	if err != nil {
		return err
	}
	if err := s.settle(r.Context(), op); err != nil {
		return err
	}
	st := s.newStream(w)
	return st.end(s.d.Days.EachDay(r.Context(), days, p, func(a steps.Award) error {
		return st.row(dayLine{a.Participant, a.Day, a.Steps, a.Points, a.RuleSet})
	}))
}

// settle waits, not for ever, until points reflect all that was acknowledged.
func (s *Server) settle(ctx context.Context, op string) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.SettleWait)
	defer cancel()
	err := s.d.Days.Settle(ctx)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && err != nil {
		return steps.Errorf(op, steps.Unavailable,
			"points were not computed up to date within %s (settle_wait); try again later", s.cfg.SettleWait)
	}
	return err
}

// whose reads the participant that a listing is narrowed to. A misspelt ID must not look like a
// person who never walked.
func (s *Server) whose(op, text string) (steps.ParticipantID, error) {
	if text == "" {
		return "", nil
	}
	p, err := steps.ParseParticipantID(text)
	if err != nil {
		return "", err
	}
	if _, ok := s.d.Registry.Participant(p); !ok {
		return "", steps.Errorf(op, steps.NotFound, "participant %q is not registered; check the ID", p)
	}
	return p, nil
}

// dayRange reads from and to, both inclusive and optional.
func dayRange(q url.Values) (r steps.DayRange, err error) {
	if s := q.Get("from"); s != "" {
		if r.From, err = steps.ParseDay(s); err != nil {
			return r, err
		}
	}
	if s := q.Get("to"); s != "" {
		if r.Until, err = steps.ParseDay(s); err != nil {
			return r, err
		}
		if r.Until < 1 || r.Until < r.From {
			return r, steps.Errorf("list days", steps.Invalid, "the range from %s to %s holds no day; exchange them", r.From, r.Until)
		}
	}
	return r, nil
}

func quarantineOf(e *steps.QuarantineEntry) QuarantineEntry {
	out := QuarantineEntry{ID: e.ID, ReceivedAt: instant(e.ReceivedAt), Device: e.Device, Via: e.Via,
		Transport: e.Transport.String(), Bundle: e.Bundle, Topic: e.Topic, Faults: faultsOf(e.Faults),
		Size: len(e.Raw), State: e.Decision.State.String()}
	if e.Encoding != 0 {
		out.Encoding = e.Encoding.String()
	}
	if d := e.Decision; d.State != steps.Open {
		out.Decision = &Decision{At: instant(d.At), By: d.By, Reason: d.Reason}
	}
	return out
}

func (s *Server) listQuarantine(w http.ResponseWriter, r *http.Request) error {
	f, err := quarantineFilter(r)
	if err != nil {
		return err
	}
	st := s.newStream(w)
	return st.end(s.d.Quarantine.EachQuarantined(r.Context(), f, func(e *steps.QuarantineEntry) error {
		return st.row(quarantineOf(e))
	}))
}

func quarantineFilter(r *http.Request) (f steps.QuarantineFilter, err error) {
	const op = "list quarantine"
	q, err := params(r, "device", "reason", "state", "limit")
	if err != nil {
		return f, err
	}
	if s := q.Get("device"); s != "" {
		if f.Device, err = steps.ParseDeviceID(s); err != nil {
			return f, err
		}
	}
	if s := q.Get("reason"); s != "" {
		var ok bool
		if f.Reason, ok = steps.ParseReason(s); !ok {
			return f, steps.Errorf(op, steps.Invalid, "there is no reason %q; use one of %s", s, names(steps.Reasons()))
		}
	}
	if s := q.Get("state"); s != "" {
		states := []steps.DecisionState{steps.Open, steps.Released, steps.Discarded}
		for _, d := range states {
			if d.String() == s {
				f.State = &d
			}
		}
		if f.State == nil {
			return f, steps.Errorf(op, steps.Invalid, "there is no state %q; use one of %s", s, names(states))
		}
	}
	if s := q.Get("limit"); s != "" {
		if f.Limit, err = strconv.Atoi(s); err != nil || f.Limit < 1 {
			return f, steps.Errorf(op, steps.Invalid, "limit %q is no number above 0", s)
		}
	}
	return f, nil
}

func names[T interface{ String() string }](list []T) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = v.String()
	}
	return strings.Join(out, ", ")
}

func (s *Server) quarantined(w http.ResponseWriter, r *http.Request) error {
	e, err := s.d.Quarantine.Quarantined(r.Context(), steps.QuarantineID(r.PathValue("id")))
	if err != nil {
		return err
	}
	out := quarantineOf(e)
	out.Raw = e.Raw
	return s.reply(w, http.StatusOK, out)
}

func (s *Server) release(w http.ResponseWriter, r *http.Request) error {
	in, err := decision(w, r, "release from quarantine")
	if err != nil {
		return err
	}
	rec, err := s.d.Quarantine.Release(r.Context(), steps.QuarantineID(r.PathValue("id")), in.By, in.Reason)
	if err != nil {
		return err
	}
	out := Receipt{Record: rec.Record.String(), ReceivedAt: instant(rec.ReceivedAt), Uploads: make([]UploadReceipt, len(rec.Uploads))}
	for i := range rec.Uploads {
		u := &rec.Uploads[i]
		out.Uploads[i] = UploadReceipt{Device: u.Device, Boot: u.Revision.Boot, Seq: u.Revision.Seq,
			Verdict: u.Verdict.String(), Conflicts: u.Conflicts, Quarantine: u.Quarantine, Faults: faultsOf(u.Faults)}
	}
	return s.reply(w, http.StatusOK, out)
}

func (s *Server) discard(w http.ResponseWriter, r *http.Request) error {
	in, err := decision(w, r, "discard from quarantine")
	if err != nil {
		return err
	}
	if err := s.d.Quarantine.Discard(r.Context(), steps.QuarantineID(r.PathValue("id")), in.By, in.Reason); err != nil {
		return err
	}
	return s.quarantined(w, r)
}

// What the ledger and the quarantine keep of a decision, in bytes.
const (
	maxReason = 1000
	maxName   = 200
)

// decision reads who decides and why.
func decision(w http.ResponseWriter, r *http.Request, op string) (in decisionRequest, err error) {
	if err := decode(w, r, &in); err != nil {
		return in, err
	}
	return in, signed(op, &in.By, &in.Reason)
}
