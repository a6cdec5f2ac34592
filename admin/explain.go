package admin

import (
	"context"
	"net/http"

	"ayumi/explain"
	"ayumi/steps"
)

// Explainer says what a participant's day earned and why.
type Explainer interface {
	// Explain fails with NotFound for a participant who is not registered.
	Explain(ctx context.Context, pd steps.ParticipantDay) (*explain.Day, error)
}

// explanation answers with a day explained: in Japanese and English, and as data.
func (s *Server) explanation(w http.ResponseWriter, r *http.Request) error {
	id, err := steps.ParseParticipantID(r.PathValue("id"))
	if err != nil {
		return err
	}
	day, err := steps.ParseDay(r.PathValue("day"))
	if err != nil {
		return err
	}
	d, err := s.d.Explain.Explain(r.Context(), steps.ParticipantDay{Participant: id, Day: day})
	if err != nil {
		return err
	}
	return s.reply(w, http.StatusOK, d)
}

// Explain returns a participant's day with everything that its points came from.
func (c *Client) Explain(ctx context.Context, pd steps.ParticipantDay) (*explain.Day, error) {
	return get[*explain.Day](ctx, c, "/v1/participants/"+segment(pd.Participant)+"/days/"+pd.Day.String()+"/explanation")
}
