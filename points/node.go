package points

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"ayumi/steps"
)

// Bounds on a rules file. They are far above any real table and keep a hostile one cheap.
const (
	maxRulesBytes = 1 << 20
	maxNodes      = 100_000 // YAML nodes read, those reached again through aliases included
	maxMistakes   = 50      // mistakes listed; the rest is counted
	maxSteps      = 1_000_000_000
	maxPoints     = 1_000_000_000
	maxAge        = 150
	maxMinutes    = 1440 // minutes of a day
	maxCadence    = 300  // steps a minute; more is rejected as implausible
)

// Severity tells what is wrong in a rules file from what only looks wrong.
type Severity uint8

const (
	SeverityError   Severity = 1 // the file is refused
	SeverityWarning Severity = 2 // the file is accepted; somebody should look at it
)

func (s Severity) String() string {
	switch s {
	case SeverityError:
		return "error"
	case SeverityWarning:
		return "warning"
	}
	return fmt.Sprintf("severity %d", uint8(s))
}

// MarshalText writes "error" or "warning".
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is one thing that is or looks wrong in a rules file.
type Finding struct {
	Severity Severity `json:"severity"`
	Line     int      `json:"line,omitzero"` // 0 for the file as a whole
	Field    string   `json:"field"`         // such as "rule_sets[0].bands[1].ages"; "" for the file as a whole
	Text     string   `json:"text"`          // what is wrong and how to mend it
}

// Error returns line, field and text, without the severity.
func (f Finding) Error() string {
	text := f.Text
	if f.Field != "" {
		text = f.Field + ": " + text
	}
	if f.Line > 0 {
		text = fmt.Sprintf("line %d: %s", f.Line, text)
	}
	return text
}

// node is a YAML node, resolved if it was an alias, and the name of its place in the file.
type node struct {
	*yaml.Node
	field string
}

// value is what a field holds: a well-formed V if ok, nothing that may be relied on otherwise.
// Line and field are set for fields that are present.
type value[V any] struct {
	v     V
	ok    bool
	line  int
	field string
}

// reader reads YAML nodes and collects what is wrong with them.
type reader struct {
	mistakes []Finding
	unlisted int // mistakes beyond maxMistakes
	doubts   []Finding
	visited  int
}

// mistake notes what makes the file unusable.
func (r *reader) mistake(line int, field, format string, args ...any) {
	if len(r.mistakes) == maxMistakes {
		r.unlisted++
		return
	}
	r.mistakes = append(r.mistakes, Finding{SeverityError, line, field, fmt.Sprintf(format, args...)})
}

// doubt notes what can be meant but hardly is. Doubts beyond maxMistakes are left out.
func (r *reader) doubt(line int, field, format string, args ...any) {
	if len(r.doubts) < maxMistakes {
		r.doubts = append(r.doubts, Finding{SeverityWarning, line, field, fmt.Sprintf(format, args...)})
	}
}

// listed returns findings by rising line, and as the last how many mistakes are not listed.
func (r *reader) listed(found ...Finding) []Finding {
	out := slices.Clone(found)
	slices.SortStableFunc(out, func(a, b Finding) int { return a.Line - b.Line })
	if r.unlisted > 0 {
		out = append(out, Finding{SeverityError, 0, "", fmt.Sprintf("and %d more mistakes; correct these first", r.unlisted)})
	}
	return out
}

// findings returns mistakes and doubts.
func (r *reader) findings() []Finding {
	return r.listed(append(slices.Clone(r.mistakes), r.doubts...)...)
}

// err joins the mistakes, or returns nil if there is none.
func (r *reader) err() error {
	var errs []error
	for _, m := range r.listed(r.mistakes...) {
		errs = append(errs, m)
	}
	return errors.Join(errs...)
}

// enter follows an alias and counts the node. It returns false once the file, with its aliases
// expanded, has more nodes than maxNodes, so that the work stays bounded whatever is aliased.
func (r *reader) enter(n *yaml.Node, field string) (node, bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	r.visited++
	if r.visited == maxNodes+1 {
		r.mistake(n.Line, field, "the rules have more than %d values, aliases expanded; shorten them", maxNodes)
	}
	if r.visited > maxNodes {
		return node{}, false
	}
	if n.Style&yaml.TaggedStyle != 0 {
		r.mistake(n.Line, field, "has the YAML tag %.40q; remove it", n.Tag)
		return node{}, false
	}
	return node{n, field}, true
}

// object reads a mapping whose keys are all in keys, each at most once. Keys that are absent or
// wrong are absent from the result. It returns false if n is no mapping.
func (r *reader) object(n node, keys ...string) (map[string]node, bool) {
	if n.Kind != yaml.MappingNode {
		r.mistake(n.Line, n.field, "is %s; write the keys %s", describe(n.Node), strings.Join(keys, ", "))
		return nil, false
	}
	found := make(map[string]node, len(keys))
	seen := make(map[string]int, len(keys))
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, ok := r.enter(n.Content[i], n.field)
		if !ok {
			continue
		}
		name := key.Value
		switch line, repeated := seen[name]; {
		case key.Kind != yaml.ScalarNode:
			r.mistake(key.Line, n.field, "has %s as a key; use one of %s", describe(key.Node), strings.Join(keys, ", "))
			continue
		case !slices.Contains(keys, name):
			r.mistake(key.Line, n.field, "unknown key %.40q; use one of %s", name, strings.Join(keys, ", "))
			continue
		case repeated:
			r.mistake(key.Line, join(n.field, name), "is given twice, in line %d too; remove one", line)
			continue
		}
		seen[name] = key.Line
		if v, ok := r.enter(n.Content[i+1], join(n.field, name)); ok {
			found[name] = v
		}
	}
	return found, true
}

// list reads a sequence of at least one element. Elements that cannot be read are left out, but
// keep their index in the names of the others.
func (r *reader) list(n node) []node {
	if n.Kind != yaml.SequenceNode {
		r.mistake(n.Line, n.field, "is %s; write a list, each element behind a dash", describe(n.Node))
		return nil
	}
	if len(n.Content) == 0 {
		r.mistake(n.Line, n.field, "is an empty list; give at least one element")
	}
	var out []node
	for i, child := range n.Content {
		if r.visited > maxNodes {
			break
		}
		if v, ok := r.enter(child, fmt.Sprintf("%s[%d]", n.field, i)); ok {
			out = append(out, v)
		}
	}
	return out
}

// number reads a whole number between low and high, written in plain decimal digits.
func (r *reader) number(n node, low, high uint64) value[uint64] {
	out := value[uint64]{line: n.Line, field: n.field}
	wrong := func(format string, args ...any) value[uint64] {
		r.mistake(n.Line, n.field, format, args...)
		return out
	}
	digits, negative := strings.CutPrefix(n.Value, "-")
	switch {
	case n.Kind != yaml.ScalarNode || n.Value == "":
		return wrong("is %s; write a whole number such as 6000", describe(n.Node))
	case n.Style != 0:
		return wrong("is text; write the number without quotes")
	case strings.Trim(digits, "0123456789") != "" || digits == "":
		return wrong("%.40q is not a whole number; write it in digits alone, such as 6000", n.Value)
	case negative:
		return wrong("%.40s is negative; write %d or more", n.Value, low)
	case len(digits) > 1 && digits[0] == '0':
		return wrong("%.40s starts with 0; write it without", n.Value)
	}
	v, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || v < low || v > high {
		return wrong("%.40s is out of range; write %d to %d", n.Value, low, high)
	}
	out.v, out.ok = v, true
	return out
}

// boolean reads true or false.
func (r *reader) boolean(n node) value[bool] {
	out := value[bool]{line: n.Line, field: n.field}
	if n.Kind != yaml.ScalarNode || n.Style != 0 || n.Value != "true" && n.Value != "false" {
		r.mistake(n.Line, n.field, "is %s; write true or false", describe(n.Node))
		return out
	}
	out.v, out.ok = n.Value == "true", true
	return out
}

// day reads an ISO 8601 date, quoted or not.
func (r *reader) day(n node) value[steps.Day] {
	out := value[steps.Day]{line: n.Line, field: n.field}
	d, err := steps.ParseDay(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		r.mistake(n.Line, n.field, "is %s; write a date such as 2026-04-01", describe(n.Node))
		return out
	}
	out.v, out.ok = d, true
	return out
}

// name reads a name of 1 to 64 lower-case letters, digits and '-' that starts with a letter. A
// rule set's ID, which is stored with every award, begins with it.
func (r *reader) name(n node) value[string] {
	return r.named(n, "0123456789-", "letters a-z, digits and '-'")
}

// label reads the name of an activity or a cohort, which may have '_' too.
func (r *reader) label(n node) value[string] {
	return r.named(n, "0123456789-_", "letters a-z, digits, '-' and '_'")
}

func (r *reader) named(n node, more, alphabet string) value[string] {
	out := value[string]{line: n.Line, field: n.field}
	const letters = "abcdefghijklmnopqrstuvwxyz"
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" || len(n.Value) > 64 || n.Value == "" ||
		strings.Trim(n.Value, letters+more) != "" || !strings.Contains(letters, n.Value[:1]) {
		r.mistake(n.Line, n.field, "is %s; write a name of up to 64 %s, a letter first", describe(n.Node), alphabet)
		return out
	}
	out.v, out.ok = n.Value, true
	return out
}

// word reads one of a few words.
func (r *reader) word(n node, words ...string) value[string] {
	out := value[string]{line: n.Line, field: n.field}
	if n.Kind != yaml.ScalarNode || !slices.Contains(words, n.Value) {
		r.mistake(n.Line, n.field, "is %s; write one of %s", describe(n.Node), strings.Join(words, ", "))
		return out
	}
	out.v, out.ok = n.Value, true
	return out
}

// labels reads a list of labels without repetition, sorted.
func (r *reader) labels(n node) []string {
	seen := map[string]bool{}
	var out []string
	for _, n := range r.list(n) {
		switch v := r.label(n); {
		case !v.ok:
		case seen[v.v]:
			r.mistake(v.line, v.field, "%s is listed twice; remove one", v.v)
		default:
			seen[v.v] = true
			out = append(out, v.v)
		}
	}
	slices.Sort(out)
	return out
}

// describe says what a node is, for "is %s".
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Value == "":
		return "empty"
	case n.Style != 0:
		return fmt.Sprintf("the text %.40q", n.Value)
	default:
		return fmt.Sprintf("%.40q", n.Value)
	}
}

// lastKey returns the last part of a field name.
func lastKey(field string) string { return field[strings.LastIndexByte(field, '.')+1:] }

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}
