package ingest_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"ayumi/protocol/native"
	"ayumi/steps"
	"ayumi/store"
)

func (r *rig) release(id steps.QuarantineID) (*steps.Receipt, error) {
	return r.p.Release(context.Background(), id, "staff", "mended")
}

// state returns what was decided about an entry.
func (r *rig) state(id steps.QuarantineID) steps.DecisionState {
	r.t.Helper()
	q, err := r.store.Quarantined(context.Background(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return q.Decision.State
}

// TestMerge sends uploads one after another and states the last one's verdict and the total.
func TestMerge(t *testing.T) {
	at := func(boot uint32, seq uint64, counts ...uint32) *steps.Upload {
		u := upload(seq, minutes("2026-11-23T09:00:00", counts...))
		u.Revision.Boot = boot
		return u
	}
	manual := at(1, 5, 10, 20)
	manual.Series[0].Origin = steps.OriginManual
	for _, tc := range []struct {
		name      string
		uploads   []*steps.Upload
		verdict   steps.Verdict
		conflicts int
		total     string
	}{
		{"first", []*steps.Upload{at(1, 5, 10, 20)}, stored, 0, "ann 2026-11-23 30"},
		{"repeat", []*steps.Upload{at(1, 5, 10, 20), at(1, 5, 10, 20)}, steps.Duplicate, 0, "ann 2026-11-23 30"},
		{"repeated heartbeat", []*steps.Upload{at(1, 5, 10), upload(6), upload(6)}, stored, 0, "ann 2026-11-23 10"},
		{"same number, larger", []*steps.Upload{at(1, 5, 10, 20), at(1, 5, 11, 20)}, stored, 1, "ann 2026-11-23 31"},
		{"same number, smaller", []*steps.Upload{at(1, 5, 10, 20), at(1, 5, 10, 1)}, stored, 1, "ann 2026-11-23 30"},
		{"same number, one larger, one smaller", []*steps.Upload{at(1, 5, 10, 20), at(1, 5, 50, 1)}, stored, 2, "ann 2026-11-23 70"},
		{"same number, other minutes", []*steps.Upload{at(1, 5, 10, 20), upload(5, minutes("2026-11-23T09:02:00", 7))}, stored, 0, "ann 2026-11-23 37"},
		{"newer corrects downwards", []*steps.Upload{at(1, 5, 10, 20), at(1, 6, 1, 2)}, stored, 0, "ann 2026-11-23 3"},
		{"older comes late", []*steps.Upload{at(1, 6, 1, 2), at(1, 5, 10, 20)}, steps.Duplicate, 0, "ann 2026-11-23 3"},
		{"older knows one minute more", []*steps.Upload{at(1, 6, 1, 2), at(1, 5, 10, 20, 40)}, stored, 0, "ann 2026-11-23 43"},
		{"restarted at one", []*steps.Upload{at(1, 900, 10, 20), at(2, 1, 1, 2)}, stored, 0, "ann 2026-11-23 3"},
		{"forgot its boot, other minutes", []*steps.Upload{at(4, 900, 10, 20), upload(1, minutes("2026-11-23T11:00:00", 7))}, stored, 0, "ann 2026-11-23 37"},
		{"no number at all", []*steps.Upload{at(0, 0, 10, 20), at(0, 0, 10, 20)}, steps.Duplicate, 0, "ann 2026-11-23 30"},
		{"same number, manual", []*steps.Upload{at(1, 5, 10, 20), manual}, stored, 0, "ann 2026-11-23 30"},
		{"twice in one upload", []*steps.Upload{upload(5, minutes("2026-11-23T09:00:00", 10), minutes("2026-11-23T09:00:00", 10))}, stored, 0, "ann 2026-11-23 10"},
		{"day record grows", []*steps.Upload{upload(1, every(86400, "2026-11-23T00:00:00", 3000)), upload(2, every(86400, "2026-11-23T00:00:00", 8001))},
			stored, 0, "ann 2026-11-23 8001"},
		{"window takes back", []*steps.Upload{at(1, 1, 10, 20, 30), upload(2, until("2026-11-23T09:03:00", minutes("2026-11-23T09:00:00", 10)))},
			stored, 0, "ann 2026-11-23 10"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newStoreRig(t, "Asia/Tokyo", nil)
			var last steps.UploadReceipt
			for _, u := range tc.uploads {
				last = r.send("pedo", u)
			}
			if last.Verdict != tc.verdict || last.Conflicts != tc.conflicts {
				t.Errorf("verdict %v, %d conflicts; want %v, %d", last.Verdict, last.Conflicts, tc.verdict, tc.conflicts)
			}
			r.wantTotals(tc.total)
		})
	}
}

// TestRepeatsAreOneEntry: a device repeats a bad payload until somebody mends it.
func TestRepeatsAreOneEntry(t *testing.T) {
	r := newStoreRig(t, "Asia/Tokyo", nil)
	bad := upload(1, minutes("2026-11-23T09:00:00", 5), minutes("2026-11-23T10:00:00", 999))
	first := r.send("pedo", bad)
	if first.Verdict != stored || first.Quarantine == "" {
		t.Fatalf("first: %+v", first)
	}
	for range 5 {
		if u := r.send("pedo", bad); u.Verdict != steps.Duplicate || u.Quarantine != first.Quarantine || faults(&u) != "1:implausible" {
			t.Errorf("repeat: %+v; want a duplicate with the same entry and fault", u)
		}
	}
	r.send("pedo2", bad)
	if entries := r.quarantined(); len(entries) != 2 {
		t.Errorf("%d entries; want one for each device", len(entries))
	}
	if u := r.send("loose", upload(1, minutes("2026-11-23T09:00:00", 5))); u.Verdict != quarantined {
		t.Errorf("unbound: %+v", u)
	}
	r.wantTotals("ann 2026-11-23 5")
}

// TestRelease mends what was wrong with a payload and takes it out of quarantine.
func TestRelease(t *testing.T) {
	bind := func(r *rig) { r.dir.bind("loose", "cid", steps.DayRange{}) }
	for _, tc := range []struct {
		name   string
		device steps.DeviceID
		upload *steps.Upload
		mend   func(*rig)
		kind   steps.Kind // of the refusal; 0 when it is released
		totals []string
	}{
		{"bound since", "loose", upload(1, minutes("2026-11-20T23:59:00", 5, 7)), bind, 0, []string{"cid 2026-11-20 5", "cid 2026-11-21 7"}},
		{"not bound yet", "loose", upload(1, minutes("2026-11-20T23:59:00", 5, 7)), nil, steps.Invalid, nil},
		{"bound too late", "loose", upload(1, minutes("2026-11-20T23:59:00", 5, 7)),
			func(r *rig) { r.dir.bind("loose", "cid", steps.DayRange{From: day("2026-11-21")}) }, steps.Invalid, nil},
		{"earlier days bound since", "part", upload(1, minutes("2026-11-20T23:59:00", 5, 7)),
			func(r *rig) { r.dir.bind("part", "cid", steps.DayRange{Until: day("2026-11-20")}) }, 0, []string{"cid 2026-11-20 5", "ben 2026-11-21 7"}},
		{"earlier days still unbound", "part", upload(1, minutes("2026-11-20T23:59:00", 5, 7)), nil, steps.Invalid, []string{"ben 2026-11-21 7"}},
		{"too old", "pedo", upload(1, minutes("2026-01-01T09:00:00", 5, 7)), nil, 0, []string{"ann 2026-01-01 12"}},
		{"from 2000", "pedo", upload(1, minutes("2000-01-01T09:00:00", 5, 7)), nil, 0, []string{"ann 2000-01-01 12"}},
		{"across the age limit", "pedo", upload(1, minutes("2026-10-11T23:59:00", 5, 7)), nil, 0, []string{"ann 2026-10-11 5", "ann 2026-10-12 7"}},
		{"implausible", "pedo", upload(1, minutes("2026-11-23T09:00:00", 999), minutes("2026-11-23T09:05:00", 4)), nil, 0, []string{"ann 2026-11-23 1003"}},
		{"a count that is none", "pedo", upload(1, minutes("2026-11-23T09:00:00", 1<<32-1)), nil, steps.Invalid, nil},
		{"future still", "pedo", upload(1, minutes("2026-11-23T13:00:00", 5)), nil, steps.Invalid, nil},
		{"future come true", "pedo", upload(1, minutes("2026-11-23T13:00:00", 5)), func(r *rig) { r.now += 3600 }, 0, []string{"ann 2026-11-23 5"}},
		{"interval", "pedo", upload(1, every(45, "2026-11-23T09:00:00", 5)), nil, steps.Invalid, nil},
		{"misaligned", "pedo", upload(1, every(7200, "2026-11-23T09:00:00", 5)), nil, steps.Invalid, nil},
		{"one reading", "pedo", upload(1, counter(minutes("2026-11-23T09:00:00", 5))), nil, steps.Invalid, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newStoreRig(t, "Asia/Tokyo", nil)
			u := r.send(tc.device, tc.upload)
			if u.Quarantine == "" {
				t.Fatalf("receipt %+v; want it quarantined", u)
			}
			if tc.mend != nil {
				tc.mend(r)
			}
			receipt, err := r.release(u.Quarantine)
			if tc.kind != 0 {
				wantKind(t, err, tc.kind)
				if got := r.state(u.Quarantine); got != steps.Open {
					t.Errorf("state %v after a refused release; want open", got)
				}
				r.wantTotals(tc.totals...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := receipt.Uploads[0]; got.Verdict != stored || len(got.Faults) > 0 || got.Device != tc.device ||
				got.Revision != tc.upload.Revision || receipt.Record == (steps.RecordID{}) || receipt.ReceivedAt != r.now {
				t.Errorf("receipt %+v of the release", receipt)
			}
			r.wantTotals(tc.totals...)
			_, err = r.release(u.Quarantine)
			wantKind(t, err, steps.Conflict)
			wantKind(t, r.p.Discard(context.Background(), u.Quarantine, "staff", "again"), steps.Conflict)
			if q, err := r.store.Quarantined(t.Context(), u.Quarantine); err != nil || q.Decision != (steps.Decision{State: steps.Released, At: r.now, By: "staff", Reason: "mended"}) {
				t.Errorf("entry %+v, %v", q, err)
			}
			r.wantTotals(tc.totals...)
		})
	}
}

// TestReleaseCarried releases an upload of a bundle: it is still the device's, not the reader's.
func TestReleaseCarried(t *testing.T) {
	for _, enc := range encodings {
		r := newStoreRig(t, "Asia/Tokyo", nil)
		us := []steps.Upload{carried("pedo", 1, minutes("2026-11-23T09:00:00", 5)), carried("ghost", 1, minutes("2026-11-23T09:00:00", 6))}
		receipt := r.submit(r.carry(enc, native.AppendBundle(nil, us, enc)))
		r.wantTotals("ann 2026-11-23 5")
		r.dir.unknown["ghost"] = false
		r.dir.bind("ghost", "gus", steps.DayRange{})
		if _, err := r.release(receipt.Uploads[1].Quarantine); err != nil {
			t.Fatal(err)
		}
		r.wantTotals("ann 2026-11-23 5", "gus 2026-11-23 6")
	}
}

// TestReleaseRefused: what a release would not mend stays in quarantine.
func TestReleaseRefused(t *testing.T) {
	series := minutes("2026-11-23T09:00:00", 5)
	single := func(u steps.Upload) []byte { return native.AppendUpload(nil, &u, steps.Protobuf) }
	bundle := func(us ...steps.Upload) []byte { return native.AppendBundle(nil, us, steps.Protobuf) }
	for _, tc := range []struct {
		name   string
		bundle bool
		topic  string
		body   []byte
		mend   func(*rig)
	}{
		{"malformed", false, "", []byte("\xff"), nil},
		{"empty", false, "", nil, nil},
		{"wrong topic", false, "ayumi/v1/swap/up/pb", single(*upload(1, series)), nil},
		{"bundle cut off", true, "", bundle(carried("pedo", 1, series))[:20], nil},
		{"another device's name", false, "", single(carried("swap", 1, series)), nil},
		{"carried without a device", true, "", bundle(carried("", 1, series)), func(r *rig) { r.dir.bind("desk", "dan", steps.DayRange{}) }},
		{"carried for nobody registered", true, "", bundle(carried("ghost", 1, series)), func(r *rig) { r.dir.bind("ghost", "gus", steps.DayRange{}) }},
		{"heartbeat for nobody registered", true, "", bundle(carried("ghost", 1)), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newStoreRig(t, "Asia/Tokyo", nil)
			env := r.envelope("pedo", steps.Protobuf, tc.body)
			if tc.bundle {
				env = r.carry(steps.Protobuf, tc.body)
			}
			env.Topic = tc.topic
			id := r.submit(env).Uploads[0].Quarantine
			if tc.mend != nil {
				tc.mend(r)
			}
			_, err := r.release(id)
			wantKind(t, err, steps.Invalid)
			if got := r.state(id); got != steps.Open {
				t.Errorf("state %v; want open", got)
			}
			r.wantTotals()
		})
	}
}

// TestReleaseIsNoContact: a device that fell silent does not look alive because staff released
// what it once sent.
func TestReleaseIsNoContact(t *testing.T) {
	r := newStoreRig(t, "Asia/Tokyo", nil)
	old := upload(1, minutes("2026-11-23T09:00:00", 999))
	old.Status.Battery = 90
	id := r.send("pedo", old).Quarantine
	r.now += 60
	fresh := upload(2)
	fresh.Status.Battery, fresh.SentAt = 20, r.now
	r.send("pedo", fresh)
	before, _, _ := r.store.Contact("pedo")
	r.now += 86400
	if _, err := r.release(id); err != nil {
		t.Fatal(err)
	}
	if after, _, _ := r.store.Contact("pedo"); after != before {
		t.Errorf("last contact %+v; before the release %+v", after, before)
	}
}

// TestReleaseAtOnce: of many who release one payload at the same time, one succeeds.
func TestReleaseAtOnce(t *testing.T) {
	r := newStoreRig(t, "Asia/Tokyo", nil)
	id := r.send("pedo", upload(1, minutes("2026-11-23T09:00:00", 999))).Quarantine
	errs := make(chan error, 8)
	var wg sync.WaitGroup
	for range cap(errs) {
		wg.Go(func() {
			_, err := r.release(id)
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	released := 0
	for err := range errs {
		if err == nil {
			released++
		} else {
			wantKind(t, err, steps.Conflict)
		}
	}
	if released != 1 {
		t.Errorf("%d releases succeeded; want 1", released)
	}
	r.wantTotals("ann 2026-11-23 999")
}

// TestDiscard: what was discarded stays so, whatever the device repeats.
func TestDiscard(t *testing.T) {
	r := newStoreRig(t, "Asia/Tokyo", nil)
	bad := upload(1, minutes("2026-11-23T09:00:00", 999))
	id := r.send("pedo", bad).Quarantine
	ctx := context.Background()
	wantKind(t, r.p.Discard(ctx, "00", "staff", "typo"), steps.NotFound)
	_, err := r.release("00")
	wantKind(t, err, steps.NotFound)
	if err := r.p.Discard(ctx, id, "staff", "shaken"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if u := r.send("pedo", bad); u.Verdict != quarantined || u.Quarantine != id {
			t.Errorf("repeat: %+v; want quarantined as %s", u, id)
		}
	}
	if got := r.state(id); got != steps.Discarded || len(r.quarantined()) != 1 {
		t.Errorf("state %v of %d entries; want one discarded", got, len(r.quarantined()))
	}
	_, err = r.release(id)
	wantKind(t, err, steps.Conflict)
	wantKind(t, r.p.Discard(ctx, id, "staff", "again"), steps.Conflict)
	r.wantTotals()
}

// TestFullQuarantine: a device that fills its share of the quarantine is not acknowledged, and
// nobody else suffers for it.
func TestFullQuarantine(t *testing.T) {
	one := func(c *store.Config) { c.QuarantinePerDevice = 1 }
	bad := func(seq uint64) *steps.Upload { return upload(seq, minutes("2026-11-23T09:00:00", 999)) }
	encode := func(u *steps.Upload) []byte { return native.AppendUpload(nil, u, steps.Protobuf) }
	t.Run("refused", func(t *testing.T) {
		r := newStoreRig(t, "Asia/Tokyo", one)
		r.send("pedo", bad(1))
		_, err := r.try(r.envelope("pedo", steps.Protobuf, encode(bad(2))))
		wantKind(t, err, steps.Overload)
		r.send("pedo", bad(1)) // known already
		r.send("pedo", upload(3, minutes("2026-11-23T10:00:00", 5)))
		r.send("pedo2", bad(2))
		r.wantTotals("ann 2026-11-23 5")
	})
	t.Run("a decision makes room", func(t *testing.T) {
		r := newStoreRig(t, "Asia/Tokyo", one)
		if err := r.p.Discard(context.Background(), r.send("pedo", bad(1)).Quarantine, "staff", "shaken"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.try(r.envelope("pedo", steps.Protobuf, encode(bad(2)))); err != nil {
			t.Errorf("after the entry was discarded: %v", err)
		}
	})
	t.Run("others behind the same reader", func(t *testing.T) {
		r := newStoreRig(t, "Asia/Tokyo", one)
		r.send("pedo", bad(1))
		good := carried("swap", 2, minutes("2026-11-23T09:00:00", 7))
		again := *bad(2)
		again.Device = "pedo"
		_, err := r.try(r.carry(steps.Protobuf, native.AppendBundle(nil, []steps.Upload{again, good}, steps.Protobuf)))
		t.Logf("bundle: %v", err)
		r.wantTotals("ben 2026-11-23 7")
	})
	t.Run("the series beside it", func(t *testing.T) {
		r := newStoreRig(t, "Asia/Tokyo", one)
		r.send("pedo", bad(1))
		_, err := r.try(r.envelope("pedo", steps.Protobuf, encode(upload(2, minutes("2026-11-23T09:00:00", 999), minutes("2026-11-23T10:00:00", 5)))))
		t.Logf("upload: %v", err)
		r.wantTotals("ann 2026-11-23 5")
	})
	t.Run("within one bundle", func(t *testing.T) {
		r := newStoreRig(t, "Asia/Tokyo", one)
		var us []steps.Upload
		for seq := range uint64(5) {
			u := *bad(seq)
			u.Device = "pedo"
			us = append(us, u)
		}
		_, err := r.try(r.carry(steps.Protobuf, native.AppendBundle(nil, us, steps.Protobuf)))
		if n := len(r.quarantined()); n > 1 {
			t.Errorf("%d entries of one device (%v); the limit is 1", n, err)
		}
	})
	t.Run("devices that a reader makes up", func(t *testing.T) {
		r := newStoreRig(t, "Asia/Tokyo", one)
		refused := 0
		for seq := range uint64(20) {
			u := *bad(seq)
			u.Device = steps.DeviceID(fmt.Sprint("invented-", seq))
			if _, err := r.try(r.carry(steps.Protobuf, native.AppendBundle(nil, []steps.Upload{u}, steps.Protobuf))); err != nil {
				wantKind(t, err, steps.Overload)
				refused++
			}
		}
		if n := len(r.quarantined()); n != 10 || refused != 10 {
			t.Errorf("%d entries, %d refused; the reader has room for ten times a device's", n, refused)
		}
		r.send("pedo", bad(1))
	})
}
