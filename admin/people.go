package admin

import (
	"encoding/json"
	"net/http"

	"ayumi/registry"
	"ayumi/steps"
)

func participantOf(p registry.Participant) Participant {
	return Participant{
		ID: p.ID, Born: p.Born, Since: p.Since, Cohort: p.Cohort,
		Resident: rangesOf(p.Resident), Enrolled: rangesOf(p.Enrolled), Baseline: p.Baseline,
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

// participantPatch tells "born": null from a patch that does not mention it.
type participantPatch struct {
	Born     given[*steps.Day]         `json:"born"`
	Cohort   given[string]             `json:"cohort"`
	Resident given[[]DaySpan]          `json:"resident"`
	Enrolled given[[]DaySpan]          `json:"enrolled"`
	Baseline given[*registry.Baseline] `json:"baseline"`
}

// given is a value of a patch, null included.
type given[T any] struct {
	there bool
	value T
}

// UnmarshalJSON reads the value.
func (g *given[T]) UnmarshalJSON(b []byte) error {
	g.there = true
	return json.Unmarshal(b, &g.value)
}

// apply changes the traits that the patch gives.
func (p *participantPatch) apply(t *registry.Traits) {
	if p.Cohort.there {
		t.Cohort = p.Cohort.value
	}
	if p.Resident.there {
		t.Resident = dayRanges(p.Resident.value)
	}
	if p.Enrolled.there {
		t.Enrolled = dayRanges(p.Enrolled.value)
	}
	if p.Baseline.there {
		t.Baseline = p.Baseline.value
	}
}

// updateParticipant scores the participant anew even if nothing was changed, so that a request whose
// scoring failed can be repeated.
func (s *Server) updateParticipant(w http.ResponseWriter, r *http.Request) error {
	const op = "update participant"
	id, err := steps.ParseParticipantID(r.PathValue("id"))
	if err != nil {
		return err
	}
	var in participantPatch
	if err := decode(w, r, &in); err != nil {
		return err
	}
	traits := in.Cohort.there || in.Resident.there || in.Enrolled.there || in.Baseline.there
	if !traits && !in.Born.there {
		return steps.Errorf(op, steps.Invalid, "the body changes nothing; give born, cohort, resident, enrolled or baseline")
	}
	if in.Born.there {
		if err := s.d.Registry.UpdateParticipant(r.Context(), id, in.Born.value); err != nil {
			return err
		}
	}
	if traits {
		if err := s.d.Registry.SetTraits(r.Context(), id, in.apply); err != nil {
			return err
		}
	}
	if err := s.d.Rescore(r.Context(), id); err != nil {
		return steps.Errorf(op, steps.KindOf(err), "the change is stored, but points were not computed anew: %w; repeat the request", err)
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
