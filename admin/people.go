package admin

import (
	"context"
	"encoding/json"
	"net/http"

	"ayumi/registry"
	"ayumi/steps"
)

func participantOf(p registry.Participant) Participant {
	return Participant{
		ID: p.ID, Born: p.Born, Since: p.Since, Cohort: p.Cohort,
		Resident: rangesOf(p.Resident), Enrolled: rangesOf(p.Enrolled), Baseline: p.Baseline,
		Sources: p.Sources, Chosen: p.Chosen,
	}
}

func (s *Server) listParticipants(w http.ResponseWriter, r *http.Request) error {
	after, limit, err := page(r)
	if err != nil {
		return err
	}
	list := s.d.Registry.Participants(steps.ParticipantID(after), limit)
	out := participantPage{Participants: make([]Participant, len(list))}
	for i, p := range list {
		out.Participants[i] = participantOf(p)
	}
	if len(list) == limit {
		out.Next = list[limit-1].ID
	}
	return s.reply(w, http.StatusOK, out)
}

func (s *Server) addParticipant(w http.ResponseWriter, r *http.Request) error {
	var in newParticipant
	if err := decode(w, r, &in); err != nil {
		return err
	}
	if err := s.d.Registry.AddParticipant(r.Context(), registry.Participant{ID: in.ID, Born: in.Born}); err != nil {
		return err
	}
	return s.showParticipant(w, http.StatusCreated, in.ID)
}

func (s *Server) participant(w http.ResponseWriter, r *http.Request) error {
	id, err := steps.ParseParticipantID(r.PathValue("id"))
	if err != nil {
		return err
	}
	return s.showParticipant(w, http.StatusOK, id)
}

func (s *Server) showParticipant(w http.ResponseWriter, status int, id steps.ParticipantID) error {
	p, ok := s.d.Registry.Participant(id)
	if !ok {
		return steps.Errorf("find participant", steps.NotFound, "participant %q is not registered; check the ID", id)
	}
	out := participantOf(p)
	out.Bindings = bindingsOf(s.d.Registry.BindingsOf(id))
	return s.reply(w, status, out)
}

// participantPatch changes what it mentions.
type participantPatch struct {
	Born     given[steps.Day]         `json:"born"`
	Cohort   given[string]            `json:"cohort"`
	Resident given[[]DaySpan]         `json:"resident"`
	Enrolled given[[]DaySpan]         `json:"enrolled"`
	Baseline given[registry.Baseline] `json:"baseline"`
	Sources  given[[]steps.DeviceID]  `json:"sources"`
	Chosen   given[steps.DeviceID]    `json:"chosen_source"`
}

// given tells null from what a patch does not mention.
type given[T any] struct {
	there bool
	value *T
}

// UnmarshalJSON reads a value or null.
func (g *given[T]) UnmarshalJSON(b []byte) error {
	g.there = true
	return json.Unmarshal(b, &g.value)
}

// or returns the value, what it was if the patch does not mention it, and nothing if it is null.
func (g *given[T]) or(was T) (value T) {
	switch {
	case !g.there:
		return was
	case g.value != nil:
		return *g.value
	}
	return value
}

func (p *participantPatch) traits() bool {
	return p.Cohort.there || p.Resident.there || p.Enrolled.there || p.Baseline.there
}

func (p *participantPatch) sources() bool { return p.Sources.there || p.Chosen.there }

// apply changes the traits that the patch mentions.
func (p *participantPatch) apply(t *registry.Traits) {
	t.Cohort = p.Cohort.or(t.Cohort)
	if p.Resident.there {
		t.Resident = dayRanges(p.Resident.or(nil))
	}
	if p.Enrolled.there {
		t.Enrolled = dayRanges(p.Enrolled.or(nil))
	}
	if p.Baseline.there {
		t.Baseline = p.Baseline.value
	}
}

func (s *Server) updateParticipant(w http.ResponseWriter, r *http.Request) error {
	id, err := steps.ParseParticipantID(r.PathValue("id"))
	if err != nil {
		return err
	}
	var in participantPatch
	if err := decode(w, r, &in); err != nil {
		return err
	}
	if !in.Born.there && !in.traits() && !in.sources() {
		return steps.Errorf("update participant", steps.Invalid,
			"the body changes nothing; give born, cohort, resident, enrolled, baseline, sources or chosen_source")
	}
	if in.Born.there || in.traits() {
		if err := s.updateTraits(r.Context(), id, &in); err != nil {
			return err
		}
	}
	if in.sources() {
		if err := s.updateSources(r.Context(), id, &in); err != nil {
			return err
		}
	}
	return s.showParticipant(w, http.StatusOK, id)
}

func rangesOf(ranges []steps.DayRange) (out []DaySpan) {
	for _, r := range ranges {
		d := DaySpan{From: r.From}
		if r.Until != 0 {
			d.Until = &r.Until
		}
		out = append(out, d)
	}
	return out
}

func dayRanges(days []DaySpan) (out []steps.DayRange) {
	for _, d := range days {
		r := steps.DayRange{From: d.From}
		if d.Until != nil {
			r.Until = *d.Until
		}
		out = append(out, r)
	}
	return out
}

// updateTraits scores the participant anew even if nothing was changed, so that a request whose scoring
// failed can be repeated.
func (s *Server) updateTraits(ctx context.Context, id steps.ParticipantID, in *participantPatch) error {
	if in.Born.there {
		if err := s.d.Registry.UpdateParticipant(ctx, id, in.Born.value); err != nil {
			return err
		}
	}
	if in.traits() {
		if err := s.d.Registry.SetTraits(ctx, id, in.apply); err != nil {
			return err
		}
	}
	if err := s.d.Rescore(ctx, id); err != nil {
		return steps.Errorf("update participant", steps.KindOf(err),
			"the change is stored, but points were not computed anew: %w; repeat the request", err)
	}
	return nil
}

// updateSources totals the participant's days anew even if the order was the same, so that a request
// that failed can be repeated.
func (s *Server) updateSources(ctx context.Context, id steps.ParticipantID, in *participantPatch) error {
	p, ok := s.d.Registry.Participant(id)
	if !ok { // before anything is noted of somebody who is not there
		return steps.Errorf("update sources", steps.NotFound, "participant %q is not registered; check the ID", id)
	}
	return s.d.Reorder(ctx, id, func(ctx context.Context) error {
		return s.d.Registry.UpdateSources(ctx, id, in.Sources.or(p.Sources), in.Chosen.or(p.Chosen))
	})
}
