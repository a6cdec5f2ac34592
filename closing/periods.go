package closing

import (
	"slices"
	"strconv"
	"time"

	"ayumi/points"
	"ayumi/steps"
)

// MaxFinalAfter bounds how many days a day can stay open, as the rules do.
const MaxFinalAfter = 400

// Periods is the programme's calendar of points: which point period a day belongs to, and until when
// its data change. Its methods may be called concurrently.
type Periods struct {
	rules func() *points.RuleBook // that are in force
	after steps.Day
}

// NewPeriods takes the periods of the rule book that rules returns, each time anew. finalAfter is for how
// many days after it a day stays open; 0 is what its rule set says, and more than [MaxFinalAfter] is
// Invalid. Neither reaches beyond the grace of the day's period.
func NewPeriods(rules func() *points.RuleBook, finalAfter int) (*Periods, error) {
	if finalAfter < 0 || finalAfter > MaxFinalAfter {
		return nil, steps.Errorf("set up point periods", steps.Invalid,
			"days are final after %d days; give 1 to %d, or 0 for what the rules say", finalAfter, MaxFinalAfter)
	}
	return &Periods{rules: rules, after: steps.Day(finalAfter)}, nil //nolint:gosec // within bounds
}

// Of returns the period into which a day's points go. Days that the rules put into none go into their
// fiscal year, from April to March, whose points do not expire: "2026" begins on 2026-04-01.
func (p *Periods) Of(day steps.Day) steps.Period {
	if in, ok := p.rules().Period(day); ok {
		return ofRules(&in)
	}
	return fiscalYear(day)
}

func ofRules(p *points.Period) steps.Period {
	return steps.Period{ID: steps.PeriodID(p.ID), Days: steps.DayRange{From: p.From, Until: p.Until}, Expires: p.Expires}
}

func fiscalYear(day steps.Day) steps.Period {
	year, month, _ := day.Date()
	if month < time.April {
		year--
	}
	return steps.Period{
		ID:   steps.PeriodID(strconv.Itoa(year)),
		Days: steps.DayRange{From: steps.DateDay(year, time.April, 1), Until: steps.DateDay(year+1, time.March, 31)},
	}
}

// firstYear is that of the oldest day whose points can be spent. There were no such programmes before.
const firstYear = 2000

// Until returns all periods that begin by the given day, by rising date: those of the rules, and the fiscal
// years, which may hold points from before the rules had periods.
func (p *Periods) Until(day steps.Day) []steps.Period {
	first := steps.DateDay(firstYear, time.April, 1)
	var all []steps.Period
	for _, in := range p.rules().Periods(steps.DayRange{From: first, Until: max(first, day)}) {
		all = append(all, ofRules(&in))
	}
	for d := first; d <= day; {
		year := fiscalYear(d)
		all = append(all, year)
		d = year.Days.Until + 1
	}
	slices.SortStableFunc(all, func(a, b steps.Period) int { return int(a.Days.From - b.Days.From) })
	return all
}

// OpenUntil returns the last calendar day on which late data of day change its points.
func (p *Periods) OpenUntil(day steps.Day) steps.Day {
	if p.after == 0 {
		d := p.rules().Deadlines(day)
		return max(day, d.Steps, d.Activities)
	}
	last := day + p.after
	if in, ok := p.rules().Period(day); ok {
		last = min(last, max(in.StepsBy, in.ActivitiesBy))
	}
	return last
}
