package registry

import (
	"context"
	"slices"
	"strings"

	"ayumi/steps"
)

// The dates that the registry takes. A typing error such as 1026 or 20226 is refused rather than
// stored, and no day of a binding is day 0, which stands for an open end.
var (
	firstBorn = steps.DateDay(1900, 1, 1)
	firstDay  = steps.DateDay(2000, 1, 1)
	lastDay   = steps.DateDay(2199, 12, 31)
)

func checkDay(d steps.Day) error {
	if d < firstDay || d > lastDay {
		return steps.Errorf("use date", steps.Invalid, "%s lies outside %s to %s; check the year", d, firstDay, lastDay)
	}
	return nil
}

func checkBorn(born, today steps.Day) error {
	if born < firstBorn || born > today {
		return steps.Errorf("use date of birth", steps.Invalid, "%s lies outside %s to today; check the year", born, firstBorn)
	}
	return nil
}

// begin makes the caller the one writer.
func (r *Registry) begin(ctx context.Context, op string) error {
	select {
	case r.write <- struct{}{}:
		return nil
	case <-ctx.Done():
		return steps.Errorf(op, steps.Unavailable, "gave up waiting for another change: %w; try again", ctx.Err())
	}
}

func (r *Registry) end() { <-r.write }

// staged is one change that becomes durable first and visible then.
type staged struct {
	participants map[steps.ParticipantID]*participant
	devices      map[steps.DeviceID]*device
	changes      []steps.Change
}

func newStaged() *staged {
	return &staged{participants: map[steps.ParticipantID]*participant{}, devices: map[steps.DeviceID]*device{}}
}

func (s *staged) device(id steps.DeviceID, d *device) error {
	value, err := encodeDevice(d)
	if err != nil {
		return err
	}
	s.devices[id] = d
	s.changes = append(s.changes, steps.Change{Key: deviceKey(id), Value: value})
	return nil
}

func (s *staged) participant(id steps.ParticipantID, p *participant) error {
	value, err := encodeParticipant(p)
	if err != nil {
		return err
	}
	s.participants[id] = p
	s.changes = append(s.changes, steps.Change{Key: participantKey(id), Value: value})
	return nil
}

// commit applies s. The context is not handed to the store: a caller who leaves in the middle
// must not leave the memory behind the records.
func (r *Registry) commit(ctx context.Context, s *staged) error {
	if err := ctx.Err(); err != nil {
		return steps.E("apply registry change", steps.Unavailable, err)
	}
	if err := r.rec.Apply(context.WithoutCancel(ctx), s.changes); err != nil {
		return err
	}
	for id, p := range s.participants { // before the devices that are bound to them
		r.participants.put(id, p)
	}
	for id, d := range s.devices {
		r.devices.put(id, d)
	}
	r.count()
	return nil
}

// AddParticipant registers a participant from today on. The ID is chosen by the caller; Since is
// set here. An ID that is taken is a Conflict.
func (r *Registry) AddParticipant(ctx context.Context, in Participant) error {
	const op = "add participant"
	id, err := steps.ParseParticipantID(string(in.ID))
	if err != nil {
		return steps.E(op, steps.Invalid, err)
	}
	today := r.Today()
	p := &participant{born: unknownBorn, since: today}
	if in.Born != nil {
		if err := checkBorn(*in.Born, today); err != nil {
			return steps.E(op, steps.Invalid, err)
		}
		p.born = *in.Born
	}
	if err := r.begin(ctx, op); err != nil {
		return err
	}
	defer r.end()
	if r.participants.get(id) != nil {
		return steps.Errorf(op, steps.Conflict, "participant %q is registered already; choose another ID", id)
	}
	s := newStaged()
	if err := s.participant(steps.ParticipantID(strings.Clone(string(id))), p); err != nil {
		return steps.E(op, steps.Internal, err)
	}
	return opError(op, r.commit(ctx, s))
}

// UpdateParticipant sets a participant's date of birth; nil makes it unknown. Points that depend
// on age are the caller's to compute again.
func (r *Registry) UpdateParticipant(ctx context.Context, id steps.ParticipantID, born *steps.Day) error {
	const op = "update participant"
	day := unknownBorn
	if born != nil {
		if err := checkBorn(*born, r.Today()); err != nil {
			return steps.E(op, steps.Invalid, err)
		}
		day = *born
	}
	return r.changeParticipant(ctx, op, id, func(p *participant) (bool, error) {
		changed := p.born != day
		p.born = day
		return changed, nil
	})
}

// changeParticipant replaces one participant by what edit makes of its copy. Edit must replace slices and
// traits, not write into them, and reports whether there is something to store.
func (r *Registry) changeParticipant(ctx context.Context, op string, id steps.ParticipantID, edit func(*participant) (bool, error)) error {
	if err := r.begin(ctx, op); err != nil {
		return err
	}
	defer r.end()
	old, name := r.participants.find(id)
	if old == nil {
		return noParticipant(op, id)
	}
	p := *old
	changed, err := edit(&p)
	if err != nil || !changed {
		return err
	}
	s := newStaged()
	if err := s.participant(name, &p); err != nil {
		return steps.E(op, steps.Internal, err)
	}
	return opError(op, r.commit(ctx, s))
}

// AddDevice registers a device from today on and returns its secret, which cannot be had again.
// Only ID and Kind of the argument are used. An ID that is taken is a Conflict.
func (r *Registry) AddDevice(ctx context.Context, in Device) (Secret, error) {
	const op = "add device"
	id, err := steps.ParseDeviceID(string(in.ID))
	if err != nil {
		return Secret{}, steps.E(op, steps.Invalid, err)
	}
	if in.Kind < Pedometer || in.Kind > Reader {
		return Secret{}, steps.Errorf(op, steps.Invalid, "device %q has no kind; use pedometer, app or reader", id)
	}
	if err := r.begin(ctx, op); err != nil {
		return Secret{}, err
	}
	defer r.end()
	if r.devices.get(id) != nil {
		return Secret{}, steps.Errorf(op, steps.Conflict,
			"device %q is registered already; rotate its secret if the secret is lost, or choose another ID", id)
	}
	secret, hash, err := r.newSecret()
	if err != nil {
		return Secret{}, steps.E(op, steps.Internal, err)
	}
	d := &device{hash: hash, generation: 1, since: r.Today(), kind: in.Kind}
	s := newStaged()
	if err := s.device(steps.DeviceID(strings.Clone(string(id))), d); err != nil {
		return Secret{}, steps.E(op, steps.Internal, err)
	}
	if err := r.commit(ctx, s); err != nil {
		return Secret{}, opError(op, err)
	}
	return secret, nil
}

// RotateSecret gives a device a new secret; the old one and every connection that it opened stop
// being valid. A revoked device may be rotated and stays revoked, so that a lost secret never
// works between restoring and rotating.
func (r *Registry) RotateSecret(ctx context.Context, id steps.DeviceID) (Secret, error) {
	secret, hash, err := r.newSecret()
	if err != nil {
		return Secret{}, err
	}
	err = r.changeDevice(ctx, "rotate secret", id, func(d *device) (bool, error) {
		d.hash = hash
		d.generation++
		return true, nil
	})
	if err != nil {
		return Secret{}, err
	}
	return secret, nil
}

// Revoke shuts a device out at once. Revoking a revoked device changes nothing.
func (r *Registry) Revoke(ctx context.Context, id steps.DeviceID) error {
	return r.changeDevice(ctx, "revoke device", id, func(d *device) (bool, error) {
		if d.revoked {
			return false, nil
		}
		d.revoked = true
		d.generation++
		return true, nil
	})
}

// Restore lets a revoked device in again with the secret it had. Connections from before the
// revocation stay invalid.
func (r *Registry) Restore(ctx context.Context, id steps.DeviceID) error {
	return r.changeDevice(ctx, "restore device", id, func(d *device) (bool, error) {
		changed := d.revoked
		d.revoked = false
		return changed, nil
	})
}

// changeDevice replaces one device by what edit makes of its copy. Edit must replace bindings, not
// write into them, and reports whether there is something to store.
func (r *Registry) changeDevice(ctx context.Context, op string, id steps.DeviceID, edit func(*device) (bool, error)) error {
	if err := r.begin(ctx, op); err != nil {
		return err
	}
	defer r.end()
	old, name := r.devices.find(id)
	if old == nil {
		return noDevice(op, id)
	}
	d := *old
	changed, err := edit(&d)
	if err != nil || !changed {
		return err
	}
	s := newStaged()
	if err := s.device(name, &d); err != nil {
		return steps.E(op, steps.Internal, err)
	}
	if n := len(d.bindings); n > 0 {
		r.stageOwner(s, d.bindings[n-1].participant, name)
	}
	return opError(op, r.commit(ctx, s))
}

// stageOwner notes that participant p has had the device, in memory only: the device's record
// says so durably.
func (r *Registry) stageOwner(s *staged, id steps.ParticipantID, device steps.DeviceID) {
	p := s.participants[id]
	if p == nil {
		p = r.participants.get(id)
	}
	if slices.Contains(p.devices, device) {
		return
	}
	next := *p
	next.devices = withDevice(p.devices, device)
	s.participants[id] = &next
}

// withDevice returns devices with id, leaving the given slice alone.
func withDevice(devices []steps.DeviceID, id steps.DeviceID) []steps.DeviceID {
	if slices.Contains(devices, id) {
		return devices
	}
	return append(devices[:len(devices):len(devices)], id)
}

func noDevice(op string, id steps.DeviceID) error {
	return steps.Errorf(op, steps.NotFound, "device %q is not registered; check the ID, or add it first", clip(string(id)))
}

func noParticipant(op string, id steps.ParticipantID) error {
	return steps.Errorf(op, steps.NotFound, "participant %q is not registered; check the ID, or add it first", clip(string(id)))
}

// opError names the operation in front of a store error and keeps its kind.
func opError(op string, err error) error {
	if err == nil {
		return nil
	}
	return steps.E(op, steps.KindOf(err), err)
}
