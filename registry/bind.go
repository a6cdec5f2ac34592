package registry

import (
	"context"
	"slices"

	"ayumi/steps"
)

// cancelled reports whether a binding was ended before it began, so that it contains no day.
func cancelled(r steps.DayRange) bool { return r.Until != 0 && r.Until < r.From }

// latest returns the index of the last binding that contains a day, or -1.
func latest(bs []binding) int {
	for i := len(bs) - 1; i >= 0; i-- {
		if !cancelled(bs[i].days) {
			return i
		}
	}
	return -1
}

// Bind makes the device count for the participant from the day from on, without end. An open
// binding to somebody else ends the day before. It is a Conflict if another binding reaches into
// from or later, or if the device is revoked. Binding a device to whom it is bound already changes
// nothing.
func (r *Registry) Bind(ctx context.Context, id steps.DeviceID, to steps.ParticipantID, from steps.Day) error {
	const op = "bind device"
	if err := checkDay(from); err != nil {
		return steps.E(op, steps.Invalid, err)
	}
	return r.changeDevice(ctx, op, id, func(d *device) (bool, error) {
		p, name := r.participants.find(to)
		switch {
		case p == nil:
			return false, noParticipant(op, to)
		case d.kind == Reader:
			return false, steps.Errorf(op, steps.Invalid, "device %q is a reader, which carries other devices' steps and counts none; bind the pedometer itself", id)
		case d.revoked:
			return false, steps.Errorf(op, steps.Conflict, "device %q is revoked; restore it first", id)
		}
		bs := slices.Clone(d.bindings)
		if at := latest(bs); at >= 0 {
			last := &bs[at]
			open := last.days.Until == 0
			switch {
			case open && last.participant == to && last.days.From <= from:
				return false, nil
			case open && last.days.From < from:
				last.days.Until = from - 1
			case open:
				return false, steps.Errorf(op, steps.Conflict,
					"device %q is bound to %q from %s on; bind from a later day, or cancel that binding first by unbinding with last day %s",
					id, last.participant, last.days.From, last.days.From-1)
			case last.days.Until >= from:
				return false, steps.Errorf(op, steps.Conflict,
					"device %q is bound to %q from %s to %s; bind from %s or later",
					id, last.participant, last.days.From, last.days.Until, last.days.Until+1)
			}
		}
		d.bindings = append(bs, binding{participant: name, days: steps.DayRange{From: from}})
		return true, nil
	})
}

// Unbind ends the device's open binding with the day last. The day before the binding's first
// cancels it: it stays on record and contains no day. Unbinding again with the same day changes
// nothing; with no open binding it is a Conflict.
func (r *Registry) Unbind(ctx context.Context, id steps.DeviceID, last steps.Day) error {
	const op = "unbind device"
	if err := checkDay(last); err != nil {
		return steps.E(op, steps.Invalid, err)
	}
	return r.changeDevice(ctx, op, id, func(d *device) (bool, error) {
		n := len(d.bindings)
		if n == 0 {
			return false, steps.Errorf(op, steps.Conflict, "device %q is bound to nobody; there is nothing to end", id)
		}
		bs := slices.Clone(d.bindings)
		b := &bs[n-1]
		switch {
		case b.days.Until == last:
			return false, nil
		case b.days.Until != 0:
			return false, steps.Errorf(op, steps.Conflict,
				"device %q is bound to nobody; its binding to %q ended with %s", id, b.participant, b.days.Until)
		case last < b.days.From-1:
			return false, steps.Errorf(op, steps.Conflict,
				"device %q is bound to %q from %s on; use that day or a later one, or %s to cancel the binding",
				id, b.participant, b.days.From, b.days.From-1)
		}
		b.days.Until = last
		d.bindings = bs
		return true, nil
	})
}
