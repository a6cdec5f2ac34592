package points

import (
	"ayumi/steps"
)

// DayScore is what a day earned and why. Points is the sum of the lines' Points.
type DayScore struct {
	Day      steps.Day    `json:"day"`
	RuleSet  string       `json:"rule_set"` // ID of the rule set in force, "" if none was
	Points   steps.Points `json:"points"`
	Excluded Exclusion    `json:"excluded,omitzero"` // why the day, or its steps, could earn nothing
	Counted  uint64       `json:"counted_steps"`     // the steps that counted
	Lines    []Line       `json:"lines,omitempty"`   // nil unless they were asked for; by rising Rule
}

// Line is what one rule gave for one day, or would have but for caps.
type Line struct {
	Rule      int          `json:"rule"` // index into RuleSet.Rules
	Kind      Kind         `json:"kind"`
	Name      string       `json:"name"`
	Points    steps.Points `json:"points"`
	Before    steps.Points `json:"before_caps"`
	Cap       Cap          `json:"cap,omitzero"` // the cap that cut it, if Points is less than Before
	Band      int          `json:"band"`         // index into Table.Bands; -1 where there is no table
	Tier      int          `json:"tier"`         // index into Band.Tiers; -1 where there are no tiers
	Threshold uint64       `json:"threshold"`    // what Figure had to reach; of a rate, what earns once
	Figure    uint64       `json:"figure"`       // what it was computed from
	Unit      Unit         `json:"unit"`         // of Figure and Threshold
}

// Unit says what a figure counts. The numbers are stored with explanations and never change.
type Unit uint8

const (
	UnitSteps   Unit = 1
	UnitMinutes Unit = 2
	UnitDays    Unit = 3
	UnitTimes   Unit = 4
)

// String returns the unit's name.
func (u Unit) String() string {
	return [...]string{"", "steps", "minutes", "days", "times"}[min(u, UnitTimes)]
}

// MarshalText writes the unit's name.
func (u Unit) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// Step folds the next day into the state and returns its score without lines. Days must rise; the
// days left out between are days without steps, sendings or activities, and cost nothing. It
// allocates nothing unless a rule of the day has a condition or something fails.
//
// When a day's minutes cannot be read, or a condition cannot be evaluated, it fails with an error
// that names rule and day (the kind of the cause, or Invalid) and leaves the state as it was.
func (b *RuleBook) Step(st *State, f *Facts, p *Person) (DayScore, error) {
	score, _, err := b.step(st, f, p, nil, nil)
	return score, err
}

// Explain does what Step does and returns the lines too.
func (b *RuleBook) Explain(st *State, f *Facts, p *Person) (DayScore, error) {
	score, _, err := b.step(st, f, p, make([]Line, 0, 8), nil)
	return score, err
}

// NeedsMinutes reports whether the rules in force on day may ask for a day's minutes.
func (b *RuleBook) NeedsMinutes(day steps.Day) bool {
	set, ok := b.On(day)
	if !ok {
		return false
	}
	for i := range set.Rules {
		r := &set.Rules[i]
		if r.Kind == KindActiveMinutes || r.Kind == KindSustainedWalking || r.When != nil && r.When.minutes {
			return true
		}
	}
	return false
}

// eval is the scoring of one day.
type eval struct {
	book   *RuleBook
	set    *RuleSet
	st     State // becomes the caller's when the day is done
	before State // the day's rules
	facts  *Facts
	person *Person
	passed int // days since the one before

	steps   uint64          // that may earn: 0 on a day that no sending covers
	counted uint64          // of them, up to MaxCountedSteps
	age     int             // valid if aged
	aged    bool            // age was looked up
	minutes []uint32        // valid if read
	read    bool            // minutes were read
	capped  steps.Points    // granted today under the rule set's caps
	reached [maxRules]int32 // by rule, 1 more than the index of the tier reached today
	paid    uint32          // by rule, a bit each: a bonus was paid
	parts   []byte          // what later days depend on, encoded; nil if nobody asked
	free    steps.Points    // granted under no cap of the rule set, where there are such caps
	score   DayScore
}

// earned is what a rule gives before caps.
type earned struct {
	points            steps.Points
	band, tier        int
	threshold, figure uint64
	unit              Unit
}

// step folds a day in and appends the parts of its score to parts, unless that is nil.
func (b *RuleBook) step(st *State, f *Facts, p *Person, lines []Line, parts []byte) (DayScore, []byte, error) {
	if f.Day <= st.last {
		return DayScore{}, parts, steps.Errorf("score day", steps.Internal,
			"%s comes after %s; fold days in rising order", f.Day, st.last)
	}
	e := eval{book: b, st: *st, facts: f, person: p, parts: parts}
	e.score = DayScore{Day: f.Day, Lines: lines}
	e.passed = b.advance(&e.st, f.Day)
	e.before = e.st
	if e.st.set >= 0 {
		e.set = &b.sets[e.st.set]
		e.score.RuleSet = e.set.id
	}
	e.score.Excluded = e.exclusion()
	err := e.rules()
	if err == nil && f.Closed {
		err = e.keep()
	}
	if err != nil {
		return DayScore{}, parts, err
	}
	if e.free > 0 {
		e.parts = appendPart(e.parts, &part{points: e.free, used: uint64(e.capped)}) //nolint:gosec // not negative
	}
	*st = e.st
	return e.score, e.parts, nil
}

// rules lets each rule earn, in their order.
func (e *eval) rules() error {
	if e.set == nil {
		return nil
	}
	if e.score.Excluded == 0 {
		e.steps = e.facts.Steps
		e.counted = e.steps
		if most := e.set.MaxCountedSteps; most > 0 {
			e.counted = min(e.counted, most)
		}
		e.score.Counted = e.counted
	}
	for i := range e.set.Rules {
		r := &e.set.Rules[i]
		holds, err := false, error(nil)
		if !e.score.Excluded.whole() {
			holds, err = e.holds(r)
		}
		if err != nil {
			return err
		}
		if !holds {
			e.passOver(r)
			continue
		}
		got, err := e.earn(i, r)
		if err != nil {
			return err
		}
		granted := steps.Points(0)
		if got.points > 0 {
			granted = e.enter(i, r, &got)
		}
		e.note(i, r, granted)
	}
	return nil
}

// enter grants what a rule earned and writes its line.
func (e *eval) enter(i int, r *Rule, got *earned) (granted steps.Points) {
	granted, cut := e.grant(r, got.points)
	e.score.Points += granted
	if r.goals() {
		e.paid |= 1 << i
	}
	if e.score.Lines == nil {
		return granted
	}
	e.score.Lines = append(e.score.Lines, Line{
		Rule: i, Kind: r.Kind, Name: r.Name, Points: granted, Before: got.points, Cap: cut,
		Band: got.band, Tier: got.tier, Threshold: got.threshold, Figure: got.figure, Unit: got.unit,
	})
	return granted
}

// earn returns what a rule gives for the day before caps.
func (e *eval) earn(i int, r *Rule) (got earned, err error) {
	got = earned{band: -1, tier: -1}
	switch r.Kind {
	case KindSteps:
		e.table(r, &got, e.counted, UnitSteps)
	case KindActiveMinutes, KindSustainedWalking:
		err = e.walking(r, &got)
	case KindPersonalGoal:
		e.personalGoal(r, &got)
	case KindStreak:
		e.streak(r, &got)
	case KindGoalDays:
		e.goalDays(r, &got)
	case KindSending:
		e.sending(r, &got)
	case KindActivity:
		e.activity(r, &got)
	}
	e.reached[i] = int32(got.tier + 1)
	return got, err
}

// passOver keeps the counts of a rule that does not take part today: the day is one that does not
// reach a goal.
func (e *eval) passOver(r *Rule) {
	switch r.Kind {
	case KindStreak:
		e.streakDay(r, false)
	case KindGoalDays:
		e.goalDay(r, false)
	}
}

// ageToday returns the person's age, computed once a day and only if a rule asks.
func (e *eval) ageToday() int {
	if !e.aged {
		e.age, e.aged = e.person.Age(e.facts.Day), true
	}
	return e.age
}
