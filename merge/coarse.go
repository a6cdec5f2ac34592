package merge

import (
	"slices"

	"ayumi/steps"
)

// addCoarse merges the records of more than a minute whose origin is in the set, shorter intervals
// first and the sources in order within one.
func (m *Merger) addCoarse(set *origins) {
	for interval := m.coarser(60); interval != 0; interval = m.coarser(interval) {
		for m.source = m.first; m.source < m.last; m.source++ {
			s := &m.day.Sources[m.source]
			lane := slices.IndexFunc(s.Lanes, func(l Lane) bool { return l.Interval == interval })
			if lane < 0 {
				continue
			}
			for o, in := range set {
				if in {
					m.records = cells{interval, steps.Origin(o)}
					m.addRecords(lane)
				}
			}
		}
	}
}

// coarser returns the shortest interval beyond one that a source has, 0 if there is none.
func (m *Merger) coarser(than uint32) (interval uint32) {
	for i := m.first; i < m.last; i++ {
		for _, l := range m.day.Sources[i].Lanes {
			if l.Interval > than && (interval == 0 || l.Interval < interval) {
				interval = l.Interval
			}
		}
	}
	return interval
}

// addRecords merges the records of one origin (m.records) in a lane of the source being merged.
func (m *Merger) addRecords(lane int) {
	s := &m.day.Sources[m.source]
	var origin origins
	origin[m.records.origin] = true
	if !s.touches(&origin) {
		return
	}
	m.own = blank(m.own, len(m.full))
	for i := range lane {
		s.compose(m.own, &s.Lanes[i], &origin)
	}
	l := &s.Lanes[lane]
	for i := range l.cells() {
		if n, o, ok := s.cell(l, i); ok && origin.has(o) {
			from, to := l.bounds(i, len(m.full))
			m.addRecord(from, to, n)
		}
	}
}

// addRecord merges a record of the minutes [from, to). What it counts beyond the finer cells of its
// source (m.own) is set against what was merged in the minutes that those leave free; a surplus is
// spread over those of them that are open and have begun.
func (m *Merger) addRecord(from, to int, count uint32) {
	surplus := int64(count)
	for i := from; i < to; i++ {
		if m.own[i] != absent {
			surplus -= int64(m.own[i])
		}
	}
	surplus = max(surplus, 0)
	begun := to
	if m.day.Elapsed > 0 {
		begun = min(to, max(m.day.Elapsed, from+1))
	}
	gaps := int64(0)
	for i := from; i < to; i++ {
		switch {
		case m.own[i] != absent:
		case !open(m.full[i]):
			surplus -= int64(m.full[i])
		case i < begun:
			gaps++
		}
	}
	if gaps == 0 {
		return
	}
	surplus = max(surplus, 0)
	share, extra := uint32(surplus/gaps), surplus%gaps
	for i := from; i < begun; i++ {
		if m.own[i] != absent || !open(m.full[i]) {
			continue
		}
		m.full[i] = share
		if extra > 0 {
			m.full[i]++
			extra--
		}
		m.note(i, Apportioned)
	}
}

// compose adds a lane's cells of the given origins to what finer lanes of the source say, minute by
// minute: the rest of a coarse record is spread over the minutes that they leave unreported.
func (s *Source) compose(own []uint32, l *Lane, set *origins) {
	for i := range l.cells() {
		n, o, ok := s.cell(l, i)
		if !ok || !set.has(o) {
			continue
		}
		if from, to := l.bounds(i, len(own)); from < to {
			spread(own[from:to], n)
		}
	}
}

// spread spreads what count holds beyond the known minutes over the absent ones, in integers that sum
// exactly.
func spread(minutes []uint32, count uint32) {
	var known, gaps uint64
	for _, c := range minutes {
		known += value(c)
		if c == absent {
			gaps++
		}
	}
	if gaps == 0 {
		return
	}
	rest := max(uint64(count), known) - known
	share, extra := uint32(rest/gaps), rest%gaps
	for i, c := range minutes {
		if c != absent {
			continue
		}
		minutes[i] = share
		if extra > 0 {
			minutes[i]++
			extra--
		}
	}
}
