package points

import "ayumi/steps"

// Score is what a day's steps earn by themselves.
type Score struct {
	Points  steps.Points
	Band    int    // index into Table.Bands of the first rule for steps; -1 if there is none
	Tier    int    // index into Band.Tiers of the tier reached; -1 if none was
	Capped  bool   // a cap on a day cut the points
	Counted uint64 // the steps that counted: all of them, or MaxCountedSteps
}

// Score returns what a day of that many steps earns at that age, and without a cohort, by the rules
// for steps that have no condition, under the caps on a day. A negative age is unknown. It knows
// no other day, so caps and counts over longer spans are left out: RuleBook.Step has them.
func (s *RuleSet) Score(steps uint64, age int) Score {
	score := Score{Band: -1, Tier: -1, Counted: steps}
	if s.MaxCountedSteps > 0 {
		score.Counted = min(steps, s.MaxCountedSteps)
	}
	for i := range s.Rules {
		r := &s.Rules[i]
		if r.Kind != KindSteps || r.When != nil {
			continue
		}
		band, tier, points := r.Table.daily(score.Counted, age)
		if score.Band < 0 {
			score.Band, score.Tier = band, tier
		}
		if most := r.Caps[DaySpan]; most > 0 && points > most {
			points, score.Capped = most, true
		}
		score.Points += points
	}
	if most := s.Caps[DaySpan]; most > 0 && score.Points > most {
		score.Points, score.Capped = most, true
	}
	return score
}

// daily looks a figure up without regard to other days.
func (t *Table) daily(figure uint64, age int) (band, tier int, points steps.Points) {
	if t.Cohorts {
		band = t.ofCohort("")
	} else {
		band = t.byAge(age)
	}
	b := &t.Bands[band]
	if b.Rate.Per > 0 {
		return band, -1, b.Rate.of(figure / b.Rate.Per)
	}
	tier, points = b.reach(figure)
	return band, tier, points
}
