package points

import (
	"errors"
	"math"
	"sync"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"

	"ayumi/steps"
)

// Condition is the `when` of a rule: an expression in github.com/expr-lang/expr's language that is
// checked and compiled when the rules are read. It is safe for concurrent use.
//
// What it can say is bounded, so that its time and memory are too: at most maxSource bytes and
// maxExprNodes parts, no loops, no functions but active, sustained and did, no ranges of more than
// maxRange numbers.
type Condition struct {
	source  string // normalised: the same for every layout
	program *vm.Program
	minutes bool      // it asks for the day's minutes
	runs    sync.Pool // of *conditionRun
}

const (
	maxSource    = 500
	maxExprNodes = 100
	maxRange     = 400
	memoryBudget = 10_000 // elements that an evaluation may create
)

// String returns the condition in a normalised form.
func (c *Condition) String() string { return c.source }

// MarshalText writes what String returns.
func (c *Condition) MarshalText() ([]byte, error) { return []byte(c.source), nil }

// conditionEnv is what a condition can refer to. docs/rules.md explains each name.
type conditionEnv struct {
	Age      int    `expr:"age"`
	Cohort   string `expr:"cohort"`
	Year     int    `expr:"year"`
	Month    int    `expr:"month"`
	Day      int    `expr:"day"`
	Weekday  int    `expr:"weekday"`
	Holiday  bool   `expr:"holiday"`
	Steps    int    `expr:"steps"`
	Sent     bool   `expr:"sent"`
	Baseline int    `expr:"baseline"`

	Monday    int `expr:"monday"`
	Tuesday   int `expr:"tuesday"`
	Wednesday int `expr:"wednesday"`
	Thursday  int `expr:"thursday"`
	Friday    int `expr:"friday"`
	Saturday  int `expr:"saturday"`
	Sunday    int `expr:"sunday"`

	Active    func(cadence int) int          `expr:"active"`
	Sustained func(cadence, minutes int) int `expr:"sustained"`
	Did       func(kind string) int          `expr:"did"`
}

// conditionRun is what one evaluation needs, kept for the next.
type conditionRun struct {
	vm         vm.VM
	env        conditionEnv
	minutes    []uint32
	activities []Activity
}

func newConditionRun() any {
	run := &conditionRun{vm: vm.VM{MemoryBudget: memoryBudget}}
	e := &run.env
	e.Monday, e.Tuesday, e.Wednesday, e.Thursday, e.Friday, e.Saturday, e.Sunday = 1, 2, 3, 4, 5, 6, 7
	e.Active = func(cadence int) int { return int(activeMinutes(run.minutes, uint32(cadence))) }
	e.Sustained = func(cadence, minutes int) int {
		long, _ := sustained(run.minutes, uint32(cadence), minutes)
		return int(long)
	}
	e.Did = func(kind string) (times int) {
		for _, a := range run.activities {
			if a.Kind == kind && a.Times > 0 {
				times += min(a.Times, maxTimes)
			}
		}
		return times
	}
	return run
}

// compile checks and compiles what admit let pass.
func compileCondition(source string, minutes bool) (*Condition, error) {
	program, err := expr.Compile(source, expr.Env(conditionEnv{}), expr.AsBool(), expr.DisableAllBuiltins(),
		expr.MaxNodes(maxExprNodes))
	if err != nil {
		return nil, exprError(err)
	}
	c := &Condition{source: source, program: program, minutes: minutes}
	c.runs.New = newConditionRun
	return c, nil
}

// exprError returns the message of an error of the expr package without its drawing of the place.
func exprError(err error) error {
	var at *file.Error
	if errors.As(err, &at) {
		return errors.New(at.Message)
	}
	return err
}

// holds evaluates a rule's condition for the day. A rule without one always holds.
func (e *eval) holds(r *Rule) (bool, error) {
	c := r.When
	if c == nil {
		return true, nil
	}
	var minutes []uint32
	if c.minutes {
		var err error
		if minutes, err = e.theMinutes(r); err != nil {
			return false, err
		}
	}
	run := c.runs.Get().(*conditionRun)
	defer c.runs.Put(run)
	run.minutes, run.activities = minutes, e.facts.Activities
	defer func() { run.minutes, run.activities = nil, nil }()
	e.describe(&run.env)
	holds, err := c.eval(run)
	if err != nil {
		return false, e.fault(r, steps.Invalid, err)
	}
	return holds, nil
}

func (c *Condition) eval(run *conditionRun) (bool, error) {
	out, err := run.vm.Run(c.program, &run.env)
	if err != nil {
		return false, exprError(err)
	}
	return out.(bool), nil
}

// describe writes the day into a condition's environment.
func (e *eval) describe(env *conditionEnv) {
	day := e.facts.Day
	y, m, d := day.Date()
	env.Year, env.Month, env.Day, env.Weekday = y, int(m), d, isoWeekday(day)
	env.Holiday = e.book.holiday(day)
	env.Age, env.Cohort = e.ageToday(), e.person.Cohort
	env.Steps, env.Sent = clampInt(e.steps), e.facts.Sent
	env.Baseline = -1
	if base := &e.person.Baseline; base.Known && day >= base.From {
		env.Baseline = clampInt(base.Steps)
	}
}

// isoWeekday returns 1 for Monday to 7 for Sunday.
func isoWeekday(d steps.Day) int {
	if w := weekday(d); w != time.Sunday {
		return int(w)
	}
	return 7
}

func clampInt(n uint64) int { return int(min(n, math.MaxInt)) }
