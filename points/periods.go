package points

import (
	"ayumi/steps"
)

// Period is a stretch of days whose points belong together: one draw, one exchange, one expiry.
type Period struct {
	ID            string       // "name@from", such as "spring@2026-04-01"
	Name          string       // as the rules name it
	From, Until   steps.Day    // both included
	StepsBy       steps.Day    // the last day on which steps of the period are accepted
	ActivitiesBy  steps.Day    // the same for activities
	Expires       steps.Day    // the last day on which its points are good; 0 is never ending
	Threshold     steps.Points // points that qualify for the draw or the prize; 0 if none are needed
	PointsAnEntry steps.Points // points of each entry in the draw; 0 is one entry a person
}

// Entries returns how many entries in the draw so many points of the period give.
func (p *Period) Entries(points steps.Points) int {
	switch {
	case points <= 0 || points < p.Threshold:
		return 0
	case p.PointsAnEntry > 0:
		return int(points / p.PointsAnEntry)
	}
	return 1
}

// periodRule is a period as the rules give it: with dates, or with days of every year.
type periodRule struct {
	Name          string
	From, Until   date
	Grace         date         `json:"-"` // the last day for late steps; zero is Until
	ActivityGrace date         `json:"-"`
	Expires       date         `json:"-"`
	Threshold     steps.Points `json:"-"`
	PointsAnEntry steps.Points `json:"-"`
}

// near returns the days of the period that contains day, or else of the next one after it, and
// false if there is none.
func (r *periodRule) near(day steps.Day) (from, until steps.Day, ok bool) {
	if r.From.Year != 0 {
		from, until = r.From.in(r.From.Year), r.Until.in(r.Until.Year)
		return from, until, until >= day
	}
	y, _, _ := day.Date()
	for y--; ; y++ { // the period that began the year before may reach into this one
		from = r.From.in(y)
		if until = r.Until.from(from); until >= day {
			return from, until, true
		}
	}
}

// stretch reports whether day lies in a period, and until when that stays so.
func (b *RuleBook) stretch(day steps.Day) (in bool, end steps.Day) {
	end = noEnd
	for i := range b.periods {
		from, until, ok := b.periods[i].near(day)
		switch {
		case !ok:
		case from <= day:
			return true, until
		default:
			end = min(end, from-1)
		}
	}
	return false, end
}

// inPeriod reports whether the day lies in a period.
func (e *eval) inPeriod() bool { return e.st.inPeriod }

// Period returns the point period that day lies in, and false if it lies in none.
func (b *RuleBook) Period(day steps.Day) (Period, bool) {
	for i := range b.periods {
		r := &b.periods[i]
		if from, until, ok := r.near(day); ok && from <= day {
			return r.period(from, until), true
		}
	}
	return Period{}, false
}

// Periods returns the periods that share a day with r, by rising date. r must not be open.
func (b *RuleBook) Periods(r steps.DayRange) []Period {
	var out []Period
	for day := r.From; day <= r.Until; {
		in, end := b.stretch(day)
		if in {
			p, _ := b.Period(day)
			out = append(out, p)
		}
		if end == noEnd {
			break
		}
		day = end + 1
	}
	return out
}

func (r *periodRule) period(from, until steps.Day) Period {
	p := Period{
		ID: r.Name + "@" + from.String(), Name: r.Name, From: from, Until: until,
		StepsBy: until, ActivitiesBy: until, Threshold: r.Threshold, PointsAnEntry: r.PointsAnEntry,
	}
	if !r.Grace.isZero() {
		p.StepsBy = r.Grace.from(until)
	}
	if !r.ActivityGrace.isZero() {
		p.ActivitiesBy = r.ActivityGrace.from(until)
	}
	if !r.Expires.isZero() {
		p.Expires = r.Expires.from(until)
	}
	return p
}

// Deadlines are the last calendar days on which late data of a day still change its points.
type Deadlines struct {
	Steps      steps.Day
	Activities steps.Day
}

// Deadlines returns until when late data of day are accepted: for as many days as the rule set in
// force allows (FinalAfter), but not beyond the end, or the grace, of the day's period.
func (b *RuleBook) Deadlines(day steps.Day) Deadlines {
	after := steps.Day(defaultFinalAfter)
	if set, ok := b.On(day); ok {
		after = steps.Day(set.FinalAfter)
	}
	d := Deadlines{Steps: day + after, Activities: day + after}
	if p, ok := b.Period(day); ok {
		d.Steps, d.Activities = min(d.Steps, p.StepsBy), min(d.Activities, p.ActivitiesBy)
	}
	return d
}

// defaultFinalAfter is the FinalAfter of a rule set that gives none: phones were seen to raise their
// counts for about 5 days.
const defaultFinalAfter = 7
