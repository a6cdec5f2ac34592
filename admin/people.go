package admin

import (
	"encoding/json"
	"net/http"

	"ayumi/registry"
	"ayumi/steps"
)

func participantOf(p registry.Participant) Participant {
	return Participant{ID: p.ID, Born: p.Born, Since: p.Since}
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

// bornPatch tells "born": null from a patch that does not mention it.
type bornPatch struct {
	Born given `json:"born"`
}

type given struct {
	there bool
	day   *steps.Day
}

// UnmarshalJSON reads a date or null.
func (g *given) UnmarshalJSON(b []byte) error {
	g.there = true
	return json.Unmarshal(b, &g.day)
}

// updateParticipant scores the participant anew even if the date was the same, so that a request
// whose scoring failed can be repeated.
func (s *Server) updateParticipant(w http.ResponseWriter, r *http.Request) error {
	const op = "update participant"
	id, err := steps.ParseParticipantID(r.PathValue("id"))
	if err != nil {
		return err
	}
	var in bornPatch
	if err := decode(w, r, &in); err != nil {
		return err
	}
	if !in.Born.there {
		return steps.Errorf(op, steps.Invalid, "the body changes nothing; give born as a date or null")
	}
	if err := s.d.Registry.UpdateParticipant(r.Context(), id, in.Born.day); err != nil {
		return err
	}
	if err := s.d.Rescore(r.Context(), id); err != nil {
		return steps.Errorf(op, steps.KindOf(err), "the date of birth is stored, but points were not computed anew: %w; repeat the request", err)
	}
	return s.showParticipant(w, http.StatusOK, id)
}
