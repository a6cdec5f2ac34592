package main

import (
	"context"
	"sync"

	"ayumi/ingest"
	"ayumi/points"
	"ayumi/registry"
	"ayumi/steps"
)

// listenerGateway is what the listeners see: the registry's identities and the pipeline.
type listenerGateway struct{ g *gateway }

// Authenticate implements mqtt.Gateway and https.Gateway.
func (l listenerGateway) Authenticate(device steps.DeviceID, secret []byte) (steps.Identity, error) {
	return l.g.registry.Authenticate(device, secret)
}

// Submit implements mqtt.Gateway and https.Gateway.
func (l listenerGateway) Submit(ctx context.Context, env *ingest.Envelope, done ingest.Completion) error {
	return l.g.pipeline.Submit(ctx, env, done)
}

// ownDays answers a device for the participants it was bound to, each for the days of the binding
// only: whoever wore the device before or after is none of its business.
type ownDays struct{ g *gateway }

// OwnDays implements https.Days.
func (o ownDays) OwnDays(ctx context.Context, device steps.DeviceID, r steps.DayRange) ([]steps.Award, error) {
	if err := o.g.engine.Settle(ctx); err != nil {
		return nil, err
	}
	var out []steps.Award
	for _, b := range o.g.registry.Bindings(device) {
		if !b.Days.Overlaps(r) {
			continue
		}
		err := o.g.store.EachDay(ctx, r, b.Participant, func(a steps.Award) error {
			if b.Days.Contains(a.Day) {
				out = append(out, a)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ExplainDay implements https.Days.
func (o ownDays) ExplainDay(ctx context.Context, device steps.DeviceID, day steps.Day) (any, error) {
	p, ok := o.g.registry.Binding(device, day)
	if !ok {
		return nil, steps.Errorf("explain day", steps.NotFound, "the device was nobody's on %s; ask for a day on which it was bound", day)
	}
	return explainer(o).Explain(ctx, steps.ParticipantDay{Participant: p, Day: day})
}

// people is what points depend on beside days.
type people struct {
	r     *registry.Registry
	since *sync.Map // from a day to the range that begins with it, so that it is made once
}

// Person implements points.People. Who is not recorded as a resident of some days is one of all, and who
// is not recorded as enrolled is so from the day of registration on.
func (p people) Person(id steps.ParticipantID) points.Person {
	r, ok := p.r.Scored(id)
	if !ok {
		return points.Person{}
	}
	out := points.Person{Born: r.Born, BornKnown: r.BornKnown}
	if t := r.Traits; t != nil {
		out.Cohort, out.Resident, out.Enrolled = t.Cohort, t.Resident, t.Enrolled
		if b := t.Baseline; b != nil {
			out.Baseline = points.PersonalBaseline{Known: true, Steps: b.Steps, From: b.From}
		}
	}
	if len(out.Resident) == 0 {
		out.Resident = always
	}
	if len(out.Enrolled) == 0 {
		out.Enrolled = p.from(r.Since)
	}
	return out
}

func (p people) from(day steps.Day) []steps.DayRange {
	if r, ok := p.since.Load(day); ok {
		return r.([]steps.DayRange)
	}
	r, _ := p.since.LoadOrStore(day, []steps.DayRange{{From: day}})
	return r.([]steps.DayRange)
}

// always holds every day that a device can report.
var always = []steps.DayRange{{}}

// adminDays is what the administrator's API reads days from.
type adminDays struct{ g *gateway }

// Settle implements admin.Days.
func (d adminDays) Settle(ctx context.Context) error { return d.g.engine.Settle(ctx) }

// EachDay implements admin.Days.
func (d adminDays) EachDay(ctx context.Context, r steps.DayRange, p steps.ParticipantID, fn func(steps.Award) error) error {
	return d.g.store.EachDay(ctx, r, p, fn)
}

// adminQuarantine lists from the store and decides through the pipeline.
type adminQuarantine struct{ g *gateway }

// EachQuarantined implements admin.Quarantine.
func (q adminQuarantine) EachQuarantined(ctx context.Context, f steps.QuarantineFilter, fn func(*steps.QuarantineEntry) error) error {
	return q.g.store.EachQuarantined(ctx, f, fn)
}

// Quarantined implements admin.Quarantine.
func (q adminQuarantine) Quarantined(ctx context.Context, id steps.QuarantineID) (*steps.QuarantineEntry, error) {
	return q.g.store.Quarantined(ctx, id)
}

// Release implements admin.Quarantine.
func (q adminQuarantine) Release(ctx context.Context, id steps.QuarantineID, by, reason string) (*steps.Receipt, error) {
	return q.g.pipeline.Release(ctx, id, by, reason)
}

// Discard implements admin.Quarantine.
func (q adminQuarantine) Discard(ctx context.Context, id steps.QuarantineID, by, reason string) error {
	return q.g.pipeline.Discard(ctx, id, by, reason)
}
