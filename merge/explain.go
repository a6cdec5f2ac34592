package merge

import (
	"fmt"

	"ayumi/steps"
)

// Reason says why a minute has the count that it has.
type Reason uint8

// The reasons, as stored and shown.
const (
	OnlySource     Reason = 1  // no other source reported it
	Priority       Reason = 2  // the first source in order counted it
	NotCarried     Reason = 3  // the sources before counted nothing for long
	NotReported    Reason = 4  // the sources before left it out
	WholeWalk      Reason = 5  // the sources before left out minutes of the walk, this one none
	FilledWalk     Reason = 6  // the sources before counted nothing here and less of the walk
	AlreadyCounted Reason = 7  // no step: what others have here is counted already
	Maximum        Reason = 8  // the largest count
	Apportioned    Reason = 9  // a share of a coarser record
	Chosen         Reason = 10 // the one source of the day
	OriginExcluded Reason = 11 // filled from an origin that does not count
	OriginCapped   Reason = 12 // filled from an origin whose cap was reached
	Unreported     Reason = 13 // no source that takes part reported it
)

var reasonNames = [...]string{"", "only_source", "priority", "not_carried", "not_reported", "whole_walk", "filled_walk",
	"already_counted", "maximum", "apportioned", "chosen", "origin_excluded", "origin_capped", "unreported"}

// String returns the reason's name.
func (r Reason) String() string {
	if r > 0 && int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// MarshalText writes the reason's name.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Share is what one source by itself has for a stretch of minutes.
type Share struct {
	Source  int    // index into Day.Sources
	Steps   uint64 // of any origin
	Minutes int    // how many of the stretch it reported
}

// Run is a stretch of minutes that one source decided for one reason.
type Run struct {
	From, To int // minutes of the day, To exclusive
	Source   int // index into Day.Sources; -1 with Unreported and, if others reported, with AlreadyCounted
	Reason   Reason
	Origin   steps.Origin // of the source's cells
	Steps    uint64       // counted
	Excluded uint64       // steps of an origin that does not count, or not all
	Others   []Share      // the other sources that reported some of it, in order
}

// Result is a merged day with its explanation.
type Result struct {
	Minutes  []uint32 // counted steps of each minute
	Steps    uint64   // their sum
	Excluded Excluded
	Runs     []Run // every minute once, in order
}

// Explain merges a day and says for every minute which source decided it and why. The result belongs
// to the caller.
func (m *Merger) Explain(d *Day) Result {
	m.tracing = true
	defer func() { m.tracing = false }()
	m.take(d)
	m.merge()
	e := explainer{m: m, alone: make([]alone, len(d.Sources))}
	for i := range d.Sources {
		e.alone[i] = e.compose(&d.Sources[i])
	}
	r := Result{Minutes: make([]uint32, len(m.counted)), Steps: sum(m.counted), Excluded: m.excluded}
	for i, n := range m.counted {
		r.Minutes[i] = uint32(value(n))
		e.add(&r, i)
	}
	return r
}

// explainer turns the trace of a merge into runs.
type explainer struct {
	m     *Merger
	alone []alone // by source
}

// alone is a source's day by itself, all origins accepted.
type alone struct {
	counts  []uint32
	origins []steps.Origin // of the finest cell that covers the minute
}

func (e *explainer) compose(s *Source) alone {
	n := len(e.m.full)
	a := alone{blank(nil, n), make([]steps.Origin, n)}
	all := origins{true, true, true}
	for i := len(s.Lanes) - 1; i >= 0; i-- { // the finest last
		l := &s.Lanes[i]
		for j := range l.cells() {
			if _, o, ok := s.cell(l, j); ok {
				from, to := l.bounds(j, n)
				for k := from; k < to; k++ {
					a.origins[k] = o
				}
			}
		}
	}
	for i := range s.Lanes {
		s.compose(a.counts, &s.Lanes[i], &all)
	}
	return a
}

// add appends a minute to the last run, or begins one.
func (e *explainer) add(r *Result, minute int) {
	source, reason := e.decide(minute)
	origin := steps.OriginUnknown
	if source >= 0 {
		origin = e.alone[source].origins[minute]
	}
	last := len(r.Runs) - 1
	if last < 0 || r.Runs[last].Source != source || r.Runs[last].Reason != reason || r.Runs[last].Origin != origin {
		r.Runs = append(r.Runs, Run{From: minute, Source: source, Reason: reason, Origin: origin})
		last++
	}
	run := &r.Runs[last]
	run.To = minute + 1
	run.Steps += value(e.m.counted[minute])
	run.Excluded += value(e.m.full[minute]) - value(e.m.counted[minute])
	for i := range e.alone {
		if n := e.alone[i].counts[minute]; i != source && n != absent {
			run.add(i, n)
		}
	}
}

// add counts a minute of another source.
func (r *Run) add(source int, count uint32) {
	at := 0
	for at < len(r.Others) && r.Others[at].Source < source {
		at++
	}
	if at == len(r.Others) || r.Others[at].Source != source {
		r.Others = append(r.Others, Share{})
		copy(r.Others[at+1:], r.Others[at:])
		r.Others[at] = Share{Source: source}
	}
	r.Others[at].Steps += uint64(count)
	r.Others[at].Minutes++
}

// decide returns which source decided a minute, and why.
func (e *explainer) decide(minute int) (source int, reason Reason) {
	mark := e.m.trace[minute]
	if mark.source < 0 {
		return e.decideSilent(minute)
	}
	switch mark.reason {
	case OriginExcluded, OriginCapped, Apportioned:
		return mark.source, mark.reason
	}
	return mark.source, e.refine(mark.reason, mark.source, minute)
}

// decideSilent is decide for a minute without steps. The first source that reported it decides.
func (e *explainer) decideSilent(minute int) (source int, reason Reason) {
	source = -1
	contested := false
	for i := e.m.first; i < e.m.last; i++ {
		n := e.alone[i].counts[minute]
		if n == absent {
			continue
		}
		if source < 0 && n == 0 {
			source = i
		}
		contested = contested || n > 0
	}
	switch {
	case contested:
		return source, AlreadyCounted
	case source < 0:
		return source, Unreported
	case e.m.cfg.Policy == MaxMinute:
		return source, e.refine(Maximum, source, minute)
	}
	return source, e.refine(Priority, source, minute)
}

// refine replaces a reason that compares sources where there was none to compare with.
func (e *explainer) refine(reason Reason, source, minute int) Reason {
	if e.m.cfg.Policy == OneDevice {
		return Chosen
	}
	for i := range e.alone {
		if i != source && e.alone[i].counts[minute] != absent {
			if reason == Priority && e.m.cfg.Policy == MaxMinute {
				return Maximum
			}
			return reason
		}
	}
	if source > e.m.first && e.m.cfg.Policy == PriorityFill {
		return NotReported
	}
	return OnlySource
}
