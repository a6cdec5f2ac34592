package ingest

import (
	"fmt"
	"testing"
	"time"

	"ayumi/steps"
)

// TestAllowancesAreBounded has a city's worth of devices leave in debt.
func TestAllowancesAreBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := NewAllowances(DefaultRates(), func() time.Time { return now })
	leaveOwing := func(name string) {
		a := s.Hold(steps.Identity{Device: steps.DeviceID(name)})
		a.Spend(1000, now)
		s.Release(a)
	}
	for i := range 300_000 {
		leaveOwing(fmt.Sprint("device-", i))
	}
	if owing := len(s.young) + len(s.old); len(s.held) != 0 || owing < maxOwing || owing > 2*maxOwing {
		t.Errorf("%d allowances are held and %d debts remembered, want 0 and %d to %d", len(s.held), owing, maxOwing, 2*maxOwing)
	}
	for i := range 3 { // by when all has come back
		now = now.Add(time.Hour)
		leaveOwing(fmt.Sprint("late-", i))
	}
	if owing := len(s.young) + len(s.old); owing > 2 {
		t.Errorf("%d debts are remembered that have come back", owing)
	}
}
