package points

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ayumi/steps"
)

// TestDaysGolden folds the days of testdata/points/days, whose README explains the columns.
func TestDaysGolden(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(golden, "days", "*.csv"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no golden days: %v", err)
	}
	seen := map[string]bool{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".csv")
		seen[name] = true
		book := name
		if !slices.Contains(Presets(), name) {
			book += ".yaml"
		}
		t.Run(name, func(t *testing.T) { foldGolden(t, mustRules(t, book), table(t, "days/"+name+".csv")) })
	}
	for _, name := range Presets() {
		if !seen[name] {
			t.Errorf("no golden days for the preset %q", name)
		}
	}
}

func foldGolden(t *testing.T, book *RuleBook, rows []map[string]string) {
	var fold string
	var st State
	var person Person
	for _, row := range rows {
		if row["fold"] != fold {
			fold, st, person = row["fold"], book.Begin(), readPerson(t, row["person"])
		} else if row["person"] != "" {
			t.Fatalf("%s: the person stands in a later row", fold)
		}
		first, last, ranged := strings.Cut(row["day"], "..")
		if !ranged {
			last = first
		}
		var sum steps.Points
		var lines string
		for day := mustDay(t, first); day <= mustDay(t, last); day++ {
			score, err := book.Explain(&st, readFacts(t, book, day, row), &person)
			if err != nil {
				t.Fatal(err)
			}
			sum += score.Points
			lines = writeLines(&score)
		}
		where := fmt.Sprintf("%s on %s (%s)", fold, row["day"], row["why"])
		if got := strconv.FormatInt(int64(sum), 10); got != row["points"] {
			t.Errorf("%s: %s points, want %s: %s", where, got, row["points"], lines)
		}
		if !ranged && lines != row["lines"] {
			t.Errorf("%s: lines are\n%q, want\n%q", where, lines, row["lines"])
		}
	}
}

func readPerson(t testing.TB, text string) (p Person) {
	t.Helper()
	for _, part := range strings.Fields(text) {
		key, value, _ := strings.Cut(part, "=")
		switch key {
		case "born":
			p.Born, p.BornKnown = mustDay(t, value), true
		case "cohort":
			p.Cohort = value
		case "resident":
			p.Resident = append(p.Resident, readRange(t, value))
		case "enrolled":
			p.Enrolled = append(p.Enrolled, readRange(t, value))
		case "baseline":
			base, from, _ := strings.Cut(value, "@")
			p.Baseline = PersonalBaseline{Known: true, Steps: mustCount(t, base), From: mustDay(t, from)}
		default:
			t.Fatalf("%q says nothing about a person", part)
		}
	}
	return p
}

func readRange(t testing.TB, text string) (r steps.DayRange) {
	t.Helper()
	from, until, _ := strings.Cut(text, "..")
	r.From = mustDay(t, from)
	if until != "" {
		r.Until = mustDay(t, until)
	}
	return r
}

func mustCount(t testing.TB, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// minuteCounts are a day's minutes that are there already.
type minuteCounts []uint32

func (m minuteCounts) Counts() ([]uint32, error) { return m, nil }

// readFacts reads a row, without what came after the day's deadlines.
func readFacts(t testing.TB, book *RuleBook, day steps.Day, row map[string]string) *Facts {
	t.Helper()
	f := &Facts{Day: day}
	var minutes minuteCounts
	for _, part := range strings.Fields(row["minutes"]) {
		count, times, _ := strings.Cut(part, "x")
		for range mustCount(t, times) {
			minutes = append(minutes, uint32(mustCount(t, count)))
			f.Steps += mustCount(t, count)
		}
	}
	f.Minutes = append(minutes, make(minuteCounts, maxMinutes-len(minutes))...)
	if row["steps"] != "" {
		f.Steps = mustCount(t, row["steps"])
	}
	switch until, none := strings.CutPrefix(row["sent"], "none "); {
	case none:
		f.SentUntil = mustDay(t, until)
	case row["sent"] == "yes":
		f.Sent, f.NextSent = true, day
	case row["sent"] != "":
		f.NextSent = mustDay(t, row["sent"])
		f.SentUntil = f.NextSent
	}
	for _, part := range strings.FieldsFunc(row["activities"], func(r rune) bool { return r == ';' }) {
		words := strings.Fields(part)
		f.Activities = append(f.Activities, Activity{Kind: words[0], Times: int(mustCount(t, words[1]))})
	}
	if row["received"] == "" {
		return f
	}
	at, err := time.Parse("2006-01-02 15:04", row["received"])
	if err != nil {
		t.Fatal(err)
	}
	received := steps.DateDay(at.Date())
	deadlines := book.Deadlines(day)
	if received > deadlines.Steps {
		f.Steps, f.Minutes = 0, nil
	}
	if received > deadlines.Activities {
		f.Activities = nil
	}
	return f
}

// writeLines writes a score as the golden files do, and sees to it that its lines add up.
func writeLines(s *DayScore) string {
	var parts []string
	if s.Excluded != 0 {
		parts = append(parts, "("+s.Excluded.String()+")")
	}
	for _, l := range s.Lines {
		part := fmt.Sprintf("%s %d", l.Name, l.Points)
		if l.Cap != NoCap {
			part += fmt.Sprintf("/%d %s", l.Before, l.Cap)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}
