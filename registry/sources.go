package registry

import (
	"context"
	"slices"

	"ayumi/steps"
)

// UpdateSources sets in which order a participant's devices count where several counted the same day, and
// which one counts alone where the programme lets one; an empty order is that of the devices' IDs, "" is the
// first that counted. Devices of the order that the participant never had are Invalid. Totals are the caller's
// to compute again.
func (r *Registry) UpdateSources(ctx context.Context, id steps.ParticipantID, order []steps.DeviceID, chosen steps.DeviceID) error {
	const op = "update sources"
	return r.changeParticipant(ctx, op, id, func(p *participant) (bool, error) {
		var sources []steps.DeviceID
		for _, device := range order {
			own, err := p.own(op, id, device)
			if err != nil {
				return false, err
			}
			if slices.Contains(sources, own) {
				return false, steps.Errorf(op, steps.Invalid, "device %q is there twice; name each device once", clip(string(device)))
			}
			sources = append(sources, own)
		}
		if chosen != "" {
			own, err := p.own(op, id, chosen)
			if err != nil {
				return false, err
			}
			chosen = own
		}
		changed := !slices.Equal(sources, p.sources) || chosen != p.chosen
		p.sources, p.chosen = sources, chosen
		return changed, nil
	})
}

// own returns the registry's copy of a device's ID, if the participant ever had the device.
func (p *participant) own(op string, id steps.ParticipantID, device steps.DeviceID) (steps.DeviceID, error) {
	i := slices.Index(p.devices, device)
	if i < 0 {
		return "", steps.Errorf(op, steps.Invalid, "device %q was never bound to participant %q; check the ID, or bind it first",
			clip(string(device)), id)
	}
	return p.devices[i], nil
}

// SourceOrder returns a participant's order of devices and the chosen one, as UpdateSources set them. The
// caller does not change the slice.
func (r *Registry) SourceOrder(id steps.ParticipantID) (order []steps.DeviceID, chosen steps.DeviceID) {
	p := r.participants.get(id)
	if p == nil {
		return nil, ""
	}
	return p.sources, p.chosen
}
