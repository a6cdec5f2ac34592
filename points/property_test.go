package points

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ayumi/steps"
)

// pair and pairs are a mapping whose keys can be shuffled before it is written.
type pair struct {
	key   string
	value any
}
type pairs []pair

// drawBook draws a valid rule book as a tree of pairs, lists and scalars, and the same as RuleSets
// in the order of their dates.
func drawBook(t *rapid.T) (pairs, []RuleSet) {
	days := rapid.SliceOfNDistinct(rapid.IntRange(0, 30000), 1, 4, rapid.ID).Draw(t, "days")
	var tree []any
	var sets []RuleSet
	for _, day := range days {
		s := RuleSet{Effective: steps.Day(day), AllowDecreasing: rapid.Bool().Draw(t, "decreasing")}
		p := pairs{{"effective", s.Effective.String()}, {"allow_decreasing", s.AllowDecreasing}}
		if rapid.Bool().Draw(t, "counts a maximum") {
			s.MaxCountedSteps = rapid.Uint64Range(1, 50000).Draw(t, "max")
			p = append(p, pair{"max_counted_steps", s.MaxCountedSteps})
		}
		if rapid.Bool().Draw(t, "has a cap") {
			s.DailyCap = steps.Points(rapid.IntRange(1, 20).Draw(t, "cap"))
			p = append(p, pair{"daily_cap", s.DailyCap})
		}
		bands := drawBands(t, &s)
		tree = append(tree, append(p, pair{"bands", bands}))
		sets = append(sets, s)
	}
	slices.SortFunc(sets, func(a, b RuleSet) int { return int(a.Effective) - int(b.Effective) })
	return pairs{{"programme", "drawn"}, {"rule_sets", tree}}, sets
}

func drawBands(t *rapid.T, s *RuleSet) []any {
	cuts := rapid.SliceOfNDistinct(rapid.IntRange(1, maxAge), 0, 3, rapid.ID).Draw(t, "cuts")
	slices.Sort(cuts)
	cuts = append([]int{0}, cuts...)
	unknown := rapid.IntRange(0, len(cuts)-1).Draw(t, "default")
	var tree []any
	for i, from := range cuts {
		b := Band{From: from, To: OpenAge, Default: i == unknown}
		ages := pairs{{"from", from}}
		if i+1 < len(cuts) {
			b.To = cuts[i+1] - 1
			ages = append(ages, pair{"to", b.To})
		}
		highest := uint64(50000)
		if s.MaxCountedSteps > 0 {
			highest = s.MaxCountedSteps
		}
		need := rapid.SliceOfNDistinct(rapid.Uint64Range(1, highest), 1, min(5, int(highest)), rapid.ID).Draw(t, "steps")
		slices.Sort(need)
		give := rapid.SliceOfN(rapid.IntRange(0, 30), len(need), len(need)).Draw(t, "points")
		if !s.AllowDecreasing {
			slices.Sort(give)
		}
		var tiers []any
		for j := range need {
			b.Tiers = append(b.Tiers, Tier{Steps: need[j], Points: steps.Points(give[j])})
			tiers = append(tiers, pairs{{"steps", need[j]}, {"points", give[j]}})
		}
		s.Bands = append(s.Bands, b)
		tree = append(tree, pairs{{"ages", ages}, {"default", b.Default}, {"tiers", tiers}})
	}
	return tree
}

// write turns a tree into YAML in a layout, key order and with comments of t's choice.
func write(t *rapid.T, v any, indent string) string {
	comment := func() string {
		return rapid.SampledFrom([]string{"", "", " # why", "\n\n" + indent + "# why: {"}).Draw(t, "comment")
	}
	switch v := v.(type) {
	case pairs:
		if rapid.Bool().Draw(t, "flow") {
			return " " + flow(t, v)
		}
		var b strings.Builder
		for _, p := range rapid.Permutation(v).Draw(t, "keys") {
			b.WriteString(comment() + "\n" + indent + p.key + ":" + write(t, p.value, indent+"  "))
		}
		return b.String()
	case []any:
		if rapid.Bool().Draw(t, "flow") {
			return " " + flow(t, v)
		}
		var b strings.Builder
		for _, e := range v {
			b.WriteString(comment() + "\n" + indent + "-" + write(t, e, indent+"    "))
		}
		return b.String()
	}
	return " " + fmt.Sprint(v)
}

func flow(t *rapid.T, v any) string {
	var parts []string
	switch v := v.(type) {
	case pairs:
		for _, p := range rapid.Permutation(v).Draw(t, "keys") {
			parts = append(parts, p.key+": "+flow(t, p.value))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		for _, e := range v {
			parts = append(parts, flow(t, e))
		}
		return "[" + strings.Join(parts, ",  ") + "]"
	}
	return fmt.Sprint(v)
}

// expected scores in the plainest way: look at every row and keep the last that fits.
func expected(sets []RuleSet, day steps.Day, count uint64, age int) (id string, points steps.Points) {
	for _, s := range sets {
		if s.Effective > day {
			continue
		}
		id, points = "drawn@"+s.Effective.String(), 0
		for _, b := range s.Bands {
			if age == UnknownAge && !b.Default || age != UnknownAge && (age < b.From || age > b.To) {
				continue
			}
			for _, tier := range b.Tiers {
				if count >= tier.Steps {
					points = tier.Points
				}
			}
		}
		if s.DailyCap != 0 {
			points = min(points, s.DailyCap)
		}
	}
	return id, points
}

func TestRuleBookProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree, sets := drawBook(t)
		text := write(t, tree, "")
		book, err := ParseRules("drawn.yaml", strings.NewReader(text))
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		checkBook(t, book)

		other := write(t, tree, "")
		same, err := ParseRules("again.yaml", strings.NewReader(other))
		if err != nil {
			t.Fatalf("%v\n%s", err, other)
		}
		if book.Fingerprint() != same.Fingerprint() {
			t.Fatalf("fingerprints differ:\n%s\n---\n%s", text, other)
		}

		day := steps.Day(rapid.IntRange(0, 31000).Draw(t, "day"))
		age := rapid.IntRange(UnknownAge, maxAge+5).Draw(t, "age")
		count := rapid.Uint64Range(0, 60000).Draw(t, "count")
		id, points := expected(sets, day, count, age)
		set, ok := book.On(day)
		if !ok {
			if id != "" {
				t.Fatalf("no rule set on %s, want %s", day, id)
			}
			return
		}
		got := set.Score(count, age)
		if set.ID() != id || got.Points != points {
			t.Fatalf("%d steps at %d on %s earn %d under %s, want %d under %s\n%s",
				count, age, day, got.Points, set.ID(), points, id, text)
		}
		more := set.Score(count+rapid.Uint64Range(0, 60000).Draw(t, "more"), age)
		if more.Points < got.Points && !set.AllowDecreasing {
			t.Fatalf("more steps earn %d, fewer earned %d\n%s", more.Points, got.Points, text)
		}
	})
}

// TestAgeProperties compares Age with counting birthdays one by one.
func TestAgeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		born := steps.Day(rapid.IntRange(-30000, 20000).Draw(t, "born"))
		on := born + steps.Day(rapid.IntRange(0, 45000).Draw(t, "lived"))
		y, m, d := born.Date()
		birthdays := 0
		for steps.DateDay(y+birthdays+1, m, d) <= on { // 29 February becomes 1 March in common years
			birthdays++
		}
		if got := Age(born, on); got != birthdays {
			t.Fatalf("born %s, on %s: age %d, want %s", born, on, got, strconv.Itoa(birthdays))
		}
	})
}
