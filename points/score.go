package points

import (
	"time"

	"ayumi/steps"
)

// UnknownAge stands for the age of a participant whose date of birth is not known.
const UnknownAge = -1

// Score is what a day earned and why.
type Score struct {
	Points  steps.Points
	Band    int    // index into RuleSet.Bands; -1 if the rule set has none
	Tier    int    // index into Band.Tiers of the tier reached; -1 if none was
	Capped  bool   // the tier gives more than DailyCap, and Points is the cap
	Counted uint64 // the steps that counted: all of them, or MaxCountedSteps
}

// Score returns what a day of that many steps earns at that age; a negative age is unknown and
// takes the default band. It reads nothing but its arguments and s, and allocates nothing.
func (s *RuleSet) Score(steps uint64, age int) Score {
	score := Score{Band: s.band(age), Tier: -1, Counted: steps}
	if s.MaxCountedSteps > 0 {
		score.Counted = min(steps, s.MaxCountedSteps)
	}
	if score.Band < 0 {
		return score
	}
	tiers := s.Bands[score.Band].Tiers
	for i := len(tiers) - 1; i >= 0; i-- {
		if tiers[i].Steps <= score.Counted {
			score.Tier, score.Points = i, tiers[i].Points
			break
		}
	}
	if s.DailyCap > 0 && score.Points > s.DailyCap {
		score.Points, score.Capped = s.DailyCap, true
	}
	return score
}

func (s *RuleSet) band(age int) int {
	for i := range s.Bands {
		b := &s.Bands[i]
		if age < 0 && b.Default || age >= 0 && b.From <= age && age <= b.To {
			return i
		}
	}
	return -1
}

// Age returns the age in full years on a day by the calendar birthday, as municipal tables use it,
// and UnknownAge for a day before birth.
//
// In law (年齢計算ニ関スル法律, Act No. 50 of 1902, with Civil Code art. 143) a year of age is
// attained at the end of the day before the birthday. Counted in whole days that is the birthday
// itself, which is what Age returns. A person born on 29 February attains it at the end of
// 28 February, so in common years the first day of the new age is 1 March.
func Age(born, on steps.Day) int {
	if on < born {
		return UnknownAge
	}
	by, bm, bd := born.Date()
	y, m, d := on.Date()
	age := y - by
	if before(m, d, bm, bd) {
		age--
	}
	return age
}

// before reports whether the date m/d comes earlier in the year than n/e. 1 March does not come
// before 29 February, 28 February does.
func before(m time.Month, d int, n time.Month, e int) bool {
	return m < n || m == n && d < e
}
