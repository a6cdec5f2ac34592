package points

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"ayumi/steps"
)

// ParseRules reads a rule book from YAML; name stands for the file in error messages.
//
// Nothing is guessed: unknown and repeated keys, values of another type, a second document, tables
// that contradict themselves and tiers that nobody can reach are refused. The error is a
// *steps.Error of kind Invalid that names the file and joins every mistake found, up to 50, each
// with its line, its field and the remedy. Where the file is not YAML at all, the line is the
// parser's, which can be the one before. Aliases are followed within a bound; a file may have 1 MiB.
func ParseRules(name string, r io.Reader) (*RuleBook, error) {
	op := fmt.Sprintf("read rules %q", name)
	data, err := io.ReadAll(io.LimitReader(r, maxRulesBytes+1))
	if err != nil {
		return nil, steps.E(op, steps.Unavailable, err)
	}
	if len(data) > maxRulesBytes {
		return nil, steps.Errorf(op, steps.Invalid, "the file has more than %d bytes; shorten it", maxRulesBytes)
	}
	root, err := document(data)
	if err != nil {
		return nil, steps.E(op, steps.Invalid, err)
	}
	p := &parser{}
	book := p.book(root)
	if err := p.err(); err != nil {
		return nil, steps.E(op, steps.Invalid, err)
	}
	book.seal()
	return book, nil
}

// document returns the root of the only YAML document in data.
func document(data []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the file is empty; give programme and rule_sets")
		}
		return nil, syntax(err)
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		return nil, mistake{second.Line, "", "a second document begins here; keep one a file"}
	case !errors.Is(err, io.EOF):
		return nil, syntax(err)
	}
	return doc.Content[0], nil
}

func syntax(err error) error {
	return fmt.Errorf("%s; the file is not valid YAML", strings.TrimPrefix(err.Error(), "yaml: "))
}

// parser reads the nodes of a rule book and checks that they make sense together. A check is left
// out where a value it needs is missing or malformed, since that was reported already.
type parser struct{ reader }

func (p *parser) book(root *yaml.Node) *RuleBook {
	book := &RuleBook{}
	top, ok := p.enter(root, "")
	if !ok {
		return book
	}
	keys, ok := p.object(top, "programme", "rule_sets")
	if !ok {
		return book
	}
	if n, ok := p.required(top, keys, "programme", "name the programme"); ok {
		book.programme = p.name(n).v
	}
	n, ok := p.required(top, keys, "rule_sets", "give at least one rule set")
	if !ok {
		return book
	}
	dates := map[steps.Day]string{}
	for _, n := range p.list(n) {
		set, effective := p.ruleSet(n)
		if effective.ok {
			if first, taken := dates[effective.v]; taken {
				p.mistake(effective.line, effective.field,
					"%s is the date of %s too; give each rule set a date of its own", effective.v, first)
			} else {
				dates[effective.v] = n.field
			}
		}
		book.sets = append(book.sets, set)
	}
	slices.SortStableFunc(book.sets, func(a, b RuleSet) int { return int(a.Effective) - int(b.Effective) })
	return book
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

func (p *parser) ruleSet(n node) (RuleSet, value[steps.Day]) {
	var set RuleSet
	var effective value[steps.Day]
	keys, ok := p.object(n, "effective", "max_counted_steps", "daily_cap", "allow_decreasing", "bands")
	if !ok {
		return set, effective
	}
	if v, ok := p.required(n, keys, "effective", "write the first day the rule set applies to"); ok {
		effective = p.day(v)
		set.Effective = effective.v
	}
	if v, ok := keys["max_counted_steps"]; ok {
		set.MaxCountedSteps = p.number(v, 1, maxSteps).v
	}
	if v, ok := keys["daily_cap"]; ok {
		set.DailyCap = steps.Points(p.number(v, 1, maxPoints).v)
	}
	if v, ok := keys["allow_decreasing"]; ok {
		set.AllowDecreasing = p.boolean(v).v
	}
	if v, ok := p.required(n, keys, "bands", "give at least one band"); ok {
		set.Bands = p.bands(v, &set)
	}
	return set, effective
}

// draft is a band with what is needed to check it against its neighbours.
type draft struct {
	node          // the band
	readable bool // it is a mapping
	aged     bool // it has ages
	sound    bool // its ages can be compared with those of other bands
	ages     node
	marked   value[bool] // default, when it has one
	band     Band
}

func (p *parser) bands(list node, set *RuleSet) []Band {
	var drafts []draft
	for _, n := range p.list(list) {
		if d := p.band(n, set); d.readable {
			drafts = append(drafts, d)
		}
	}
	if len(drafts) != len(list.Content) {
		return nil // what the unreadable bands, reported by now, would have covered is unknown
	}
	p.checkDefault(list, drafts)
	p.checkAges(list, drafts)
	bands := make([]Band, len(drafts))
	for i := range drafts {
		bands[i] = drafts[i].band
	}
	slices.SortStableFunc(bands, func(a, b Band) int { return a.From - b.From })
	return bands
}

func (p *parser) band(n node, set *RuleSet) draft {
	d := draft{node: n, band: Band{To: OpenAge}}
	keys, ok := p.object(n, "ages", "default", "tiers")
	if !ok {
		return d
	}
	d.readable, d.sound, d.aged = true, true, hasKey(n.Node, "ages")
	if d.aged {
		d.ages, ok = keys["ages"]
		d.sound = ok && p.ages(&d)
	}
	if v, ok := keys["default"]; ok {
		d.marked = p.boolean(v)
		d.band.Default = d.marked.v
	}
	if v, ok := p.required(n, keys, "tiers", "give at least one tier"); ok {
		d.band.Tiers = p.tiers(v, set)
	}
	return d
}

func (p *parser) ages(d *draft) bool {
	keys, ok := p.object(d.ages, "from", "to")
	if !ok {
		return false
	}
	if len(d.ages.Content) == 0 {
		p.mistake(d.ages.Line, d.ages.field, "is empty; give from, to or both, or leave ages out")
		return false
	}
	from := value[uint64]{ok: !hasKey(d.ages.Node, "from")}
	to := value[uint64]{ok: !hasKey(d.ages.Node, "to"), v: OpenAge}
	if v, ok := keys["from"]; ok {
		from = p.number(v, 0, maxAge)
	}
	if v, ok := keys["to"]; ok {
		to = p.number(v, 0, maxAge)
	}
	if !from.ok || !to.ok {
		return false
	}
	if from.v > to.v {
		p.mistake(to.line, to.field, "%d is below from, which is %d; exchange them", to.v, from.v)
		return false
	}
	d.band.From, d.band.To = int(from.v), int(to.v)
	return true
}

func (p *parser) tiers(list node, set *RuleSet) []Tier {
	var tiers []Tier
	for _, n := range p.list(list) {
		keys, ok := p.object(n, "steps", "points")
		if !ok {
			continue
		}
		var need, give value[uint64]
		if v, ok := p.required(n, keys, "steps", "write the steps a day needs"); ok {
			need = p.number(v, 1, maxSteps)
		}
		if v, ok := p.required(n, keys, "points", "write the points a day earns"); ok {
			give = p.number(v, 0, maxPoints)
		}
		if !need.ok || !give.ok {
			continue
		}
		if len(tiers) > 0 {
			p.checkRise(set, tiers[len(tiers)-1], need, give)
		}
		if set.MaxCountedSteps > 0 && need.v > set.MaxCountedSteps {
			p.mistake(need.line, need.field,
				"%d is beyond max_counted_steps, which is %d, so nobody can reach the tier; remove it or raise max_counted_steps",
				need.v, set.MaxCountedSteps)
		}
		tiers = append(tiers, Tier{Steps: need.v, Points: steps.Points(give.v)})
	}
	return tiers
}
