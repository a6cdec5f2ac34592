package store

import (
	"fmt"
	"testing"

	"ayumi/steps"
)

// TestRecent fills the table to the number of days it was made for: nearly all of them are known,
// none is after it was removed, and days that were never added are hardly ever taken for known.
func TestRecent(t *testing.T) {
	const days = 200_000
	r := newRecent(days)
	day := func(i int) steps.ParticipantDay {
		return steps.ParticipantDay{Participant: steps.ParticipantID(fmt.Sprintf("p-%06d", i%50_000)), Day: steps.Day(20_000 + i/50_000)}
	}
	for i := range days {
		r.add(day(i))
		r.add(day(i)) // takes no second slot
	}
	forgotten := 0
	for i := range days {
		if !r.probably(day(i)) {
			forgotten++
		}
	}
	if forgotten > days/100 {
		t.Errorf("%d of %d days are forgotten", forgotten, days)
	}
	for i := range days {
		r.remove(day(i))
	}
	for i := range days {
		if r.probably(day(i)) {
			t.Fatalf("%v is still known after it was removed", day(i))
		}
	}
}
