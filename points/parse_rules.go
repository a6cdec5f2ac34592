package points

import (
	"errors"
	"slices"
	"strings"

	"ayumi/steps"
)

// maxRules bounds the rules of a rule set.
const maxRules = 32

func (p *parser) rules(list node, d *setDraft) {
	lines := map[string]int{}
	if len(d.Rules) > 0 {
		lines["steps"] = 0 // the bands
	}
	for _, n := range p.list(list) {
		if len(d.Rules) == maxRules {
			p.mistake(n.Line, n.field, "is one rule too many; a rule set has at most %d, bands included", maxRules)
			return
		}
		r, name := p.rule(n, d)
		switch line, taken := lines[name.v]; {
		case !name.ok:
		case taken && line == 0:
			p.mistake(name.line, name.field, "steps is the name of what bands give; choose another")
		case taken:
			p.mistake(name.line, name.field, "%s is the name of a rule in line %d too; choose another", name.v, line)
		default:
			lines[name.v] = name.line
		}
		d.Rules = append(d.Rules, r)
	}
}

func (p *parser) rule(n node, d *setDraft) (r Rule, name value[string]) {
	kinds := kindKeys[KindSteps:]
	keys, ok := p.object(n, append([]string{"name", "when", "caps", "exempt_from_caps"}, kinds...)...)
	if !ok {
		return r, name
	}
	if v, ok := p.required(n, keys, "name", "name the rule"); ok {
		name = p.name(v)
		r.Name = name.v
	}
	if v, ok := keys["exempt_from_caps"]; ok {
		r.Exempt = p.boolean(v).v
		if r.Exempt && d.Caps == (Caps{}) {
			p.doubt(v.Line, v.field, "changes nothing, since the rule set has no caps; remove it")
		}
	}
	if v, ok := keys["caps"]; ok {
		p.ruleCaps(v, &r)
	}
	if v, ok := keys["when"]; ok {
		r.When = p.condition(v, d)
	}
	key, ok := p.only(n, keys, "does not say what it rewards; give one of "+strings.Join(kinds, ", "), kinds...)
	if !ok {
		return r, name
	}
	r.Kind = Kind(slices.Index(kindKeys[:], key))
	p.kind(keys[key], d, &r)
	return r, name
}

func (p *parser) ruleCaps(n node, r *Rule) {
	keys, ok := p.object(n, spanKeys[DaySpan:]...)
	if !ok {
		return
	}
	if len(n.Content) == 0 {
		p.mistake(n.Line, n.field, "is empty; give day, week, month, year or period, or leave caps out")
	}
	for span, cap := range p.caps(keys, spanKeys) {
		r.Caps[span] = steps.Points(cap.v)
	}
}

// kind reads what is under the key of a rule's kind.
func (p *parser) kind(n node, d *setDraft, r *Rule) {
	switch r.Kind {
	case KindSteps:
		r.Table.Of = OfSteps
		spec := p.stepsTable(d, d.limit(r))
		if keys, ok := p.object(n, spec.tableKeys()...); ok {
			p.table(n, keys, &r.Table, spec)
		}
	case KindActiveMinutes:
		p.activeMinutes(n, d, r)
	case KindSustainedWalking:
		p.sustainedWalking(n, d, r)
	case KindPersonalGoal:
		p.personalGoal(n, d, r)
	case KindStreak:
		p.streak(n, d, r)
	case KindGoalDays:
		p.goalDays(n, d, r)
	case KindSending:
		if keys, ok := p.object(n, "points"); ok {
			p.points(n, keys, d, r)
		}
	case KindActivity:
		p.activity(n, d, r)
	}
}

// points reads what a rule without a table gives.
func (p *parser) points(n node, keys map[string]node, d *setDraft, r *Rule) {
	if v, ok := p.required(n, keys, "points", "write the points it earns"); ok {
		give := p.number(v, 1, maxPoints)
		r.Points = steps.Points(give.v)
		p.checkLimit(give, d.limit(r))
	}
}

func (p *parser) activeMinutes(n node, d *setDraft, r *Rule) {
	spec := tableSpec{measures: []Measure{OfMinutes}, rates: true, falling: d.AllowDecreasing, limit: d.limit(r)}
	keys, ok := p.object(n, append([]string{"cadence"}, spec.tableKeys()...)...)
	if !ok {
		return
	}
	p.cadence(n, keys, r)
	p.table(n, keys, &r.Table, spec)
}

func (p *parser) cadence(n node, keys map[string]node, r *Rule) {
	if v, ok := p.required(n, keys, "cadence", "write the steps a minute needs to count"); ok {
		r.Cadence = uint32(p.number(v, 1, maxCadence).v)
	}
}

func (p *parser) sustainedWalking(n node, d *setDraft, r *Rule) {
	spec := tableSpec{measures: []Measure{OfMinutes, OfSteps}, rates: true, falling: d.AllowDecreasing, limit: d.limit(r)}
	keys, ok := p.object(n, append([]string{"cadence", "minutes"}, spec.tableKeys()...)...)
	if !ok {
		return
	}
	p.cadence(n, keys, r)
	if v, ok := p.required(n, keys, "minutes", "write the minutes a walk has at least"); ok {
		r.Least = int(p.number(v, 1, maxMinutes).v)
	}
	p.table(n, keys, &r.Table, spec)
	if r.Table.Of == OfMinutes {
		p.checkShortest(n, r)
	}
}

// checkShortest doubts tiers that the shortest walk exceeds, so that the one above is the least.
func (p *parser) checkShortest(n node, r *Rule) {
	for _, b := range r.Table.Bands {
		for i := 1; i < len(b.Tiers); i++ {
			if b.Tiers[i].At <= uint64(r.Least) {
				p.doubt(n.Line, n.field, "the tier at %d minutes is never the highest, since a walk has %d minutes at least; remove it",
					b.Tiers[i-1].At, r.Least)
			}
		}
	}
}

func (p *parser) personalGoal(n node, d *setDraft, r *Rule) {
	spec := tableSpec{measures: []Measure{OfStepsAbove, OfPercentAbove}, falling: d.AllowDecreasing, limit: d.limit(r)}
	keys, ok := p.object(n, spec.tableKeys()...)
	if !ok {
		return
	}
	if d.Baseline == nil {
		p.mistake(n.Line, n.field, "needs the rule set's baseline; give it, such as baseline: {first_days: 14, take: mean}")
	}
	p.table(n, keys, &r.Table, spec)
}

func (p *parser) streak(n node, d *setDraft, r *Rule) {
	keys, ok := p.object(n, "goal", "days", "within", "points")
	if !ok {
		return
	}
	p.goal(n, keys, d, r)
	p.points(n, keys, d, r)
	var days value[uint64]
	if v, ok := p.required(n, keys, "days", "write the days in a row that earn the points"); ok {
		days = p.number(v, 2, maxNorm)
		r.Days = int(days.v)
	}
	if v, ok := keys["within"]; ok {
		r.Within = p.span(v, WeekSpan)
		p.checkFits(days, r.Within)
	}
}

func (p *parser) goalDays(n node, d *setDraft, r *Rule) {
	keys, ok := p.object(n, "goal", "days", "in", "points")
	if !ok {
		return
	}
	p.goal(n, keys, d, r)
	p.points(n, keys, d, r)
	var days value[uint64]
	if v, ok := p.required(n, keys, "days", "write the goal days that earn the points"); ok {
		days = p.number(v, 1, maxNorm)
		r.Days = int(days.v)
	}
	v, ok := p.required(n, keys, "in", "write week, month, year, period or a number of days")
	if !ok {
		return
	}
	if strings.Trim(v.Value, "0123456789") != "" || v.Value == "" {
		r.Within = p.span(v, WeekSpan)
		p.checkFits(days, r.Within)
		return
	}
	window := p.number(v, 2, maxWindow)
	r.Window = int(window.v)
	if days.ok && window.ok && days.v > window.v {
		p.mistake(days.line, days.field, "%d goal days do not fit into %d days; lower it", days.v, window.v)
	}
}

// checkFits sees to it that so many days can be within a span.
func (p *parser) checkFits(days value[uint64], span Span) {
	shortest := [spanCount]uint64{WeekSpan: 7, MonthSpan: 28, YearSpan: 365, PeriodSpan: maxNorm}[span]
	longest := [spanCount]uint64{WeekSpan: 7, MonthSpan: 31, YearSpan: 366, PeriodSpan: maxNorm}[span]
	switch {
	case !days.ok || span == 0:
	case days.v > longest:
		p.mistake(days.line, days.field, "%d days do not fit into a %s; lower it", days.v, span)
	case days.v > shortest:
		p.doubt(days.line, days.field, "%d days do not fit into every %s; lower it to %d", days.v, span, shortest)
	}
}

// goal reads what makes a day count.
func (p *parser) goal(n node, keys map[string]node, d *setDraft, r *Rule) {
	v, ok := p.required(n, keys, "goal", "write what a day has to reach, such as {steps: 8000}")
	if !ok {
		return
	}
	if keys, ok = p.object(v, "steps", "rule", "tier"); !ok {
		return
	}
	key, ok := p.only(v, keys, "does not say what a day has to reach; give steps, or rule", "steps", "rule")
	if !ok {
		return
	}
	if key == "steps" {
		need := p.number(keys[key], 1, maxSteps)
		r.Goal.Steps = need.v
		if most := d.MaxCountedSteps; need.ok && most > 0 && need.v > most {
			p.mistake(need.line, need.field,
				"%d is beyond max_counted_steps, which is %d, so nobody can reach the goal; lower it or raise max_counted_steps",
				need.v, most)
		}
		if t, ok := keys["tier"]; ok {
			p.mistake(t.Line, t.field, "belongs to a rule, and the goal is in steps; remove it")
		}
		return
	}
	p.goalRule(keys, d, r)
}

// goalRule resolves a goal that is a tier of an earlier rule.
func (p *parser) goalRule(keys map[string]node, d *setDraft, r *Rule) {
	name := p.name(keys["rule"])
	if !name.ok {
		return
	}
	i := slices.IndexFunc(d.Rules, func(r Rule) bool { return r.Name == name.v })
	if i < 0 {
		p.mistake(name.line, name.field, "there is no rule %s above; list it before this one", name.v)
		return
	}
	r.Goal.Rule = i
	target := &d.Rules[i]
	most := -1 // tiers that every band has
	for _, b := range target.Table.Bands {
		if most < 0 || len(b.Tiers) < most {
			most = len(b.Tiers)
		}
	}
	switch {
	case target.Kind > KindPersonalGoal:
		p.mistake(name.line, name.field, "%s has no tiers to reach; name a rule with a table, or write steps", name.v)
		return
	case most < 0:
		return // the table could not be read
	case most == 0:
		p.mistake(name.line, name.field, "%s has a rate and no tiers to reach; write steps", name.v)
		return
	}
	if v, ok := keys["tier"]; ok {
		tier := p.number(v, 1, maxSteps)
		if tier.ok && tier.v > uint64(most) {
			p.mistake(tier.line, tier.field, "%s does not have %d tiers in every band; write 1 to %d", name.v, tier.v, most)
		}
		r.Goal.Tier = max(int(min(tier.v, uint64(most)))-1, 0)
	}
}

func (p *parser) activity(n node, d *setDraft, r *Rule) {
	keys, ok := p.object(n, "kinds", "points", "once")
	if !ok {
		return
	}
	if v, ok := p.required(n, keys, "kinds", "list the kinds of activity that count, such as [checkup]"); ok {
		r.Activities = p.labels(v)
		for _, kind := range r.Activities {
			if _, err := steps.ParseActivityKind(kind); err != nil {
				p.mistake(v.Line, v.field, "%v", errors.Unwrap(err))
			}
		}
		if len(r.Activities) > maxKinds {
			p.mistake(v.Line, v.field, "has %d kinds; a rule takes at most %d, make it two", len(r.Activities), maxKinds)
			r.Activities = r.Activities[:maxKinds]
		}
	}
	p.points(n, keys, d, r)
	if v, ok := keys["once"]; ok {
		r.Once = p.span(v, DaySpan)
	}
}
