package registry

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"ayumi/steps"
)

func TestTraits(t *testing.T) {
	rec := newMemory()
	r := open(t, rec)
	ctx := context.Background()
	must(t, r.AddParticipant(ctx, Participant{ID: "p"}))
	first := steps.DateDay(2026, 4, 1)
	want := Traits{
		Cohort: "trial", Resident: []steps.DayRange{{From: first - 400, Until: first - 100}, {From: first}},
		Enrolled: []steps.DayRange{{From: first}}, Baseline: &Baseline{Steps: 5200, From: first + 14},
	}
	must(t, r.SetTraits(ctx, "p", func(tr *Traits) { *tr = want }))
	must(t, r.SetTraits(ctx, "p", func(tr *Traits) { tr.Cohort = "control" }))
	want.Cohort = "control"
	born := steps.DateDay(1950, 2, 3)
	must(t, r.UpdateParticipant(ctx, "p", &born))
	for _, again := range []*Registry{r, open(t, rec)} {
		got, ok := again.Scored("p")
		if !ok || got.Traits == nil || !reflect.DeepEqual(*got.Traits, want) || got.Born != born {
			t.Errorf("traits %+v, want %+v", got.Traits, want)
		}
		if p, _ := again.Participant("p"); !reflect.DeepEqual(p.Traits, want) {
			t.Errorf("participant %+v, want traits %+v", p, want)
		}
	}
	must(t, r.SetTraits(ctx, "p", func(tr *Traits) { *tr = Traits{} }))
	if got, _ := open(t, rec).Scored("p"); got.Traits != nil {
		t.Errorf("traits that were taken away: %+v", got.Traits)
	}
	wantKind(t, r.SetTraits(ctx, "nix", func(*Traits) {}), steps.NotFound)
}

func TestTraitsRefuses(t *testing.T) {
	r := open(t, newMemory())
	ctx := context.Background()
	must(t, r.AddParticipant(ctx, Participant{ID: "p"}))
	d := steps.DateDay(2026, 4, 1)
	for name, tr := range map[string]Traits{
		"cohort":                         {Cohort: strings.Repeat("x", 65)},
		"control character":              {Cohort: "a\nb"},
		"resident days: " + d.String():   {Resident: []steps.DayRange{{From: d, Until: d - 1}}},
		"overlap or are out of order":    {Enrolled: []steps.DayRange{{From: d, Until: d + 5}, {From: d + 5}}},
		"enrolled days: cannot use date": {Enrolled: []steps.DayRange{{From: 1}}},
		"at most 64":                     {Resident: make([]steps.DayRange, 65)},
		"at most 200000":                 {Baseline: &Baseline{Steps: 200_001, From: d}},
		"use date":                       {Baseline: &Baseline{Steps: 1}},
	} {
		err := r.SetTraits(ctx, "p", func(to *Traits) { *to = tr })
		wantKind(t, err, steps.Invalid)
		if err != nil && !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v, want %q", tr, err, name)
		}
	}
	if got, _ := r.Scored("p"); got.Traits != nil {
		t.Errorf("what was refused is there: %+v", got.Traits)
	}
}
