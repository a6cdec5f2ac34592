package store

import (
	"context"
	"slices"
	"testing"

	"ayumi/steps"
)

func TestActivities(t *testing.T) {
	ctx := context.Background()
	cfg := testConfig(t.TempDir())
	r := start(t, cfg)
	on := func(day steps.Day) steps.ParticipantDay {
		return steps.ParticipantDay{Participant: "p", Day: day0 + day}
	}
	put := func(day steps.Day, kind steps.ActivityKind, by string) {
		t.Helper()
		if err := r.PutActivity(ctx, steps.Activity{ParticipantDay: on(day), Kind: kind, RecordedAt: 1000, By: by}); err != nil {
			t.Fatal(err)
		}
	}
	put(0, "checkup", "nurse")
	put(0, "checkup", "somebody else") // stands already
	put(0, "weight", "app")
	put(3, "weight", "app")
	if err := r.PutActivity(ctx, steps.Activity{ParticipantDay: steps.ParticipantDay{Participant: "p2", Day: day0}, Kind: "weight"}); err != nil {
		t.Fatal(err)
	}
	undo := steps.Cancellation{At: 2000, By: "office", Reason: "another person's"}
	if err := r.CancelActivity(ctx, on(0), "weight", undo); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		kind steps.ActivityKind
		want steps.Kind
	}{{"twice", "weight", steps.Conflict}, {"unknown", "event", steps.NotFound}} {
		if err := r.CancelActivity(ctx, on(0), tc.kind, undo); steps.KindOf(err) != tc.want {
			t.Errorf("%s: %v; want kind %s", tc.name, err, tc.want)
		}
	}
	want := []steps.Activity{
		{ParticipantDay: on(0), Kind: "checkup", RecordedAt: 1000, By: "nurse"},
		{ParticipantDay: on(0), Kind: "weight", RecordedAt: 1000, By: "app", Cancelled: undo},
		{ParticipantDay: on(3), Kind: "weight", RecordedAt: 1000, By: "app"},
	}
	check := func(days steps.DayRange, want []steps.Activity) {
		t.Helper()
		got, err := r.Activities("p", days)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("activities of %s: %+v, %v; want %+v", days, got, err, want)
		}
	}
	check(steps.DayRange{From: day0}, want)
	check(steps.DayRange{From: day0 + 1, Until: day0 + 3}, want[2:])
	check(steps.DayRange{From: day0 + 1, Until: day0 + 2}, nil)

	r.end()
	r = start(t, cfg)
	check(steps.DayRange{From: day0}, want)
	r.Redo()
	dirty, err := r.Dirty(100)
	if err != nil || len(dirty) != 3 {
		t.Errorf("%d days wait to be scored after the restart (%v); want 3", len(dirty), err)
	}
	if err := r.append(payload(minutes("p", "d", 1, 3, 10))); err != nil { // steps of a day that had only an activity
		t.Errorf("an upload for a day with an activity: %v", err)
	}
	put(0, "weight", "app") // again, after it was cancelled
	want[1].Cancelled = steps.Cancellation{}
	check(steps.DayRange{From: day0}, want)
}

func TestParseActivityKind(t *testing.T) {
	for _, s := range []string{"checkup", "blood_pressure", "k10", "a"} {
		if _, err := steps.ParseActivityKind(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", "Checkup", "1st", "_a", "blood pressure", "歩", string(make([]byte, 33))} {
		if _, err := steps.ParseActivityKind(s); steps.KindOf(err) != steps.Invalid {
			t.Errorf("%q: %v; want Invalid", s, err)
		}
	}
}
