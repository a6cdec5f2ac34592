package closing

import (
	"strings"
	"testing"

	"ayumi/points"
	"ayumi/steps"
)

const plain = "programme: plain\nrule_sets:\n  - effective: 1999-01-01\n    bands:\n      - tiers: [{steps: 1, points: 1}]\n"

const halves = `programme: halves
periods:
  - {name: first, from: 04-01, until: 09-30, grace: 10-07, activity_grace: 10-03, expires: 12-31}
  - {name: second, from: 10-01, until: 03-31}
rule_sets:
  - effective: 1999-01-01
    final_after_days: 14
    bands:
      - tiers: [{steps: 1, points: 1}]
`

func date(t *testing.T, text string) steps.Day {
	t.Helper()
	d, err := steps.ParseDay(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func periodsOf(t *testing.T, rules string, finalAfter int) *Periods {
	t.Helper()
	book, err := points.ParseRules("rules.yaml", strings.NewReader(rules))
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPeriods(func() *points.RuleBook { return book }, finalAfter)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPeriodAndOpenUntil(t *testing.T) {
	for name, tc := range map[string]struct {
		rules     string
		after     int
		day       string
		period    steps.PeriodID
		expires   string
		openUntil string
	}{
		"no periods":                   {plain, 0, "2026-11-24", "2026", "", "2026-12-01"},
		"no periods, March":            {plain, 0, "2027-03-31", "2026", "", "2027-04-07"},
		"no periods, April":            {plain, 0, "2027-04-01", "2027", "", "2027-04-08"},
		"the setting overrides rules":  {plain, 3, "2026-11-24", "2026", "", "2026-11-27"},
		"the rules' own days":          {halves, 0, "2026-05-01", "first@2026-04-01", "2026-12-31", "2026-05-15"},
		"cut by the grace":             {halves, 0, "2026-09-28", "first@2026-04-01", "2026-12-31", "2026-10-07"},
		"the setting cut by the grace": {halves, 30, "2026-09-28", "first@2026-04-01", "2026-12-31", "2026-10-07"},
		"no grace":                     {halves, 0, "2027-03-31", "second@2026-10-01", "", "2027-03-31"},
	} {
		t.Run(name, func(t *testing.T) {
			p := periodsOf(t, tc.rules, tc.after)
			day := date(t, tc.day)
			of := p.Of(day)
			if of.ID != tc.period || !of.Days.Contains(day) || (of.Expires != 0) != (tc.expires != "") || of.Expires != 0 && of.Expires.String() != tc.expires {
				t.Errorf("period %+v", of)
			}
			if _, err := steps.ParsePeriodID(string(of.ID)); err != nil {
				t.Error(err)
			}
			if got := p.OpenUntil(day).String(); got != tc.openUntil {
				t.Errorf("open until %s, want %s", got, tc.openUntil)
			}
		})
	}
}

// Whatever period a day was ever closed into can be found again, before and after the rules had periods.
func TestUntilHoldsThePeriodOfEveryDay(t *testing.T) {
	old, now := periodsOf(t, plain, 0), periodsOf(t, halves, 0)
	last := date(t, "2026-11-24")
	known := map[steps.PeriodID]steps.Period{}
	all := now.Until(last)
	for i, p := range all {
		if _, twice := known[p.ID]; twice {
			t.Errorf("%s is there twice", p.ID)
		}
		if i > 0 && all[i-1].Days.From > p.Days.From {
			t.Errorf("%s comes too late", p.ID)
		}
		known[p.ID] = p
	}
	for d := date(t, "2000-04-01"); d <= last; d++ {
		for _, p := range []steps.Period{old.Of(d), now.Of(d)} {
			if known[p.ID] != p {
				t.Fatalf("%s: %+v is not among the periods", d, p)
			}
		}
	}
}

func TestFinalAfterIsBounded(t *testing.T) {
	for _, n := range []int{-1, MaxFinalAfter + 1} {
		_, err := NewPeriods(nil, n)
		wantError(t, err, steps.Invalid, "give 1 to 400, or 0")
	}
}
