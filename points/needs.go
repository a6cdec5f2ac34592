package points

import "strings"

// needs are the facts that a rule book asks for besides steps.
type needs struct {
	activities bool
	sendings   bool // on which days something was sent
	sent       bool // a day on which something was sent may earn without steps
	duty       int  // days that a sending covers at most, 0 without a sending duty
	past       bool // a day's points may depend on other days
	baseline   *Baseline
}

func needsOf(b *RuleBook) (n needs) {
	for i := range b.sets {
		s := &b.sets[i]
		n.duty = max(n.duty, s.SendWithin)
		if n.baseline == nil {
			n.baseline = s.Baseline
		}
		n.past = n.past || s.Baseline != nil
		for j := range s.Rules {
			r := &s.Rules[j]
			n.activities = n.activities || r.Kind == KindActivity || r.When.mentions("did")
			n.sent = n.sent || r.Kind == KindSending || r.When.mentions("sent")
		}
	}
	n.sendings = n.sent || n.duty > 0
	for i := range b.groups {
		g := &b.groups[i]
		n.past = n.past || g.open
		for span := WeekSpan; span <= PeriodSpan; span++ {
			n.past = n.past || g.facts[span] || g.caps[span]
		}
	}
	return n
}

// mentions reports whether a condition may use a name; it may say so of one that does not.
func (c *Condition) mentions(name string) bool { return c != nil && strings.Contains(c.source, name) }
