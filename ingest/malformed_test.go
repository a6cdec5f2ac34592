package ingest_test

import (
	"bytes"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"ayumi/protocol"
	"ayumi/protocol/native"
	"ayumi/steps"
)

// TestMalformed sends what no upload is. Each is one quarantine entry with its raw bytes.
func TestMalformed(t *testing.T) {
	good := native.AppendUpload(nil, upload(7, minutes("2026-11-23T09:00:00", 5, 6)), steps.Protobuf)
	bundle := native.AppendBundle(nil, []steps.Upload{*upload(1)}, steps.Protobuf)
	for _, tc := range []struct {
		name string
		enc  steps.Encoding
		body string
	}{
		{"empty", steps.Protobuf, ""},
		{"empty JSON", steps.JSON, ""},
		{"protobuf cut off", steps.Protobuf, string(good[:len(good)-3])},
		{"protobuf with more behind it", steps.Protobuf, string(good) + "\xff"},
		{"unknown protobuf field", steps.Protobuf, string(protowire.AppendVarint(protowire.AppendTag(bytes.Clone(good), 99, protowire.VarintType), 1))},
		{"bundle as an upload", steps.Protobuf, string(bundle)},
		{"JSON as protobuf", steps.Protobuf, `{"seq":1}`},
		{"protobuf as JSON", steps.JSON, string(good)},
		{"unknown encoding", 0, string(good)},
		{"JSON cut off", steps.JSON, `{"seq":1,"series":[{"start":"2026-11-23T09:00:00+09:00","steps":[5`},
		{"JSON with more behind it", steps.JSON, `{"seq":1}{"seq":2}`},
		{"JSON bundle as an upload", steps.JSON, `{"uploads":[{"seq":1}]}`},
		{"unknown field", steps.JSON, `{"seq":1,"stepz":[]}`},
		{"unknown field of a series", steps.JSON, `{"seq":1,"series":[{"start":"2026-11-23T09:00:00+09:00","step":[5]}]}`},
		{"unknown field of the status", steps.JSON, `{"seq":1,"status":{"volts":3}}`},
		{"field twice", steps.JSON, `{"seq":1,"seq":2}`},
		{"nothing in it", steps.JSON, `{}`},
		{"null", steps.JSON, `null`},
		{"array", steps.JSON, `[]`},
		{"negative seq", steps.JSON, `{"seq":-1}`},
		{"boot beyond 32 bits", steps.JSON, `{"boot":4294967296}`},
		{"count with a fraction", steps.JSON, `{"seq":1,"series":[{"start":"2026-11-23T09:00:00+09:00","steps":[5.5]}]}`},
		{"no start", steps.JSON, `{"seq":1,"series":[{"steps":[5]}]}`},
		{"start as a number", steps.JSON, `{"seq":1,"series":[{"start":1795392000,"steps":[5]}]}`},
		{"start without a zone", steps.JSON, `{"seq":1,"series":[{"start":"2026-11-23T09:00:00","steps":[5]}]}`},
		{"window ends before it starts", steps.JSON, `{"seq":1,"series":[{"start":"2026-11-23T09:00:00+09:00","window_end":"2026-11-23T08:00:00+09:00"}]}`},
		{"window of a year", steps.JSON, `{"seq":1,"series":[{"start":"2026-11-23T09:00:00+09:00","window_end":"2027-11-23T08:00:00+09:00"}]}`},
		{"unknown origin", steps.JSON, `{"seq":1,"series":[{"start":"2026-11-23T09:00:00+09:00","steps":[5],"origin":"guess"}]}`},
		{"another device", steps.JSON, `{"device":"pedo2","seq":1,"series":[{"start":"2026-11-23T09:00:00+09:00","steps":[5]}]}`},
		{"no device at all", steps.JSON, `{"device":"a/b","seq":1}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j := new(memory)
			r := newRig(t, "Asia/Tokyo", j)
			receipt := r.submit(r.envelope("pedo", tc.enc, []byte(tc.body)))
			u := &receipt.Uploads[0]
			if len(receipt.Uploads) != 1 || u.Verdict != quarantined || faults(u) != "-1:malformed" || u.Device != "pedo" {
				t.Errorf("receipt %+v; want pedo's, quarantined, malformed", receipt)
			}
			c := j.last(t)
			if len(c.Runs) > 0 || len(c.Quarantine) != 1 {
				t.Fatalf("commit %+v; want one quarantined payload", c)
			}
			q := c.Quarantine[0]
			if string(q.Raw) != tc.body || q.ID != u.Quarantine || q.Device != "pedo" || q.Encoding != tc.enc ||
				q.Transport != steps.MQTT || q.ReceivedAt != now || q.Bundle || q.Via != "" || len(q.Faults) != 1 {
				t.Errorf("entry %+v does not say what came", q)
			}
		})
	}
}

// TestRefusedUploadKeepsItsRevision: a device that counts its receipts by boot and seq finds the
// one that says that its upload was refused.
func TestRefusedUploadKeepsItsRevision(t *testing.T) {
	const broken = `{"device":"pedo","boot":3,"seq":9,"stepz":1}`
	for _, tc := range []struct {
		name   string
		bundle bool
		body   string
	}{
		{"malformed", false, broken},
		{"malformed in a bundle", true, `{"uploads":[` + broken + `]}`},
		{"unknown device in a bundle", true, `{"uploads":[{"device":"ghost","boot":3,"seq":9}]}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, "Asia/Tokyo", new(memory))
			env := r.envelope("pedo", steps.JSON, []byte(tc.body))
			if tc.bundle {
				env = r.carry(steps.JSON, []byte(tc.body))
			}
			u := r.submit(env).Uploads[0]
			if want := (steps.Revision{Boot: 3, Seq: 9}); u.Verdict != quarantined || u.Revision != want {
				t.Errorf("verdict %v of revision %v; want quarantined, %v", u.Verdict, u.Revision, want)
			}
		})
	}
}

// TestEveryPrefix cuts an upload at every byte: each prefix is stored or quarantined, none is lost.
func TestEveryPrefix(t *testing.T) {
	for _, enc := range encodings {
		whole := native.AppendUpload(nil, upload(7, minutes("2026-11-23T09:00:00", 5, 200), until("2026-11-23T10:05:00", minutes("2026-11-23T10:00:00", 7))), enc)
		for n := range whole {
			j := new(memory)
			r := newRig(t, "Asia/Tokyo", j)
			u := r.submit(r.envelope("pedo", enc, whole[:n])).Uploads[0]
			c := j.last(t)
			kept := len(c.Quarantine) == 1 && bytes.Equal(c.Quarantine[0].Raw, whole[:n])
			if (u.Verdict == quarantined) != kept || (u.Verdict == stored) != (len(c.Contacts) == 1) {
				t.Errorf("%v cut after %d of %d bytes: verdict %v, kept %t", enc, n, len(whole), u.Verdict, kept)
			}
		}
	}
}

// TestNegativeCounts puts what no count is into one series between two good ones.
func TestNegativeCounts(t *testing.T) {
	series := func(start string, counts ...uint64) []byte {
		b := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(at(start)))
		var packed []byte
		for _, n := range counts {
			packed = protowire.AppendVarint(packed, n)
		}
		return protowire.AppendBytes(protowire.AppendTag(b, 3, protowire.BytesType), packed)
	}
	around := func(bad uint64) []byte {
		b := protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), 7)
		for _, s := range [][]byte{series("2026-11-23T07:00:00", 10), series("2026-11-23T08:00:00", 10, bad), series("2026-11-23T09:00:00", 20)} {
			b = protowire.AppendBytes(protowire.AppendTag(b, 6, protowire.BytesType), s)
		}
		return b
	}
	inJSON := func(bad string) []byte {
		const at = `{"start":"2026-11-23T0`
		return []byte(`{"seq":7,"series":[` + at + `7:00:00+09:00","steps":[10]},` +
			at + `8:00:00+09:00","steps":[10,` + bad + `]},` + at + `9:00:00+09:00","steps":[20]}]}`)
	}
	minusFive := int64(-5)
	for _, tc := range []struct {
		name string
		enc  steps.Encoding
		body []byte
	}{
		{"minus five", steps.Protobuf, around(uint64(minusFive))},
		{"minus one", steps.Protobuf, around(1<<64 - 1)},
		{"minus one of 32 bits", steps.Protobuf, around(1<<32 - 1)},
		{"beyond 32 bits", steps.Protobuf, around(1 << 32)},
		{"wraps to five", steps.Protobuf, around(1<<32 + 5)},
		{"minus five in JSON", steps.JSON, inJSON("-5")},
		{"beyond 32 bits in JSON", steps.JSON, inJSON("4294967301")},
		{"beyond 64 bits in JSON", steps.JSON, inJSON("18446744073709551621")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j := new(memory)
			r := newRig(t, "Asia/Tokyo", j)
			u := r.submit(r.envelope("pedo", tc.enc, tc.body)).Uploads[0]
			if u.Verdict != stored || faults(&u) != "1:implausible" {
				t.Errorf("verdict %v, faults %q; want stored, 1:implausible", u.Verdict, faults(&u))
			}
			want := []string{"ann 2026-11-23 60@420 1=10", "ann 2026-11-23 60@540 1=20"}
			if got := runs(j.last(t)); !slices.Equal(got, want) {
				t.Errorf("runs %q; want %q", got, want)
			}
		})
	}
}

// TestWindowsAreBounded: a window_end makes a few bytes mean thousands of intervals, so all series
// of a payload together have a limit; those within it are stored.
func TestWindowsAreBounded(t *testing.T) {
	j := new(memory)
	r := newRig(t, "Asia/Tokyo", j)
	r.dir.bind("pedo", "ann", steps.DayRange{From: steps.DateDay(2026, 1, 1)})
	u := upload(1)
	const series, each = 200, 10_080
	for range series {
		s := minutes("2026-11-10T09:00:00", 1)
		s.WindowEnd = s.Start + each*60
		u.Series = append(u.Series, s)
	}
	got := r.send("pedo", u)
	fit := protocol.IntervalsPerPayload / each
	if len(got.Faults) != series-fit || got.Faults[0].Series != fit || got.Faults[0].Reason != steps.ReasonMalformed {
		t.Errorf("%d faults, the first %+v; want %d from series %d on", len(got.Faults), got.Faults[0], series-fit, fit)
	}
	total := 0
	for _, run := range j.last(t).Runs {
		total += len(run.Counts)
	}
	if total != fit*each {
		t.Errorf("%d intervals were accepted; want %d", total, fit*each)
	}
}
