package points

import (
	"cmp"

	"ayumi/steps"
)

// setDraft is a rule set with what is needed to read and check its rules.
type setDraft struct {
	RuleSet
	node
	effective value[steps.Day]
	caps      [spanCount]value[uint64]
	dids      []value[string] // activities that conditions ask for
}

// setCapKeys are the keys of a rule set's caps, by Span.
var setCapKeys = [spanCount]string{
	DaySpan: "daily_cap", WeekSpan: "weekly_cap", MonthSpan: "monthly_cap", YearSpan: "yearly_cap", PeriodSpan: "period_cap",
}

func (p *parser) ruleSet(n node) (RuleSet, value[steps.Day]) {
	d := setDraft{node: n, RuleSet: RuleSet{FinalAfter: defaultFinalAfter}}
	keys, ok := p.object(n, "effective", "max_counted_steps",
		"daily_cap", "weekly_cap", "monthly_cap", "yearly_cap", "period_cap", "allow_decreasing",
		"send_at_least_every", "final_after_days", "eligibility", "baseline", "bands", "rules")
	if !ok {
		return d.RuleSet, d.effective
	}
	if v, ok := p.required(n, keys, "effective", "write the first day the rule set applies to"); ok {
		d.effective = p.day(v)
		d.Effective = d.effective.v
	}
	if v, ok := keys["max_counted_steps"]; ok {
		d.MaxCountedSteps = p.number(v, 1, maxSteps).v
	}
	d.caps = p.caps(keys, setCapKeys)
	for span := range d.caps {
		d.Caps[span] = steps.Points(d.caps[span].v)
	}
	if v, ok := keys["allow_decreasing"]; ok {
		d.AllowDecreasing = p.boolean(v).v
	}
	p.norms(&d, keys)
	if v, ok := keys["eligibility"]; ok {
		d.Eligibility = p.eligibility(v)
	}
	if v, ok := keys["baseline"]; ok {
		d.Baseline = p.baseline(v)
	}
	p.earning(&d, keys)
	return d.RuleSet, d.effective
}

// norms reads when things have to be sent and until when they may come.
func (p *parser) norms(d *setDraft, keys map[string]node) {
	if v, ok := keys["send_at_least_every"]; ok {
		d.SendWithin = int(p.number(v, 1, maxNorm).v)
	}
	v, ok := keys["final_after_days"]
	if ok {
		if days := p.number(v, 0, maxNorm); days.ok {
			d.FinalAfter = int(days.v)
		}
	} else {
		v = keys["send_at_least_every"]
	}
	if d.SendWithin > 0 && d.FinalAfter < d.SendWithin-1 {
		p.doubt(v.Line, v.field, "a day is final %d days after it, before its %d days to send are over; write final_after_days: %d or more",
			d.FinalAfter, d.SendWithin, d.SendWithin-1)
	}
}

// maxNorm is the most days that a norm can speak of.
const maxNorm = 400

// earning reads the bands and rules of a rule set.
func (p *parser) earning(d *setDraft, keys map[string]node) {
	bands, rules := hasKey(d.Node, "bands"), hasKey(d.Node, "rules")
	if !bands && !rules {
		p.mistake(d.Line, join(d.field, "bands"), "is missing; give at least one band, or rules")
		return
	}
	if bands {
		// The rule is there even if its bands cannot be read, so that goals may refer to it.
		r := Rule{Name: "steps", Kind: KindSteps, Table: Table{Of: OfSteps}}
		if v, ok := keys["bands"]; ok {
			p.bands(v, &r.Table, p.stepsTable(d, d.limit(&r)))
		}
		d.Rules = append(d.Rules, r)
	}
	if v, ok := keys["rules"]; ok {
		p.rules(v, d)
	}
	if n := d.layOut(); n > maxSlots {
		p.mistake(d.Line, d.field,
			"the rules need %d counters for weeks, months, years, periods and streaks, of %d that there are; use fewer such caps and counts",
			n, maxSlots)
		d.slots = nil
	}
	p.checkDids(d)
}

// caps reads caps under the keys of their spans.
func (p *parser) caps(keys map[string]node, names [spanCount]string) (caps [spanCount]value[uint64]) {
	var below value[uint64] // the cap of the shorter span
	var name string
	for span := DaySpan; span <= PeriodSpan; span++ {
		n, ok := keys[names[span]]
		if !ok {
			continue
		}
		p.spanned(n, span)
		v := p.number(n, 1, maxPoints)
		caps[span] = v
		if v.ok && below.ok && v.v < below.v {
			p.doubt(v.line, v.field, "%d is less than %s, which is %d and is never reached; correct one of them",
				v.v, name, below.v)
		}
		if v.ok {
			below, name = v, names[span]
		}
	}
	return caps
}

// spanned reports a span that the rule book does not define.
func (p *parser) spanned(n node, span Span) {
	switch {
	case span == YearSpan && !p.hasYears:
		p.mistake(n.Line, n.field, "speaks of a year, and the rules do not say when one begins; give year_starts, such as 04-01")
	case span == PeriodSpan && !p.hasPeriods:
		p.mistake(n.Line, n.field, "speaks of a period, and the rules have none; list them under periods")
	}
}

// span reads the word for a span, from the shortest allowed on.
func (p *parser) span(n node, from Span) Span {
	w := p.word(n, spanKeys[from:]...)
	for span := from; span <= PeriodSpan; span++ {
		if w.ok && spanKeys[span] == w.v {
			p.spanned(n, span)
			return span
		}
	}
	return 0
}

// limit is the tightest cap on what a rule can earn in a day.
type limit struct {
	points steps.Points // 0 is no cap
	name   string       // its key
}

// limit returns the tightest of a rule's caps and, unless it is exempt, the rule set's.
func (d *setDraft) limit(r *Rule) limit {
	own, span := r.Caps.least()
	out := limit{own, "caps." + spanKeys[span]}
	if most, span := d.Caps.least(); !r.Exempt && span > 0 && (own == 0 || most < own) {
		out = limit{most, setCapKeys[span]}
	}
	return out
}

// checkLimit doubts points that a cap always cuts.
func (p *parser) checkLimit(give value[uint64], l limit) {
	if give.ok && l.points > 0 && steps.Points(give.v) > l.points {
		p.doubt(give.line, give.field, "%d is beyond %s, which is %d, and is always cut to it; correct one of them",
			give.v, l.name, l.points)
	}
}

func (p *parser) eligibility(n node) (out Eligibility) {
	keys, ok := p.object(n, "resident", "enrolled", "after_leaving")
	if !ok {
		return out
	}
	if v, ok := keys["resident"]; ok {
		out.Resident = p.boolean(v).v
	}
	if v, ok := keys["enrolled"]; ok {
		out.Enrolled = p.boolean(v).v
	}
	if v, ok := keys["after_leaving"]; ok {
		out.Forfeit = p.word(v, "keep", "forfeit").v == "forfeit"
		if out.Forfeit && !out.Resident && !out.Enrolled {
			p.mistake(v.Line, v.field, "says what leaving does, but neither residence nor enrolment is asked for; give resident: true or enrolled: true")
		}
	}
	return out
}

func (p *parser) baseline(n node) *Baseline {
	b := &Baseline{LeastDays: 1, LeastStep: 1}
	keys, ok := p.object(n, "first_days", "from", "until", "take", "least_days", "least_steps")
	if !ok {
		return b
	}
	p.baselineDays(n, keys, b)
	if v, ok := p.required(n, keys, "take", "write mean or median"); ok {
		if p.word(v, "mean", "median").v == "median" {
			b.Take = Median
		} else {
			b.Take = Mean
		}
	}
	if v, ok := keys["least_steps"]; ok {
		b.LeastStep = p.number(v, 1, maxSteps).v
	}
	if v, ok := keys["least_days"]; ok {
		need := p.number(v, 1, maxNorm)
		b.LeastDays = int(need.v)
		if length := b.length(); need.ok && length > 0 && b.LeastDays > length {
			p.mistake(need.line, need.field, "%d is more than the %d days of the baseline; lower it", need.v, length)
		}
	}
	return b
}

// length returns the days a baseline is measured over, 0 if unknown.
func (b *Baseline) length() int {
	if b.FirstDays > 0 || b.Days.From == 0 || b.Days.Until == 0 {
		return b.FirstDays
	}
	return int(b.Days.Until-b.Days.From) + 1
}

// baselineDays reads first_days, or from and until.
func (p *parser) baselineDays(n node, keys map[string]node, b *Baseline) {
	first := hasKey(n.Node, "first_days")
	dated := hasKey(n.Node, "from") || hasKey(n.Node, "until")
	switch {
	case first && dated:
		p.mistake(n.Line, n.field, "has first_days beside from and until; keep one of them")
		return
	case !first && !dated:
		p.mistake(n.Line, n.field, "does not say which days; give first_days, or from and until")
		return
	case first:
		if v, ok := keys["first_days"]; ok {
			b.FirstDays = int(p.number(v, 1, maxNorm).v)
		}
		return
	}
	var from, until value[steps.Day]
	if v, ok := p.required(n, keys, "from", "write the first day of the baseline"); ok {
		from = p.day(v)
	}
	if v, ok := p.required(n, keys, "until", "write the last day of the baseline"); ok {
		until = p.day(v)
	}
	if from.ok && until.ok && cmp.Less(until.v, from.v) {
		p.mistake(until.line, until.field, "%s is before from, which is %s; exchange them", until.v, from.v)
		return
	}
	b.Days = steps.DayRange{From: from.v, Until: until.v}
}
