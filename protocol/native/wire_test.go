package native

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ayumi/protocol"
	"ayumi/steps"
)

// These tests keep docs/wire.md true: what the page shows must decode, compile and run.

func wirePage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// block returns the one fenced block that opens with the given words.
func block(t *testing.T, page, fence string) string {
	t.Helper()
	parts := strings.Split(page, "\n```"+fence+"\n")
	if len(parts) != 2 {
		t.Fatalf("docs/wire.md has %d blocks %q, want one", len(parts)-1, fence)
	}
	text, _, ok := strings.Cut(parts[1], "\n```\n")
	if !ok {
		t.Fatalf("block %q does not end", fence)
	}
	return text + "\n"
}

func pageExample(t *testing.T, page string) (body []byte, u steps.Upload) {
	t.Helper()
	body, err := parseHex(block(t, page, "hex example"))
	if err != nil {
		t.Fatal(err)
	}
	if err := NewDecoder(protocol.DefaultLimits()).Upload(&u, body, steps.Protobuf); err != nil {
		t.Fatal(err)
	}
	return body, u
}

func TestWirePageExamples(t *testing.T) {
	page := wirePage(t)
	body, u := pageExample(t, page)
	if !strings.Contains(page, fmt.Sprintf("The same as protobuf, %d bytes.", len(body))) {
		t.Errorf("the page does not say that the example has %d bytes", len(body))
	}
	if again := AppendUpload(nil, &u, steps.Protobuf); !bytes.Equal(again, body) {
		t.Errorf("the example is not how we write it:\n%x\n%x", body, again)
	}
	d := NewDecoder(protocol.DefaultLimits())
	var fromJSON steps.Upload
	if err := d.Upload(&fromJSON, []byte(block(t, page, "json example")), steps.JSON); err != nil {
		t.Fatal(err)
	}
	if !equalUpload(&u, &fromJSON) {
		t.Errorf("hex\n%sJSON\n%s", dump(&u), dump(&fromJSON))
	}
	want := minuteUpload(0)
	want.Series[0].Start, want.SentAt = 1795392000, 1795392910
	want.Series[0].Counts = []uint32{0, 0, 12, 97, 104, 110, 108, 111, 160, 131, 96, 14, 0, 0, 3}
	if !equalUpload(&u, want) {
		t.Errorf("got\n%swant\n%s", dump(&u), dump(want))
	}

	us, _, errs, err := decodeBundle(d, []byte(block(t, page, "json bundle")), steps.JSON)
	if err != nil || len(us) != 2 || errs[0] != nil || errs[1] != nil || us[0].Device != "PEDO-0001" || us[1].Device != "PEDO-0002" {
		t.Errorf("the bundle: %v, %v", err, errs)
	}
	r, err := ParseReceipt([]byte(block(t, page, "json receipt")), steps.JSON)
	if err != nil {
		t.Fatal(err)
	}
	if f := r.Uploads[0].Faults; len(f) != 1 || f[0].Series != 1 || f[0].Reason != steps.ReasonFuture || r.Uploads[0].Verdict != steps.Stored {
		t.Errorf("the receipt reads %+v", r)
	}
}

// The C program of the page compiles without a warning and writes the page's bytes.
func TestWirePageProgram(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no C compiler: install one, the page's program must be tested")
		}
		t.Skip("no C compiler")
	}
	page := wirePage(t)
	source := block(t, page, "c")
	if n := strings.Count(source, "\n"); n > 80 {
		t.Errorf("the program has %d lines, want at most 80", n)
	}
	dir := t.TempDir()
	file, binary := filepath.Join(dir, "upload.c"), filepath.Join(dir, "upload")
	if err := os.WriteFile(file, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(cc, "-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-o", binary, file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got, err := exec.Command(binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	body, want := pageExample(t, page)
	if !bytes.Equal(got, body) {
		t.Errorf("the program writes\n%x, the page shows\n%x", got, body)
	}
	var u steps.Upload
	if err := NewDecoder(protocol.DefaultLimits()).Upload(&u, got, steps.Protobuf); err != nil {
		t.Fatal(err)
	}
	if !equalUpload(&u, &want) {
		t.Errorf("got\n%swant\n%s", dump(&u), dump(&want))
	}
}

// The page has every field, reason and limit.
func TestWirePageIsComplete(t *testing.T) {
	page := wirePage(t)
	want := []string{}
	for _, m := range []message{uploadMessage, seriesMessage, statusMessage} {
		for num := 1; num < len(m); num++ {
			want = append(want, fmt.Sprintf("\n| `%s` | %d |", m[num].name, num))
		}
	}
	for _, r := range steps.Reasons() {
		want = append(want, fmt.Sprintf("\n| %d | `%s` |", uint8(r), r))
	}
	for v := steps.Stored; v <= steps.Quarantined; v++ {
		want = append(want, fmt.Sprintf("%d `%s`", uint8(v), v))
	}
	l := protocol.DefaultLimits()
	want = append(want,
		fmt.Sprintf("\n| uploads in a bundle | %s |", thousands(l.UploadsPerBundle)),
		fmt.Sprintf("\n| series in an upload | %s |", thousands(l.SeriesPerUpload)),
		fmt.Sprintf("`window_end` | %s (a week of minutes) |", thousands(l.IntervalsPerSeries)),
		fmt.Sprintf("±%d", maxUTCOffset),
		fmt.Sprintf("at most %d bytes", maxFirmware),
	)
	for _, text := range want {
		if !strings.Contains(page, text) {
			t.Errorf("docs/wire.md lacks %q", text)
		}
	}
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}
