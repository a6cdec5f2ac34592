package points

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestDocs reads docs/rules.md: every complete example in it is free of findings, and it names every
// kind of rule, span, preset and name of conditions.
func TestDocs(t *testing.T) {
	data, err := os.ReadFile("../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	examples := 0
	for _, part := range strings.Split(text, "```yaml\n")[1:] {
		example, _, _ := strings.Cut(part, "```")
		examples++
		if _, found, err := CheckRules("docs/rules.md", strings.NewReader(example)); err != nil || len(found) > 0 {
			t.Errorf("%v %v in\n%s", err, found, example)
		}
	}
	if examples < 6 {
		t.Errorf("found %d examples", examples)
	}
	var words []string
	words = append(words, kindKeys[KindSteps:]...)
	words = append(words, spanKeys[DaySpan:]...)
	words = append(words, setCapKeys[DaySpan:]...)
	words = append(words, Presets()...)
	env := reflect.TypeFor[conditionEnv]()
	for i := range env.NumField() {
		if name := env.Field(i).Tag.Get("expr"); env.Field(i).Type.Kind() == reflect.Func {
			words = append(words, name+"(")
		} else {
			words = append(words, name)
		}
	}
	for _, word := range words {
		if !strings.Contains(text, "`"+word) {
			t.Errorf("does not explain %s", word)
		}
	}
}
