package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"ayumi/ingest"
	"ayumi/protocol/native"
	"ayumi/steps"
)

// carried is one upload of a reader's bundle.
func carried(device steps.DeviceID, seq uint64, series ...steps.Series) steps.Upload {
	u := upload(seq, series...)
	u.Device = device
	return *u
}

// TestIdentity: whose data it is says the credential.
func TestIdentity(t *testing.T) {
	for _, enc := range encodings {
		for _, tc := range []struct {
			name    string
			named   steps.DeviceID
			verdict steps.Verdict
			runs    []string
		}{
			{"unnamed", "", stored, []string{"ann 2026-11-23 60@540 1=5"}},
			{"its own name", "pedo", stored, []string{"ann 2026-11-23 60@540 1=5"}},
			{"another's name", "swap", quarantined, nil},
			{"an unknown name", "ghost", quarantined, nil},
		} {
			t.Run(enc.String()+" "+tc.name, func(t *testing.T) {
				j := new(memory)
				r := newRig(t, "Asia/Tokyo", j)
				u := carried(tc.named, 1, minutes("2026-11-23T09:00:00", 5))
				got := r.submit(r.envelope("pedo", enc, native.AppendUpload(nil, &u, enc))).Uploads[0]
				if got.Device != "pedo" || got.Verdict != tc.verdict || !slices.Equal(runs(j.last(t)), tc.runs) {
					t.Errorf("%+v, runs %q; want pedo's, %v, %q", got, runs(j.last(t)), tc.verdict, tc.runs)
				}
			})
		}
	}
}

// TestRefusedWhole sends payloads that are quarantined without a look inside.
func TestRefusedWhole(t *testing.T) {
	good := native.AppendUpload(nil, upload(1, minutes("2026-11-23T09:00:00", 5)), steps.Protobuf)
	bundle := native.AppendBundle(nil, []steps.Upload{carried("pedo", 1, minutes("2026-11-23T09:00:00", 5))}, steps.Protobuf)
	for _, tc := range []struct {
		name   string
		change func(*ingest.Envelope)
		body   []byte
		reason steps.Reason
	}{
		{"another device's topic", func(e *ingest.Envelope) { e.Topic = "ayumi/v1/swap/up/pb" }, good, steps.ReasonTopic},
		{"a topic nobody knows", func(e *ingest.Envelope) { e.Topic, e.Encoding = "hello", 0 }, good, steps.ReasonTopic},
		{"an endless topic", func(e *ingest.Envelope) { e.Topic = strings.Repeat("x", 60_000) }, good, steps.ReasonTopic},
		{"a reader's wrong topic", func(e *ingest.Envelope) { e.Topic, e.Bundle, e.Identity.Reader = "x", true, true }, bundle, steps.ReasonTopic},
		{"bundle of a pedometer", func(e *ingest.Envelope) { e.Bundle = true }, bundle, steps.ReasonNotReader},
		{"bundle cut off", func(e *ingest.Envelope) { e.Bundle, e.Identity.Reader = true, true }, bundle[:len(bundle)-1], steps.ReasonMalformed},
		{"empty bundle", func(e *ingest.Envelope) { e.Bundle, e.Identity.Reader = true, true }, nil, steps.ReasonMalformed},
		{"upload as a bundle", func(e *ingest.Envelope) { e.Bundle, e.Identity.Reader = true, true }, good, steps.ReasonMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j := new(memory)
			r := newRig(t, "Asia/Tokyo", j)
			env := r.envelope("pedo", steps.Protobuf, tc.body)
			tc.change(env)
			receipt := r.submit(env)
			u := &receipt.Uploads[0]
			if len(receipt.Uploads) != 1 || u.Verdict != quarantined || faults(u) != "-1:"+tc.reason.String() || receipt.Refusal() != tc.reason {
				t.Errorf("receipt %+v; want %v", receipt, tc.reason)
			}
			c := j.last(t)
			if len(c.Runs)+len(c.Contacts) > 0 || len(c.Quarantine) != 1 {
				t.Fatalf("commit %+v; want one quarantined payload", c)
			}
			q := c.Quarantine[0]
			if q.Device != "pedo" || q.Via != "" || q.Bundle != env.Bundle || q.ID != u.Quarantine || !bytes.Equal(q.Raw, tc.body) {
				t.Errorf("entry %+v", q)
			}
			if len(q.Topic) > 256 || !strings.HasPrefix(env.Topic, q.Topic) || (q.Topic == "") != (env.Topic == "") {
				t.Errorf("entry's topic %q; came to %q", q.Topic, env.Topic)
			}
		})
	}
}

// TestBundle puts every kind of bad upload between good ones.
func TestBundle(t *testing.T) {
	for _, enc := range encodings {
		t.Run(enc.String(), func(t *testing.T) {
			uploads := []steps.Upload{
				carried("pedo", 1, minutes("2026-11-23T09:00:00", 5)),
				carried("ghost", 2, minutes("2026-11-23T09:00:00", 6)),
				carried("swap", 3, minutes("2026-11-20T23:59:00", 7, 8), minutes("2026-11-23T09:00:00", 301)),
				carried("", 4, minutes("2026-11-23T09:00:00", 9)),
				carried("loose", 5, minutes("2026-11-23T09:00:00", 10)),
				{Device: "pedo", Revision: steps.Revision{Boot: 1, Seq: 6}, SentAt: -1}, // malformed
				carried("part", 7, counter(minutes("2026-11-23T09:00:00", 3, 14)), until("2026-11-23T10:02:00", minutes("2026-11-23T10:00:00", 12))),
				carried("pedo", 8), // heartbeat
				carried("pedo", 9, minutes("2026-11-23T09:01:00", 13)),
			}
			j := new(memory)
			r := newRig(t, "Asia/Tokyo", j)
			receipt := r.submit(r.carry(enc, native.AppendBundle(nil, uploads, enc)))
			want := []string{"pedo stored ", "ghost quarantined -1:unknown_device", "swap stored 1:implausible", "desk quarantined -1:malformed",
				"loose quarantined 0:unbound", "pedo quarantined -1:malformed", "part stored ", "pedo stored ", "pedo stored "}
			var got []string
			for i := range receipt.Uploads {
				u := &receipt.Uploads[i]
				got = append(got, string(u.Device)+" "+u.Verdict.String()+" "+faults(u))
			}
			if !slices.Equal(got, want) {
				t.Errorf("answers %q; want %q", got, want)
			}
			c := j.last(t)
			wantRuns := []string{"ann 2026-11-23 60@540 1=5", "ann 2026-11-20 60@1439 1=7", "ben 2026-11-21 60@0 1=8",
				"ben 2026-11-23 60@540 1=11", "ben 2026-11-23 60@600 2=12", "ann 2026-11-23 60@541 1=13"}
			if got := runs(c); !slices.Equal(got, wantRuns) {
				t.Errorf("runs %q; want %q", got, wantRuns)
			}
			var of []int
			for _, run := range c.Runs {
				of = append(of, run.Upload)
			}
			if !slices.Equal(of, []int{0, 2, 2, 6, 6, 8}) {
				t.Errorf("runs belong to uploads %d", of)
			}
			for i, at := range []int{1, 2, 3, 4, 5} {
				q := c.Quarantine[i]
				if want := receipt.Uploads[at]; q.ID != want.Quarantine || q.Device != want.Device || q.Via != "desk" || q.Bundle || len(q.Raw) == 0 {
					t.Errorf("entry %+v; want that of %+v", q, want)
				}
				if one := native.AppendUpload(nil, &uploads[at], enc); !bytes.Equal(q.Raw, one) {
					t.Errorf("entry of upload %d holds %q; want its own bytes %q", at, q.Raw, one)
				}
			}
		})
	}
}

// TestPooledMemory: what one payload left behind does not show in the next.
func TestPooledMemory(t *testing.T) {
	j := new(memory)
	r := newRig(t, "Asia/Tokyo", j)
	bad := []steps.Upload{carried("ghost", 1), carried("loose", 2, minutes("2026-11-23T09:00:00", 5)), carried("pedo", 3, minutes("2026-11-23T09:00:00", 999))}
	for range 20 {
		r.submit(r.carry(steps.Protobuf, native.AppendBundle(nil, bad, steps.Protobuf)))
		env := r.envelope("pedo", steps.JSON, []byte("{"))
		env.Topic = "nowhere"
		r.submit(env)
		receipt := r.submit(r.envelope("pedo", steps.JSON, native.AppendUpload(nil, upload(4, minutes("2026-11-23T09:00:00", 5)), steps.JSON)))
		if u := &receipt.Uploads[0]; len(receipt.Uploads) != 1 || u.Verdict != stored || len(u.Faults) > 0 || u.Quarantine != "" || u.Conflicts != 0 {
			t.Fatalf("receipt %+v of a good upload", receipt)
		}
		if c := j.last(t); len(c.Quarantine) > 0 || len(c.Runs) != 1 || len(c.Contacts) != 1 || c.Resolve != nil {
			t.Fatalf("commit %+v of a good upload", c)
		}
		u := r.submit(r.envelope("pedo", steps.Protobuf, nil)).Uploads[0]
		if q := j.last(t).Quarantine[0]; q.Via != "" || q.Topic != "" || u.Revision != (steps.Revision{}) {
			t.Fatalf("entry %+v, receipt %+v of an empty payload", q, u)
		}
	}
}

func TestRevokedCredential(t *testing.T) {
	j := new(memory)
	r := newRig(t, "Asia/Tokyo", j)
	r.dir.revoked["pedo"] = true
	body := native.AppendUpload(nil, upload(1, minutes("2026-11-23T09:00:00", 5)), steps.Protobuf)
	_, err := r.try(r.envelope("pedo", steps.Protobuf, body))
	wantKind(t, err, steps.Unauthorized)
	wrong := r.envelope("pedo", 0, body)
	wrong.Topic = "nowhere"
	_, err = r.try(wrong)
	wantKind(t, err, steps.Unauthorized)
	if len(j.commits) > 0 {
		t.Errorf("%d commits of a revoked credential", len(j.commits))
	}
}

// never is a Completion that must not be called.
type never struct{ t *testing.T }

func (n never) Complete(*steps.Receipt, error) steps.Flusher {
	n.t.Error("Complete was called though Submit failed")
	return nil
}

// TestJournalErrors: the caller learns why its payload is not on disk, by one way exactly.
func TestJournalErrors(t *testing.T) {
	full := steps.Errorf("queue", steps.Overload, "full")
	broken := steps.Errorf("commit", steps.Unavailable, "disk")
	body := native.AppendUpload(nil, upload(1, minutes("2026-11-23T09:00:00", 5)), steps.Protobuf)
	t.Run("refused", func(t *testing.T) {
		r := newRig(t, "Asia/Tokyo", &memory{refuse: full})
		for range 3 {
			if err := r.p.Submit(context.Background(), r.envelope("pedo", steps.Protobuf, body), never{t}); !errors.Is(err, full) {
				t.Errorf("Submit: %v; want %v", err, full)
			}
		}
	})
	t.Run("failed", func(t *testing.T) {
		r := newRig(t, "Asia/Tokyo", &memory{fail: broken})
		done := make(answers, 2)
		if err := r.p.Submit(context.Background(), r.envelope("pedo", steps.Protobuf, body), done); err != nil {
			t.Fatal(err)
		}
		if out := <-done; !errors.Is(out.err, broken) || len(done) > 0 {
			t.Errorf("Complete got %v and %d more; want %v alone", out.err, len(done), broken)
		}
	})
	t.Run("works again", func(t *testing.T) {
		j := &memory{refuse: full}
		r := newRig(t, "Asia/Tokyo", j)
		_, err := r.try(r.envelope("pedo", steps.Protobuf, body))
		wantKind(t, err, steps.Overload)
		j.refuse = nil
		if u := r.send("pedo", upload(2, minutes("2026-11-23T09:01:00", 6))); u.Verdict != stored || len(j.last(t).Runs) != 1 {
			t.Errorf("receipt %+v, runs %q after a refusal", u, runs(j.last(t)))
		}
	})
}

// counterValue sums a metric over the series that have the label value, or over all.
func (r *rig) counterValue(name, label string) (sum float64) {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			has := label == ""
			for _, l := range m.GetLabel() {
				has = has || l.GetValue() == label
			}
			if has {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func TestMetrics(t *testing.T) {
	r := newRig(t, "Asia/Tokyo", new(memory))
	r.send("pedo", upload(1, minutes("2026-11-23T09:00:00", 5, 6)))
	r.send("part", upload(1, minutes("2026-11-20T23:59:00", 5, 6)))
	r.send("loose", upload(1, minutes("2026-11-20T23:59:00", 5, 6)))
	for _, tc := range []struct {
		name, label string
		want        float64
	}{
		{"ayumi_ingest_uploads_total", "", 3},
		{"ayumi_ingest_uploads_total", "stored", 2},
		{"ayumi_ingest_uploads_total", "quarantined", 1},
		{"ayumi_ingest_samples_total", "mqtt", 3},
		{"ayumi_ingest_quarantined_total", "unbound", 2},
		{"ayumi_ingest_quarantined_total", "", 2},
		{"ayumi_ingest_failures_total", "", 0},
	} {
		if got := r.counterValue(tc.name, tc.label); got != tc.want {
			t.Errorf("%s %s = %v; want %v", tc.name, tc.label, got, tc.want)
		}
	}
}

// TestFailuresAreCounted: a disk that is full refuses at the queue, and operators see it.
func TestFailuresAreCounted(t *testing.T) {
	body := native.AppendUpload(nil, upload(1, minutes("2026-11-23T09:00:00", 5)), steps.Protobuf)
	for name, j := range map[string]*memory{
		"commit failed":        {fail: steps.Errorf("commit", steps.Unavailable, "disk")},
		"refused by the queue": {refuse: steps.Errorf("queue", steps.Unavailable, "the disk is nearly full")},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "Asia/Tokyo", j)
			_, err := r.try(r.envelope("pedo", steps.Protobuf, body))
			wantKind(t, err, steps.Unavailable)
			if got := r.counterValue("ayumi_ingest_failures_total", "mqtt"); got != 1 {
				t.Errorf("failures_total = %v; want 1", got)
			}
		})
	}
}
