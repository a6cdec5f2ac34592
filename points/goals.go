package points

import (
	"slices"

	"ayumi/steps"
)

// Baseline says how a person's steps before the programme are measured: over the first days of
// being enrolled, or over fixed days. Personal goals are held against it from the day after.
type Baseline struct {
	FirstDays int            `json:",omitzero"` // days from the first day of the first enrolment; 0 is Days
	Days      steps.DayRange `json:",omitzero"` // fixed days
	Take      Average
	LeastDays int    // days with LeastSteps that it needs
	LeastStep uint64 // steps that make a day count; the others are taken for days without a pedometer
}

// Average says how days become one figure.
type Average uint8

const (
	Mean   Average = 1 // rounded down to whole steps
	Median Average = 2 // of an even number the mean of the middle two, rounded down
)

// averageKeys are the words for averages in a rules file, by Average.
var averageKeys = [...]string{Mean: "mean", Median: "median"}

// Window returns the days that the person's baseline is measured over, and false if the person was
// never enrolled and the baseline asks for it.
func (b *Baseline) Window(p *Person) (steps.DayRange, bool) {
	if b.FirstDays == 0 {
		return b.Days, true
	}
	if len(p.Enrolled) == 0 {
		return steps.DayRange{}, false
	}
	first := p.Enrolled[0].From
	for _, r := range p.Enrolled[1:] {
		first = min(first, r.From)
	}
	return steps.DayRange{From: first, Until: first + steps.Day(b.FirstDays) - 1}, true
}

// Measure returns the baseline that merged day totals give, in any order; days without steps may be
// left out. It is not known if too few days count.
func (b *Baseline) Measure(window steps.DayRange, totals []uint64) PersonalBaseline {
	var days []uint64
	var sum uint64
	for _, n := range totals {
		if n >= b.LeastStep {
			days = append(days, n)
			sum += n
		}
	}
	if len(days) < b.LeastDays {
		return PersonalBaseline{}
	}
	out := PersonalBaseline{Known: true, Steps: sum / uint64(len(days)), From: window.Until + 1}
	if b.Take == Median {
		slices.Sort(days)
		mid := len(days) / 2
		if out.Steps = days[mid]; len(days)%2 == 0 {
			out.Steps = (days[mid-1] + days[mid]) / 2
		}
	}
	return out
}

// personalGoal compares the day's steps with goals above the person's baseline. Without a baseline,
// and before it counts, nothing is reached.
func (e *eval) personalGoal(r *Rule, got *earned) {
	base := &e.person.Baseline
	if !base.Known || e.facts.Day < base.From {
		return
	}
	got.band, got.figure, got.unit = e.band(&r.Table), e.counted, UnitSteps
	tiers := r.Table.Bands[got.band].Tiers
	for i := len(tiers) - 1; i >= 0; i-- {
		if goal := r.Table.Of.goal(base.Steps, tiers[i].At); e.counted >= goal {
			got.tier, got.points, got.threshold = i, tiers[i].Points, goal
			return
		}
	}
}

// goal returns the steps that are so far above a baseline, rounded up, and at least 1: a day
// without steps reaches no goal.
func (m Measure) goal(baseline, above uint64) uint64 {
	baseline = min(baseline, maxRated)
	if m == OfPercentAbove {
		above = (baseline*above + 99) / 100
	}
	return max(baseline+above, 1)
}
