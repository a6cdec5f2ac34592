package registry

import (
	"context"
	"slices"
	"testing"

	"ayumi/steps"
)

// TestSources sets orders, good and bad ones, and reads them back after a restart.
func TestSources(t *testing.T) {
	ctx := context.Background()
	mem := newMemory()
	r, err := Open(mem, Config{})
	must(t, err)
	must(t, r.AddParticipant(ctx, Participant{ID: "a"}))
	must(t, r.AddParticipant(ctx, Participant{ID: "b"}))
	for _, d := range []steps.DeviceID{"ped", "phone", "other"} {
		_, err := r.AddDevice(ctx, Device{ID: d, Kind: Pedometer})
		must(t, err)
	}
	must(t, r.Bind(ctx, "ped", "a", r.Today()))
	must(t, r.Bind(ctx, "phone", "a", r.Today()))
	must(t, r.Bind(ctx, "other", "b", r.Today()))
	must(t, r.UpdateSources(ctx, "a", []steps.DeviceID{"phone", "ped"}, "ped"))
	for name, tc := range map[string]struct {
		id     steps.ParticipantID
		order  []steps.DeviceID
		chosen steps.DeviceID
		want   steps.Kind
	}{
		"another's device":     {"a", []steps.DeviceID{"other"}, "", steps.Invalid},
		"no device":            {"a", []steps.DeviceID{"phone", ""}, "", steps.Invalid},
		"a device twice":       {"a", []steps.DeviceID{"phone", "phone"}, "", steps.Invalid},
		"another's was chosen": {"a", nil, "other", steps.Invalid},
		"nobody":               {"nix", nil, "", steps.NotFound},
	} {
		t.Run(name, func(t *testing.T) { wantKind(t, r.UpdateSources(ctx, tc.id, tc.order, tc.chosen), tc.want) })
	}
	applies := mem.applies
	must(t, r.UpdateSources(ctx, "a", []steps.DeviceID{"phone", "ped"}, "ped"))
	if mem.applies != applies {
		t.Error("the same order was written again")
	}
	check := func(r *Registry, order []steps.DeviceID, chosen steps.DeviceID) {
		t.Helper()
		got, one := r.SourceOrder("a")
		p, _ := r.Participant("a")
		if !slices.Equal(got, order) || one != chosen || !slices.Equal(p.Sources, order) || p.Chosen != chosen {
			t.Errorf("order %v, chosen %q, shown %v, %q; want %v, %q", got, one, p.Sources, p.Chosen, order, chosen)
		}
	}
	check(r, []steps.DeviceID{"phone", "ped"}, "ped")
	must(t, r.Unbind(ctx, "ped", r.Today())) // it counted: its place stays
	again, err := Open(mem, Config{})
	must(t, err)
	check(again, []steps.DeviceID{"phone", "ped"}, "ped")
	must(t, again.UpdateSources(ctx, "a", nil, ""))
	check(again, nil, "")
	if order, chosen := again.SourceOrder("nix"); order != nil || chosen != "" {
		t.Errorf("nobody has the order %v, %q", order, chosen)
	}
}
