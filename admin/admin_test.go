package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"ayumi/registry"
	"ayumi/steps"
)

func TestPeopleAndDevices(t *testing.T) {
	ctx := context.Background()
	b := start(t, t.TempDir(), nil)
	born := steps.DateDay(1951, 4, 2)
	p, err := b.c.AddParticipant(ctx, "p1", &born)
	must(t, err)
	if p.ID != "p1" || *p.Born != born || p.Since != today {
		t.Errorf("added %+v", p)
	}
	_, err = b.c.AddParticipant(ctx, "p1", nil)
	wantError(t, err, steps.Conflict, `cannot add participant: participant "p1" is registered already; choose another ID`)
	_, err = b.c.AddParticipant(ctx, "p 1", nil)
	wantError(t, err, steps.Invalid, "use letters, digits")
	cred, err := b.c.AddDevice(ctx, "d1", registry.Pedometer)
	must(t, err)
	id, err := b.reg.Authenticate("d1", []byte(cred.Secret))
	must(t, err)
	d, err := b.c.Bind(ctx, "d1", "p1", nil)
	must(t, err)
	if d.Participant != "p1" || len(d.Bindings) != 1 || d.Bindings[0] != (Binding{Device: "d1", Participant: "p1", From: today}) || d.Contact != nil {
		t.Errorf("bound %+v", d)
	}
	b.contacts["d1"] = steps.DeviceContact{Contact: steps.Contact{Device: "d1", SentAt: 5, Status: steps.DeviceStatus{Battery: 70, Firmware: "f1"}},
		ReceivedAt: now.Unix(), Uploads: 12}
	last := today + 3
	_, err = b.c.Unbind(ctx, "d1", &last)
	must(t, err)
	d, err = b.c.Device(ctx, "d1")
	must(t, err)
	if c := d.Contact; c == nil || !c.ReceivedAt.Equal(now) || c.SentAt.Unix() != 5 || c.Uploads != 12 || c.Battery != 70 || *d.Bindings[0].Until != last {
		t.Errorf("device %+v, contact %+v", d, d.Contact)
	}
	_, err = b.c.Bind(ctx, "d1", "p1", &today)
	wantError(t, err, steps.Conflict, `bound to "p1" from 2026-11-23 to 2026-11-26; bind from 2026-11-27 or later`)
	d, err = b.c.Revoke(ctx, "d1")
	must(t, err)
	if !d.Revoked || b.reg.Current(id) {
		t.Error("revoked and current")
	}
	d, err = b.c.Restore(ctx, "d1")
	must(t, err)
	rotated, err := b.c.RotateSecret(ctx, "d1")
	must(t, err)
	if _, err := b.reg.Authenticate("d1", []byte(rotated.Secret)); err != nil || d.Revoked || rotated.Secret == cred.Secret {
		t.Errorf("rotated: %v", err)
	}
	p, err = b.c.Participant(ctx, "p1")
	must(t, err)
	if len(p.Bindings) != 1 {
		t.Errorf("participant %+v", p)
	}
	if log := b.logs.String(); strings.Contains(log, cred.Secret) || strings.Contains(log, rotated.Secret) || strings.Contains(log, "p1") {
		t.Errorf("the log tells too much: %s", log)
	}
}

func TestNobody(t *testing.T) {
	ctx := context.Background()
	b := start(t, t.TempDir(), nil)
	for name, err := range map[string]error{
		"participant": second(b.c.Participant(ctx, "nix")), "device": second(b.c.Device(ctx, "nix")),
		"rotate": second(b.c.RotateSecret(ctx, "nix")), "set born": second(b.c.SetBorn(ctx, "nix", nil)),
	} {
		t.Run(name, func(t *testing.T) { wantError(t, err, steps.NotFound, "nix") })
	}
}

func second[T any](_ T, err error) error { return err }

func TestTraitsAreScoredAnew(t *testing.T) {
	ctx := context.Background()
	b := start(t, t.TempDir(), nil)
	_, err := b.c.AddParticipant(ctx, "p1", nil)
	must(t, err)
	until := today - 10
	patch := map[string]any{
		"cohort": "trial", "resident": []DaySpan{{From: today - 300, Until: &until}, {From: today}},
		"enrolled": []DaySpan{{From: today}}, "baseline": registry.Baseline{Steps: 4000, From: today},
	}
	p, err := b.c.UpdateParticipant(ctx, "p1", patch)
	must(t, err)
	if p.Cohort != "trial" || len(p.Resident) != 2 || *p.Resident[0].Until != until || p.Resident[1].Until != nil ||
		len(p.Enrolled) != 1 || p.Baseline == nil || p.Baseline.Steps != 4000 {
		t.Errorf("the participant is %+v", p)
	}
	p, err = b.c.UpdateParticipant(ctx, "p1", map[string]any{"cohort": "", "resident": nil, "baseline": nil})
	must(t, err)
	if p.Cohort != "" || p.Resident != nil || len(p.Enrolled) != 1 || p.Baseline != nil {
		t.Errorf("the participant is %+v", p)
	}
	_, err = b.c.UpdateParticipant(ctx, "p1", map[string]any{"resident": []DaySpan{{From: today, Until: &until}}})
	wantError(t, err, steps.Invalid, "resident days")
	if len(b.rescored) != 2 {
		t.Errorf("scored %v", b.rescored)
	}
}

func TestBornIsScoredAnew(t *testing.T) {
	ctx := context.Background()
	b := start(t, t.TempDir(), nil)
	born := steps.DateDay(1970, 1, 1)
	_, err := b.c.AddParticipant(ctx, "p1", nil)
	must(t, err)
	p, err := b.c.SetBorn(ctx, "p1", &born)
	must(t, err)
	if *p.Born != born {
		t.Errorf("born %s", p.Born)
	}
	p, err = b.c.SetBorn(ctx, "p1", nil)
	must(t, err)
	if p.Born != nil || !slices.Equal(b.rescored, []steps.ParticipantID{"p1", "p1"}) {
		t.Errorf("born %v, scored %v", p.Born, b.rescored)
	}
	b.scoreErr = steps.Errorf("score", steps.Overload, "queue is full")
	_, err = b.c.SetBorn(ctx, "p1", &born)
	wantError(t, err, steps.Overload, "the change is stored, but points were not computed anew: cannot score: queue is full; repeat the request")
	future := today + 1
	_, err = b.c.SetBorn(ctx, "p1", &future)
	wantError(t, err, steps.Invalid, "check the year")
	if len(b.rescored) != 3 {
		t.Errorf("scored %v", b.rescored)
	}
}

// TestSources sets the order of a participant's devices and the chosen one, apart and together.
func TestSources(t *testing.T) {
	ctx := context.Background()
	b := start(t, t.TempDir(), nil)
	_, err := b.c.AddParticipant(ctx, "p1", nil)
	must(t, err)
	for _, d := range []steps.DeviceID{"ped", "phone"} {
		_, err := b.c.AddDevice(ctx, d, registry.Pedometer)
		must(t, err)
		_, err = b.c.Bind(ctx, d, "p1", nil)
		must(t, err)
	}
	p, err := b.c.SetSources(ctx, "p1", []steps.DeviceID{"phone", "ped"})
	must(t, err)
	if !slices.Equal(p.Sources, []steps.DeviceID{"phone", "ped"}) || p.Chosen != "" {
		t.Errorf("sources %v, chosen %q", p.Sources, p.Chosen)
	}
	ped := steps.DeviceID("ped")
	p, err = b.c.ChooseSource(ctx, "p1", &ped)
	must(t, err)
	if len(p.Sources) != 2 || p.Chosen != "ped" {
		t.Errorf("sources %v, chosen %q", p.Sources, p.Chosen)
	}
	p, err = b.c.SetSources(ctx, "p1", nil)
	must(t, err)
	if p.Sources != nil || p.Chosen != "ped" || len(b.rescored) > 0 {
		t.Errorf("sources %v, chosen %q, scored %v", p.Sources, p.Chosen, b.rescored)
	}
	_, err = b.c.SetSources(ctx, "p1", []steps.DeviceID{"nix"})
	wantError(t, err, steps.Invalid, "never bound")
	if len(b.reorders) != 4 {
		t.Errorf("totalled anew: %v", b.reorders)
	}
	_, err = b.c.SetSources(ctx, "nix", nil)
	wantError(t, err, steps.NotFound, "nix")
	if len(b.reorders) != 4 {
		t.Errorf("somebody who is not there was totalled anew: %v", b.reorders)
	}
}

func TestListingsPage(t *testing.T) {
	ctx := context.Background()
	b := start(t, t.TempDir(), nil)
	var file strings.Builder
	file.WriteString("participant,device\n")
	const n = registry.MaxPage + 5
	for i := range n {
		fmt.Fprintf(&file, "p%05d,d%05d\n", i, i)
	}
	sum, err := b.c.Provision(ctx, strings.NewReader(file.String()), registry.ProvisionOptions{}, func(ProvisionedRow) error { return nil })
	must(t, err)
	if sum.Devices != n {
		t.Errorf("%+v", sum)
	}
	var people, devices int
	must(t, b.c.EachParticipant(ctx, func(p Participant) error {
		if want := steps.ParticipantID(fmt.Sprintf("p%05d", people)); p.ID != want {
			t.Fatalf("%s, want %s", p.ID, want)
		}
		people++
		return nil
	}))
	must(t, b.c.EachDevice(ctx, func(d Device) error {
		if want := steps.ParticipantID(fmt.Sprintf("p%05d", devices)); d.Participant != want {
			t.Fatalf("%+v, want %s", d, want)
		}
		devices++
		return nil
	}))
	if people != n || devices != n {
		t.Errorf("%d people, %d devices", people, devices)
	}
	stop := errors.New("enough")
	if err := b.c.EachDevice(ctx, func(Device) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
	_, _, err = b.c.Devices(ctx, "", registry.MaxPage+1)
	wantError(t, err, steps.Invalid, "limit")
}

func TestProvisionOverTheSocket(t *testing.T) {
	ctx := context.Background()
	b := start(t, t.TempDir(), nil)
	const file = "participant,device,kind\np1,d1,\n,r1,reader\n"
	var rows []ProvisionedRow
	give := func(file string, opt registry.ProvisionOptions) (registry.ProvisionSummary, error) {
		rows = nil
		return b.c.Provision(ctx, strings.NewReader(file), opt, func(r ProvisionedRow) error {
			rows = append(rows, r)
			return nil
		})
	}
	want := registry.ProvisionSummary{Participants: 1, Devices: 2}
	sum, err := give(file, registry.ProvisionOptions{DryRun: true})
	must(t, err)
	if sum != want || len(rows) != 2 || rows[0] != (ProvisionedRow{"p1", "d1", ""}) {
		t.Errorf("dry run %+v %+v", sum, rows)
	}
	sum, err = give(file, registry.ProvisionOptions{})
	must(t, err)
	if sum != want || len(rows) != 2 {
		t.Errorf("%+v %+v", sum, rows)
	}
	for _, r := range rows {
		if _, err := b.reg.Authenticate(r.Device, []byte(r.Secret)); err != nil {
			t.Error(err)
		}
	}
	_, err = give(file, registry.ProvisionOptions{})
	wantError(t, err, steps.Conflict, "2 fault(s)")
	var faults *registry.RowErrors
	if !errors.As(err, &faults) || faults.Count != 2 || faults.Errors[1].Line != 3 || faults.Errors[1].Column != "device" {
		t.Errorf("faults %+v", faults)
	}
	sum, err = give(file+"p2,d2,\n", registry.ProvisionOptions{SkipExisting: true})
	must(t, err)
	if sum.Skipped != 2 || len(rows) != 3 || rows[0].Secret != "" || rows[2].Secret == "" {
		t.Errorf("%+v %+v", sum, rows)
	}
	sum, err = give("participant,device\n", registry.ProvisionOptions{})
	if err != nil || sum.Devices != 0 || len(rows) != 0 {
		t.Errorf("no rows: %+v %v", sum, err)
	}
	_, err = give("nonsense\n"+strings.Repeat("x\n", 4<<20), registry.ProvisionOptions{})
	wantError(t, err, steps.Invalid, "line 1, column nonsense: no such column")
}

// halfway provisions one chunk and fails then.
type halfway struct{ *registry.Registry }

func (h halfway) Provision(ctx context.Context, file io.Reader, opt registry.ProvisionOptions, emit func([]registry.Provisioned) error) (registry.ProvisionSummary, error) {
	sum, err := h.Registry.Provision(ctx, file, opt, emit)
	return sum, errors.Join(err, steps.Errorf("provision", steps.Unavailable, "disk full"))
}

func TestProvisionThatStopsHandsOutItsSecrets(t *testing.T) {
	b := start(t, t.TempDir(), func(_ *Config, d *Deps) { d.Registry = halfway{d.Registry.(*registry.Registry)} })
	var rows []ProvisionedRow
	sum, err := b.c.Provision(context.Background(), strings.NewReader("participant,device\np1,d1\n"), registry.ProvisionOptions{}, func(r ProvisionedRow) error {
		rows = append(rows, r)
		return nil
	})
	wantError(t, err, steps.Unavailable, "cannot provision: disk full")
	if len(rows) != 1 || rows[0].Secret == "" || sum.Devices != 1 {
		t.Errorf("%+v %+v", sum, rows)
	}
	if log := b.logs.String(); strings.Contains(log, rows[0].Secret) {
		t.Error("a secret is in the log")
	}
}

func TestCalendarAndStatus(t *testing.T) {
	ctx := context.Background()
	b := start(t, t.TempDir(), nil)
	cal, err := b.c.Calendar(ctx)
	must(t, err)
	if cal != (Calendar{"Asia/Tokyo", today}) {
		t.Errorf("calendar %+v", cal)
	}
	st, err := b.c.Status(ctx)
	must(t, err)
	if st.Version != "v1.2.3" || st.DataDir != b.dir || !st.StartedAt.Equal(now) || st.Addresses["mqtt"] != "127.0.0.1:1883" {
		t.Errorf("status %+v", st)
	}
}

// TestEveryKind sends each kind of error to the client and compares what arrives.
func TestEveryKind(t *testing.T) {
	b := start(t, t.TempDir(), nil)
	for k := range steps.Unavailable + 1 {
		want := steps.Errorf("do it", k, "because of %q: ordinary text", "x\ny")
		b.settle = func(context.Context) error { return want }
		err := b.c.EachDay(context.Background(), steps.DayRange{}, "", func(steps.Award) error { return nil })
		if steps.KindOf(err) != want.Kind || err.Error() != want.Error() {
			t.Errorf("%v (%s), want %v (%s)", err, steps.KindOf(err), want, want.Kind)
		}
	}
	b.settle = func(context.Context) error { return errors.New("plain") }
	err := b.c.EachDay(context.Background(), steps.DayRange{}, "", func(steps.Award) error { return nil })
	wantError(t, err, steps.Internal, "plain")
}

func TestRequestsAreReadStrictly(t *testing.T) {
	ctx := context.Background()
	b := start(t, t.TempDir(), nil)
	for name, tc := range map[string]struct {
		method, path, body string
		kind               steps.Kind
		text               string
	}{
		"unknown field":     {"POST", "/v1/participants", `{"participant":"p","name":"Tanaka"}`, steps.Invalid, `unknown field "name"`},
		"two documents":     {"POST", "/v1/participants", `{"participant":"p"}{}`, steps.Invalid, "behind the JSON document"},
		"no document":       {"POST", "/v1/participants", `participant=p`, steps.Invalid, "not the JSON expected"},
		"bad date":          {"POST", "/v1/participants", `{"participant":"p","born":"2.4.1951"}`, steps.Invalid, "write it as 2026-11-23"},
		"bad kind":          {"POST", "/v1/devices", `{"device":"d","kind":"watch"}`, steps.Invalid, "use pedometer, app or reader"},
		"no kind":           {"POST", "/v1/devices", `{"device":"d"}`, steps.Invalid, "has no kind"},
		"empty patch":       {"PATCH", "/v1/participants/p", `{}`, steps.Invalid, "give born, cohort, resident, enrolled, baseline, sources or chosen_source"},
		"unknown parameter": {"GET", "/v1/days?since=2026-01-01", "", steps.Invalid, `no parameter "since"; use from, to, participant`},
		"parameter twice":   {"GET", "/v1/days?from=2026-01-01&from=2026-01-02", "", steps.Invalid, "give it once"},
		"bad flag":          {"POST", "/v1/provision?dry_run=perhaps", "", steps.Invalid, "use true or false"},
		"bad reason":        {"GET", "/v1/quarantine?reason=ugly", "", steps.Invalid, "malformed, topic"},
		"bad state":         {"GET", "/v1/quarantine?state=shut", "", steps.Invalid, "open, released, discarded"},
		"bad limit":         {"GET", "/v1/devices?limit=0", "", steps.Invalid, "1 to 1000"},
		"bad id":            {"GET", "/v1/devices/a%20b", "", steps.Invalid, "use letters, digits"},
		"unknown route":     {"GET", "/v2/devices", "", steps.NotFound, "there is no GET /v2/devices in version v1.2.3"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := b.c.do(ctx, tc.method, tc.path, typeJSON, strings.NewReader(tc.body))
			if err == nil {
				_ = resp.Body.Close()
			}
			wantError(t, err, tc.kind, tc.text)
		})
	}
}

func TestIDsThatLookLikePaths(t *testing.T) {
	ctx := context.Background()
	b := start(t, t.TempDir(), nil)
	for _, id := range []steps.DeviceID{".", "..", "...", "a:b", "-", "_.x"} {
		_, err := b.c.AddDevice(ctx, id, registry.App)
		must(t, err)
		d, err := b.c.Revoke(ctx, id)
		if err != nil || d.ID != id || !d.Revoked {
			t.Errorf("%q: %+v %v", id, d, err)
		}
	}
}
