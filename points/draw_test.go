package points

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"ayumi/steps"
)

// drawnConditions are the conditions of drawn rules and what they mean.
var drawnConditions = map[string]func(*Facts, *Person) bool{
	"weekday in [6, 7]": func(f *Facts, _ *Person) bool { return weekday(f.Day) == 0 || weekday(f.Day) == 6 },
	"steps >= 4000":     func(f *Facts, _ *Person) bool { return f.Steps >= 4000 },
	`cohort == "a"`:     func(_ *Facts, p *Person) bool { return p.Cohort == "a" },
	"day <= 20":         func(f *Facts, _ *Person) bool { _, _, d := f.Day.Date(); return d <= 20 },
}

// booksFrom is the first day of drawn rule books; their days lie in the 100 days from it on, which
// cross a year's beginning in April.
var booksFrom = steps.DateDay(2026, 2, 20)

// drawing draws a valid rule book as a tree of pairs, lists and scalars.
type drawing struct {
	*rapid.T
	monotone bool // nothing in it makes more steps earn less
	periods  bool
}

func (t *drawing) flip(label string) bool { return rapid.Bool().Draw(t.T, label) }

func (t *drawing) in(low, high int, label string) int {
	return rapid.IntRange(low, high).Draw(t.T, label)
}

func (t *drawing) pick(label string, of ...string) string {
	return rapid.SampledFrom(of).Draw(t.T, label)
}

// book draws a whole book.
func (t *drawing) book() pairs {
	t.periods = t.flip("has periods")
	p := pairs{{"programme", "drawn"}, {"year_starts", "04-01"}}
	if t.flip("week starts") {
		p = append(p, pair{"week_starts", t.pick("first day", weekdayKeys...)})
	}
	if t.periods {
		p = append(p, pair{"periods", rapid.SampledFrom([][]any{
			{pairs{{"name", "all"}, {"from", "01-01"}, {"until", "12-31"}}},
			{pairs{{"name", "b"}, {"from", "03-15"}, {"until", "05-05"}}, pairs{{"name", "a"}, {"from", "12-01"}, {"until", "02-29"}}},
			{pairs{{"name", "once"}, {"from", "2026-03-01"}, {"until", "2026-04-20"}}, pairs{{"name", "then"}, {"from", "2026-04-21"}, {"until", "2026-05-02"}}},
		}).Draw(t.T, "periods")})
	}
	versions := 2
	if t.monotone {
		versions = 0 // new rules may pay more for what old ones have paid for already
	}
	offsets := rapid.SliceOfNDistinct(rapid.IntRange(1, 90), 0, versions, rapid.ID).Draw(t.T, "versions")
	var sets []any
	for _, offset := range append([]int{0}, offsets...) {
		sets = append(sets, t.set(booksFrom+steps.Day(offset)))
	}
	return append(p, pair{"rule_sets", rapid.Permutation(sets).Draw(t.T, "order")})
}

func (t *drawing) set(from steps.Day) pairs {
	p := pairs{{"effective", from.String()}}
	if t.flip("counts a maximum") {
		p = append(p, pair{"max_counted_steps", t.in(12_000, 20_000, "max")})
	}
	for _, cap := range []string{"daily_cap", "weekly_cap", "monthly_cap", "yearly_cap", "period_cap"} {
		if t.in(0, 3, cap) == 0 && (cap != "period_cap" || t.periods) {
			p = append(p, pair{cap, t.in(1, 60, "most")})
		}
	}
	if t.flip("duty") {
		p = append(p, pair{"send_at_least_every", t.in(1, 5, "days")}, pair{"final_after_days", 10})
	}
	if t.flip("eligible") {
		p = append(p, pair{"eligibility", pairs{{"resident", t.flip("resident")}, {"enrolled", t.flip("enrolled")}}})
	}
	p = append(p, pair{"baseline", pairs{{"first_days", 14}, {"take", t.pick("take", "mean", "median")}}})
	if !t.monotone && t.flip("falls") {
		p = append(p, pair{"allow_decreasing", true})
	}
	falls := slices.ContainsFunc(p, func(p pair) bool { return p.key == "allow_decreasing" })
	p = append(p, pair{"bands", t.bands("steps", 12_000, false, falls)})
	return append(p, pair{"rules", t.rules(falls)})
}

// rules draws rules from a small stock of names, so that versions have some in common.
func (t *drawing) rules(falls bool) []any {
	names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{
		"more", "active", "walk", "above", "streak", "days", "roll", "send", "done", "once",
	}), 1, 6, rapid.ID).Draw(t.T, "rules")
	var out []any
	for _, name := range names {
		p := append(pairs{{"name", name}}, t.kind(name, falls))
		if !t.monotone && t.in(0, 3, "condition") == 0 {
			conditions := make([]string, 0, len(drawnConditions))
			for c := range drawnConditions {
				conditions = append(conditions, c)
			}
			slices.Sort(conditions)
			p = append(p, pair{"when", fmt.Sprintf("'%s'", t.pick("when", conditions...))})
		}
		var caps pairs
		for _, span := range spanKeys[DaySpan:] {
			if t.in(0, 5, span) == 0 && (span != "period" || t.periods) {
				caps = append(caps, pair{span, t.in(1, 30, "most")})
			}
		}
		if caps != nil {
			p = append(p, pair{"caps", caps})
		}
		if t.in(0, 3, "exempt") == 0 {
			p = append(p, pair{"exempt_from_caps", true})
		}
		out = append(out, p)
	}
	return out
}

func (t *drawing) kind(name string, falls bool) pair {
	points := pair{"points", t.in(1, 20, "points")}
	goal := pair{"goal", pairs{{"steps", t.in(1, 9000, "goal")}}}
	switch name {
	case "more":
		return pair{"steps", pairs{{"bands", t.bands("steps", 12_000, true, falls)}}}
	case "active":
		return pair{"active_minutes", pairs{{"cadence", t.in(1, 120, "cadence")}, {"bands", t.bands("minutes", 60, true, falls)}}}
	case "walk":
		unit, most := "minutes", 60
		if t.flip("in steps") {
			unit, most = "steps", 4000
		}
		return pair{"sustained_walking", pairs{
			{"cadence", t.in(40, 100, "cadence")}, {"minutes", t.in(1, 15, "least")}, {"bands", t.bands(unit, most, true, falls)},
		}}
	case "above":
		unit, most := "above", 6000
		if t.flip("in percent") {
			unit, most = "above_percent", 100
		}
		return pair{"personal_goal", pairs{{"bands", t.bands(unit, most, false, falls)}}}
	case "streak":
		p := pairs{goal, {"days", t.in(2, 6, "days")}, points}
		if t.flip("bounded") {
			p = append(p, pair{"within", t.span()})
		}
		return pair{"streak", p}
	case "days":
		return pair{"goal_days", pairs{goal, {"days", t.in(1, 7, "days")}, {"in", t.span()}, points}}
	case "roll":
		days := t.in(1, 5, "days")
		return pair{"goal_days", pairs{goal, {"days", days}, {"in", t.in(max(days, 2), 10, "window")}, points}}
	case "send":
		return pair{"sending", pairs{points}}
	}
	kinds := rapid.SliceOfNDistinct(rapid.SampledFrom(drawnActivities), 1, 3, rapid.ID).Draw(t.T, "kinds")
	p := pairs{{"kinds", "[" + strings.Join(kinds, ", ") + "]"}, points}
	if name == "once" {
		p = append(p, pair{"once", t.pick("once", append(spanKeys[:WeekSpan:WeekSpan], t.span())[1:]...)})
	}
	return pair{"activity", p}
}

var drawnActivities = []string{"checkup", "event", "blood_pressure", "weight"}

func (t *drawing) span() string {
	if t.periods {
		return t.pick("span", "week", "month", "year", "period")
	}
	return t.pick("span", "week", "month", "year")
}

// bands draws bands by age or cohort with tiers or, where they may, rates.
func (t *drawing) bands(unit string, most int, rates, falls bool) []any {
	keys := []pairs{{{"ages", "{to: 39}"}}, {{"ages", "{from: 40, to: 64}"}}, {{"ages", "{from: 65}"}}}
	if t.flip("by cohort") {
		keys = []pairs{{{"cohorts", "[a]"}}, {{"cohorts", "[c, b]"}}, nil}
	} else if t.flip("one band") {
		keys = []pairs{nil}
	}
	carry := ""
	if t.flip("carries") {
		carry = t.span()
	}
	fallback := t.in(0, len(keys)-1, "default")
	if keys[len(keys)-1] == nil {
		fallback = len(keys) - 1
	}
	if t.monotone && len(keys) > 1 {
		carry = "" // what one rate left over may be worth less, or more, to another after a birthday
	}
	rated := rates && t.flip("rate")
	var out []any
	for i, p := range keys {
		p = append(slices.Clone(p), pair{"default", i == fallback})
		if rated {
			rate := pairs{{unit, t.in(max(most/12, 1), most, "per")}, {"points", t.in(1, 5, "points")}}
			if carry != "" {
				rate = append(rate, pair{"carry_within", carry})
			}
			p = append(p, pair{"rate", rate})
		} else {
			p = append(p, pair{"tiers", t.tiers(unit, most, falls)})
		}
		out = append(out, p)
	}
	return out
}

func (t *drawing) tiers(unit string, most int, falls bool) (tiers []any) {
	need := rapid.SliceOfNDistinct(rapid.IntRange(1, most), 1, min(4, most), rapid.ID).Draw(t.T, unit)
	slices.Sort(need)
	give := rapid.SliceOfN(rapid.IntRange(0, 30), len(need), len(need)).Draw(t.T, "points")
	if !falls {
		slices.Sort(give)
	}
	for j := range need {
		tiers = append(tiers, pairs{{unit, need[j]}, {"points", give[j]}})
	}
	return tiers
}

// person draws somebody whose ages, cohort and dates matter to drawn books.
func (t *drawing) person() *Person {
	p := &Person{
		Born: steps.DateDay(t.in(1950, 2000, "born"), 3, 1), BornKnown: t.flip("born known"),
		Cohort: t.pick("cohort", "", "a", "b", "z"),
	}
	ranges := func(label string) (out []steps.DayRange) {
		for range t.in(0, 2, label) {
			r := steps.DayRange{From: booksFrom + steps.Day(t.in(-5, 80, "from"))}
			if t.flip("closed") {
				r.Until = r.From + steps.Day(t.in(0, 40, "long"))
			}
			out = append(out, r)
		}
		return out
	}
	p.Resident, p.Enrolled = ranges("resident"), ranges("enrolled")
	if t.flip("baseline") {
		p.Baseline = PersonalBaseline{Known: true, Steps: uint64(t.in(0, 8000, "steps")), From: booksFrom + steps.Day(t.in(0, 30, "counts from"))}
	}
	return p
}

// days draws facts by rising day, about half of 100 days.
func (t *drawing) days() (facts []*Facts) {
	n := t.in(1, 50, "days")
	offsets := rapid.SliceOfNDistinct(rapid.IntRange(-3, 96), n, n, rapid.ID).Draw(t.T, "offsets")
	slices.Sort(offsets)
	for _, offset := range offsets {
		facts = append(facts, t.day(booksFrom+steps.Day(offset)))
	}
	return facts
}

func (t *drawing) day(day steps.Day) *Facts {
	f := &Facts{Day: day, Steps: uint64(t.in(0, 20_000, "steps"))}
	minutes := make(minuteCounts, 0, 200)
	for range t.in(0, 3, "walks") {
		for range t.in(1, 40, "long") {
			minutes = append(minutes, uint32(t.in(30, 130, "cadence")))
		}
		minutes = append(minutes, 0)
	}
	f.Minutes = minutes
	switch t.in(0, 3, "sent") {
	case 0:
		f.Sent, f.NextSent = true, day
	case 1:
		f.NextSent = day + steps.Day(t.in(1, 8, "later"))
	case 2:
		f.SentUntil = day + steps.Day(t.in(0, 8, "none until"))
	}
	for _, kind := range drawnActivities {
		if t.in(0, 4, kind) == 0 {
			f.Activities = append(f.Activities, Activity{kind, t.in(0, 3, "times")})
		}
	}
	return f
}
