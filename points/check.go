package points

import (
	"fmt"
	"slices"

	"ayumi/steps"
)

// checkRise sees to it that a tier continues the one before.
func (p *parser) checkRise(set *RuleSet, before Tier, need, give value[uint64]) {
	if need.v <= before.Steps {
		p.mistake(need.line, need.field,
			"%d is not more than the %d of the tier before; list tiers by rising steps", need.v, before.Steps)
	}
	if steps.Points(give.v) < before.Points && !set.AllowDecreasing {
		p.mistake(give.line, give.field,
			"%d is less than the %d of the tier before; correct it or set allow_decreasing: true", give.v, before.Points)
	}
}

// checkDefault sees to it that one band takes the participants whose age is unknown. A band that
// stands alone takes them anyway.
func (p *parser) checkDefault(list node, drafts []draft) {
	first := -1
	for i := range drafts {
		d := &drafts[i]
		if d.marked.field != "" && !d.marked.ok {
			return // a malformed default may be the one that is meant
		}
		if !d.band.Default {
			continue
		}
		if first >= 0 {
			p.mistake(d.marked.line, d.marked.field,
				"%s is the default too; keep one, for participants whose age is unknown", drafts[first].field)
			continue
		}
		first = i
	}
	switch {
	case len(drafts) == 1:
		drafts[0].band.Default = true
	case first < 0 && len(drafts) > 0:
		p.mistake(list.Line, list.field,
			"no band has default: true; set it on the one for participants whose age is unknown")
	}
}

// checkAges sees to it that every age from 0 on falls into exactly one band.
func (p *parser) checkAges(list node, drafts []draft) {
	order := make([]*draft, 0, len(drafts))
	for i := range drafts {
		d := &drafts[i]
		if !d.aged && len(drafts) > 1 {
			p.mistake(d.Line, join(d.field, "ages"), "is missing; with several bands each needs its ages")
			d.sound = false
		}
		if d.sound {
			order = append(order, d)
		}
	}
	if len(order) != len(drafts) || len(order) == 0 {
		return // what the malformed bands would have covered is unknown
	}
	slices.SortStableFunc(order, func(a, b *draft) int { return a.band.From - b.band.From })
	oldest := order[0] // of the bands so far, the one that reaches furthest
	if from := oldest.band.From; from > 0 {
		p.mistake(oldest.ages.Line, oldest.ages.field, "no band fits %s; let this one start at 0", span(0, from-1))
	}
	for _, d := range order[1:] {
		reach := oldest.band.To
		switch {
		case d.band.From <= reach:
			p.mistake(d.ages.Line, d.ages.field, "overlaps %s at %s; give each age one band",
				oldest.field, span(d.band.From, min(reach, d.band.To)))
		case d.band.From > reach+1:
			p.mistake(d.ages.Line, d.ages.field, "no band fits %s; let this one or %s reach them",
				span(reach+1, d.band.From-1), oldest.field)
		}
		if d.band.To > reach {
			oldest = d
		}
	}
	if to := oldest.band.To; to < OpenAge {
		p.mistake(oldest.ages.Line, oldest.ages.field, "no band fits ages above %d; leave out its to", to)
	}
}

func span(from, to int) string {
	switch to {
	case from:
		return fmt.Sprintf("age %d", from)
	case OpenAge:
		return fmt.Sprintf("ages from %d", from)
	}
	return fmt.Sprintf("ages %d to %d", from, to)
}
