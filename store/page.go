package store

import (
	"encoding/binary"

	"ayumi/steps"
)

// page is the award record of a participant-day: the ledger of that day. Its points are the sum of
// its lines. Lines are only appended, when the day was scored to other points or under another rule
// set, and when a closed day was corrected. On disk it stands in a sheet, with those of others.
type page struct {
	steps   uint64 // the total that was last scored, also where that changed no points
	points  steps.Points
	ruleSet string // under which the points were last scored
	parts   steps.Parts
	lines   []pageLine
}

// pageLine is one posting of a page.
type pageLine struct {
	kind    steps.EntryKind // award, adjustment, carried or correction
	at      int64           // UTC seconds
	delta   steps.Points
	steps   uint64 // award, adjustment: that it was scored from
	ruleSet string // award, adjustment
	number  uint64 // carried: how many lines it sums up; correction: Seq of the entry
}

const (
	// pageLines bounds a page, because somebody may make a day's points go up and down all day.
	// When it is full, its older half becomes one carried line.
	pageLines   = 128
	linesPerCut = pageLines / 2
)

// score appends what a new score changes. It reports whether the page differs from what it was.
func (p *page) score(a *steps.Award, now int64) (delta steps.Points, changed bool) {
	delta = a.Points - p.points
	ruled := a.RuleSet != p.ruleSet
	if delta != 0 || ruled && len(p.lines) > 0 {
		kind := steps.EntryAdjustment
		if len(p.lines) == 0 {
			kind = steps.EntryAward
		}
		p.append(pageLine{kind: kind, at: now, delta: delta, steps: a.Steps, ruleSet: a.RuleSet})
	}
	changed = delta != 0 || ruled || a.Steps != p.steps || a.Parts != p.parts
	p.steps, p.points, p.ruleSet, p.parts = a.Steps, a.Points, a.RuleSet, a.Parts
	return delta, changed
}

func (p *page) append(l pageLine) {
	if len(p.lines) >= pageLines {
		carried := pageLine{kind: steps.EntryCarried, at: p.lines[linesPerCut-1].at}
		for _, old := range p.lines[:linesPerCut] {
			carried.delta += old.delta
			carried.number += max(1, old.number)
		}
		p.lines = append([]pageLine{carried}, p.lines[linesPerCut:]...)
	}
	p.lines = append(p.lines, l)
}

// sum adds up the lines, which must be the page's points.
func (p *page) sum() (n steps.Points) {
	for i := range p.lines {
		n += p.lines[i].delta
	}
	return n
}

// scored reports whether a line says from what, and under which rule set.
func (l *pageLine) scored() bool {
	return l.kind == steps.EntryAward || l.kind == steps.EntryAdjustment
}

// appendPage encodes a page (see doc.go for the format). number gives a rule set's number, or that of parts.
func appendPage(dst []byte, p *page, number func(string) uint64) []byte {
	dst = binary.AppendUvarint(dst, p.steps)
	dst = binary.AppendVarint(dst, int64(p.points))
	dst = binary.AppendUvarint(dst, number(p.ruleSet))
	lines := uint64(len(p.lines)) << 1
	if p.parts != "" {
		dst = binary.AppendUvarint(dst, lines|1)
		dst = binary.AppendUvarint(dst, number(string(p.parts)))
	} else {
		dst = binary.AppendUvarint(dst, lines)
	}
	at := int64(0)
	for i := range p.lines {
		l := &p.lines[i]
		dst = append(dst, byte(l.kind))
		dst = binary.AppendVarint(dst, l.at-at)
		at = l.at
		dst = binary.AppendVarint(dst, int64(l.delta))
		if !l.scored() {
			dst = binary.AppendUvarint(dst, l.number)
			continue
		}
		dst = binary.AppendUvarint(dst, l.steps)
		dst = binary.AppendUvarint(dst, number(l.ruleSet))
	}
	return dst
}

// parsePage decodes a page, whose lines it appends to lines. names are those of rule sets, and parts, by number.
func parsePage(r *reader, names []string, lines []pageLine) (page, []pageLine) {
	p := page{steps: r.uvarint(), points: steps.Points(r.varint()), ruleSet: numbered(r, names)}
	n := r.count(2*len(r.b) + 1)
	if n&1 != 0 {
		if p.parts = steps.Parts(numbered(r, names)); p.parts == "" {
			r.fail()
		}
	}
	first := len(lines)
	at := int64(0)
	for range n >> 1 {
		l := pageLine{kind: steps.EntryKind(r.byte()), at: at + r.varint(), delta: steps.Points(r.varint())}
		at = l.at
		switch l.kind {
		case steps.EntryAward, steps.EntryAdjustment:
			l.steps, l.ruleSet = r.uvarint(), numbered(r, names)
		case steps.EntryCarried, steps.EntryCorrection:
			l.number = r.uvarint()
		default:
			r.fail()
		}
		lines = append(lines, l)
	}
	p.lines = lines[first:len(lines):len(lines)]
	return p, lines
}

// numbered reads a number and returns the name that it stands for.
func numbered(r *reader, names []string) string {
	if i := r.count(len(names) - 1); i < len(names) {
		return names[i]
	}
	r.fail()
	return ""
}
