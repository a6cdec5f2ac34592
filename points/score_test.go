package points

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"ayumi/steps"
)

// rulesOf parses the rules of one rule set.
func rulesOf(t testing.TB, rules string) *RuleBook {
	t.Helper()
	text := "programme: a\nyear_starts: 04-01\nrule_sets:\n  - effective: 2026-04-01\n    baseline: {first_days: 14, take: mean}\n    rules:\n"
	for line := range strings.Lines(strings.TrimSpace(rules)) {
		text += "      - " + strings.TrimSpace(line) + "\n"
	}
	book, err := ParseRules("rules.yaml", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return book
}

// stubbornMinutes cannot be read.
type stubbornMinutes struct{ err error }

func (m stubbornMinutes) Counts() ([]uint32, error) { return nil, m.err }

// TestFailuresNameRuleAndDay lets conditions and minutes fail. No day may be scored 0 instead, and
// the state has to stay as it was.
func TestFailuresNameRuleAndDay(t *testing.T) {
	disk := steps.Errorf("read minutes", steps.Unavailable, "the disk is full")
	tests := []struct {
		name, rule string
		minutes    Minutes
		kind       steps.Kind
		want       string
	}{
		{"division", `{name: odd, when: "100 % (steps - 12345) == 0", sending: {points: 1}}`, nil, steps.Invalid,
			"cannot score 2026-04-02 by rule odd of a@2026-04-01: runtime error: integer divide by zero"},
		{"no minutes", `{name: brisk, active_minutes: {cadence: 100, tiers: [{minutes: 1, points: 1}]}}`, nil, steps.Internal,
			"cannot score 2026-04-02 by rule brisk of a@2026-04-01: the day's minutes are not there; give them where NeedsMinutes says so"},
		{"unreadable", `{name: brisk, when: "active(60) > 5", sending: {points: 1}}`, stubbornMinutes{disk}, steps.Unavailable,
			"cannot score 2026-04-02 by rule brisk of a@2026-04-01: cannot read minutes: the disk is full"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			book := rulesOf(t, "{name: first, sending: {points: 1}}\n"+tt.rule)
			st := book.Begin()
			if _, err := book.Step(&st, &Facts{Day: mustDay(t, "2026-04-01"), Sent: true}, &Person{}); err != nil {
				t.Fatal(err)
			}
			before := st
			_, err := book.Step(&st, &Facts{Day: mustDay(t, "2026-04-02"), Steps: 12345, Sent: true, Minutes: tt.minutes}, &Person{})
			if err == nil || err.Error() != tt.want || steps.KindOf(err) != tt.kind {
				t.Errorf("error is %v (%v), want %s", err, steps.KindOf(err), tt.want)
			}
			if tt.kind == steps.Unavailable && !errors.Is(err, disk) {
				t.Errorf("%v hides its cause", err)
			}
			if st != before {
				t.Error("the state moved on")
			}
		})
	}
}

func TestDaysHaveToRise(t *testing.T) {
	book := mustRules(t, "yokohama")
	st := book.Begin()
	for i, day := range []string{"2026-11-23", "2026-11-23", "2026-11-22"} {
		_, err := book.Step(&st, &Facts{Day: mustDay(t, day)}, &Person{})
		if i == 0 && err != nil || i > 0 && steps.KindOf(err) != steps.Internal || i > 0 && err == nil {
			t.Errorf("%s: error is %v", day, err)
		}
	}
	if last, ok := st.Last(); !ok || last != mustDay(t, "2026-11-23") {
		t.Errorf("the last day is %s", last)
	}
}

// TestConditions evaluates each name of docs/rules.md.
func TestConditions(t *testing.T) {
	day := mustDay(t, "2026-05-05") // a Tuesday
	person := &Person{
		Born: mustDay(t, "1956-05-05"), BornKnown: true, Cohort: "pilot",
		Baseline: PersonalBaseline{Known: true, Steps: 4200, From: day},
	}
	facts := &Facts{
		Day: day, Steps: 8000, Sent: true, NextSent: day, Activities: []Activity{{"event", 2}, {"weight", 1}},
		Minutes: append(slices.Repeat(minuteCounts{110}, 12), slices.Repeat(minuteCounts{0, 90}, 20)...),
	}
	for condition, want := range map[string]bool{
		`age == 70`: true, `age < 70`: false, `cohort == "pilot"`: true, `cohort in ["a", "b"]`: false,
		`year == 2026 and month == 5 and day == 5`: true, `weekday == tuesday`: true, `weekday == 2`: true,
		`weekday in [saturday, sunday]`: false, `weekday in monday..friday`: false, `weekday in 1..5`: true,
		`holiday`: false, `not holiday and steps > 0`: true, `steps >= 8000`: true, `steps / 3 > 2666.6`: true,
		`sent`: true, `baseline == 4200`: true, `steps - baseline >= 1000`: true, `active(100) == 12`: true,
		`active(90) == 32`: true, `sustained(100, 10) == 12`: true, `sustained(100, 13) == 0`: true,
		`did("event") == 2`: true, `did("checkup") > 0`: false, `(age >= 65 ? 4000 : 6000) <= steps`: true,
		`steps % 10 == 0 || age > 200`: true, `!(steps > 0 && sent)`: false, `-age == -70`: true,
	} {
		text := fmt.Sprintf("{name: r, when: '%s', sending: {points: 1}}\n{name: k, activity: {kinds: [event, checkup], points: 1}}", condition)
		if condition == `weekday in monday..friday` {
			if _, err := admit(condition); err == nil {
				t.Errorf("%s is accepted, want literal ranges only", condition)
			}
			continue
		}
		book := rulesOf(t, text)
		st := book.Begin()
		score, err := book.Explain(&st, facts, person)
		if err != nil {
			t.Errorf("%s: %v", condition, err)
			continue
		}
		if got := len(score.Lines) > 0 && score.Lines[0].Name == "r"; got != want {
			t.Errorf("%s is %t, want %t", condition, got, want)
		}
	}
}

// TestConditionOfUnknowns evaluates what is not known of a person.
func TestConditionOfUnknowns(t *testing.T) {
	book := rulesOf(t, `{name: r, when: 'age == -1 and cohort == "" and baseline == -1 and active(1) == 0', sending: {points: 1}}`)
	st := book.Begin()
	score, err := book.Step(&st, &Facts{Day: mustDay(t, "2026-05-05"), Sent: true}, &Person{})
	if err != nil || score.Points != 1 {
		t.Errorf("%+v, %v", score, err)
	}
}

// TestHolidays lists a holiday that a condition asks for.
func TestHolidays(t *testing.T) {
	text := "programme: a\nholidays: [2026-05-05, 2026-01-01]\nrule_sets:\n  - effective: 2026-01-01\n    rules:\n" +
		"      - {name: r, when: holiday, sending: {points: 1}}\n"
	book, found, err := CheckRules("rules.yaml", strings.NewReader(text))
	if err != nil || len(found) > 0 {
		t.Fatal(err, found)
	}
	st := book.Begin()
	var got []string
	for day := mustDay(t, "2026-01-01"); day < mustDay(t, "2026-06-01"); day++ {
		score, err := book.Step(&st, &Facts{Day: day, Sent: true}, &Person{})
		if err != nil {
			t.Fatal(err)
		}
		if score.Points > 0 {
			got = append(got, day.String())
		}
	}
	if want := []string{"2026-01-01", "2026-05-05"}; !slices.Equal(got, want) {
		t.Errorf("holidays are %q, want %q", got, want)
	}
}

// TestConditionsConcurrently folds with one book in several goroutines; the race detector watches.
func TestConditionsConcurrently(t *testing.T) {
	book := rulesOf(t, "{name: brisk, when: 'active(100) >= 10 and steps % 2 == 0', sending: {points: 1}}")
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			st := book.Begin()
			minutes := slices.Repeat(minuteCounts{100}, 8+worker)
			for i := range steps.Day(200) {
				f := &Facts{Day: mustDay(t, "2026-04-01") + i, Steps: uint64(1000 + i), Sent: true, Minutes: minutes}
				score, err := book.Step(&st, f, &Person{})
				if want := worker >= 2 && i%2 == 0; err != nil || (score.Points == 1) != want {
					t.Errorf("worker %d on day %d: %+v, %v", worker, i, score, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestStepDoesNotAllocate folds a busy year under every book without conditions.
func TestStepDoesNotAllocate(t *testing.T) {
	minutes := Minutes(slices.Repeat(minuteCounts{110}, 60))
	activities := []Activity{{"checkup", 1}, {"weight", 1}, {"challenge", 2}}
	for _, name := range Presets() {
		book := mustRules(t, name)
		st, f := book.Begin(), Facts{Day: mustDay(t, "2026-04-01"), Minutes: minutes, Activities: activities}
		p := Person{
			Born: mustDay(t, "1950-01-01"), BornKnown: true,
			Baseline: PersonalBaseline{Known: true, Steps: 3000, From: f.Day},
		}
		n := testing.AllocsPerRun(400, func() {
			f.Day++
			f.Steps, f.Sent = f.Steps*7919%20011+1, f.Day%3 == 0
			if _, err := book.Step(&st, &f, &p); err != nil {
				t.Fatal(err)
			}
		})
		if n > 0 {
			t.Errorf("%s: %v allocations a step", name, n)
		}
	}
}

// TestScoreAsJSON pins the form in which explanations leave the program.
func TestScoreAsJSON(t *testing.T) {
	book := mustRules(t, "vitality-uk")
	st := book.Begin()
	var score DayScore
	for day := mustDay(t, "2026-11-23"); day <= mustDay(t, "2026-11-28"); day++ {
		var err error
		if score, err = book.Explain(&st, &Facts{Day: day, Steps: 13000}, &Person{Born: mustDay(t, "1950-01-01"), BornKnown: true}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := json.Marshal(score)
	const want = `{"day":"2026-11-28","rule_set":"vitality-uk@2000-01-01","points":0,"counted_steps":13000,"lines":[` +
		`{"rule":0,"kind":"steps","name":"steps","points":0,"before_caps":8,"cap":"week","band":1,"tier":1,"threshold":12500,"figure":13000,"unit":"steps"}]}`
	if err != nil || string(got) != want {
		t.Errorf("is %s (%v), want\n%s", got, err, want)
	}
}

// TestBaselines measures mean and median, with days that do not count, too few days, and windows.
func TestBaselines(t *testing.T) {
	first := mustDay(t, "2026-04-01")
	p := &Person{Enrolled: []steps.DayRange{{From: first + 100}, {From: first, Until: first + 50}}}
	b := Baseline{FirstDays: 14, Take: Mean, LeastDays: 3, LeastStep: 1000}
	window, ok := b.Window(p)
	if want := (steps.DayRange{From: first, Until: first + 13}); !ok || window != want {
		t.Errorf("window is %s (%t), want %s", window, ok, want)
	}
	if _, ok := b.Window(&Person{}); ok {
		t.Error("somebody who was never enrolled has a window")
	}
	for _, tt := range []struct {
		take   Average
		totals []uint64
		want   uint64
		known  bool
	}{
		{Mean, []uint64{1000, 2000, 4000}, 2333, true},         // 7000 / 3
		{Mean, []uint64{1000, 2000, 4000, 999, 0}, 2333, true}, // the last two do not count
		{Median, []uint64{9000, 1000, 4000}, 4000, true},       // the middle of 1000, 4000, 9000
		{Median, []uint64{9000, 1000, 4000, 5001}, 4500, true}, // (4000 + 5001) / 2, rounded down
		{Mean, []uint64{5000, 5000, 999}, 0, false},            // two days of three
		{Median, nil, 0, false},
	} {
		b.Take = tt.take
		want := PersonalBaseline{}
		if tt.known {
			want = PersonalBaseline{Known: true, Steps: tt.want, From: first + 14}
		}
		if got := b.Measure(window, tt.totals); got != want {
			t.Errorf("the %s of %v is %+v, want %+v", averageKeys[tt.take], tt.totals, got, want)
		}
	}
}

// TestPersonalGoalInPercent rounds goals up.
func TestPersonalGoalInPercent(t *testing.T) {
	book := rulesOf(t, "{name: goal, personal_goal: {tiers: [{above_percent: 0, points: 1}, {above_percent: 10, points: 2}]}}")
	day := mustDay(t, "2026-04-15")
	p := &Person{Baseline: PersonalBaseline{Known: true, Steps: 5001, From: day}}
	for count, want := range map[uint64]steps.Points{5000: 0, 5001: 1, 5501: 1, 5502: 2} { // 5501.1 is the goal
		st := book.Begin()
		if score, err := book.Step(&st, &Facts{Day: day, Steps: count}, p); err != nil || score.Points != want {
			t.Errorf("%d steps earn %d (%v), want %d", count, score.Points, err, want)
		}
	}
}

// TestNeedsMinutes asks for minutes only where a rule looks at them.
func TestNeedsMinutes(t *testing.T) {
	for name, want := range map[string]bool{"yokohama": false, "carrot": false, "singapore": true, "full.yaml": true} {
		if got := mustRules(t, name).NeedsMinutes(mustDay(t, "2026-05-01")); got != want {
			t.Errorf("%s needs minutes: %t, want %t", name, got, want)
		}
	}
	book := rulesOf(t, "{name: r, when: 'sustained(60, 10) > 0', sending: {points: 1}}")
	if !book.NeedsMinutes(mustDay(t, "2026-05-01")) || book.NeedsMinutes(mustDay(t, "2026-03-31")) {
		t.Error("a condition on minutes needs them, and the day before the rules does not")
	}
}

// TestWindows states the windows of books by hand.
func TestWindows(t *testing.T) {
	enrolled := &Person{Enrolled: []steps.DayRange{{From: mustDay(t, "2026-04-01")}}}
	for _, tt := range []struct{ rules, day, from, until string }{
		{"yokohama", "2026-11-25", "2026-11-25", "2026-11-25"},    // a plain table
		{"vitality-uk", "2026-11-25", "2026-11-23", "2026-11-29"}, // a weekly cap: Monday to Sunday
		{"toei", "2026-11-25", "2026-04-01", "2027-03-31"},        // checkups once a fiscal year
		{"swc", "2026-03-31", "2025-04-01", "2026-03-31"},         // a yearly cap
		{"carrot", "2026-04-20", "2000-01-01", "open"},            // a rolling window
		{"carrot", "2026-04-14", "2000-01-01", "open"},            // the baseline too
		{"switch.yaml", "2026-04-01", "2026-04-01", "2026-04-01"}, // caps on a day reach no further
	} {
		from, until := mustRules(t, tt.rules).Window(mustDay(t, tt.day), enrolled)
		end := until.String()
		if until == noEnd {
			end = "open"
		}
		if from.String() != tt.from || end != tt.until {
			t.Errorf("%s: the window of %s is %s to %s, want %s to %s", tt.rules, tt.day, from, end, tt.from, tt.until)
		}
	}
	// Weekly and monthly caps draw on each other: from 1 June 2026, a Monday, to the end of January 2027,
	// after which February begins with a Monday.
	text := "programme: a\nrule_sets:\n  - effective: 2000-01-01\n    weekly_cap: 40\n    monthly_cap: 100\n    bands: [{tiers: [{steps: 1, points: 1}]}]\n"
	book, err := ParseRules("rules.yaml", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	from, until := book.Window(mustDay(t, "2026-09-15"), nil)
	if from.String() != "2026-06-01" || until.String() != "2027-01-31" {
		t.Errorf("the window is %s to %s", from, until)
	}
}

// TestPeriods looks periods up and counts entries.
func TestPeriods(t *testing.T) {
	book := mustRules(t, "full.yaml")
	p, ok := book.Period(mustDay(t, "2027-03-31"))
	want := Period{
		ID: "second@2026-10-01", Name: "second", From: mustDay(t, "2026-10-01"), Until: mustDay(t, "2027-03-31"),
		StepsBy: mustDay(t, "2027-04-07"), ActivitiesBy: mustDay(t, "2027-03-31"), Threshold: 300, PointsAnEntry: 100,
	}
	if !ok || p != want {
		t.Errorf("period is %+v, want %+v", p, want)
	}
	first, _ := book.Period(mustDay(t, "2026-04-01"))
	if first.Expires != mustDay(t, "2027-03-31") || first.ActivitiesBy != mustDay(t, "2026-10-03") {
		t.Errorf("period is %+v", first)
	}
	for points, entries := range map[steps.Points]int{-1: 0, 0: 0, 199: 0, 200: 1, 100_000: 1} {
		if got := first.Entries(points); got != entries {
			t.Errorf("%d points are %d entries, want %d: one a person", points, got, entries)
		}
	}
	for points, entries := range map[steps.Points]int{299: 0, 300: 3, 399: 3, 400: 4} {
		if got := p.Entries(points); got != entries {
			t.Errorf("%d points are %d entries, want %d: one for each 100", points, got, entries)
		}
	}
	var ids []string
	for _, p := range mustRules(t, "shitara").Periods(steps.DayRange{From: mustDay(t, "2027-02-28"), Until: mustDay(t, "2028-05-01")}) {
		ids = append(ids, p.ID)
	}
	if want := []string{"shitara@2026-05-01", "shitara@2027-05-01", "shitara@2028-05-01"}; !slices.Equal(ids, want) {
		t.Errorf("periods are %q, want %q", ids, want)
	}
	if all := mustRules(t, "yokohama").Periods(steps.DayRange{From: 0, Until: 30000}); all != nil {
		t.Errorf("a book without periods has %v", all)
	}
}

// TestCovers says which days a sending can change.
func TestCovers(t *testing.T) {
	day := mustDay(t, "2026-11-25")
	for name, days := range map[string]steps.Day{"yokohama": 1, "kamaishi": 3, "shiki": 14} {
		if got, want := mustRules(t, name).Covers(day), (steps.DayRange{From: day - days + 1, Until: day}); got != want {
			t.Errorf("%s: a sending covers %s, want %s", name, got, want)
		}
	}
}

// TestFindingsAsJSON pins the form in which findings leave the program.
func TestFindingsAsJSON(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(golden, "doubtful", "tiers.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, found, err := CheckRules("rules.yaml", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(found[0])
	const want = `{"severity":"warning","line":8,"field":"rule_sets[0].bands[0].tiers[1].points","text":"2 is what the tier before gives already; remove one of the two"}`
	if err != nil || string(got) != want {
		t.Errorf("is %s (%v), want %s", got, err, want)
	}
}

// TestCheckFindsAll lists mistakes and doubts of one file, which the error names the mistakes of.
func TestCheckFindsAll(t *testing.T) {
	text := "programme: a\nrule_sets:\n  - effective: 2026-04-01\n    daily_cap: 1\n    bands:\n      - tiers:\n" +
		"          - {steps: 1000, points: 2}\n          - {steps: 900, points: 3}\n"
	book, found, err := CheckRules("rules.yaml", strings.NewReader(text))
	if book != nil || err == nil || strings.Count(err.Error(), "line") != 1 {
		t.Errorf("error is %v, want the one mistake", err)
	}
	var got []string
	for _, f := range found {
		got = append(got, fmt.Sprintf("%s in line %d", f.Severity, f.Line))
	}
	if want := []string{"warning in line 7", "error in line 8", "warning in line 8"}; !slices.Equal(got, want) {
		t.Errorf("findings are %q, want %q", got, want)
	}
	if _, found, _ := CheckRules("rules.yaml", strings.NewReader("a: b: c")); len(found) != 1 || found[0].Severity != SeverityError {
		t.Errorf("findings of what is not YAML are %v", found)
	}
}

// TestRuleSetTakesOver renames, reorders and extends rules within a year: counts go on by the rules'
// names, and activities by theirs.
func TestRuleSetTakesOver(t *testing.T) {
	text := `programme: a
year_starts: 04-01
rule_sets:
  - effective: 2026-04-01
    rules:
      - {name: checkups, activity: {kinds: [dental, eyes], points: 10, once: year}}
      - {name: gone, activity: {kinds: [event], points: 1, once: year}}
      - {name: streak, streak: {goal: {steps: 1000}, days: 3, points: 5}}
  - effective: 2026-04-03
    rules:
      - {name: streak, streak: {goal: {steps: 1000}, days: 3, points: 7}}
      - {name: checkups, activity: {kinds: [blood, dental, eyes], points: 10, once: year}}
      - {name: new, activity: {kinds: [event], points: 1, once: year}}
`
	book, err := ParseRules("rules.yaml", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	st, all := book.Begin(), []Activity{{"dental", 1}, {"event", 1}}
	// On the 1st dental 10 and event 1; on the 2nd nothing is new; on the 3rd the streak of three days
	// pays what it now pays, event counts under its new rule, dental does not; on the 4th eyes and
	// blood are new.
	for i, want := range []steps.Points{11, 0, 8, 20} {
		if i == 3 {
			all = []Activity{{"dental", 1}, {"eyes", 1}, {"blood", 1}}
		}
		f := &Facts{Day: mustDay(t, "2026-04-01") + steps.Day(i), Steps: 1000, Activities: all}
		if score, err := book.Explain(&st, f, &Person{}); err != nil || score.Points != want {
			t.Errorf("%s: %+v (%v), want %d points", f.Day, score, err, want)
		}
	}
}
