package admin

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"ayumi/plausibility"
	"ayumi/review"
	"ayumi/steps"
)

// Reviews is what the routes of flagged days need of the store.
type Reviews interface {
	EachReview(ctx context.Context, f review.Filter, fn func(*review.Review) error) error
	Review(pd steps.ParticipantDay) (review.Review, error)
	DecideReview(ctx context.Context, pd steps.ParticipantDay, d review.Event) (review.Review, error)
	AppealReview(ctx context.Context, pd steps.ParticipantDay, d review.Event) (review.Review, error)
}

// Reviewer looks at days on demand.
type Reviewer interface {
	Look(ctx context.Context, days steps.DayRange, tell func(review.Progress) error) error
}

// Review is a day that staff should look at, and what they decided.
type Review struct {
	Participant steps.ParticipantID `json:"participant"`
	Day         steps.Day           `json:"day"`
	State       string              `json:"state"`
	Score       int                 `json:"score"`
	Steps       uint64              `json:"steps"` // when it was looked at
	FoundAt     time.Time           `json:"found_at"`
	LookedAt    time.Time           `json:"looked_at"`
	Flags       []Flag              `json:"flags"`
	Events      []ReviewEvent       `json:"events"` // decisions and appeals, in the order of time
}

// Flag is one thing that staff should look at.
type Flag struct {
	Kind   plausibility.Kind `json:"kind"`
	Score  int               `json:"score"`
	From   string            `json:"from"` // of the day, such as 07:05, which it rests on
	To     string            `json:"to"`
	Figure float64           `json:"figure"`
	Limit  float64           `json:"limit"`
	Copy   *Copy             `json:"copy_of,omitempty"`
}

// Copy is the day that agrees with a flagged one.
type Copy struct {
	Participant steps.ParticipantID `json:"participant"`
	Day         steps.Day           `json:"day"`
	Shift       float64             `json:"shift_minutes"` // how much later the flagged day is
	Exact       bool                `json:"exact"`
}

// ReviewEvent is a decision on a review, an appeal, or what other data changed.
type ReviewEvent struct {
	Kind  string    `json:"kind"`
	At    time.Time `json:"at"`
	By    string    `json:"by"`
	Text  string    `json:"text"`
	Entry uint64    `json:"entry,omitempty"` // in the participant's ledger, that released the points
}

func reviewOf(r *review.Review) Review {
	out := Review{Participant: r.Participant, Day: r.Day, State: r.State.String(), Score: r.Score, Steps: r.Steps,
		FoundAt: instant(r.FoundAt), LookedAt: instant(r.LookedAt), Flags: make([]Flag, len(r.Flags)), Events: make([]ReviewEvent, len(r.Events))}
	for i := range r.Flags {
		f := &r.Flags[i]
		out.Flags[i] = Flag{Kind: f.Kind, Score: f.Score, From: clock(f.From), To: clock(f.To), Figure: f.Figure, Limit: f.Limit}
		if o := f.Other; o.Participant != "" {
			out.Flags[i].Copy = &Copy{o.Participant, o.Day, f.Shift, f.Exact}
		}
	}
	for i, e := range r.Events {
		out.Events[i] = ReviewEvent{Kind: e.Kind.String(), At: instant(e.At), By: e.By, Text: e.Text, Entry: e.Entry}
	}
	return out
}

// clock writes a minute of the day.
func clock(minute int) string { return fmt.Sprintf("%02d:%02d", minute/60, minute%60) }

// reviewRun asks for a look at days; without either end at all that are not closed.
type reviewRun struct {
	From *steps.Day `json:"from,omitempty"`
	To   *steps.Day `json:"to,omitempty"`
}

// ReviewProgress is how far a look has come: done of so many people of a day, and what was found when it is Over.
type ReviewProgress struct {
	Day     steps.Day `json:"day"`
	Done    int       `json:"done"`
	Of      int       `json:"of"`
	Over    bool      `json:"over"`
	Scored  int       `json:"scored"`
	Flagged int       `json:"flagged"` // whose review is new, or changed
	Held    int       `json:"held"`    // of them, those whose points are held
}

func progressOf(p review.Progress) ReviewProgress {
	out := ReviewProgress{Day: p.Day, Done: p.Done, Of: p.Of}
	if o := p.Outcome; o != nil {
		out.Over, out.Scored, out.Flagged, out.Held = true, o.Scored, o.Flagged, o.Held
	}
	return out
}

func (s *Server) listReviews(w http.ResponseWriter, r *http.Request) error {
	q, err := params(r, "from", "to", "participant", "state", "kind", "undecided")
	if err != nil {
		return err
	}
	var f review.Filter
	if f.Days, err = dayRange(q); err != nil {
		return err
	}
	if f.Participant, err = s.whose("list reviews", q.Get("participant")); err != nil {
		return err
	}
	if f.Undecided, err = flag(q, "undecided"); err != nil {
		return err
	}
	if text := q.Get("state"); text != "" {
		if f.State, err = review.ParseState(text); err != nil {
			return err
		}
	}
	if text := q.Get("kind"); text != "" {
		if f.Kind, err = plausibility.ParseKind(text); err != nil {
			return err
		}
	}
	st := s.newStream(w)
	return st.end(s.d.Reviews.EachReview(r.Context(), f, func(v *review.Review) error { return st.row(reviewOf(v)) }))
}

// reviewPath reads whose day a path names.
func reviewPath(r *http.Request) (pd steps.ParticipantDay, err error) {
	if pd.Participant, err = steps.ParseParticipantID(r.PathValue("id")); err != nil {
		return pd, err
	}
	pd.Day, err = steps.ParseDay(r.PathValue("day"))
	return pd, err
}

func (s *Server) review(w http.ResponseWriter, r *http.Request) error {
	pd, err := reviewPath(r)
	if err != nil {
		return err
	}
	v, err := s.d.Reviews.Review(pd)
	if err != nil {
		return err
	}
	return s.reply(w, http.StatusOK, reviewOf(&v))
}

func (s *Server) clearReview(w http.ResponseWriter, r *http.Request) error {
	return s.changeReview(w, r, review.Clearing, s.d.Reviews.DecideReview)
}

func (s *Server) upholdReview(w http.ResponseWriter, r *http.Request) error {
	return s.changeReview(w, r, review.Upholding, s.d.Reviews.DecideReview)
}

func (s *Server) appealReview(w http.ResponseWriter, r *http.Request) error {
	return s.changeReview(w, r, review.Appeal, s.d.Reviews.AppealReview)
}

func (s *Server) changeReview(w http.ResponseWriter, r *http.Request, kind review.EventKind,
	change func(context.Context, steps.ParticipantDay, review.Event) (review.Review, error),
) error {
	pd, err := reviewPath(r)
	if err != nil {
		return err
	}
	var in decisionRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	if err := signed("decide on review", &in.By, &in.Reason); err != nil {
		return err
	}
	v, err := change(r.Context(), pd, review.Event{Kind: kind, By: in.By, Text: in.Reason})
	if err != nil {
		return err
	}
	return s.reply(w, http.StatusOK, reviewOf(&v))
}

// runReview looks at days, and tells at once how far it has come. A client that leaves ends it.
func (s *Server) runReview(w http.ResponseWriter, r *http.Request) error {
	var in reviewRun
	if err := decode(w, r, &in); err != nil {
		return err
	}
	var days steps.DayRange
	if in.From != nil {
		days.From = *in.From
	}
	if in.To != nil {
		days.Until = *in.To
	}
	if days.Until != 0 && days.Until < days.From {
		return steps.Errorf("look at days", steps.Invalid, "the range from %s to %s holds no day; exchange them", days.From, days.Until)
	}
	st := s.newStream(w)
	return st.end(s.d.Reviewer.Look(r.Context(), days, func(p review.Progress) error {
		if err := st.row(progressOf(p)); err != nil {
			return err
		}
		return st.flush()
	}))
}

func reviewRoute(pd steps.ParticipantDay) string {
	return participantPath(pd.Participant, "days/"+pd.Day.String()+"/review")
}

// EachReview calls fn for the reviews that f asks for, by day and participant.
func (c *Client) EachReview(ctx context.Context, f review.Filter, fn func(*Review) error) error {
	state, kind := "", ""
	if f.State != 0 {
		state = f.State.String()
	}
	if f.Kind != 0 {
		kind = f.Kind.String()
	}
	return list(ctx, c, "list reviews", "/v1/reviews"+query("from", dayText(f.Days.From), "to", dayText(f.Days.Until),
		"participant", string(f.Participant), "state", state, "kind", kind, "undecided", boolText(f.Undecided)), fn)
}

// Review returns the review of a participant's day.
func (c *Client) Review(ctx context.Context, pd steps.ParticipantDay) (Review, error) {
	return get[Review](ctx, c, reviewRoute(pd))
}

// ClearReview decides that nothing was wrong, and releases what was held. By and reason are kept for good and may
// not be empty; the same call again changes nothing.
func (c *Client) ClearReview(ctx context.Context, pd steps.ParticipantDay, by, reason string) (Review, error) {
	return post[Review](ctx, c, reviewRoute(pd)+"/clear", decisionRequest{by, reason})
}

// UpholdReview decides that the points do not count. What is held stays so.
func (c *Client) UpholdReview(ctx context.Context, pd steps.ParticipantDay, by, reason string) (Review, error) {
	return post[Review](ctx, c, reviewRoute(pd)+"/uphold", decisionRequest{by, reason})
}

// AppealReview records that the participant does not agree, in their own words; the review waits again.
func (c *Client) AppealReview(ctx context.Context, pd steps.ParticipantDay, by, text string) (Review, error) {
	return post[Review](ctx, c, reviewRoute(pd)+"/appeal", decisionRequest{by, text})
}

// RunReview looks at all days in range, or at all that are not closed, and calls fn as it comes along.
func (c *Client) RunReview(ctx context.Context, r steps.DayRange, fn func(*ReviewProgress) error) error {
	body, err := encode(reviewRun{dayOrNil(r.From), dayOrNil(r.Until)})
	if err != nil {
		return err
	}
	resp, err := c.do(ctx, http.MethodPost, "/v1/reviews/run", typeJSON, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return readStream("look at days", resp.Body, fn)
}
