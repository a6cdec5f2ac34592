package store

import (
	"math/rand/v2"
	"slices"
	"testing"

	"ayumi/steps"
)

// TestSortDays sorts days whose participants have much, little or nothing in common, in the order of their tables.
func TestSortDays(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 500 {
		prefix := []string{"", "p", "a-long-prefix-", "\x00\x00"}[rng.IntN(4)]
		days := make([]steps.ParticipantDay, rng.IntN(200))
		for i := range days {
			id := []byte(prefix)
			for range rng.IntN(12) {
				id = append(id, "ab\x00\xff"[rng.IntN(4)])
			}
			days[i] = steps.ParticipantDay{Participant: steps.ParticipantID(id), Day: steps.Day(rng.IntN(3) - 1)}
		}
		want := slices.SortedFunc(slices.Values(days), compareDays)
		if sortDays(days); !slices.Equal(days, want) {
			t.Fatalf("sorted as %q; want %q", days, want)
		}
	}
}
