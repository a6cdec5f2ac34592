package points

import (
	"bytes"
	"encoding/csv"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ayumi/steps"
)

const golden = "../testdata/points"

// table reads a golden CSV file as one map a row.
func table(t *testing.T, name string) []map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join(golden, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comment = '#'
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) < 2 {
		t.Fatalf("%s has no rows", name)
	}
	var out []map[string]string
	for _, row := range rows[1:] {
		m := make(map[string]string, len(row))
		for i, cell := range row {
			m[rows[0][i]] = cell
		}
		out = append(out, m)
	}
	return out
}

func mustDay(t testing.TB, s string) steps.Day {
	t.Helper()
	d, err := steps.ParseDay(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// mustRules loads a preset, or a file of the golden folder.
func mustRules(t testing.TB, name string) *RuleBook {
	t.Helper()
	var book *RuleBook
	var err error
	if strings.HasSuffix(name, ".yaml") {
		var data []byte
		if data, err = os.ReadFile(filepath.Join(golden, name)); err == nil {
			book, err = ParseRules(name, bytes.NewReader(data))
		}
	} else {
		book, err = Preset(name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return book
}

func TestScoreGolden(t *testing.T) {
	for _, row := range table(t, "scores.csv") {
		t.Run(row["rules"]+"/"+row["why"], func(t *testing.T) {
			day := mustDay(t, row["day"])
			count, err := strconv.ParseUint(row["steps"], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			var p Person
			if row["born"] != "" {
				p.Born, p.BornKnown = mustDay(t, row["born"]), true
			}
			book := mustRules(t, row["rules"])
			st := book.Begin()
			got, err := book.Explain(&st, &Facts{Day: day, Steps: count}, &p)
			if err != nil {
				t.Fatal(err)
			}
			line := []string{strconv.Itoa(int(got.Points)), got.RuleSet}
			want := []string{row["points"], row["rule_set"]}
			if got.RuleSet != "" {
				line, want = append(line, strconv.FormatUint(got.Counted, 10)), append(want, row["counted"])
			}
			if len(got.Lines) > 0 { // rules that give nothing leave none
				l := got.Lines[0]
				line = append(line, strconv.Itoa(l.Band), strconv.Itoa(l.Tier), strconv.FormatBool(l.Cap != NoCap))
				want = append(want, row["band"], row["tier"], row["capped"])
			}
			if !slices.Equal(line, want) {
				t.Errorf("points, rule set, counted, band, tier, capped are %v, want %v", line, want)
			}
		})
	}
}

func TestAgeGolden(t *testing.T) {
	for _, row := range table(t, "ages.csv") {
		t.Run(row["born"]+" on "+row["on"], func(t *testing.T) {
			got := Age(mustDay(t, row["born"]), mustDay(t, row["on"]))
			if strconv.Itoa(got) != row["age"] {
				t.Errorf("age is %d, want %s: %s", got, row["age"], row["why"])
			}
		})
	}
}

// wanted reads the "# want:" lines that a file ends with.
func wanted(t *testing.T, file string) (data []byte, want []string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "# want: "); ok {
			want = append(want, strings.TrimSpace(text))
		}
	}
	return data, want
}

// TestRefused reads every file of refused and compares all mistakes with what it wants.
func TestRefused(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(golden, "refused", "*.yaml"))
	if err != nil || len(files) < 38 {
		t.Fatalf("found %d refused files (%v), want 38 or more", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, want := wanted(t, file)
			book, err := ParseRules("rules.yaml", bytes.NewReader(data))
			if err == nil || book != nil {
				t.Fatalf("was accepted, want %q", want)
			}
			if kind := steps.KindOf(err); kind != steps.Invalid {
				t.Errorf("kind is %v, want invalid", kind)
			}
			text, ok := strings.CutPrefix(err.Error(), `cannot read rules "rules.yaml": `)
			if !ok {
				t.Errorf("%q does not name the file", err)
			}
			if got := strings.Split(text, "\n"); !slices.Equal(got, want) {
				t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// TestDoubtful reads every file of doubtful, which is accepted, and compares all warnings with what
// it wants.
func TestDoubtful(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(golden, "doubtful", "*.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatalf("found %d doubtful files (%v), want 5 or more", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, want := wanted(t, file)
			book, found, err := CheckRules("rules.yaml", bytes.NewReader(data))
			if err != nil || book == nil {
				t.Fatalf("was refused: %v", err)
			}
			var got []string
			for _, f := range found {
				if f.Severity != SeverityWarning {
					t.Errorf("%v is of severity %s", f, f.Severity)
				}
				got = append(got, f.Error())
			}
			if !slices.Equal(got, want) {
				t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// TestRefusedAsPrinted sees to it that only allow_decreasing lets the misprinted table in.
func TestRefusedAsPrinted(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(golden, "decreasing.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	forbidden := bytes.Replace(data, []byte("    allow_decreasing: true\n"), nil, 1)
	if bytes.Equal(data, forbidden) {
		t.Fatal("the file does not say allow_decreasing")
	}
	_, err = ParseRules("printed.yaml", bytes.NewReader(forbidden))
	const want = `cannot read rules "printed.yaml": line 10: rule_sets[0].bands[0].tiers[2].points: 2 is less than the 9 of the tier before; correct it or set allow_decreasing: true`
	if err == nil || err.Error() != want {
		t.Errorf("error is %v, want %s", err, want)
	}
}

func TestPresets(t *testing.T) {
	want := []string{
		"carrot", "kamaishi", "kobaton", "nagasaki", "shiki", "shitara", "singapore", "swc", "toei", "vitality-uk",
		"yamagata", "yokohama",
	}
	if got := Presets(); !slices.Equal(got, want) {
		t.Errorf("presets are %q, want %q", got, want)
	}
	prints := map[string]string{}
	for _, name := range Presets() {
		book := mustRules(t, name)
		if book.Programme() != name {
			t.Errorf("preset %q calls its programme %q", name, book.Programme())
		}
		if other, taken := prints[book.Fingerprint()]; taken {
			t.Errorf("%s and %s have one fingerprint", name, other)
		}
		prints[book.Fingerprint()] = name
		data, err := presetFiles.ReadFile(presetDir + "/" + name + ".yaml")
		if err != nil || !bytes.Contains(data, []byte("# Source: https://")) {
			t.Errorf("preset %q does not cite its source (%v)", name, err)
		}
		if _, found, err := CheckRules(name, bytes.NewReader(data)); err != nil || len(found) > 0 {
			t.Errorf("preset %q: %v %v", name, found, err)
		}
	}
	for _, name := range []string{"", "tokyo", "../presets/yokohama", "yokohama.yaml"} {
		var e *steps.Error
		if _, err := Preset(name); !errors.As(err, &e) || e.Kind != steps.NotFound {
			t.Errorf("preset %q: error is %v, want not found", name, err)
		}
	}
}
