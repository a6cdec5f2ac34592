package native

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
	"pgregory.net/rapid"

	"ayumi/steps"
)

func fullReceipt() *steps.Receipt {
	return &steps.Receipt{
		Record:     steps.RecordID{Group: 90210, Index: 3},
		ReceivedAt: 1795360231,
		Uploads: []steps.UploadReceipt{
			{Revision: steps.Revision{Boot: 7, Seq: 42}, Verdict: steps.Duplicate},
			{
				Device: "PEDO-0002", Revision: steps.Revision{Boot: 1, Seq: 9}, Verdict: steps.Stored, Conflicts: 2,
				Quarantine: "0123456789abcdef0123456789abcdef",
				Faults: []steps.Fault{
					{Series: 0, Reason: steps.ReasonFuture, Detail: "series[0].start: 2036 \"soon\""},
					{Series: 4, Reason: steps.ReasonImplausible},
				},
			},
			{
				Verdict: steps.Quarantined, Quarantine: "ff",
				Faults: []steps.Fault{{Series: -1, Reason: steps.ReasonNotReader, Detail: "歩\u2028"}},
			},
		},
	}
}

func TestReceiptsRoundTrip(t *testing.T) {
	faults := rapid.Custom(func(t *rapid.T) steps.Fault {
		return steps.Fault{
			Series: rapid.IntRange(-1, 600).Draw(t, "series"),
			Reason: rapid.SampledFrom(steps.Reasons()).Draw(t, "reason"),
			Detail: rapid.String().Draw(t, "detail"),
		}
	})
	answers := rapid.Custom(func(t *rapid.T) steps.UploadReceipt {
		u := steps.UploadReceipt{
			Device:     genID().Draw(t, "device"),
			Revision:   steps.Revision{Boot: rapid.Uint32().Draw(t, "boot"), Seq: rapid.Uint64().Draw(t, "seq")},
			Verdict:    rapid.SampledFrom([]steps.Verdict{steps.Stored, steps.Duplicate, steps.Quarantined}).Draw(t, "verdict"),
			Conflicts:  rapid.IntRange(0, 1<<32-1).Draw(t, "conflicts"),
			Quarantine: steps.QuarantineID(rapid.StringMatching(`([0-9a-f]{32})?`).Draw(t, "quarantine")),
		}
		if n := rapid.IntRange(0, 3).Draw(t, "faults"); n > 0 {
			u.Faults = rapid.SliceOfN(faults, n, n).Draw(t, "faults")
		}
		return u
	})
	rapid.Check(t, func(t *rapid.T) {
		want := &steps.Receipt{
			Record:     steps.RecordID{Group: rapid.Uint64().Draw(t, "group"), Index: rapid.Uint32().Draw(t, "index")},
			ReceivedAt: rapid.Int64Range(0, maxTime).Draw(t, "received_at"),
			Uploads:    rapid.SliceOfN(answers, 1, 4).Draw(t, "uploads"),
		}
		for _, enc := range encodings {
			got, err := ParseReceipt(AppendReceipt(nil, want, enc), enc)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%v: %v\n got %+v\nwant %+v", enc, err, got, want)
			}
		}
	})
}

func TestReceiptJSON(t *testing.T) {
	const want = `{"record":"90210.3","received_at":"2026-11-22T15:10:31Z","uploads":[` +
		`{"boot":7,"seq":42,"verdict":"duplicate"},` +
		`{"device":"PEDO-0002","boot":1,"seq":9,"verdict":"stored","conflicts":2,"quarantine":"0123456789abcdef0123456789abcdef",` +
		`"faults":[{"series":0,"reason":"future","detail":"series[0].start: 2036 \"soon\""},{"series":4,"reason":"implausible","detail":""}]},` +
		`{"boot":0,"seq":0,"verdict":"quarantined","quarantine":"ff","faults":[{"series":-1,"reason":"not_reader","detail":"歩\u2028"}]}]}`
	got := AppendReceipt(nil, fullReceipt(), steps.JSON)
	if string(got) != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if !json.Valid(got) {
		t.Error("not JSON")
	}
	if unknown := AppendReceipt(nil, fullReceipt(), 0); !bytes.Equal(unknown, got) {
		t.Errorf("for a payload of unknown encoding: %q", unknown)
	}
}

// dynamicpb understands our receipts and finds nothing in them that ayumi.proto does not have.
func TestReceiptAgainstDynamicpb(t *testing.T) {
	m := dynamicpb.NewMessage(newOracle(t, "Receipt"))
	body := AppendReceipt(nil, fullReceipt(), steps.Protobuf)
	if err := proto.Unmarshal(body, m); err != nil {
		t.Fatal(err)
	}
	again, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again, body) {
		t.Errorf("\nours %x\n its %x", body, again)
	}
	answers := get(m, "uploads").List()
	fault := get(answers.Get(2).Message(), "faults").List().Get(0).Message()
	if answers.Len() != 3 || get(fault, "series").Int() != -1 || get(fault, "reason").Enum() != 11 || get(fault, "detail").String() != "歩\u2028" {
		t.Errorf("dynamicpb reads %v", m)
	}
	if got := get(answers.Get(1).Message(), "conflicts").Uint(); got != 2 {
		t.Errorf("conflicts %d", got)
	}
}

// A client reads the receipts of a newer gateway.
func TestParseReceiptOfTomorrow(t *testing.T) {
	want := &steps.Receipt{Record: steps.RecordID{Group: 1}, ReceivedAt: 5, Uploads: []steps.UploadReceipt{
		{Verdict: steps.Quarantined, Faults: []steps.Fault{{Series: -1, Detail: "why"}}},
	}}
	for enc, body := range map[steps.Encoding]string{
		steps.JSON: `{"record":"1.0","received_at":"1970-01-01T00:00:05Z","more":{"a":[]},` +
			`"uploads":[{"verdict":"quarantined","faults":[{"series":-1,"reason":"tomorrow","detail":"why"}]}]}`,
		steps.Protobuf: "\x0a\x031.0\x10\x05\xa5\x06\x00\x00\x00\x00" + // field 100, fixed32
			"\x1a\x17\x20\x03\x3a\x13\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x10\xc8\x01\x1a\x03why",
	} {
		got, err := ParseReceipt([]byte(body), enc)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v: %v\n got %+v\nwant %+v", enc, err, got, want)
		}
	}
}

func TestParseReceiptRefuses(t *testing.T) {
	tests := []struct {
		name, body string
		enc        steps.Encoding
		want       string
	}{
		{"no encoding", `{}`, 0, "unknown encoding 0; use protobuf or JSON"},
		{"no record", `{}`, steps.JSON, `record "" is not GROUP.INDEX`},
		{"record", "\x0a\x011", steps.Protobuf, `record "1" is not GROUP.INDEX`},
		{"record index", "\x0a\x0c1.4294967296", steps.Protobuf, `record "1.4294967296" is not GROUP.INDEX`},
		{"no time", `{"record":"1.0"}`, steps.JSON, `received_at: is not RFC 3339; write it as "2026-11-23T09:00:00+09:00"`},
		{
			"verdict", `{"record":"1.0","received_at":"1970-01-01T00:00:05Z","uploads":[{"verdict":"burnt"}]}`, steps.JSON,
			`unknown verdict "burnt"; this client is older than the gateway`,
		},
		{"verdict pb", "\x1a\x03\x20\x84\x02", steps.Protobuf, "unknown verdict 255; this client is older than the gateway"},
		{"cut off", "\x1a\x03\x20", steps.Protobuf, "unexpected EOF"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseReceipt([]byte(test.body), test.enc)
			wantInvalid(t, err, "cannot parse receipt: "+test.want)
		})
	}
}
