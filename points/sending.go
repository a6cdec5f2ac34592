package points

import "ayumi/steps"

// sending pays for a calendar day on which something was sent, once however often.
func (e *eval) sending(r *Rule, got *earned) {
	if !e.facts.Sent {
		return
	}
	got.points, got.unit, got.threshold, got.figure = r.Points, UnitTimes, 1, 1
}

// covered reports whether a sending covers the day, or may still. A sending covers SendWithin days,
// its own the last; until so many days are known to have passed without one, the day counts.
func (s *RuleSet) covered(f *Facts) bool {
	if s.SendWithin == 0 {
		return true
	}
	last := f.Day + steps.Day(s.SendWithin) - 1
	if f.Sent {
		return true
	}
	if f.NextSent != 0 {
		return f.NextSent <= last
	}
	return f.SentUntil < last
}

// Covers returns the days whose score may change when something is sent on a calendar day: those
// that the sending covers under the rules in force on it, and the day itself.
func (b *RuleBook) Covers(sent steps.Day) steps.DayRange {
	r := steps.DayRange{From: sent, Until: sent}
	for i := range b.sets {
		if within := b.sets[i].SendWithin; within > 0 {
			r.From = min(r.From, sent-steps.Day(within)+1)
		}
	}
	return r
}
