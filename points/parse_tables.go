package points

import (
	"cmp"
	"slices"
	"strings"

	"ayumi/steps"
)

// tableSpec says how the table of a rule may be written.
type tableSpec struct {
	measures []Measure // what its thresholds may be
	rates    bool      // a rate may stand for tiers
	falling  bool      // allow_decreasing
	counted  uint64    // max_counted_steps where it bounds the thresholds, or 0
	limit    limit     // the tightest cap on what it gives
}

func (p *parser) stepsTable(d *setDraft, l limit) tableSpec {
	return tableSpec{
		measures: []Measure{OfSteps}, rates: true, falling: d.AllowDecreasing, counted: d.MaxCountedSteps, limit: l,
	}
}

// keys returns the keys that thresholds may have.
func (s *tableSpec) keys() []string {
	var keys []string
	for _, m := range s.measures {
		keys = append(keys, measureKeys[m])
	}
	return keys
}

// bounds returns the least and the largest threshold.
func (m Measure) bounds() (low, high uint64) {
	switch m {
	case OfMinutes:
		return 1, maxMinutes
	case OfStepsAbove:
		return 0, maxSteps
	case OfPercentAbove:
		return 0, 1000
	}
	return 1, maxSteps
}

// thresholds says what to write where one is missing, by Measure.
var thresholds = [...]string{
	OfSteps: "write the steps a day needs", OfMinutes: "write the minutes a day needs",
	OfStepsAbove: "write the steps above the baseline a day needs", OfPercentAbove: "write the percentage above the baseline a day needs",
}

// tableKeys are the ways to write a table inside a rule.
func (s *tableSpec) tableKeys() []string {
	if s.rates {
		return []string{"tiers", "rate", "bands"}
	}
	return []string{"tiers", "bands"}
}

// table reads bands, or the tiers or the rate of a single one.
func (p *parser) table(n node, keys map[string]node, t *Table, spec tableSpec) {
	of := spec.tableKeys()
	key, ok := p.only(n, keys, "has no table; give one of "+strings.Join(of, ", "), of...)
	if !ok {
		return
	}
	if key == "bands" {
		p.bands(keys[key], t, spec)
		return
	}
	band := Band{To: OpenAge, Default: true}
	p.bandTable(keys[key], key, &band, t, spec)
	t.Bands = []Band{band}
}

func (p *parser) bandTable(n node, key string, b *Band, t *Table, spec tableSpec) {
	if key == "rate" {
		b.Rate = p.rate(n, t, spec)
	} else {
		b.Tiers = p.tiers(n, t, spec)
	}
}

// draft is a band with what is needed to check it against its neighbours.
type draft struct {
	node          // the band
	readable bool // it is a mapping
	aged     bool // it has ages
	grouped  bool // it has cohorts
	sound    bool // its ages or cohorts can be compared with those of other bands
	ages     node
	cohorts  node
	marked   value[bool] // default, when it has one
	band     Band
}

func (p *parser) bands(list node, t *Table, spec tableSpec) {
	var drafts []draft
	for _, n := range p.list(list) {
		if d := p.band(n, t, spec); d.readable {
			drafts = append(drafts, d)
		}
	}
	if len(drafts) != len(list.Content) {
		return // what the unreadable bands, reported by now, would have covered is unknown
	}
	t.Cohorts = slices.ContainsFunc(drafts, func(d draft) bool { return d.grouped })
	p.checkDefault(list, t, drafts)
	if t.Cohorts {
		p.checkCohorts(drafts)
	} else {
		p.checkAges(drafts)
	}
	p.checkCarry(list, drafts)
	bands := make([]Band, len(drafts))
	for i := range drafts {
		bands[i] = drafts[i].band
	}
	slices.SortStableFunc(bands, func(a, b Band) int {
		if c := cmp.Compare(a.From, b.From); c != 0 {
			return c
		}
		return slices.Compare(a.Cohorts, b.Cohorts)
	})
	t.Bands = bands
}

func (p *parser) band(n node, t *Table, spec tableSpec) draft {
	d := draft{node: n, band: Band{To: OpenAge}}
	known := []string{"ages", "cohorts", "default", "tiers"}
	if spec.rates {
		known = append(known, "rate")
	}
	keys, ok := p.object(n, known...)
	if !ok {
		return d
	}
	d.readable, d.sound = true, true
	d.aged, d.grouped = hasKey(n.Node, "ages"), hasKey(n.Node, "cohorts")
	if d.aged {
		d.ages, ok = keys["ages"]
		d.sound = ok && p.ages(&d)
	}
	if d.grouped {
		d.cohorts, ok = keys["cohorts"]
		d.sound = d.sound && ok
		if ok {
			d.band.Cohorts = p.labels(d.cohorts)
		}
	}
	if v, ok := keys["default"]; ok {
		d.marked = p.boolean(v)
		d.band.Default = d.marked.v
	}
	if !spec.rates || !hasKey(n.Node, "rate") {
		if v, ok := p.required(n, keys, "tiers", "give at least one tier"); ok {
			d.band.Tiers = p.tiers(v, t, spec)
		}
		return d
	}
	if key, ok := p.only(n, keys, "", "tiers", "rate"); ok {
		p.bandTable(keys[key], key, &d.band, t, spec)
	}
	return d
}

func (p *parser) ages(d *draft) bool {
	keys, ok := p.object(d.ages, "from", "to")
	if !ok {
		return false
	}
	if len(d.ages.Content) == 0 {
		p.mistake(d.ages.Line, d.ages.field, "is empty; give from, to or both, or leave ages out")
		return false
	}
	from := value[uint64]{ok: !hasKey(d.ages.Node, "from")}
	to := value[uint64]{ok: !hasKey(d.ages.Node, "to"), v: OpenAge}
	if v, ok := keys["from"]; ok {
		from = p.number(v, 0, maxAge)
	}
	if v, ok := keys["to"]; ok {
		to = p.number(v, 0, maxAge)
	}
	if !from.ok || !to.ok {
		return false
	}
	if from.v > to.v {
		p.mistake(to.line, to.field, "%d is below from, which is %d; exchange them", to.v, from.v)
		return false
	}
	d.band.From, d.band.To = int(from.v), int(to.v)
	return true
}

func (p *parser) tiers(list node, t *Table, spec tableSpec) []Tier {
	var tiers []Tier
	for _, n := range p.list(list) {
		keys, ok := p.object(n, append(spec.keys(), "points")...)
		if !ok {
			continue
		}
		need := p.threshold(n, keys, t, spec)
		var give value[uint64]
		if v, ok := p.required(n, keys, "points", "write the points a day earns"); ok {
			give = p.number(v, 0, maxPoints)
		}
		if !need.ok || !give.ok {
			continue
		}
		if len(tiers) > 0 {
			p.checkRise(tiers[len(tiers)-1], need, give, spec.falling)
		}
		if spec.counted > 0 && need.v > spec.counted {
			p.mistake(need.line, need.field,
				"%d is beyond max_counted_steps, which is %d, so nobody can reach the tier; remove it or raise max_counted_steps",
				need.v, spec.counted)
		}
		p.checkLimit(give, spec.limit)
		tiers = append(tiers, Tier{At: need.v, Points: steps.Points(give.v)})
	}
	return tiers
}

// threshold reads what a tier or a rate needs, and sees to it that a table uses one measure.
func (p *parser) threshold(n node, keys map[string]node, t *Table, spec tableSpec) (need value[uint64]) {
	of := spec.keys()
	key := of[0]
	if len(of) > 1 && (hasKey(n.Node, of[0]) || hasKey(n.Node, of[1])) {
		var ok bool
		if key, ok = p.only(n, keys, "", of...); !ok {
			return need
		}
	}
	m := spec.measures[slices.Index(of, key)]
	v, ok := p.required(n, keys, key, thresholds[m])
	if !ok {
		return need
	}
	if t.Of == 0 {
		t.Of = m
	}
	if t.Of != m {
		p.mistake(v.Line, v.field, "other rows of the table have %s; use one of them throughout", measureKeys[t.Of])
		return need
	}
	low, high := m.bounds()
	return p.number(v, low, high)
}

func (p *parser) rate(n node, t *Table, spec tableSpec) (out Rate) {
	keys, ok := p.object(n, append(spec.keys(), "points", "carry_within")...)
	if !ok {
		return out
	}
	need := p.threshold(n, keys, t, spec)
	out.Per = max(need.v, 1)
	out.Points = 1
	if v, ok := p.required(n, keys, "points", "write the points they earn"); ok {
		if give := p.number(v, 1, maxPoints); give.ok {
			out.Points = steps.Points(give.v)
			p.checkLimit(give, spec.limit)
		}
	}
	if v, ok := keys["carry_within"]; ok {
		out.Carry = p.span(v, WeekSpan)
	}
	if spec.counted > 0 && need.ok && need.v > spec.counted && out.Carry == 0 {
		p.mistake(need.line, need.field,
			"%d is beyond max_counted_steps, which is %d, so nobody can reach it; lower it or raise max_counted_steps",
			need.v, spec.counted)
	}
	return out
}
