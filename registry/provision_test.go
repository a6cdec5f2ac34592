package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"ayumi/steps"
)

func bytesReader(s string) io.Reader { return strings.NewReader(s) }

// give provisions a file and returns every row's outcome.
func give(r *Registry, file string, opt ProvisionOptions) ([]Provisioned, ProvisionSummary, error) {
	var out []Provisioned
	sum, err := r.Provision(context.Background(), strings.NewReader(file), opt, func(ps []Provisioned) error {
		out = append(out, ps...)
		return nil
	})
	return out, sum, err
}

func TestProvision(t *testing.T) {
	const file = "\xef\xbb\xbfparticipant,device,kind,from,born\r\n" +
		"p1,d1,,,1951-04-02\r\n" +
		"p1,d2,app,2026-10-01,\r\n" +
		"\r\n" +
		"\"p2\", d3 ,pedometer,,\r\n" +
		",r1,reader,,\r\n"
	rec := newMemory()
	r := open(t, rec)
	dry, sum, err := give(r, file, ProvisionOptions{DryRun: true})
	must(t, err)
	want := ProvisionSummary{Participants: 2, Devices: 4}
	if sum != want || len(dry) != 4 || rec.applies != 0 || dry[0].Secret != (Secret{}) {
		t.Fatalf("dry run %+v, %d rows, %d writes", sum, len(dry), rec.applies)
	}
	rows, sum, err := give(r, file, ProvisionOptions{})
	must(t, err)
	if sum != want {
		t.Errorf("summary %+v", sum)
	}
	var order []string
	for _, p := range rows {
		order = append(order, string(p.Participant)+"/"+string(p.Device))
		if _, err := r.Authenticate(p.Device, []byte(p.Secret.Reveal())); err != nil {
			t.Errorf("%s: %v", p.Device, err)
		}
	}
	if got := strings.Join(order, " "); got != "p1/d1 p1/d2 p2/d3 /r1" {
		t.Errorf("order %s", got)
	}
	if p, ok := r.Binding("d2", steps.DateDay(2026, 10, 1)); !ok || p != "p1" {
		t.Errorf("d2 counts for %q", p)
	}
	if _, ok := r.Binding("d1", today-1); ok {
		t.Error("d1 counts before today")
	}
	if p, _ := r.Scored("p1"); p.Born != steps.DateDay(1951, 4, 2) {
		t.Errorf("p1 is %+v", p)
	}
	if len(r.BindingsOf("p1")) != 2 {
		t.Errorf("p1 has %v", r.BindingsOf("p1"))
	}
	more, _, err := give(r, "device,participant,born\nd9,p1,1951-04-02\n", ProvisionOptions{})
	if err != nil || len(more) != 1 {
		t.Errorf("a further device of a known person: %v", err)
	}
}

func TestProvisionFaults(t *testing.T) {
	type faults = []RowError
	for name, tc := range map[string]struct {
		file string
		kind steps.Kind
		want faults
	}{
		"empty":          {"", steps.Invalid, faults{{1, "", "the file is empty; its first line is participant,device,kind,from,born"}}},
		"utf-16":         {"\xff\xfep\x00", steps.Invalid, faults{{1, "", "the file is UTF-16; save it as CSV UTF-8"}}},
		"unknown column": {"participant,device,name\np,d,x\n", steps.Invalid, faults{{1, "name", "no such column; use participant,device,kind,from,born, separated by commas"}}},
		"semicolons":     {"participant;device\np;d\n", steps.Invalid, faults{{1, "participant;device", "no such column; use participant,device,kind,from,born, separated by commas"}}},
		"column twice":   {"device,device\n", steps.Invalid, faults{{1, "device", "the column is there twice; remove one"}}},
		"no device":      {"participant\np\n", steps.Invalid, faults{{1, "device", "the column is missing; add it to the header"}}},
		"every line is told": {"participant,device,kind,from,born\n" +
			"p 1,d/1,bike,yesterday,2999-01-01\n" +
			"p1,d1,,,\n" +
			"p1,d1,,,\n" +
			",d2,,,\n" +
			"p1,,,,\n" +
			"\"p1\",d3,,\"\n\",1951-04-02\n" +
			"p1,r1,reader,2026-01-01,\n" +
			"p1,d4,,0026-01-01,1951-04-03\n" +
			"p1,d5\n" +
			"p1,d\"6,,,\n" +
			",,,,\n", steps.Invalid, faults{
			{2, "kind", `"bike" is none; use pedometer, app or reader`},
			{2, "device", `id "d/1" has '/' at byte 1; use letters, digits and . _ : -`},
			{2, "participant", `id "p 1" has ' ' at byte 1; use letters, digits and . _ : -`},
			{2, "from", `"yesterday" is not a date; write it as 2026-11-23`},
			{2, "born", "2999-01-01 lies outside 1900-01-01 to today; check the year"},
			{4, "device", `"d1" is on line 3 already; keep one`},
			{5, "participant", "is empty; name whose steps the device counts, or make its kind reader"},
			{6, "device", "is empty; every line names a device"},
			{9, "participant", "a reader is bound to nobody; leave the cell empty"},
			{9, "from", "a reader is bound to nobody; leave the cell empty"},
			{10, "from", "0026-01-01 lies outside 2000-01-01 to 2199-12-31; check the year"},
			{11, "", "has 2 cells and the header has 5; check the commas"},
			{12, "", `is no CSV at byte 5: bare " in non-quoted-field; write a quote inside quotes twice`},
			{13, "device", "is empty; every line names a device"},
			{13, "participant", "is empty; name whose steps the device counts, or make its kind reader"},
		}},
		"births disagree": {"participant,device,born\np1,d1,\np1,d2,1951-04-02\np1,d3,1951-04-03\n", steps.Invalid, faults{
			{4, "born", `participant "p1" was born 1951-04-02 by line 3; make them agree`},
		}},
		"existing": {"participant,device,born\nnew,d1,\nthere,d-there,\nthere,d2,1960-01-01\nunborn,d3,1960-01-01\n", steps.Conflict, faults{
			{3, "device", `"d-there" is registered already; remove the line, or skip existing devices`},
			{4, "born", `participant "there" is registered as born 1950-01-01; leave the cell empty, or update the participant first`},
			{5, "born", `participant "unborn" is registered without a date of birth; leave the cell empty, or update the participant first`},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			rec := newMemory()
			r := open(t, rec)
			_, _, err := give(r, "participant,device,born\nthere,d-there,1950-01-01\nunborn,d-un,\n", ProvisionOptions{})
			must(t, err)
			before := rec.applies
			rows, _, err := give(r, tc.file, ProvisionOptions{})
			wantKind(t, err, tc.kind)
			var got *RowErrors
			if !errors.As(err, &got) {
				t.Fatalf("error %v", err)
			}
			if got.Count != len(tc.want) || !reflect.DeepEqual(got.Errors, tc.want) {
				t.Errorf("faults:\n%v\nwant:\n%v", got, &RowErrors{tc.want, len(tc.want)})
			}
			if len(rows) > 0 || rec.applies != before {
				t.Error("something was applied")
			}
		})
	}
}

func TestProvisionBoundsItsReport(t *testing.T) {
	r := open(t, newMemory())
	_, _, err := give(r, "participant,device\n"+strings.Repeat("p,\n", 250), ProvisionOptions{})
	var got *RowErrors
	if !errors.As(err, &got) || got.Count != 250 || len(got.Errors) != maxRowErrors {
		t.Fatalf("report %v", err)
	}
	if s := err.Error(); !strings.Contains(s, "250 fault(s)") || !strings.Contains(s, "and 150 more") {
		t.Errorf("text %s", s)
	}
}

func TestProvisionAgain(t *testing.T) {
	var file strings.Builder
	file.WriteString("participant,device,born\n")
	const n = 2*chunkRows + 10
	for i := range n {
		fmt.Fprintf(&file, "p%d,d%d,\n", i/2, i)
	}
	rec := newMemory()
	r := open(t, rec)
	full := steps.E("commit", steps.Unavailable, errors.New("disk full"))
	seen := map[steps.DeviceID]Secret{}
	sum, err := r.Provision(context.Background(), strings.NewReader(file.String()), ProvisionOptions{}, func(ps []Provisioned) error {
		for _, p := range ps {
			seen[p.Device] = p.Secret
		}
		rec.fail(full)
		return nil
	})
	wantKind(t, err, steps.Unavailable)
	if sum.Devices != chunkRows || len(seen) != chunkRows || !strings.Contains(err.Error(), "1000 of 2010 rows were applied") {
		t.Fatalf("%+v, %d secrets, %v", sum, len(seen), err)
	}
	rec.fail(nil)
	if _, _, err := give(r, file.String(), ProvisionOptions{}); steps.KindOf(err) != steps.Conflict {
		t.Errorf("again without skipping: %v", err)
	}
	rows, sum, err := give(r, file.String(), ProvisionOptions{SkipExisting: true})
	must(t, err)
	if sum.Skipped != chunkRows || sum.Devices != n-chunkRows || len(rows) != n || r.devices.len() != n || r.participants.len() != n/2 {
		t.Errorf("%+v, %d rows", sum, len(rows))
	}
	for _, p := range rows {
		secret := p.Secret
		if p.Skipped {
			if secret != (Secret{}) {
				t.Fatal("a skipped device got a secret")
			}
			secret = seen[p.Device]
		}
		if _, err := r.Authenticate(p.Device, []byte(secret.Reveal())); err != nil {
			t.Fatalf("%s: %v", p.Device, err)
		}
	}
	_, _, err = give(r, "participant,device,kind\np1,d0,\np0,d1,app\n", ProvisionOptions{SkipExisting: true})
	wantKind(t, err, steps.Conflict)
	var faults *RowErrors
	if !errors.As(err, &faults) || faults.Count != 2 || faults.Errors[0].Column != colParticipant || faults.Errors[1].Column != colKind {
		t.Errorf("differing rows: %v", err)
	}
}

func TestProvisionStopsWhenSecretsCannotBeHandedOut(t *testing.T) {
	rec := newMemory()
	r := open(t, rec)
	file := "participant,device\n"
	for i := range 3 * chunkRows {
		file += fmt.Sprintf("p,d%d\n", i)
		if i > chunkRows {
			break
		}
	}
	_, err := r.Provision(context.Background(), strings.NewReader(file), ProvisionOptions{}, func([]Provisioned) error {
		return errors.New("pipe closed")
	})
	if err == nil || !strings.Contains(err.Error(), "pipe closed") || rec.applies != 1 {
		t.Errorf("%v after %d chunks", err, rec.applies)
	}
}

func TestProvisionSeesWritesInBetween(t *testing.T) {
	ctx := context.Background()
	r := open(t, newMemory())
	var file strings.Builder
	file.WriteString("participant,device\n")
	for i := range chunkRows + 1 {
		fmt.Fprintf(&file, "p,d%d\n", i)
	}
	last := steps.DeviceID(fmt.Sprintf("d%d", chunkRows))
	_, err := r.Provision(ctx, strings.NewReader(file.String()), ProvisionOptions{}, func([]Provisioned) error {
		_, err := r.AddDevice(ctx, Device{ID: last, Kind: Pedometer})
		return err
	})
	wantKind(t, err, steps.Conflict)
}

func FuzzProvision(f *testing.F) {
	f.Add("participant,device,kind,from,born\np1,d1,,2026-10-01,1951-04-02\n")
	f.Add("\xef\xbb\xbfdevice,kind\r\nr1,reader\r\n")
	f.Add("participant,device\n\"p\n,d\n")
	cfg := testConfig(f)
	f.Fuzz(func(t *testing.T, file string) {
		r, err := Open(newMemory(), cfg)
		must(t, err)
		_, dry, dryErr := give(r, file, ProvisionOptions{DryRun: true})
		rows, sum, err := give(r, file, ProvisionOptions{})
		if (dryErr == nil) != (err == nil) || dry != sum {
			t.Fatalf("dry run %+v %v, real run %+v %v", dry, dryErr, sum, err)
		}
		var faults *RowErrors
		if err != nil && !errors.As(err, &faults) {
			t.Fatalf("refused without a report: %v", err)
		}
		for _, p := range rows {
			if _, err := steps.ParseDeviceID(string(p.Device)); err != nil {
				t.Fatal(err)
			}
		}
		if _, again, err := give(r, file, ProvisionOptions{SkipExisting: true}); dryErr == nil && (err != nil || again.Skipped != len(rows)) {
			t.Fatalf("the same file again: %+v %v", again, err)
		}
	})
}

func FuzzDecodeDevice(f *testing.F) {
	f.Add([]byte(`{"v":1,"kind":1,"secret_sha256":"` + strings.Repeat("A", 43) + `=","generation":1,"since":"2026-01-01","bindings":[{"participant":"p","from":"2026-01-01","until":"2026-01-05"}]}`))
	f.Add([]byte(`{"v":2}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		d, err := decodeDevice(value)
		if err != nil {
			return
		}
		out, err := encodeDevice(d)
		must(t, err)
		if !json.Valid(out) {
			t.Fatalf("encodes to %s", out)
		}
		again, err := decodeDevice(out)
		must(t, err)
		if !reflect.DeepEqual(d, again) {
			t.Fatalf("%+v became %+v", d, again)
		}
	})
}
