package points

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"ayumi/steps"
)

// ParseRules reads a rule book from YAML; name stands for the file in error messages.
//
// Nothing is guessed: unknown and repeated keys, values of another type, a second document, tables
// that contradict themselves and tiers that nobody can reach are refused. The error is a
// *steps.Error of kind Invalid that names the file and joins every mistake found, up to 50, each
// a Finding with its line, its field and the remedy. Where the file is not YAML at all, the line is
// the parser's, which can be the one before. Aliases are followed within a bound; a file may have
// 1 MiB. What only looks wrong is accepted: CheckRules lists it.
func ParseRules(name string, r io.Reader) (*RuleBook, error) {
	book, _, err := CheckRules(name, r)
	return book, err
}

// CheckRules does what ParseRules does and also returns everything that was found, by rising line:
// the mistakes of the error, of SeverityError, and what only looks wrong, of SeverityWarning, such
// as points that a cap always cuts, conditions that hold always or never, gaps between periods. A
// file that cannot be read at all has no findings.
func CheckRules(name string, r io.Reader) (*RuleBook, []Finding, error) {
	op := fmt.Sprintf("read rules %q", name)
	data, err := io.ReadAll(io.LimitReader(r, maxRulesBytes+1))
	if err != nil {
		return nil, nil, steps.E(op, steps.Unavailable, err)
	}
	p := &parser{book: &RuleBook{calendar: calendar{WeekStarts: time.Monday}}}
	if len(data) > maxRulesBytes {
		p.mistake(0, "", "the file has more than %d bytes; shorten it", maxRulesBytes)
	} else if root := p.document(data); root != nil {
		p.all(root)
	}
	if err := p.err(); err != nil {
		return nil, p.findings(), steps.E(op, steps.Invalid, err)
	}
	p.book.seal()
	return p.book, p.findings(), nil
}

// document returns the root of the only YAML document in data, nil if there is not exactly one.
func (p *parser) document(data []byte) *yaml.Node {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		p.mistake(0, "", "the file is empty; give programme and rule_sets")
		return nil
	} else if err != nil {
		p.syntax(err)
		return nil
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		p.mistake(second.Line, "", "a second document begins here; keep one a file")
		return nil
	case !errors.Is(err, io.EOF):
		p.syntax(err)
		return nil
	}
	return doc.Content[0]
}

// syntax reports a file that is not YAML. The message names the line, if any.
func (p *parser) syntax(err error) {
	p.mistake(0, "", "%s; the file is not valid YAML", strings.TrimPrefix(err.Error(), "yaml: "))
}

// parser reads the nodes of a rule book and checks that they make sense together. A check is left
// out where a value it needs is missing or malformed, since that was reported already.
type parser struct {
	reader
	book *RuleBook

	// Whether the file has these keys at all, so that what refers to a malformed one is not
	// reported on top.
	hasYears, hasPeriods, hasHolidays bool

	tried int // evaluations of conditions on made-up days
}

// weekdayKeys are the words for the days of the week in a rules file.
var weekdayKeys = []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}

func (p *parser) all(root *yaml.Node) {
	top, ok := p.enter(root, "")
	if !ok {
		return
	}
	keys, ok := p.object(top, "programme", "week_starts", "year_starts", "holidays", "periods", "rule_sets")
	if !ok {
		return
	}
	if n, ok := p.required(top, keys, "programme", "name the programme"); ok {
		p.book.programme = p.name(n).v
	}
	p.hasYears, p.hasPeriods = hasKey(top.Node, "year_starts"), hasKey(top.Node, "periods")
	p.hasHolidays = hasKey(top.Node, "holidays")
	if n, ok := keys["week_starts"]; ok {
		if day := p.word(n, weekdayKeys...); day.ok {
			p.book.calendar.WeekStarts = time.Weekday(slices.Index(weekdayKeys, day.v))
		}
	}
	if n, ok := keys["year_starts"]; ok {
		if d := p.date(n); d.ok && d.v.Year != 0 {
			p.mistake(d.line, d.field, "names a year; write the day of every year, such as 04-01")
		} else if d.ok {
			p.book.calendar.YearStarts = d.v
		}
	}
	if n, ok := keys["holidays"]; ok {
		p.book.holidays = p.holidays(n)
	}
	if n, ok := keys["periods"]; ok {
		p.book.periods = p.periods(n)
	}
	if n, ok := p.required(top, keys, "rule_sets", "give at least one rule set"); ok {
		p.ruleSets(n)
	}
}

func (p *parser) holidays(n node) []steps.Day {
	var days []steps.Day
	for _, n := range p.list(n) {
		switch d := p.day(n); {
		case !d.ok:
		case slices.Contains(days, d.v):
			p.mistake(d.line, d.field, "%s is listed twice; remove one", d.v)
		default:
			days = append(days, d.v)
		}
	}
	slices.Sort(days)
	return days
}

func (p *parser) ruleSets(n node) {
	dates := map[steps.Day]string{}
	var before value[steps.Day]
	for _, n := range p.list(n) {
		set, effective := p.ruleSet(n)
		if effective.ok {
			if first, taken := dates[effective.v]; taken {
				p.mistake(effective.line, effective.field,
					"%s is the date of %s too; give each rule set a date of its own", effective.v, first)
			} else {
				dates[effective.v] = n.field
			}
			if before.ok && effective.v < before.v {
				p.doubt(effective.line, effective.field,
					"%s is listed after %s; list rule sets by rising date", effective.v, before.v)
			}
			before = effective
		}
		p.book.sets = append(p.book.sets, set)
	}
	slices.SortStableFunc(p.book.sets, func(a, b RuleSet) int { return int(a.Effective) - int(b.Effective) })
}

// required returns the value of a key that n must have. A key that is there but unreadable was
// reported already and is not reported again.
func (p *parser) required(n node, keys map[string]node, key, remedy string) (node, bool) {
	v, ok := keys[key]
	if !ok && !hasKey(n.Node, key) {
		p.mistake(n.Line, join(n.field, key), "is missing; %s", remedy)
	}
	return v, ok
}

func hasKey(n *yaml.Node, key string) bool {
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Value == key {
			return true
		}
	}
	return false
}

// only returns the one of several keys that n has. It reports having none, unless one is there but
// unreadable, and having more.
func (p *parser) only(n node, keys map[string]node, remedy string, of ...string) (string, bool) {
	found, present := "", false
	for _, key := range of {
		if !hasKey(n.Node, key) {
			continue
		}
		if present {
			v, ok := keys[key]
			if !ok {
				v = n
			}
			p.mistake(v.Line, join(n.field, key), "is given beside %s; keep one of %s", found, strings.Join(of, ", "))
			return "", false
		}
		found, present = key, true
	}
	if !present {
		p.mistake(n.Line, n.field, "%s", remedy)
		return "", false
	}
	_, readable := keys[found]
	return found, readable
}
