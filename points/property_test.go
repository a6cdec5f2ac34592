package points

import (
	"fmt"
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
