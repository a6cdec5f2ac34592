package points

import (
	"fmt"
	"slices"

	"ayumi/steps"
)

// checkRise sees to it that a tier continues the one before.
func (p *parser) checkRise(before Tier, need, give value[uint64], falling bool) {
	if need.v <= before.At {
		p.mistake(need.line, need.field,
			"%d is not more than the %d of the tier before; list tiers by rising %s", need.v, before.At, lastKey(need.field))
	}
	if falling {
		return
	}
	switch points := steps.Points(give.v); {
	case points < before.Points:
		p.mistake(give.line, give.field,
			"%d is less than the %d of the tier before; correct it or set allow_decreasing: true", give.v, before.Points)
	case points == before.Points:
		p.doubt(give.line, give.field, "%d is what the tier before gives already; remove one of the two", give.v)
	}
}

// checkDefault sees to it that one band takes the participants whose age or cohort is unknown. A
// band that stands alone takes them anyway.
func (p *parser) checkDefault(list node, t *Table, drafts []draft) {
	whom := "whose age is unknown"
	if t.Cohorts {
		whom = "of other cohorts"
	}
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
				"%s is the default too; keep one, for participants %s", drafts[first].field, whom)
			continue
		}
		first = i
	}
	switch {
	case len(drafts) == 1:
		drafts[0].band.Default = true
	case first < 0 && len(drafts) > 0:
		p.mistake(list.Line, list.field, "no band has default: true; set it on the one for participants %s", whom)
	}
}

// checkAges sees to it that every age from 0 on falls into exactly one band.
func (p *parser) checkAges(drafts []draft) {
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
		p.mistake(oldest.ages.Line, oldest.ages.field, "no band fits %s; let this one start at 0", ageSpan(0, from-1))
	}
	for _, d := range order[1:] {
		reach := oldest.band.To
		switch {
		case d.band.From <= reach:
			p.mistake(d.ages.Line, d.ages.field, "overlaps %s at %s; give each age one band",
				oldest.field, ageSpan(d.band.From, min(reach, d.band.To)))
		case d.band.From > reach+1:
			p.mistake(d.ages.Line, d.ages.field, "no band fits %s; let this one or %s reach them",
				ageSpan(reach+1, d.band.From-1), oldest.field)
		}
		if d.band.To > reach {
			oldest = d
		}
	}
	if to := oldest.band.To; to < OpenAge {
		p.mistake(oldest.ages.Line, oldest.ages.field, "no band fits ages above %d; leave out its to", to)
	}
}

func ageSpan(from, to int) string {
	switch to {
	case from:
		return fmt.Sprintf("age %d", from)
	case OpenAge:
		return fmt.Sprintf("ages from %d", from)
	}
	return fmt.Sprintf("ages %d to %d", from, to)
}

// checkCohorts sees to it that every cohort has exactly one band: none is named twice, and the
// default takes the others.
func (p *parser) checkCohorts(drafts []draft) {
	taken := map[string]string{}
	for i := range drafts {
		d := &drafts[i]
		switch {
		case d.aged:
			p.mistake(d.ages.Line, join(d.field, "ages"), "stands beside bands by cohort; use ages or cohorts throughout the table")
		case !d.grouped && !d.band.Default:
			p.mistake(d.Line, join(d.field, "cohorts"), "is missing; beside bands by cohort each needs its own, or default: true")
		}
		for _, c := range d.band.Cohorts {
			if first, ok := taken[c]; ok {
				p.mistake(d.cohorts.Line, d.cohorts.field, "%s has a band in %s already; give each cohort one band", c, first)
			}
			taken[c] = d.field
		}
	}
}

// checkCarry sees to it that what a rate leaves over goes on when a birthday changes the band.
func (p *parser) checkCarry(list node, drafts []draft) {
	for i := range drafts {
		if drafts[i].band.Rate.Carry != drafts[0].band.Rate.Carry {
			p.mistake(list.Line, list.field, "bands differ in carry_within; give all of them the same")
			return
		}
	}
}
