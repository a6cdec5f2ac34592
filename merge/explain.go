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
	Interval uint32       // of the source's cells, in seconds: 60 unless they are coarse
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
	counts []uint32
	finest []cells // that cover the minute
}

func (e *explainer) compose(s *Source) alone {
	n := len(e.m.full)
	a := alone{blank(nil, n), make([]cells, n)}
	all := origins{true, true, true}
	for i := len(s.Lanes) - 1; i >= 0; i-- { // the finest last
		l := &s.Lanes[i]
		for j := range l.cells() {
			if _, o, ok := s.cell(l, j); ok {
				from, to := l.bounds(j, n)
				for k := from; k < to; k++ {
					a.finest[k] = cells{l.Interval, o}
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
	now := e.decide(minute)
	last := len(r.Runs) - 1
	if last >= 0 {
		was := &r.Runs[last]
		if now != (mark{was.Source, cells{was.Interval, was.Origin}, was.Reason}) {
			last = -1
		}
	}
	if last < 0 {
		last = len(r.Runs)
		r.Runs = append(r.Runs, Run{
			From: minute, Source: now.source, Reason: now.reason, Interval: now.cells.interval, Origin: now.cells.origin,
		})
	}
	run := &r.Runs[last]
	run.To = minute + 1
	run.Steps += value(e.m.counted[minute])
	run.Excluded += value(e.m.full[minute]) - value(e.m.counted[minute])
	for i := range e.alone {
		if n := e.alone[i].counts[minute]; i != now.source && n != absent {
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

// decide returns which cells decided a minute, and why.
func (e *explainer) decide(minute int) mark {
	now := e.m.trace[minute]
	if now.source < 0 {
		return e.decideSilent(minute)
	}
	if s := &e.m.day.Sources[now.source]; now.cells.interval == 60 {
		_, now.cells.origin, _ = s.cell(&s.Lanes[0], minute)
	}
	switch now.reason {
	case OriginExcluded, OriginCapped, Apportioned:
	default:
		now.reason = e.refine(now.reason, now.source, minute)
	}
	return now
}

// decideSilent is decide for a minute without steps. The first source that reported it decides.
func (e *explainer) decideSilent(minute int) mark {
	now := mark{source: -1, reason: Unreported}
	contested := false
	for i := e.m.first; i < e.m.last; i++ {
		n := e.alone[i].counts[minute]
		contested = contested || n != absent && n > 0
		if now.source < 0 && n == 0 {
			now.source, now.cells = i, e.alone[i].finest[minute]
		}
	}
	switch {
	case contested:
		now.reason = AlreadyCounted
	case now.source < 0:
	case e.m.cfg.Policy == MaxMinute:
		now.reason = e.refine(Maximum, now.source, minute)
	default:
		now.reason = e.refine(Priority, now.source, minute)
	}
	return now
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
