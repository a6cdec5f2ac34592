package admin

import (
	"context"

	"ayumi/registry"
	"ayumi/steps"
)

// Devices returns one page by ID, as Participants does.
func (c *Client) Devices(ctx context.Context, after steps.DeviceID, limit int) (out []Device, next steps.DeviceID, err error) {
	p, err := get[devicePage](ctx, c, "/v1/devices"+query("after", string(after), "limit", intText(limit)))
	return p.Devices, p.Next, err
}

// EachDevice calls fn for every device by ID.
func (c *Client) EachDevice(ctx context.Context, fn func(Device) error) error {
	for after := steps.DeviceID(""); ; {
		list, next, err := c.Devices(ctx, after, registry.MaxPage)
		if err != nil {
			return err
		}
		for _, d := range list {
			if err := fn(d); err != nil {
				return err
			}
		}
		if after = next; next == "" {
			return nil
		}
	}
}

// AddDevice registers a device and returns its secret, which cannot be had again.
func (c *Client) AddDevice(ctx context.Context, id steps.DeviceID, kind registry.Kind) (Credential, error) {
	return post[Credential](ctx, c, "/v1/devices", newDevice{id, kind})
}

// Device returns one device with bindings and last contact.
func (c *Client) Device(ctx context.Context, id steps.DeviceID) (Device, error) {
	return get[Device](ctx, c, "/v1/devices/"+segment(id))
}

// RotateSecret gives a device a new secret; the old one stops working.
func (c *Client) RotateSecret(ctx context.Context, id steps.DeviceID) (Credential, error) {
	return post[Credential](ctx, c, devicePath(id, "rotate"), nil)
}

// Revoke shuts a device out.
func (c *Client) Revoke(ctx context.Context, id steps.DeviceID) (Device, error) {
	return post[Device](ctx, c, devicePath(id, "revoke"), nil)
}

// Restore lets a revoked device in again.
func (c *Client) Restore(ctx context.Context, id steps.DeviceID) (Device, error) {
	return post[Device](ctx, c, devicePath(id, "restore"), nil)
}

// Bind makes a device count for a participant from a day on; nil is today.
func (c *Client) Bind(ctx context.Context, id steps.DeviceID, to steps.ParticipantID, from *steps.Day) (Device, error) {
	return post[Device](ctx, c, devicePath(id, "bind"), bindRequest{to, from})
}

// Unbind ends a device's binding with a day; nil is today.
func (c *Client) Unbind(ctx context.Context, id steps.DeviceID, until *steps.Day) (Device, error) {
	return post[Device](ctx, c, devicePath(id, "unbind"), unbindRequest{until})
}

func devicePath(id steps.DeviceID, verb string) string {
	return "/v1/devices/" + segment(id) + "/" + verb
}

// EachDay calls fn for every participant-day in range, ordered by day then participant, narrowed to
// one participant when p != "". Points reflect everything acknowledged before the call. Zero ends
// of the range are open. Nil means that fn has seen all of it.
func (c *Client) EachDay(ctx context.Context, r steps.DayRange, p steps.ParticipantID, fn func(steps.Award) error) error {
	path := "/v1/days" + query("from", dayText(r.From), "to", dayText(r.Until), "participant", string(p))
	return list(ctx, c, "list days", path, func(l *dayLine) error {
		return fn(steps.Award{ParticipantDay: steps.ParticipantDay{Participant: l.Participant, Day: l.Day},
			Steps: l.Steps, Points: l.Points, RuleSet: l.RuleSet})
	})
}

func dayText(d steps.Day) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// EachQuarantined calls fn for every quarantined payload that f asks for, without raw bytes.
func (c *Client) EachQuarantined(ctx context.Context, f steps.QuarantineFilter, fn func(*QuarantineEntry) error) error {
	var reason, state string
	if f.Reason != 0 {
		reason = f.Reason.String()
	}
	if f.State != nil {
		state = f.State.String()
	}
	path := "/v1/quarantine" + query("device", string(f.Device), "reason", reason, "state", state, "limit", intText(f.Limit))
	return list(ctx, c, "list quarantine", path, fn)
}

// Quarantined returns one quarantined payload with its raw bytes.
func (c *Client) Quarantined(ctx context.Context, id steps.QuarantineID) (QuarantineEntry, error) {
	return get[QuarantineEntry](ctx, c, "/v1/quarantine/"+segment(id))
}

// Release takes a payload into the series. By and reason are kept for good and may not be empty.
func (c *Client) Release(ctx context.Context, id steps.QuarantineID, by, reason string) (Receipt, error) {
	return post[Receipt](ctx, c, "/v1/quarantine/"+segment(id)+"/release", decisionRequest{by, reason})
}

// Discard closes a payload for good. By and reason are kept for good and may not be empty.
func (c *Client) Discard(ctx context.Context, id steps.QuarantineID, by, reason string) (QuarantineEntry, error) {
	return post[QuarantineEntry](ctx, c, "/v1/quarantine/"+segment(id)+"/discard", decisionRequest{by, reason})
}

// Calendar returns the programme's time zone and current day.
func (c *Client) Calendar(ctx context.Context) (Calendar, error) {
	return get[Calendar](ctx, c, "/v1/calendar")
}

// Status says what is running.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, "/v1/status")
}
