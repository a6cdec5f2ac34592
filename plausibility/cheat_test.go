package plausibility

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"ayumi/plausibility/plausibilitytest"
	"ayumi/steps"
)

// dayOf is what the merge makes of a day that a cheat reports.
func dayOf(c plausibilitytest.Day) Day {
	d := Day{ParticipantDay: steps.ParticipantDay{Participant: "cheat", Day: 20000}, Minutes: c.Minutes}
	for _, h := range c.Hours {
		d.Coarse = append(d.Coarse, Span{From: h * 60, To: h*60 + 60, Interval: 3600})
	}
	return d
}

// TestCheats makes each cheat twenty times, on honest days of other people and with other noise.
func TestCheats(t *testing.T) {
	s := mustNew(t, DefaultConfig())
	days := realDays(t)
	need := map[string]Suggestion{Review.String(): Review, Hold.String(): Hold}
	for _, c := range plausibilitytest.Cheats() {
		t.Run(c.Name, func(t *testing.T) {
			for seed := range uint64(20) {
				rng := rand.New(rand.NewPCG(seed, 1))
				d := dayOf(c.Make(days[rng.IntN(len(days))].Minutes, rng))
				r := s.Score(&d, nil)
				if c.Kind != "" && !r.has(c.Kind) || r.Suggestion < need[c.Need] {
					t.Errorf("seed %d, %d steps: %s; want %s and %s", seed, sum(d.Minutes), &r, c.Kind, c.Need)
				}
			}
		})
	}
}

func (r *Report) has(kind string) bool {
	for _, f := range r.Flags {
		if f.Kind.String() == kind {
			return true
		}
	}
	return false
}

func (r *Report) String() string {
	text := r.Suggestion.String()
	for _, f := range r.Flags {
		text += fmt.Sprintf(" %s:%d (%.3g of %.3g)", f.Kind, f.Score, f.Figure, f.Limit)
	}
	return text
}
