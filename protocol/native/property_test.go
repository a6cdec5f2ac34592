package native

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"ayumi/protocol"
	"ayumi/steps"
)

func TestEncodingsMeanTheSame(t *testing.T) {
	limits := protocol.DefaultLimits()
	d := NewDecoder(limits)
	rapid.Check(t, func(t *rapid.T) {
		want := genUpload(limits).Draw(t, "upload")
		for _, enc := range encodings {
			var got steps.Upload
			if err := d.Upload(&got, AppendUpload(nil, want, enc), enc); err != nil {
				t.Fatalf("%v: %v", enc, err)
			}
			if !equalUpload(&got, want) {
				t.Fatalf("%v\ngot\n%swant\n%s", enc, dump(&got), dump(want))
			}
		}
	})
}

func TestBundlesRoundTrip(t *testing.T) {
	limits := protocol.DefaultLimits()
	d := NewDecoder(limits)
	rapid.Check(t, func(t *rapid.T) {
		var want []steps.Upload
		for _, u := range rapid.SliceOfN(genUpload(limits), 1, 5).Draw(t, "uploads") {
			want = append(want, *u)
		}
		for _, enc := range encodings {
			us, _, errs, err := decodeBundle(d, AppendBundle(nil, want, enc), enc)
			if err != nil || len(us) != len(want) {
				t.Fatalf("%v: %d of %d uploads, %v", enc, len(us), len(want), err)
			}
			for i := range us {
				if errs[i] != nil || !equalUpload(us[i], &want[i]) {
					t.Fatalf("%v: upload %d: %v", enc, i, errs[i])
				}
			}
		}
	})
}

// checkAccepted fails unless u, which a decoder accepted, re-encodes in both encodings to bytes
// that decode to u.
func checkAccepted(t *testing.T, d *Decoder, u *steps.Upload) {
	t.Helper()
	want := cloneUpload(u)
	for _, enc := range encodings {
		var got steps.Upload
		body := AppendUpload(nil, want, enc)
		if err := d.Upload(&got, body, enc); err != nil {
			t.Fatalf("accepted\n%sbut its %v %q is refused: %v", dump(want), enc, body, err)
		}
		if !equalUpload(&got, want) {
			t.Fatalf("%v changed\n%sto\n%s", enc, dump(want), dump(&got))
		}
	}
}

func seed(f *testing.F, enc steps.Encoding) {
	for _, dir := range []string{"accept", "reject"} {
		for _, v := range vectors(f, dir) {
			if v.enc == enc && len(v.body) < 2000 {
				f.Add(v.body)
			}
		}
	}
	f.Add(AppendUpload(nil, minuteUpload(60), enc))
}

func FuzzUploadProtobuf(f *testing.F) {
	seed(f, steps.Protobuf)
	o := newOracle(f, "Upload")
	d := NewDecoder(protocol.DefaultLimits())
	f.Fuzz(func(t *testing.T, body []byte) {
		var u steps.Upload
		if err := d.Upload(&u, body, steps.Protobuf); err != nil {
			checkRefused(t, &u, err)
			return
		}
		checkAccepted(t, d, &u)
		other, err := o.decode(body)
		if err != nil {
			t.Fatalf("accepted what dynamicpb refuses: %v", err)
		}
		for i, s := range u.Series {
			for j, n := range s.Counts {
				if n == steps.CountOverflow { // which dynamicpb cuts to 32 bits
					other.Series[i].Counts[j] = n
				}
			}
		}
		if !equalUpload(&u, other) {
			t.Fatalf("we read\n%sdynamicpb\n%s", dump(&u), dump(other))
		}
	})
}

func FuzzUploadJSON(f *testing.F) {
	seed(f, steps.JSON)
	d := NewDecoder(protocol.DefaultLimits())
	f.Fuzz(func(t *testing.T, body []byte) {
		var u steps.Upload
		if err := d.Upload(&u, body, steps.JSON); err != nil {
			checkRefused(t, &u, err)
			return
		}
		checkAccepted(t, d, &u)
	})
}

func checkRefused(t *testing.T, u *steps.Upload, err error) {
	t.Helper()
	if steps.KindOf(err) != steps.Invalid || len(err.Error()) > 400 {
		t.Fatalf("an error of kind %v and %d bytes: %v", steps.KindOf(err), len(err.Error()), err)
	}
	if rest := (&steps.Upload{Device: u.Device, Revision: u.Revision}); !equalUpload(u, rest) {
		t.Fatalf("a refused upload left\n%s", dump(u))
	}
	if u.Device != "" {
		if _, err := steps.ParseDeviceID(string(u.Device)); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzBundle(f *testing.F) {
	for _, dir := range []string{"accept", "reject"} {
		for _, v := range vectors(f, dir) {
			if v.bundle && len(v.body) < 2000 {
				f.Add(v.body, v.enc == steps.JSON)
			}
		}
	}
	limits := protocol.Limits{UploadsPerBundle: 8, SeriesPerUpload: 8, IntervalsPerSeries: 64}
	d, alone := NewDecoder(limits), NewDecoder(limits)
	f.Fuzz(func(t *testing.T, body []byte, isJSON bool) {
		enc := steps.Protobuf
		if isJSON {
			enc = steps.JSON
		}
		var dst, single steps.Upload
		calls := 0
		rest := body
		err := d.Bundle(&dst, body, enc, func(raw []byte, u *steps.Upload, err error) {
			calls++
			at := bytes.Index(rest, raw)
			if at < 0 {
				t.Fatalf("raw bytes %q are not in what is left of the body", raw)
			}
			rest = rest[at+len(raw):]
			// Alone, the upload means the same.
			again := alone.Upload(&single, raw, enc)
			if (err == nil) != (again == nil) || !equalUpload(u, &single) {
				t.Fatalf("in the bundle: %v\n%salone: %v\n%s", err, dump(u), again, dump(&single))
			}
			if err != nil {
				checkRefused(t, u, err)
				return
			}
			checkAccepted(t, alone, u)
		})
		switch {
		case err == nil && (calls == 0 || calls > limits.UploadsPerBundle):
			t.Fatalf("%d uploads were handed out", calls)
		case err != nil && calls > 0:
			t.Fatalf("%d uploads were handed out, then %v", calls, err)
		}
	})
}
