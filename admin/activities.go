package admin

import (
	"context"
	"net/http"
	"time"

	"ayumi/steps"
)

// Activities keeps healthy behaviour other than walking.
type Activities interface {
	PutActivity(ctx context.Context, a steps.Activity) error
	CancelActivity(ctx context.Context, pd steps.ParticipantDay, kind steps.ActivityKind, c steps.Cancellation) error
	Activities(p steps.ParticipantID, r steps.DayRange) ([]steps.Activity, error)
}

// Activity is a healthy behaviour other than walking.
type Activity struct {
	Participant steps.ParticipantID `json:"participant"`
	Day         steps.Day           `json:"day"`
	Kind        steps.ActivityKind  `json:"kind"`
	Times       uint8               `json:"times"` // how often that day
	RecordedAt  time.Time           `json:"recorded_at"`
	By          string              `json:"by"`
	Counts      bool                `json:"counts"`              // whether a rule of the day pays for it
	Cancelled   *Decision           `json:"cancelled,omitempty"` // nil for what stands
}

// newActivity records an activity, or takes one back; then with a reason.
type newActivity struct {
	Day    *steps.Day         `json:"day"`
	Kind   steps.ActivityKind `json:"kind"`
	Times  uint8              `json:"times,omitempty"` // how often that day; once if it is not given
	By     string             `json:"by"`
	Reason string             `json:"reason,omitempty"`
}

type activityList struct {
	Activities []Activity `json:"activities"`
}

func (s *Server) activityOf(a *steps.Activity) Activity {
	out := Activity{Participant: a.Participant, Day: a.Day, Kind: a.Kind, Times: max(a.Times, 1), RecordedAt: instant(a.RecordedAt), By: a.By,
		Counts: a.Cancelled.At == 0 && s.d.Pays(a.Day, a.Kind)}
	if c := a.Cancelled; c.At != 0 {
		out.Cancelled = &Decision{At: instant(c.At), By: c.By, Reason: c.Reason}
	}
	return out
}

func (s *Server) listActivities(w http.ResponseWriter, r *http.Request) error {
	p, err := s.registered(r)
	if err != nil {
		return err
	}
	q, err := params(r, "from", "to")
	if err != nil {
		return err
	}
	days, err := dayRange(q)
	if err != nil {
		return err
	}
	list, err := s.d.Activities.Activities(p, days)
	if err != nil {
		return err
	}
	out := activityList{Activities: make([]Activity, len(list))}
	for i := range list {
		out.Activities[i] = s.activityOf(&list[i])
	}
	return s.reply(w, http.StatusOK, out)
}

// activityRequest reads whose activity of which day and kind a request is about.
func (s *Server) activityRequest(w http.ResponseWriter, r *http.Request, op string) (pd steps.ParticipantDay, in newActivity, err error) {
	if pd.Participant, err = s.registered(r); err != nil {
		return pd, in, err
	}
	if err = decode(w, r, &in); err != nil {
		return pd, in, err
	}
	if in.Day == nil {
		return pd, in, steps.Errorf(op, steps.Invalid, "day is missing; give the day of the activity")
	}
	pd.Day = *in.Day
	_, err = steps.ParseActivityKind(string(in.Kind))
	return pd, in, err
}

// maxTimes is how often an activity can be recorded for a day; rules count no more.
const maxTimes = 100

func (s *Server) addActivity(w http.ResponseWriter, r *http.Request) error {
	const op = "record activity"
	pd, in, err := s.activityRequest(w, r, op)
	if err != nil {
		return err
	}
	today := s.today()
	switch {
	case pd.Day > today:
		return steps.Errorf(op, steps.Invalid, "day is %s, and today is %s; check the date", pd.Day, today)
	case in.Times > maxTimes:
		return steps.Errorf(op, steps.Invalid, "times is %d; give 1 to %d", in.Times, maxTimes)
	case in.Reason != "":
		return steps.Errorf(op, steps.Invalid, "reason is for cancellations; leave it out")
	}
	if err := named(op, &in.By); err != nil {
		return err
	}
	err = s.d.Activities.PutActivity(r.Context(), steps.Activity{ParticipantDay: pd, Kind: in.Kind, Times: in.Times, RecordedAt: s.cfg.Clock().Unix(), By: in.By})
	if err != nil {
		return err
	}
	return s.showActivity(w, pd, in.Kind)
}

func (s *Server) cancelActivity(w http.ResponseWriter, r *http.Request) error {
	const op = "cancel activity"
	pd, in, err := s.activityRequest(w, r, op)
	if err != nil {
		return err
	}
	if err := signed(op, &in.By, &in.Reason); err != nil {
		return err
	}
	err = s.d.Activities.CancelActivity(r.Context(), pd, in.Kind, steps.Cancellation{At: s.cfg.Clock().Unix(), By: in.By, Reason: in.Reason})
	if err != nil {
		return err
	}
	return s.showActivity(w, pd, in.Kind)
}

func (s *Server) showActivity(w http.ResponseWriter, pd steps.ParticipantDay, kind steps.ActivityKind) error {
	list, err := s.d.Activities.Activities(pd.Participant, steps.DayRange{From: pd.Day, Until: pd.Day})
	if err != nil {
		return err
	}
	for i := range list {
		if list[i].Kind == kind {
			return s.reply(w, http.StatusOK, s.activityOf(&list[i]))
		}
	}
	return steps.Errorf("show activity", steps.Internal, "%s of %s on %s is gone", kind, pd.Participant, pd.Day)
}
