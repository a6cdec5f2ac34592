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
	tests := []struct{ name, in, want string }{
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
		if got := book.sets[0].Score(1, UnknownAge).Points; got != 1 {
			t.Errorf("%q: an unknown age earns %d, want 1", band, got)
		}
	}
}

// TestZeroRuleSet scores under a rule set that no parser made.
func TestZeroRuleSet(t *testing.T) {
	if got, want := (&RuleSet{}).Score(5000, 40), (Score{Band: -1, Tier: -1, Counted: 5000}); got != want {
		t.Errorf("score is %+v, want %+v", got, want)
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
	for _, pattern := range []string{"presets/*.yaml", golden + "/*.yaml", golden + "/refused/*.yaml"} {
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
	})
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
		for age := UnknownAge; age <= maxAge+1; age++ {
			fits := 0
			for _, b := range s.Bands {
				if age >= 0 && b.From <= age && age <= b.To || age < 0 && b.Default {
					fits++
				}
			}
			if fits != 1 {
				t.Fatalf("%s: %d bands fit age %d", s.ID(), fits, age)
			}
		}
		for _, b := range s.Bands {
			var probes []uint64
			for j, tier := range b.Tiers {
				probes = append(probes, tier.Steps-1, tier.Steps, tier.Steps+1)
				if at := s.Score(tier.Steps, b.From); at.Tier != j {
					t.Fatalf("%s: tier %d is not reached with its %d steps", s.ID(), j, tier.Steps)
				}
			}
			slices.Sort(probes)
			var before steps.Points
			for _, count := range probes {
				got := s.Score(count, b.From)
				if s.DailyCap > 0 && got.Points > s.DailyCap {
					t.Fatalf("%s: %d steps earn %d, above the cap", s.ID(), count, got.Points)
				}
				if got.Points < before && !s.AllowDecreasing {
					t.Fatalf("%s: %d steps earn %d, fewer earned %d", s.ID(), count, got.Points, before)
				}
				before = got.Points
			}
		}
	}
}
