package admin

import (
	"context"
	"net/http"

	"ayumi/registry"
	"ayumi/steps"
)

// deviceOf adds what other rooms know of a device.
func (s *Server) deviceOf(d registry.Device) (Device, error) {
	out := Device{ID: d.ID, Kind: d.Kind, Since: d.Since, Revoked: d.Revoked}
	out.Participant, _ = s.d.Registry.Binding(d.ID, s.today())
	c, heard, err := s.d.Devices.Contact(d.ID)
	if err != nil {
		return Device{}, steps.E("read last contact", steps.KindOf(err), err)
	}
	if heard {
		out.Contact = &Contact{ReceivedAt: instant(c.ReceivedAt), Uploads: c.Uploads,
			Battery: c.Status.Battery, Firmware: c.Status.Firmware, Signal: c.Status.Signal}
		if c.SentAt != 0 {
			sent := instant(c.SentAt)
			out.Contact.SentAt = &sent
		}
	}
	return out, nil
}

func (s *Server) listDevices(w http.ResponseWriter, r *http.Request) error {
	after, limit, err := page(r)
	if err != nil {
		return err
	}
	list := s.d.Registry.Devices(steps.DeviceID(after), limit)
	out := devicePage{Devices: make([]Device, len(list))}
	for i, d := range list {
		if out.Devices[i], err = s.deviceOf(d); err != nil {
			return err
		}
	}
	if len(list) == limit {
		out.Next = list[limit-1].ID
	}
	return s.reply(w, http.StatusOK, out)
}

func (s *Server) addDevice(w http.ResponseWriter, r *http.Request) error {
	var in newDevice
	if err := decode(w, r, &in); err != nil {
		return err
	}
	secret, err := s.d.Registry.AddDevice(r.Context(), registry.Device{ID: in.ID, Kind: in.Kind})
	if err != nil {
		return err
	}
	return s.reply(w, http.StatusCreated, Credential{Device: in.ID, Secret: secret.Reveal()})
}

func (s *Server) device(w http.ResponseWriter, r *http.Request) error {
	return s.withDevice(w, r, func(context.Context, steps.DeviceID) error { return nil })
}

// withDevice does something to the device of the route and answers with what it is then.
func (s *Server) withDevice(w http.ResponseWriter, r *http.Request, do func(context.Context, steps.DeviceID) error) error {
	id, err := steps.ParseDeviceID(r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := do(r.Context(), id); err != nil {
		return err
	}
	d, ok := s.d.Registry.Device(id)
	if !ok {
		return steps.Errorf("find device", steps.NotFound, "device %q is not registered; check the ID", id)
	}
	out, err := s.deviceOf(d)
	if err != nil {
		return err
	}
	out.Bindings = bindingsOf(s.d.Registry.Bindings(id))
	return s.reply(w, http.StatusOK, out)
}

func (s *Server) rotate(w http.ResponseWriter, r *http.Request) error {
	id, err := steps.ParseDeviceID(r.PathValue("id"))
	if err != nil {
		return err
	}
	secret, err := s.d.Registry.RotateSecret(r.Context(), id)
	if err != nil {
		return err
	}
	return s.reply(w, http.StatusOK, Credential{Device: id, Secret: secret.Reveal()})
}

func (s *Server) revoke(w http.ResponseWriter, r *http.Request) error {
	return s.withDevice(w, r, s.d.Registry.Revoke)
}

func (s *Server) restore(w http.ResponseWriter, r *http.Request) error {
	return s.withDevice(w, r, s.d.Registry.Restore)
}

func (s *Server) bind(w http.ResponseWriter, r *http.Request) error {
	var in bindRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	from := s.today()
	if in.From != nil {
		from = *in.From
	}
	return s.withDevice(w, r, func(ctx context.Context, id steps.DeviceID) error {
		return s.d.Registry.Bind(ctx, id, in.Participant, from)
	})
}

func (s *Server) unbind(w http.ResponseWriter, r *http.Request) error {
	var in unbindRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	until := s.today()
	if in.Until != nil {
		until = *in.Until
	}
	return s.withDevice(w, r, func(ctx context.Context, id steps.DeviceID) error {
		return s.d.Registry.Unbind(ctx, id, until)
	})
}
