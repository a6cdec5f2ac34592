package store

import (
	"encoding/binary"
	"fmt"

	"ayumi/steps"
)

// page is the award record of a participant-day: the ledger of that day. Its points are the sum of
// its lines. Lines are only appended, when the day was scored to other points or under another rule
// set, and when a closed day was corrected.
type page struct {
	steps   uint64 // the total that was last scored, also where that changed no points
	points  steps.Points
	ruleSet string // under which the points were last scored
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
	pageVersion = 1
	// pageLines bounds a page, because somebody may make a day's points go up and down all day.
	// When it is full, its older half becomes one carried line.
	pageLines   = 128
	ownRuleSet  = 0x80 // in a line's kind: its rule set is not the page's, and follows
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
	changed = delta != 0 || ruled || a.Steps != p.steps
	p.steps, p.points, p.ruleSet = a.Steps, a.Points, a.RuleSet
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

// appendPage encodes a page (see doc.go for the format).
func appendPage(dst []byte, p *page) []byte {
	dst = append(dst, pageVersion)
	dst = binary.AppendUvarint(dst, p.steps)
	dst = binary.AppendVarint(dst, int64(p.points))
	dst = appendString(dst, p.ruleSet)
	dst = binary.AppendUvarint(dst, uint64(len(p.lines)))
	at := int64(0)
	for i := range p.lines {
		l := &p.lines[i]
		scored := l.kind == steps.EntryAward || l.kind == steps.EntryAdjustment
		own := scored && l.ruleSet != p.ruleSet
		kind := byte(l.kind)
		if own {
			kind |= ownRuleSet
		}
		dst = append(dst, kind)
		dst = binary.AppendVarint(dst, l.at-at)
		at = l.at
		dst = binary.AppendVarint(dst, int64(l.delta))
		if !scored {
			dst = binary.AppendUvarint(dst, l.number)
			continue
		}
		dst = binary.AppendUvarint(dst, l.steps)
		if own {
			dst = appendString(dst, l.ruleSet)
		}
	}
	return dst
}

// parsePage decodes a page. ruleSet is one that the page probably names, to save the memory of
// another copy.
func parsePage(b []byte, ruleSet string) (page, error) {
	p, r, err := parsePageHead(b, ruleSet)
	if err != nil {
		return p, err
	}
	n := r.count(len(r.b))
	if n > 0 {
		p.lines = make([]pageLine, 0, n+1) // one is about to be appended
	}
	at := int64(0)
	for range n {
		l := pageLine{}
		kind := r.byte()
		l.kind = steps.EntryKind(kind &^ ownRuleSet)
		at += r.varint()
		l.at, l.delta = at, steps.Points(r.varint())
		switch l.kind {
		case steps.EntryAward, steps.EntryAdjustment:
			l.steps, l.ruleSet = r.uvarint(), p.ruleSet
			if kind&ownRuleSet != 0 {
				l.ruleSet = r.string()
			}
		case steps.EntryCarried, steps.EntryCorrection:
			l.number = r.uvarint()
		default:
			r.fail()
		}
		p.lines = append(p.lines, l)
	}
	return p, r.done()
}

// parsePageHead decodes what a page says of the day as a whole. r stands at the lines.
func parsePageHead(b []byte, ruleSet string) (p page, r reader, err error) {
	r = reader{b: b}
	if v := r.byte(); r.err == nil && v != pageVersion {
		return p, r, fmt.Errorf("version %d; this build reads %d", v, pageVersion)
	}
	p.steps, p.points = r.uvarint(), steps.Points(r.varint())
	if name := r.bytes(); string(name) == ruleSet {
		p.ruleSet = ruleSet
	} else {
		p.ruleSet = string(name)
	}
	return p, r, r.err
}

// sum adds up the lines, which must be the page's points.
func (p *page) sum() (n steps.Points) {
	for i := range p.lines {
		n += p.lines[i].delta
	}
	return n
}
