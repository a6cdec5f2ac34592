package native

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"ayumi/protocol"
	"ayumi/steps"
)

func TestFullUploadRoundTrips(t *testing.T) {
	want := fullUpload()
	for _, enc := range encodings {
		t.Run(enc.String(), func(t *testing.T) {
			var got steps.Upload
			body := AppendUpload([]byte("before"), want, enc)
			if !bytes.HasPrefix(body, []byte("before")) {
				t.Fatal("AppendUpload overwrote what was there")
			}
			if err := NewDecoder(protocol.DefaultLimits()).Upload(&got, body[len("before"):], enc); err != nil {
				t.Fatal(err)
			}
			if !equalUpload(&got, want) {
				t.Errorf("got\n%swant\n%s", dump(&got), dump(want))
			}
		})
	}
}

// A truncated upload is an error or a shorter upload, and a shorter one is a prefix of the whole.
func TestTruncatedAtEveryByte(t *testing.T) {
	for _, enc := range encodings {
		t.Run(enc.String(), func(t *testing.T) {
			body := AppendUpload(nil, fullUpload(), enc)
			d := NewDecoder(protocol.DefaultLimits())
			var u steps.Upload
			accepted := 0
			for n := range body {
				if d.Upload(&u, body[:n:n], enc) != nil {
					continue
				}
				accepted++
				if again := AppendUpload(nil, &u, enc); !bytes.Equal(again, body[:n]) {
					t.Errorf("%d bytes were accepted but mean %x", n, again)
				}
			}
			if enc == steps.JSON && accepted > 0 {
				t.Errorf("%d truncations of a JSON object were accepted", accepted)
			}
			if enc == steps.Protobuf && accepted != 7 { // after each of the eight top-level fields but the last
				t.Errorf("%d truncations were accepted, want one at each field's end", accepted)
			}
		})
	}
}

func TestDecodedUploadSharesNoMemory(t *testing.T) {
	for _, enc := range encodings {
		t.Run(enc.String(), func(t *testing.T) {
			body := AppendUpload(nil, fullUpload(), enc)
			var u steps.Upload
			if err := NewDecoder(protocol.DefaultLimits()).Upload(&u, body, enc); err != nil {
				t.Fatal(err)
			}
			for i := range body {
				body[i] = 'X'
			}
			if want := fullUpload(); !equalUpload(&u, want) {
				t.Errorf("the upload changed with the payload:\n%s", dump(&u))
			}
		})
	}
}

func TestReusedUploadForgetsTheLast(t *testing.T) {
	for _, enc := range encodings {
		t.Run(enc.String(), func(t *testing.T) {
			d := NewDecoder(protocol.DefaultLimits())
			var u steps.Upload
			if err := d.Upload(&u, AppendUpload(nil, fullUpload(), enc), enc); err != nil {
				t.Fatal(err)
			}
			want := &steps.Upload{Revision: steps.Revision{Seq: 1}, Series: []steps.Series{{Start: 5, Interval: 60}}}
			if err := d.Upload(&u, AppendUpload(nil, want, enc), enc); err != nil {
				t.Fatal(err)
			}
			if !equalUpload(&u, want) {
				t.Errorf("got\n%swant\n%s", dump(&u), dump(want))
			}
		})
	}
}

func TestUnknownEncoding(t *testing.T) {
	var u steps.Upload
	d := NewDecoder(protocol.DefaultLimits())
	wantInvalid(t, d.Upload(&u, []byte("{}"), 0), "cannot decode upload: unknown encoding 0; use protobuf or JSON")
	err := d.Bundle(&u, []byte("{}"), 9, func([]byte, *steps.Upload, error) { t.Error("called") })
	wantInvalid(t, err, "cannot decode bundle: unknown encoding 9; use protobuf or JSON")
}

// series returns an upload with n series of c counts each.
func series(n, c int) *steps.Upload {
	u := &steps.Upload{Revision: steps.Revision{Seq: 1}}
	for range n {
		u.Series = append(u.Series, steps.Series{Start: 1795359600, Interval: 60, Counts: make([]uint32, c)})
	}
	return u
}

func TestLimits(t *testing.T) {
	limits := protocol.Limits{UploadsPerBundle: 2, SeriesPerUpload: 3, IntervalsPerSeries: 4}
	window := func(end int64) *steps.Upload {
		u := series(1, 0)
		u.Series[0].WindowEnd = u.Series[0].Start + end
		return u
	}
	tests := []struct {
		name string
		u    *steps.Upload
		want string // "" is accepted
	}{
		{"series at the limit", series(3, 0), ""},
		{"series beyond", series(4, 0), "cannot decode upload: series: more than 3 series; split the upload"},
		{"counts at the limit", series(1, 4), ""},
		{"counts beyond", series(1, 5), "cannot decode upload: series[0].steps: more than 4 counts; split the series"},
		{"window at the limit", window(4*60 + 59), ""},
		{
			"window beyond", window(5 * 60),
			"cannot decode upload: series[0].window_end: lies 5 intervals after start; the limit is 4, split the series",
		},
	}
	for _, test := range tests {
		for _, enc := range encodings {
			t.Run(test.name+"/"+enc.String(), func(t *testing.T) {
				var u steps.Upload
				err := NewDecoder(limits).Upload(&u, AppendUpload(nil, test.u, enc), enc)
				if test.want == "" {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				wantInvalid(t, err, test.want)
			})
		}
	}
}

func TestUnpackedCountsObeyTheLimit(t *testing.T) {
	s := protowire.AppendVarint(protowire.AppendTag(nil, seriesStart, protowire.VarintType), 1795359600)
	for range 3 {
		s = protowire.AppendVarint(protowire.AppendTag(s, seriesSteps, protowire.VarintType), 7)
	}
	body := protowire.AppendBytes(protowire.AppendTag(nil, uploadSeries, protowire.BytesType), s)
	var u steps.Upload
	if err := NewDecoder(protocol.Limits{SeriesPerUpload: 1, IntervalsPerSeries: 3}).Upload(&u, body, steps.Protobuf); err != nil {
		t.Fatal(err)
	}
	err := NewDecoder(protocol.Limits{SeriesPerUpload: 1, IntervalsPerSeries: 2}).Upload(&u, body, steps.Protobuf)
	wantInvalid(t, err, "cannot decode upload: series[0].steps: more than 2 counts; split the series")
}

// A bundle beyond the limit, or with an unusable envelope, is refused before anything is handed out.
func TestBundleIsNeverHandedOutInPart(t *testing.T) {
	limits := protocol.Limits{UploadsPerBundle: 2, SeriesPerUpload: 3, IntervalsPerSeries: 4}
	three := []steps.Upload{*series(1, 1), *series(1, 1), *series(1, 1)}
	two := AppendBundle(nil, three[:2], steps.Protobuf)
	tests := []struct {
		name string
		body []byte
		enc  steps.Encoding
		want string
	}{
		{"too many pb", AppendBundle(nil, three, steps.Protobuf), steps.Protobuf, "more than 2 uploads; split the bundle"},
		{"too many json", AppendBundle(nil, three, steps.JSON), steps.JSON, "uploads: more than 2 uploads; split the bundle"},
		{"empty pb", nil, steps.Protobuf, errEmptyBundle.Error()},
		{"empty json", []byte(`{}`), steps.JSON, errEmptyBundle.Error()},
		{"no uploads json", []byte(`{"uploads":[]}`), steps.JSON, errEmptyBundle.Error()},
		{"tail pb", append(two[:len(two):len(two)], 0x10, 0x01), steps.Protobuf, "unknown field number 2; the fields are 1 to 1 (uploads)"},
		{"cut pb", two[:len(two)-1], steps.Protobuf, "uploads: claims 13 bytes, 12 are left; the message was cut off"},
		{"unknown key after", []byte(`{"uploads":[{"seq":1}],"more":1}`), steps.JSON, `unknown field "more"; the fields are uploads`},
		{"twice", []byte(`{"uploads":[{"seq":1}],"uploads":[]}`), steps.JSON, "uploads: appears twice; send a field once"},
		{"not an array", []byte(`{"uploads":{}}`), steps.JSON, "uploads: is an object; it must be an array"},
		{"null", []byte(`{"uploads":null}`), steps.JSON, "uploads: null is not allowed; leave the field out"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var u steps.Upload
			err := NewDecoder(limits).Bundle(&u, test.body, test.enc, func([]byte, *steps.Upload, error) {
				t.Error("an upload of a refused bundle was handed out")
			})
			wantInvalid(t, err, "cannot decode bundle: "+test.want)
		})
	}
}

func TestBundleRawIsTheUpload(t *testing.T) {
	want := []steps.Upload{*fullUpload(), *series(2, 3), *fullUpload()}
	for _, enc := range encodings {
		t.Run(enc.String(), func(t *testing.T) {
			body := AppendBundle(nil, want, enc)
			us, raws, errs, err := decodeBundle(NewDecoder(protocol.DefaultLimits()), body, enc)
			if err != nil || len(us) != len(want) {
				t.Fatalf("%d uploads, %v", len(us), err)
			}
			for i := range us {
				if errs[i] != nil || !equalUpload(us[i], &want[i]) {
					t.Errorf("upload %d: %v\n%s", i, errs[i], dump(us[i]))
				}
				if !bytes.Equal(raws[i], AppendUpload(nil, &want[i], enc)) {
					t.Errorf("upload %d: raw bytes %q", i, raws[i])
				}
				if !bytes.Contains(body, raws[i]) || cap(raws[i]) > cap(body) {
					t.Errorf("upload %d: raw bytes are not a part of the body", i)
				}
			}
		})
	}
}

// A refused upload still says whose it was, wherever its bad field stands.
func TestRefusedUploadKeepsItsDevice(t *testing.T) {
	pb := func(fields ...string) string { return strings.Join(fields, "") }
	const device, boot, seq, bad = "\x0a\x02P1", "\x10\x07", "\x18\x2a", "\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
	tests := []struct {
		name, body string
		enc        steps.Encoding
		want       steps.Upload
	}{
		{"pb before", pb(device, boot, seq, bad), steps.Protobuf, steps.Upload{Device: "P1", Revision: steps.Revision{Boot: 7, Seq: 42}}},
		{"pb after", pb(bad, seq, boot, device), steps.Protobuf, steps.Upload{Device: "P1", Revision: steps.Revision{Boot: 7, Seq: 42}}},
		{"pb cut off", pb(device, seq, "\x32\x7f"), steps.Protobuf, steps.Upload{Device: "P1", Revision: steps.Revision{Seq: 42}}},
		{"pb fixed fields", pb("\x41\x00\x00\x00\x00\x00\x00\x00\x00", device), steps.Protobuf, steps.Upload{Device: "P1"}},
		{"pb group", pb("\x4b\x08\x01\x4c", device), steps.Protobuf, steps.Upload{Device: "P1"}},
		{"pb bad device", pb("\x0a\x02P/", boot), steps.Protobuf, steps.Upload{Revision: steps.Revision{Boot: 7}}},
		{"pb wrong wire type", pb("\x08\x01", boot), steps.Protobuf, steps.Upload{Revision: steps.Revision{Boot: 7}}},
		{"pb first of two", pb(device, "\x0a\x02P2"), steps.Protobuf, steps.Upload{Device: "P1"}},
		{"json before", `{"device":"P1","seq":42,"x":[{"device":"no"}]}`, steps.JSON, steps.Upload{Device: "P1", Revision: steps.Revision{Seq: 42}}},
		{"json after", `{"x":[{"device":"no"}, "}"] , "boot" : 7, "device":"P1"}`, steps.JSON, steps.Upload{Device: "P1", Revision: steps.Revision{Boot: 7}}},
		{"json escaped", `{"x":null,"d\u0065vice":"P\u0031"}`, steps.JSON, steps.Upload{Device: "P1"}},
		{"json bad types", `{"x":1,"device":1,"boot":"7","seq":-1}`, steps.JSON, steps.Upload{}},
		{"json array", `[{"device":"P1"}]`, steps.JSON, steps.Upload{}},
		{"json cut off", `{"device":"P1","seq":`, steps.JSON, steps.Upload{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			u := *fullUpload()
			err := NewDecoder(protocol.DefaultLimits()).Upload(&u, []byte(test.body), test.enc)
			if steps.KindOf(err) != steps.Invalid {
				t.Fatalf("error %v", err)
			}
			if !equalUpload(&u, &test.want) {
				t.Errorf("%v; got %+v, want %+v", err, u, test.want)
			}
		})
	}
}

func TestErrorsStayShort(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	bodies := map[string]string{
		"key":      fmt.Sprintf(`{%q:1}`, long),
		"device":   fmt.Sprintf(`{"device":%q}`, long),
		"firmware": fmt.Sprintf(`{"status":{"firmware":%q}}`, long),
		"origin":   fmt.Sprintf(`{"series":[{"origin":%q}]}`, long),
		"time":     fmt.Sprintf(`{"sent_at":%q}`, long),
		"number":   fmt.Sprintf(`{"seq":1%s}`, strings.Repeat("0", 1<<20)),
		"fraction": fmt.Sprintf(`{"seq":1.%s}`, strings.Repeat("0", 1<<20)),
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			var u steps.Upload
			err := NewDecoder(protocol.DefaultLimits()).Upload(&u, []byte(body), steps.JSON)
			if err == nil || len(err.Error()) > 300 {
				t.Errorf("an error of %d bytes", len(fmt.Sprint(err)))
			}
		})
	}
}
