// Package replaytest gives tests what real people walked.
package replaytest

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"ayumi/replay"
	"ayumi/steps"
)

// Day is a person's day, of which a minute without a record has 0 steps.
type Day struct {
	steps.ParticipantDay
	Minutes []uint32 // 1440
}

// Days reads the person-days of the Fitbit Fitness Tracker Data (Zenodo 53894, CC0), which is not part of the
// tree, for the tests of a room at its top. Where there is no such file the test is skipped, but not in CI.
func Days(t testing.TB) (days []Day) {
	t.Helper()
	f, err := os.Open("../../shared/data/fitbit-53894/minuteStepsWide_merged.csv")
	if errors.Is(err, fs.ErrNotExist) && os.Getenv("CI") == "" {
		t.Skip("the Fitbit export is not there")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	people, err := replay.ReadFitbitMinutes(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range people {
		for i := range p.Hours {
			h := &p.Hours[i]
			key := steps.ParticipantDay{Participant: steps.ParticipantID(p.ID), Day: h.Day}
			if last := len(days) - 1; last < 0 || days[last].ParticipantDay != key {
				days = append(days, Day{ParticipantDay: key, Minutes: make([]uint32, 1440)})
			}
			copy(days[len(days)-1].Minutes[h.Hour*60:], h.Counts[:])
		}
	}
	if len(days) != 919 {
		t.Fatalf("%d person-days, want 919", len(days))
	}
	return days
}
