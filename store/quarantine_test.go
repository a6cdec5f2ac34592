package store

import (
	"context"
	"fmt"
	"testing"

	"ayumi/steps"
)

// TestQuarantineOfAReader fills a reader's room with devices that it made up, across a restart, and
// makes room again.
func TestQuarantineOfAReader(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.QuarantinePerDevice = 1
	r := start(t, cfg)
	carried := func(i int) *steps.Commit {
		raw, device := []byte(fmt.Sprint("upload ", i)), steps.DeviceID(fmt.Sprint("made-up-", i))
		c := payload()
		c.Quarantine = []steps.QuarantineEntry{{
			ID: steps.NewQuarantineID(device, raw), Device: device, Via: "reader", Transport: steps.MQTT, Encoding: steps.JSON,
			Raw: raw, Faults: []steps.Fault{{Series: -1, Reason: steps.ReasonUnknownDevice, Detail: "no"}},
		}}
		return c
	}
	for i := range quarantineSlack {
		if i == quarantineSlack/2 {
			r.end()
			r = start(t, cfg)
		}
		if err := r.append(carried(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.append(carried(100)); steps.KindOf(err) != steps.Overload {
		t.Fatalf("beyond the reader's room: %v", err)
	}
	decision := steps.Resolution{ID: carried(3).Quarantine[0].ID, Decision: steps.Decision{State: steps.Discarded, By: "me", Reason: "noise"}}
	if err := r.Resolve(context.Background(), decision); err != nil {
		t.Fatal(err)
	}
	if err := r.append(carried(100)); err != nil {
		t.Errorf("after one was discarded: %v", err)
	}
	r.end()
	if _, known := r.quarantine["made-up-3"]; known || r.quarantine["reader"] != quarantineSlack {
		t.Errorf("the reader holds %d entries, a device without any is still counted: %t", r.quarantine["reader"], known)
	}
}
