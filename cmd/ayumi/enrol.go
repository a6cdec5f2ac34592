package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"

	"ayumi/admin"
	"ayumi/registry"
	"ayumi/steps"
)

// enrolAll registers people and devices that are not registered yet, and gives those that are a
// new secret. It returns every device's secret.
func enrolAll(ctx context.Context, c *admin.Client, people []enrolment) (map[steps.DeviceID]string, error) {
	secrets := make(map[steps.DeviceID]string, len(people))
	var fresh []enrolment
	for _, e := range people {
		d, err := c.Device(ctx, e.device)
		switch {
		case steps.KindOf(err) == steps.NotFound:
			fresh = append(fresh, e)
			continue
		case err != nil:
			return nil, err
		case !counts(d.Bindings, e):
			return nil, steps.Errorf("enrol devices", steps.Conflict,
				"device %s does not count for %s from %s on; use another data directory", e.device, e.participant, e.from)
		}
		cred, err := c.RotateSecret(ctx, e.device)
		if err != nil {
			return nil, err
		}
		secrets[e.device] = cred.Secret
	}
	if len(fresh) == 0 {
		return secrets, nil
	}
	_, err := c.Provision(ctx, sheet(fresh), registry.ProvisionOptions{}, func(r admin.ProvisionedRow) error {
		secrets[r.Device] = r.Secret
		return nil
	})
	return secrets, err
}

// counts reports whether the bindings have the device count for the participant from the day on.
func counts(bindings []admin.Binding, e enrolment) bool {
	for _, b := range bindings {
		if b.Participant == e.participant && b.From <= e.from && b.Until == nil {
			return true
		}
	}
	return false
}

// sheet is a provisioning file.
func sheet(people []enrolment) *bytes.Buffer {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	rows := [][]string{{"participant", "device", "kind", "from"}}
	for _, e := range people {
		rows = append(rows, []string{string(e.participant), string(e.device), e.kind, e.from.String()})
	}
	if err := w.WriteAll(rows); err != nil {
		panic(fmt.Sprintf("a buffer refused to be written: %v", err))
	}
	return &b
}
