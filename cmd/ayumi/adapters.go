package main

import (
	"context"

	"ayumi/ingest"
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
