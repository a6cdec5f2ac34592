package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"ayumi/steps"
)

func TestAuthenticate(t *testing.T) {
	ctx := context.Background()
	r := open(t, newMemory())
	secret, err := r.AddDevice(ctx, Device{ID: "ped-1", Kind: Pedometer})
	must(t, err)
	other, err := r.AddDevice(ctx, Device{ID: "reader-1", Kind: Reader})
	must(t, err)
	if n := len(secret.Reveal()); n != SecretLen {
		t.Fatalf("secret has %d characters", n)
	}
	first, err := r.Authenticate("ped-1", []byte(secret.Reveal()))
	must(t, err)
	if first != (steps.Identity{Device: "ped-1", Generation: 1}) {
		t.Errorf("identity %+v", first)
	}
	reader, err := r.Authenticate("reader-1", []byte(other.Reveal()))
	must(t, err)
	if !reader.Reader {
		t.Error("a reader's identity does not say so")
	}
	must(t, r.Revoke(ctx, "reader-1"))
	_, denied := r.Authenticate("ped-2", nil)
	for name, try := range map[string]struct {
		id     steps.DeviceID
		secret string
	}{
		"unknown device": {"ped-2", secret.Reveal()},
		"no device":      {"", ""},
		"empty":          {"ped-1", ""},
		"wrong":          {"ped-1", other.Reveal()},
		"longer":         {"ped-1", secret.Reveal() + "A"},
		"revoked":        {"reader-1", other.Reveal()},
	} {
		_, err := r.Authenticate(try.id, []byte(try.secret))
		wantKind(t, err, steps.Unauthorized)
		if err.Error() != denied.Error() {
			t.Errorf("%s is told apart: %v", name, err)
		}
	}
	for cause, want := range map[string]float64{"unknown": 3, "wrong": 3, "revoked": 1} {
		if got := testutil.ToFloat64(r.metrics.failures.WithLabelValues(cause)); got != want {
			t.Errorf("failures by %s: %g, want %g", cause, got, want)
		}
	}
}

func TestGeneration(t *testing.T) {
	ctx := context.Background()
	r := open(t, newMemory())
	secret, err := r.AddDevice(ctx, Device{ID: "ped-1", Kind: Pedometer})
	must(t, err)
	login := func(s Secret) steps.Identity {
		t.Helper()
		id, err := r.Authenticate("ped-1", []byte(s.Reveal()))
		must(t, err)
		if !r.Current(id) {
			t.Error("a fresh identity is not current")
		}
		return id
	}
	first := login(secret)
	rotated, err := r.RotateSecret(ctx, "ped-1")
	must(t, err)
	if r.Current(first) {
		t.Error("current after rotation")
	}
	if _, err := r.Authenticate("ped-1", []byte(secret.Reveal())); err == nil {
		t.Error("the old secret works after rotation")
	}
	second := login(rotated)
	must(t, r.Revoke(ctx, "ped-1"))
	must(t, r.Revoke(ctx, "ped-1"))
	if r.Current(second) || r.Active("ped-1") {
		t.Error("current after revocation")
	}
	must(t, r.Restore(ctx, "ped-1"))
	if r.Current(second) {
		t.Error("a connection from before the revocation is current after restoring")
	}
	if third := login(rotated); third.Generation != 3 {
		t.Errorf("generation %d, want 3", third.Generation)
	}
	if r.Current(steps.Identity{Device: "nobody"}) || r.Active("nobody") {
		t.Error("an unknown device is current")
	}
}

func TestSecretsStayInTheAnswer(t *testing.T) {
	ctx := context.Background()
	rec := newMemory()
	r := open(t, rec)
	var secrets []Secret
	for _, id := range []steps.DeviceID{"ped-1", "ped-2"} {
		s, err := r.AddDevice(ctx, Device{ID: id, Kind: Pedometer})
		must(t, err)
		secrets = append(secrets, s)
	}
	s, err := r.RotateSecret(ctx, "ped-1")
	must(t, err)
	secrets = append(secrets, s)
	_, err = r.Provision(ctx, strings.NewReader("participant,device\np1,ped-3\n"), ProvisionOptions{}, func(ps []Provisioned) error {
		for _, p := range ps {
			secrets = append(secrets, p.Secret)
		}
		return nil
	})
	must(t, err)
	var out strings.Builder
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		log := slog.New(h)
		for _, s := range secrets {
			log.Info("a slip", "secret", s, "device", Provisioned{Secret: s})
		}
	}
	fmt.Fprintf(&out, "%v %+v %#v %s %q", secrets, secrets, secrets, secrets, secrets)
	for k, v := range rec.m {
		fmt.Fprintf(&out, "%s=%s\n", k, v)
	}
	if len(secrets) != 4 {
		t.Fatalf("%d secrets", len(secrets))
	}
	for _, s := range secrets {
		if strings.Contains(out.String(), s.Reveal()) {
			t.Error("a secret left its answer")
		}
	}
}

func TestBindingLaw(t *testing.T) {
	type want struct {
		kind steps.Kind
		text string
	}
	ok := want{}
	for name, tc := range map[string]struct {
		do func(*Registry) []error
		// want is what the last step answers; those before must succeed
		want     want
		bindings string
	}{
		"new device counts for nobody": {func(r *Registry) []error { return nil }, ok, ""},
		"open binding": {func(r *Registry) []error {
			return []error{r.bind("a", 0)}
		}, ok, "a 2026-11-23.."},
		"rebinding ends the open one the day before": {func(r *Registry) []error {
			return []error{r.bind("a", 0), r.bind("b", 5)}
		}, ok, "a 2026-11-23..2026-11-27, b 2026-11-28.."},
		"the same again changes nothing": {func(r *Registry) []error {
			return []error{r.bind("a", 0), r.bind("a", 0), r.bind("a", 3)}
		}, ok, "a 2026-11-23.."},
		"on the first day of another": {func(r *Registry) []error {
			return []error{r.bind("a", 0), r.bind("b", 0)}
		}, want{steps.Conflict, `cannot bind device: device "dev" is bound to "a" from 2026-11-23 on; bind from a later day, or cancel that binding first by unbinding with last day 2026-11-22`}, "a 2026-11-23.."},
		"before an open one": {func(r *Registry) []error {
			return []error{r.bind("a", 0), r.bind("b", -9)}
		}, want{steps.Conflict, "bind from a later day"}, "a 2026-11-23.."},
		"into a closed one": {func(r *Registry) []error {
			return []error{r.bind("a", 0), r.unbind(4), r.bind("b", 4)}
		}, want{steps.Conflict, `is bound to "a" from 2026-11-23 to 2026-11-27; bind from 2026-11-28 or later`}, "a 2026-11-23..2026-11-27"},
		"after a gap": {func(r *Registry) []error {
			return []error{r.bind("a", 0), r.unbind(4), r.bind("b", 8)}
		}, ok, "a 2026-11-23..2026-11-27, b 2026-12-01.."},
		"a cancelled one frees its days": {func(r *Registry) []error {
			return []error{r.bind("a", 0), r.unbind(-1), r.bind("b", -9)}
		}, ok, "a 2026-11-23..2026-11-22, b 2026-11-14.."},
		"unbinding twice": {func(r *Registry) []error {
			return []error{r.bind("a", 0), r.unbind(4), r.unbind(4)}
		}, ok, "a 2026-11-23..2026-11-27"},
		"unbinding otherwise": {func(r *Registry) []error {
			return []error{r.bind("a", 0), r.unbind(4), r.unbind(3)}
		}, want{steps.Conflict, `is bound to nobody; its binding to "a" ended with 2026-11-27`}, "a 2026-11-23..2026-11-27"},
		"unbinding too early": {func(r *Registry) []error {
			return []error{r.bind("a", 0), r.unbind(-2)}
		}, want{steps.Conflict, "or 2026-11-22 to cancel the binding"}, "a 2026-11-23.."},
		"unbinding a free device": {func(r *Registry) []error {
			return []error{r.unbind(0)}
		}, want{steps.Conflict, "is bound to nobody"}, ""},
		"unknown participant": {func(r *Registry) []error {
			return []error{r.bind("z", 0)}
		}, want{steps.NotFound, `participant "z" is not registered`}, ""},
		"unknown device": {func(r *Registry) []error {
			return []error{r.Bind(context.Background(), "nix", "a", today)}
		}, want{steps.NotFound, `device "nix" is not registered`}, ""},
		"reader": {func(r *Registry) []error {
			return []error{r.Bind(context.Background(), "rd", "a", today)}
		}, want{steps.Invalid, "is a reader"}, ""},
		"revoked": {func(r *Registry) []error {
			return []error{r.Revoke(context.Background(), "dev"), r.bind("a", 0)}
		}, want{steps.Conflict, "is revoked; restore it first"}, ""},
		"a year too many": {func(r *Registry) []error {
			return []error{r.Bind(context.Background(), "dev", "a", steps.DateDay(20226, 1, 1))}
		}, want{steps.Invalid, "check the year"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			r := open(t, newMemory())
			must(t, r.AddParticipant(ctx, Participant{ID: "a"}))
			must(t, r.AddParticipant(ctx, Participant{ID: "b"}))
			_, err := r.AddDevice(ctx, Device{ID: "dev", Kind: Pedometer})
			must(t, err)
			_, err = r.AddDevice(ctx, Device{ID: "rd", Kind: Reader})
			must(t, err)
			errs := tc.do(r)
			for i, err := range errs {
				if i == len(errs)-1 && tc.want != ok {
					wantKind(t, err, tc.want.kind)
					if !strings.Contains(err.Error(), tc.want.text) {
						t.Errorf("message %q lacks %q", err, tc.want.text)
					}
				} else if err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
			}
			var got []string
			for _, b := range r.Bindings("dev") {
				got = append(got, fmt.Sprintf("%s %s", b.Participant, b.Days))
			}
			if s := strings.Join(got, ", "); s != tc.bindings {
				t.Errorf("bindings %q, want %q", s, tc.bindings)
			}
		})
	}
}

func (r *Registry) bind(p steps.ParticipantID, offset steps.Day) error {
	return r.Bind(context.Background(), "dev", p, today+offset)
}

func (r *Registry) unbind(offset steps.Day) error {
	return r.Unbind(context.Background(), "dev", today+offset)
}

func TestParticipants(t *testing.T) {
	ctx := context.Background()
	r := open(t, newMemory())
	epoch := steps.Day(0) // 1970-01-01, a birthday like any other
	must(t, r.AddParticipant(ctx, Participant{ID: "a", Born: &epoch}))
	must(t, r.AddParticipant(ctx, Participant{ID: "b"}))
	wantKind(t, r.AddParticipant(ctx, Participant{ID: "a"}), steps.Conflict)
	wantKind(t, r.AddParticipant(ctx, Participant{ID: "a b"}), steps.Invalid)
	future, ancient := today+1, steps.DateDay(1026, 1, 1)
	wantKind(t, r.AddParticipant(ctx, Participant{ID: "c", Born: &future}), steps.Invalid)
	wantKind(t, r.UpdateParticipant(ctx, "b", &ancient), steps.Invalid)
	wantKind(t, r.UpdateParticipant(ctx, "nix", nil), steps.NotFound)
	if p, _ := r.Scored("a"); !p.BornKnown || p.Born != 0 {
		t.Errorf("a is %+v", p)
	}
	if p, ok := r.Scored("b"); !ok || p.BornKnown {
		t.Error("b has a birthday")
	}
	old := steps.DateDay(1951, 4, 2)
	must(t, r.UpdateParticipant(ctx, "b", &old))
	must(t, r.UpdateParticipant(ctx, "a", nil))
	if p, ok := r.Participant("b"); !ok || *p.Born != old || p.Since != today {
		t.Errorf("b is %+v", p)
	}
	if p, ok := r.Participant("a"); !ok || p.Born != nil {
		t.Errorf("a is %+v", p)
	}
	if _, ok := r.Participant("nix"); ok {
		t.Error("nix exists")
	}
}

func TestPaging(t *testing.T) {
	ctx := context.Background()
	r := open(t, newMemory())
	var file strings.Builder
	file.WriteString("participant,device\n")
	const n = 2500
	for i := range n {
		i = i * 7919 % n // not in order
		fmt.Fprintf(&file, "p%05d,d%05d\n", i, i)
	}
	_, err := r.Provision(ctx, strings.NewReader(file.String()), ProvisionOptions{}, func([]Provisioned) error { return nil })
	must(t, err)
	var devices []Device
	for after := steps.DeviceID(""); ; after = devices[len(devices)-1].ID {
		page := r.Devices(after, 700)
		if len(page) == 0 {
			break
		}
		devices = append(devices, page...)
	}
	if len(devices) != n {
		t.Fatalf("%d devices", len(devices))
	}
	for i, d := range devices {
		if want := steps.DeviceID(fmt.Sprintf("d%05d", i)); d.ID != want {
			t.Fatalf("device %d is %s, want %s", i, d.ID, want)
		}
	}
	if got := len(r.Participants("p01000", 0)); got != MaxPage {
		t.Errorf("default page has %d", got)
	}
	if got := r.Participants("p02498x", 10); len(got) != 1 || got[0].ID != "p02499" {
		t.Errorf("the last page is %+v", got)
	}
}

func TestFailedWriteChangesNothing(t *testing.T) {
	ctx := context.Background()
	rec := newMemory()
	r := open(t, rec)
	must(t, r.AddParticipant(ctx, Participant{ID: "a"}))
	secret, err := r.AddDevice(ctx, Device{ID: "dev", Kind: Pedometer})
	must(t, err)
	id, err := r.Authenticate("dev", []byte(secret.Reveal()))
	must(t, err)
	rec.fail(steps.E("commit", steps.Unavailable, errors.New("disk full")))
	born := steps.DateDay(1951, 4, 2)
	_, addErr := r.AddDevice(ctx, Device{ID: "d2", Kind: App})
	_, rotateErr := r.RotateSecret(ctx, "dev")
	for _, err := range []error{r.AddParticipant(ctx, Participant{ID: "b"}), addErr, rotateErr, r.Revoke(ctx, "dev"),
		r.Bind(ctx, "dev", "a", today), r.UpdateParticipant(ctx, "a", &born)} {
		wantKind(t, err, steps.Unavailable)
	}
	if !r.Current(id) || len(r.Bindings("dev")) != 0 || len(r.BindingsOf("a")) != 0 {
		t.Error("a refused change is visible")
	}
	if _, err := r.Authenticate("dev", []byte(secret.Reveal())); err != nil {
		t.Error("the secret of before a refused rotation does not work")
	}
	rec.fail(nil)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	wantKind(t, r.Revoke(gone, "dev"), steps.Unavailable)
	must(t, r.Revoke(ctx, "dev"))
}

func TestOpenRefuses(t *testing.T) {
	hash := strings.Repeat("A", 43) + "="
	for name, tc := range map[string]struct{ key, value, text string }{
		"newer version":     {"p/a", `{"v":2,"since":"2026-01-01","nick":"x"}`, "version 2"},
		"unknown field":     {"p/a", `{"v":1,"since":"2026-01-01","name":"x"}`, "unknown field"},
		"no json":           {"p/a", `{`, "EOF"},
		"more behind":       {"p/a", `{"v":1,"since":"2026-01-01"}{}`, "behind its end"},
		"foreign table":     {"x/a", `{}`, "no table"},
		"no id":             {"p/", `{}`, "no table"},
		"short hash":        {"d/a", `{"v":1,"kind":1,"secret_sha256":"AAAA","generation":1,"since":"2026-01-01"}`, "3 bytes"},
		"unknown kind":      {"d/a", `{"v":1,"kind":9,"secret_sha256":"` + hash + `","generation":1,"since":"2026-01-01"}`, "kind 9"},
		"overlap":           {"d/a", `{"v":1,"kind":1,"secret_sha256":"` + hash + `","generation":1,"since":"2026-01-01","bindings":[{"participant":"p","from":"2026-01-01"},{"participant":"q","from":"2026-02-01"}]}`, "overlap"},
		"backwards":         {"d/a", `{"v":1,"kind":1,"secret_sha256":"` + hash + `","generation":1,"since":"2026-01-01","bindings":[{"participant":"p","from":"2026-01-03","until":"2026-01-01"}]}`, "ends before"},
		"bound reader":      {"d/a", `{"v":1,"kind":3,"secret_sha256":"` + hash + `","generation":1,"since":"2026-01-01","bindings":[{"participant":"p","from":"2026-01-01"}]}`, "reader"},
		"participant lost":  {"d/a", `{"v":1,"kind":1,"secret_sha256":"` + hash + `","generation":1,"since":"2026-01-01","bindings":[{"participant":"p","from":"2026-01-01"}]}`, "not on record"},
		"participant empty": {"d/a", `{"v":1,"kind":1,"secret_sha256":"` + hash + `","generation":1,"since":"2026-01-01","bindings":[{"participant":"","from":"2026-01-01"}]}`, "names no participant"},
	} {
		t.Run(name, func(t *testing.T) {
			rec := newMemory()
			rec.m[tc.key] = []byte(tc.value)
			_, err := Open(rec, testConfig(t))
			if err == nil || !strings.Contains(err.Error(), tc.text) || !strings.Contains(err.Error(), tc.key) {
				t.Errorf("error %v, want %q and the key", err, tc.text)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	ctx := context.Background()
	reg := prometheus.NewRegistry()
	cfg := testConfig(t)
	cfg.Registerer = reg
	r, err := Open(newMemory(), cfg)
	must(t, err)
	must(t, r.AddParticipant(ctx, Participant{ID: "a"}))
	_, err = r.AddDevice(ctx, Device{ID: "d", Kind: App})
	must(t, err)
	_, _ = r.Authenticate("nix", nil)
	must(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP ayumi_registry_auth_failures_total Refused credentials by cause: unknown device, wrong secret, right secret of a revoked device.
# TYPE ayumi_registry_auth_failures_total counter
ayumi_registry_auth_failures_total{cause="revoked"} 0
ayumi_registry_auth_failures_total{cause="unknown"} 1
ayumi_registry_auth_failures_total{cause="wrong"} 0
# HELP ayumi_registry_devices Registered devices, revoked ones included.
# TYPE ayumi_registry_devices gauge
ayumi_registry_devices 1
# HELP ayumi_registry_participants Registered participants.
# TYPE ayumi_registry_participants gauge
ayumi_registry_participants 1
`)))
	if _, err := Open(newMemory(), cfg); err == nil {
		t.Error("registering the metrics twice went unnoticed")
	}
}
