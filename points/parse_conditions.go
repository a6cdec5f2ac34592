package points

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	exprparser "github.com/expr-lang/expr/parser"
	"go.yaml.in/yaml/v3"
)

// condition reads, compiles and tries out a `when`.
func (p *parser) condition(n node, d *setDraft) *Condition {
	if n.Kind != yaml.ScalarNode || n.Value == "" {
		p.mistake(n.Line, n.field, "is %s; write a condition such as age >= 70", describe(n.Node))
		return nil
	}
	if len(n.Value) > maxSource {
		p.mistake(n.Line, n.field, "has %d characters; a condition has at most %d, make it two rules", len(n.Value), maxSource)
		return nil
	}
	terms, err := admit(n.Value)
	if err != nil {
		p.mistake(n.Line, n.field, "%s; docs/rules.md lists what a condition can say", err)
		return nil
	}
	c, err := compileCondition(terms.source, terms.calls("active") || terms.calls("sustained"))
	if err != nil {
		p.mistake(n.Line, n.field, "%s; docs/rules.md lists what a condition can say", err)
		return nil
	}
	for _, kind := range terms.kinds {
		d.dids = append(d.dids, value[string]{v: kind, ok: true, line: n.Line, field: n.field})
	}
	p.checkVaries(n, c, terms)
	return c
}

// checkDids sees to it that activities that conditions ask for are ones that the rules know.
func (p *parser) checkDids(d *setDraft) {
	known := d.Activities()
	for _, did := range d.dids {
		if !slices.Contains(known, did.v) {
			p.mistake(did.line, did.field, "asks for the activity %q, which no rule of the rule set rewards; correct it", did.v)
		}
	}
}

// terms is what a condition is made of.
type terms struct {
	source  string
	names   []string // variables and functions, sorted
	numbers []int    // literals, sorted
	texts   []string // literals, sorted
	kinds   []string // activities asked for with did
}

// calls reports whether the condition uses a variable or a function.
func (t *terms) calls(name string) bool { return slices.Contains(t.names, name) }

// admit parses a condition and lets only what is bounded and documented pass: variables, literals,
// comparisons, arithmetic, and calls of the three functions with literal arguments.
func admit(source string) (*terms, error) {
	tree, err := exprparser.Parse(source)
	if err != nil {
		return nil, exprError(err)
	}
	w := &walker{}
	ast.Walk(&tree.Node, w)
	if w.err != nil {
		return nil, w.err
	}
	t := &w.terms
	t.source = tree.Node.String()
	slices.Sort(t.names)
	slices.Sort(t.numbers)
	slices.Sort(t.texts)
	t.names, t.numbers, t.texts = slices.Compact(t.names), slices.Compact(t.numbers), slices.Compact(t.texts)
	return t, nil
}

// walker collects the terms of a condition and the first thing that is not allowed.
type walker struct {
	terms
	err error
}

var allowedOperators = []string{
	"and", "&&", "or", "||", "not", "!", "==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*", "/", "%", "..",
}

// Visit looks at one node; ast.Walk calls it for each.
func (w *walker) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		if strings.HasPrefix(n.Value, "$") {
			w.refuse("%s cannot be used", n.Value)
		}
		w.names = append(w.names, n.Value)
	case *ast.IntegerNode:
		w.numbers = append(w.numbers, n.Value)
	case *ast.StringNode:
		w.texts = append(w.texts, n.Value)
	case *ast.FloatNode, *ast.BoolNode, *ast.ArrayNode, *ast.ConditionalNode:
	case *ast.UnaryNode:
		w.operator(n.Operator)
	case *ast.BinaryNode:
		w.operator(n.Operator)
		if n.Operator == ".." {
			w.span(n)
		}
	case *ast.CallNode:
		w.call(n)
	default:
		w.refuse("%q is more than a condition can say", fmt.Sprint(n))
	}
}

func (w *walker) refuse(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

func (w *walker) operator(op string) {
	if !slices.Contains(allowedOperators, op) {
		w.refuse("the operator %s cannot be used", op)
	}
}

// span lets a range of few literal numbers pass, which is all that memory is asked for.
func (w *walker) span(n *ast.BinaryNode) {
	from, ok := n.Left.(*ast.IntegerNode)
	to, ok2 := n.Right.(*ast.IntegerNode)
	if !ok || !ok2 || to.Value < from.Value || to.Value-from.Value > maxRange {
		w.refuse("%q is no range of up to %d numbers", fmt.Sprint(n), maxRange)
	}
}

// call checks the arguments of a function: literals, within what can be measured.
func (w *walker) call(n *ast.CallNode) {
	name := fmt.Sprint(n.Callee)
	literal := func(i, most int) {
		v, ok := n.Arguments[i].(*ast.IntegerNode)
		if !ok || v.Value < 1 || v.Value > most {
			w.refuse("%q needs numbers, 1 to %d as number %d", fmt.Sprint(n), most, i+1)
		}
	}
	switch {
	case name == "active" && len(n.Arguments) == 1:
		literal(0, maxCadence)
	case name == "sustained" && len(n.Arguments) == 2:
		literal(0, maxCadence)
		literal(1, maxMinutes)
	case name == "did" && len(n.Arguments) == 1:
		kind, ok := n.Arguments[0].(*ast.StringNode)
		if !ok {
			w.refuse("%q needs the name of an activity in quotes", fmt.Sprint(n))
			return
		}
		w.kinds = append(w.kinds, kind.Value)
	default:
		w.refuse("%q is no function of conditions; there are active(cadence), sustained(cadence, minutes) and did(\"activity\")",
			fmt.Sprint(n))
	}
}

// tries is how many made-up days a condition is tried on before it counts as constant. With the
// literals of the condition among the values tried, that finds rare combinations too. All conditions
// of a file together are tried maxTries times, and then fewTries times each, so that a file full of
// them is read in bounded time; their being constant is then no longer reported.
const (
	tries    = 5000
	fewTries = 50
	maxTries = 200_000
)

// checkVaries tries the condition on made-up days. One that fails on any is refused; one that is
// the same on all is doubted.
func (p *parser) checkVaries(n node, c *Condition, t *terms) {
	trial := newTrial(c, t, p.hasHolidays)
	var holds, fails bool
	enough := p.tried < maxTries
	most := fewTries
	if enough {
		most = tries
	}
	for i := 0; i < most && !(holds && fails); i++ {
		p.tried++
		trial.draw()
		ok, err := c.eval(trial.run)
		if err != nil {
			p.mistake(n.Line, n.field, "fails on a day with %s: %s; exclude such days first, such as with age > 0 and …",
				trial.day(), err)
			return
		}
		holds, fails = holds || ok, fails || !ok
	}
	switch {
	case len(t.names) == 0:
		p.mistake(n.Line, n.field, "depends on nothing; leave it out, or remove the rule")
	case !enough:
	case !fails:
		p.doubt(n.Line, n.field, "holds on every day tried; leave it out, or correct it")
	case !holds:
		p.doubt(n.Line, n.field, "holds on no day tried, so the rule earns nothing; correct it")
	}
}

// trial draws made-up days. It is deterministic: the same file has the same findings.
type trial struct {
	run      *conditionRun
	terms    *terms
	rand     *rand.Rand
	holidays bool
}

func newTrial(c *Condition, t *terms, holidays bool) *trial {
	tr := &trial{run: c.runs.New().(*conditionRun), terms: t, rand: rand.New(rand.NewPCG(1, 2)), holidays: holidays}
	env := &tr.run.env
	env.Active = func(int) int { return tr.number(0, 120) }
	env.Sustained = func(int, int) int { return tr.number(0, 120) }
	env.Did = func(string) int { return tr.number(0, 2) }
	return tr
}

// number draws from a range, every other time from the literals of the condition and their
// neighbours.
func (tr *trial) number(low, high int) int {
	if n := len(tr.terms.numbers); n > 0 && tr.rand.IntN(2) == 0 {
		v := tr.terms.numbers[tr.rand.IntN(n)] + tr.rand.IntN(3) - 1
		if v >= low && v <= high {
			return v
		}
	}
	return low + tr.rand.IntN(high-low+1)
}

func (tr *trial) draw() {
	env := &tr.run.env
	env.Age = tr.number(UnknownAge, 110)
	env.Year, env.Month, env.Day = tr.number(2000, 2100), tr.number(1, 12), tr.number(1, 31)
	env.Weekday = tr.number(1, 7)
	env.Holiday = tr.holidays && tr.rand.IntN(2) == 0
	env.Steps, env.Baseline = tr.number(0, 100_000), tr.number(-1, 20_000)
	env.Sent = tr.rand.IntN(2) == 0
	env.Cohort = ""
	if n := len(tr.terms.texts); n > 0 && tr.rand.IntN(2) == 0 {
		env.Cohort = tr.terms.texts[tr.rand.IntN(n)]
	}
}

// day describes the day drawn by what the condition looks at.
func (tr *trial) day() string {
	env := &tr.run.env
	var parts []string
	for _, v := range []struct {
		name  string
		value any
	}{
		{"age", env.Age}, {"cohort", env.Cohort}, {"year", env.Year}, {"month", env.Month}, {"day", env.Day},
		{"weekday", env.Weekday}, {"holiday", env.Holiday}, {"steps", env.Steps}, {"sent", env.Sent},
		{"baseline", env.Baseline},
	} {
		if tr.terms.calls(v.name) {
			parts = append(parts, fmt.Sprintf("%s %v", v.name, v.value))
		}
	}
	if len(parts) == 0 {
		return "other minutes or activities"
	}
	return strings.Join(parts, ", ")
}
