package registry

import (
	"cmp"
	"crypto/subtle"
	"errors"
	"slices"

	"ayumi/steps"
)

// MaxPage is the most that one listing returns.
const MaxPage = 1000

// errDenied is the one answer to every refused credential: whoever tries secrets must not learn
// which devices exist or were revoked.
var errDenied = steps.E("authenticate", steps.Unauthorized,
	errors.New("the device or its secret is not valid; if it should be, have the secret rotated"))

// Authenticate checks the secret that a device presents, in its 43-character text form. Every
// refusal is the same Unauthorized error after the same work; the metric tells the causes apart.
func (r *Registry) Authenticate(id steps.DeviceID, secret []byte) (steps.Identity, error) {
	presented := hashSecret(secret)
	d := r.devices.get(id)
	known := d != nil
	if !known {
		d = &r.nobody
	}
	match := subtle.ConstantTimeCompare(presented[:], d.hash[:]) == 1
	switch {
	case !known:
		r.metrics.unknown.Inc()
	case !match:
		r.metrics.wrong.Inc()
	case d.revoked:
		r.metrics.revoked.Inc()
	default:
		return steps.Identity{Device: id, Reader: d.kind == Reader, Generation: d.generation}, nil
	}
	return steps.Identity{}, errDenied
}

// Current reports whether the credential that id was obtained with is still valid: neither rotated
// nor revoked since.
func (r *Registry) Current(id steps.Identity) bool {
	d := r.devices.get(id.Device)
	return d != nil && !d.revoked && d.generation == id.Generation
}

// Active reports whether the device is registered and not revoked.
func (r *Registry) Active(id steps.DeviceID) bool {
	d := r.devices.get(id)
	return d != nil && !d.revoked
}

// Binding returns whose steps the device counts on day. A revoked device keeps its bindings: what
// it counted before stays somebody's.
func (r *Registry) Binding(id steps.DeviceID, day steps.Day) (steps.ParticipantID, bool) {
	d := r.devices.get(id)
	if d == nil {
		return "", false
	}
	for i := len(d.bindings) - 1; i >= 0; i-- { // the latest is asked for most
		if b := &d.bindings[i]; b.days.Contains(day) {
			return b.participant, true
		}
	}
	return "", false
}

// Device returns a registered device.
func (r *Registry) Device(id steps.DeviceID) (Device, bool) {
	d, id := r.devices.find(id)
	if d == nil {
		return Device{}, false
	}
	return d.public(id), true
}

func (d *device) public(id steps.DeviceID) Device {
	return Device{ID: id, Kind: d.kind, Since: d.since, Revoked: d.revoked, Generation: d.generation}
}

// Participant returns a registered participant.
func (r *Registry) Participant(id steps.ParticipantID) (Participant, bool) {
	p, id := r.participants.find(id)
	if p == nil {
		return Participant{}, false
	}
	return p.public(id), true
}

func (p *participant) public(id steps.ParticipantID) Participant {
	out := Participant{ID: id, Since: p.since, Sources: slices.Clone(p.sources), Chosen: p.chosen}
	if p.born != unknownBorn {
		born := p.born
		out.Born = &born
	}
	if p.traits != nil {
		out.Traits = *p.traits
	}
	return out
}

// Bindings returns every binding of a device in the order they were made.
func (r *Registry) Bindings(id steps.DeviceID) []steps.Binding {
	d, id := r.devices.find(id)
	if d == nil {
		return nil
	}
	out := make([]steps.Binding, len(d.bindings))
	for i, b := range d.bindings {
		out[i] = steps.Binding{Device: id, Participant: b.participant, Days: b.days}
	}
	return out
}

// BindingsOf returns every binding of a participant by first day, then device.
func (r *Registry) BindingsOf(id steps.ParticipantID) []steps.Binding {
	p := r.participants.get(id)
	if p == nil {
		return nil
	}
	var out []steps.Binding
	for _, device := range p.devices {
		for _, b := range r.Bindings(device) {
			if b.Participant == id {
				out = append(out, b)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b steps.Binding) int {
		return cmp.Or(cmp.Compare(a.Days.From, b.Days.From), cmp.Compare(a.Device, b.Device))
	})
	return out
}

// Devices returns up to limit devices whose ID is above after, by ID. A limit of 0, or above
// MaxPage, is MaxPage.
func (r *Registry) Devices(after steps.DeviceID, limit int) []Device {
	ids := r.devices.order.page(after, pageLimit(limit))
	out := make([]Device, len(ids))
	for i, id := range ids {
		out[i] = r.devices.get(id).public(id)
	}
	return out
}

// Participants returns up to limit participants whose ID is above after, by ID. A limit of 0, or
// above MaxPage, is MaxPage.
func (r *Registry) Participants(after steps.ParticipantID, limit int) []Participant {
	ids := r.participants.order.page(after, pageLimit(limit))
	out := make([]Participant, len(ids))
	for i, id := range ids {
		out[i] = r.participants.get(id).public(id)
	}
	return out
}

func pageLimit(limit int) int {
	if limit <= 0 || limit > MaxPage {
		return MaxPage
	}
	return limit
}
