package points

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"ayumi/steps"
)

const minimal = `programme: a
rule_sets:
  - effective: 2026-04-01
    bands:
      - tiers: [{steps: 1000, points: 1}]
`

func TestParseRulesBounds(t *testing.T) {
	tiers := strings.Repeat("          - {steps: 1}\n", 60)
	var laughs strings.Builder // every level repeats the one before
	laughs.WriteString("programme: a\nrule_sets:\n  - effective: 2026-04-01\n    bands:\n")
	laughs.WriteString("      - &band\n        tiers: &tiers\n")
	for i := range 500 {
		fmt.Fprintf(&laughs, "          - {steps: %d, points: 1}\n", i+1)
	}
	laughs.WriteString(strings.Repeat("      - *band\n", 5000))
	// More conditions than are tried at length, each of which holds always.
	conditions := "programme: a\nrule_sets:\n"
	for i := range 100 {
		conditions += "  - effective: " + steps.Day(20_000+i).String() + "\n    rules:\n"
		for j := range 20 {
			conditions += fmt.Sprintf("      - {name: r%d, when: age > -2, sending: {points: 1}}\n", j)
		}
	}
	tests := []struct{ name, in, want string }{
		{"conditions", conditions, ""},
		{"no bytes", "", "the file is empty; give programme and rule_sets"},
		{"largest file", minimal + "#" + strings.Repeat("x", maxRulesBytes-len(minimal)-1), ""},
		{"too large", minimal + "#" + strings.Repeat("x", maxRulesBytes-len(minimal)), "more than 1048576 bytes"},
		{"many mistakes", "programme: a\nrule_sets:\n  - effective: 2026-04-01\n    bands:\n      - tiers:\n" + tiers,
			"\nand 10 more mistakes; correct these first"},
		{"aliases expand", laughs.String(), "more than 100000 values, aliases expanded; shorten them"},
		{"deep", "programme: " + strings.Repeat("[", 20000), "not valid YAML"},
		{"unknown anchor", "programme: *a\n", "not valid YAML"},
		{"not UTF-8", "programme: \xff\xfe\n", "not valid YAML"},
		{"binary", "\x00\x01\x02", "not valid YAML"},
		{"long name", "programme: " + strings.Repeat("a", 65) + "\n", "write a name of up to 64 letters"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseRules("rules.yaml", strings.NewReader(tt.in))
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("error is %v, want none", err)
			case tt.want == "":
			case err == nil || !strings.Contains(err.Error(), tt.want) || steps.KindOf(err) != steps.Invalid:
				t.Errorf("error is %v, want %q", err, tt.want)
			case len(err.Error()) > 100*maxMistakes*4:
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestParseRulesReadError(t *testing.T) {
	broken := errors.New("disk on fire")
	_, err := ParseRules("rules.yaml", io.MultiReader(strings.NewReader(minimal), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || steps.KindOf(err) != steps.Unavailable {
		t.Errorf("error is %v, want the reader's", err)
	}
}

// TestEachMistakeIsAnError lets callers list the mistakes one by one.
func TestEachMistakeIsAnError(t *testing.T) {
	_, err := ParseRules("rules.yaml", strings.NewReader("{}"))
	var e *steps.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %T, want *steps.Error", err)
	}
	joined, ok := e.Err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 2 {
		t.Errorf("cause is %v, want two joined errors", e.Err)
	}
}

func TestSingleBandIsTheDefault(t *testing.T) {
	for _, band := range []string{"", "ages: {from: 0}, ", "ages: {from: 0}, default: true, ", "default: false, "} {
		in := "programme: a\nrule_sets: [{effective: 2026-04-01, bands: [{" + band + "tiers: [{steps: 1, points: 1}]}]}]"
		book, err := ParseRules("rules.yaml", strings.NewReader(in))
		if err != nil {
			t.Errorf("%q: %v", band, err)
			continue
		}
		st := book.Begin()
		got, err := book.Step(&st, &Facts{Day: mustDay(t, "2026-04-01"), Steps: 1}, &Person{})
		if err != nil || got.Points != 1 {
			t.Errorf("%q: an unknown age earns %d (%v), want 1", band, got.Points, err)
		}
	}
}

// TestFingerprintChanges changes one thing that matters at a time.
func TestFingerprintChanges(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(golden, "switch.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{mustRules(t, "switch.yaml").Fingerprint(): "nothing"}
	for _, edit := range [][2]string{
		{"programme: switch", "programme: switch2"},
		{"effective: 2025-04-01", "effective: 2025-04-02"},
		{"max_counted_steps: 20000", "max_counted_steps: 20001"},
		{"    daily_cap: 7\n", ""},
		{"from: 65", "from: 66"},
		{"steps: 3000", "steps: 3001"},
		{"points: 9", "points: 10"},
		{"          - {steps: 3000, points: 2}\n", ""},
	} {
		text := strings.Replace(string(data), edit[0], edit[1], 1)
		if edit[0] == "from: 65" {
			text = strings.Replace(text, "to: 64", "to: 65", 1)
		}
		book, err := ParseRules("edited.yaml", strings.NewReader(text))
		if err != nil {
			t.Fatalf("%q: %v", edit, err)
		}
		if other, taken := seen[book.Fingerprint()]; taken {
			t.Errorf("%q has the fingerprint of %q", edit[0], other)
		}
		seen[book.Fingerprint()] = edit[0]
	}
}

func FuzzParseRules(f *testing.F) {
	for _, pattern := range []string{"presets/*.yaml", golden + "/*.yaml", golden + "/refused/*.yaml", golden + "/doubtful/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("%s matches nothing (%v)", pattern, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		book, err := ParseRules("fuzz", bytes.NewReader(data))
		if err != nil {
			if steps.KindOf(err) != steps.Invalid || book != nil {
				t.Fatalf("book %v, error %v; want no book and kind invalid", book, err)
			}
			return
		}
		again, err := ParseRules("fuzz", bytes.NewReader(data))
		if err != nil || again.Fingerprint() != book.Fingerprint() {
			t.Fatalf("read again: %v", err)
		}
		checkBook(t, book)
		foldSome(t, book)
	})
}

// foldSome folds a few busy days and sees to it that nothing overflows or depends on asking for lines.
func foldSome(t *testing.T, book *RuleBook) {
	born := book.sets[0].Effective - 70*365
	p := &Person{
		Born: born, BornKnown: true, Resident: []steps.DayRange{{From: born}}, Enrolled: []steps.DayRange{{From: born}},
		Baseline: PersonalBaseline{Known: true, Steps: 4000, From: born},
	}
	st, plain := book.Begin(), book.Begin()
	minutes := slices.Repeat(minuteCounts{120}, 40)
	for i := range steps.Day(40) {
		day := book.sets[len(book.sets)-1].Effective + i - 3
		f := &Facts{Day: day, Steps: 1 << (2 * i), Minutes: minutes, Sent: true, NextSent: day}
		for _, kind := range book.sets[0].Activities() {
			f.Activities = append(f.Activities, Activity{kind, 1 << i})
		}
		score, err := book.Explain(&st, f, p)
		short, err2 := book.Step(&plain, f, p)
		if (err == nil) != (err2 == nil) || short.Points != score.Points || st != plain || score.Points < 0 {
			t.Fatalf("%s: %+v (%v), without lines %+v (%v)", day, score, err, short, err2)
		}
		if from, until := book.Window(day, p); from > day || until < day {
			t.Fatalf("the window of %s is %s to %s", day, from, until)
		}
		book.Deadlines(day)
	}
}

// checkBook verifies what every accepted book promises. Its t is a *testing.T or a *rapid.T.
func checkBook(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, book *RuleBook) {
	t.Helper()
	if len(book.sets) == 0 || book.Programme() == "" {
		t.Fatalf("%+v is incomplete", book)
	}
	for i := range book.sets {
		s := &book.sets[i]
		if on, ok := book.On(s.Effective); !ok || on != s {
			t.Fatalf("%s is not in force on its first day", s.ID())
		}
		if len(s.Rules) == 0 || len(s.Rules) > maxRules || len(s.slots) > maxSlots {
			t.Fatalf("%s has %d rules and %d counters", s.ID(), len(s.Rules), len(s.slots))
		}
		for j := range s.Rules {
			r := &s.Rules[j]
			if r.Kind <= KindPersonalGoal {
				checkTable(t, s.ID()+" "+r.Name, &r.Table, s.AllowDecreasing)
			} else if r.Points < 1 {
				t.Fatalf("%s %s earns nothing", s.ID(), r.Name)
			}
		}
	}
}

func checkTable(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, name string, table *Table, falling bool) {
	t.Helper()
	for age := UnknownAge; age <= maxAge+1 && !table.Cohorts; age++ {
		fits := 0
		for _, b := range table.Bands {
			if age >= 0 && b.From <= age && age <= b.To || age < 0 && b.Default {
				fits++
			}
		}
		if fits != 1 {
			t.Fatalf("%s: %d bands fit age %d", name, fits, age)
		}
	}
	if band := table.ofCohort("nobody-has-this"); table.Cohorts && band < 0 {
		t.Fatalf("%s: no band for other cohorts", name)
	}
	for _, b := range table.Bands {
		if (len(b.Tiers) == 0) == (b.Rate.Per == 0) {
			t.Fatalf("%s: band %+v needs tiers or a rate", name, b)
		}
		var before steps.Points
		for j, tier := range b.Tiers {
			if at, points := b.reach(tier.At); at != j || points != tier.Points {
				t.Fatalf("%s: tier %d is not reached with its %d", name, j, tier.At)
			}
			if tier.At > 0 {
				if at, _ := b.reach(tier.At - 1); at != j-1 {
					t.Fatalf("%s: tier %d is reached with %d", name, at, tier.At-1)
				}
			}
			if tier.Points < before && !falling {
				t.Fatalf("%s: tier %d earns %d, the one before %d", name, j, tier.Points, before)
			}
			before = tier.Points
		}
	}
}
