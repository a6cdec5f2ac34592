package merge

import (
	"slices"

	"ayumi/steps"
)

// absent stands for a minute that no source reported. No count that was stored has this value.
const absent = steps.CountOverflow

// open reports whether a minute holds no step: it is 0 or absent, the two values that one more makes
// less than 2.
func open(n uint32) bool { return n+1 < 2 }

// value returns a minute's steps.
func value(n uint32) uint64 {
	if n == absent {
		return 0
	}
	return uint64(n)
}

// Excluded is what a day's policy did not count, by origin, in steps.
type Excluded struct {
	Manual  uint64 `json:"manual"`
	Unknown uint64 `json:"unknown"`
}

// Merger merges days under one configuration. It keeps its working memory from day to day, so it
// belongs to one goroutine at a time.
type Merger struct {
	cfg      Config
	accepted origins

	day   *Day
	first int // the sources that take part: day.Sources[first:last]
	last  int

	full     []uint32 // the merged minutes, capped and excluded origins included
	counted  []uint32 // what of full counts: full itself while every origin is accepted
	excluded Excluded
	next     []uint32 // the source being merged
	own      []uint32 // finer cells of the source whose coarse records are being merged
	before   []uint32 // full before a limited origin was merged
	kept     []uint32 // memory of counted
	order    []int32  // open minutes of a walk, the largest counts first
	limited  bool     // cells of a capped or excluded origin are being merged

	source  int    // the source being merged
	records cells  // which of its cells
	tracing bool   // Explain wants to know who filled what
	trace   []mark // by minute, while tracing
}

// cells says which cells of a source are being merged.
type cells struct {
	interval uint32       // seconds
	origin   steps.Origin // of coarse records; minutes have origins of their own
}

// mark says which cells filled a minute, and by which rule.
type mark struct {
	source int // index into Day.Sources, -1 if none
	cells  cells
	reason Reason
}

// New returns a Merger. An unusable configuration is Invalid.
func New(cfg Config) (*Merger, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m := &Merger{cfg: cfg}
	for o := range m.accepted {
		m.accepted[o] = cfg.rule(steps.Origin(o)).Treatment == Accept
	}
	return m, nil
}

// Steps returns the day's counted steps. It allocates nothing once the Merger has seen a day.
func (m *Merger) Steps(d *Day) uint64 {
	m.take(d)
	if n, ok := m.single(); ok {
		return n
	}
	m.merge()
	return sum(m.counted)
}

// Minutes returns the counted steps of each minute and what was excluded. The slice is the Merger's:
// it holds until the next call.
func (m *Merger) Minutes(d *Day) ([]uint32, Excluded) {
	m.take(d)
	m.merge()
	for i, n := range m.counted {
		if n == absent {
			m.counted[i] = 0
		}
	}
	return m.counted, m.excluded
}

// take sets the day and picks the sources that take part.
func (m *Merger) take(d *Day) {
	m.day, m.first, m.last = d, 0, len(d.Sources)
	if m.cfg.Policy != OneDevice {
		return
	}
	pick := slices.IndexFunc(d.Sources, func(s Source) bool {
		if d.Chosen != "" {
			return s.Device == d.Chosen
		}
		return s.counted(&m.accepted)
	})
	if pick < 0 && d.Chosen == "" { // nobody counted a step that is accepted; one may have some to exclude
		pick = slices.IndexFunc(d.Sources, func(s Source) bool { return s.counted(&origins{true, true, true}) })
	}
	m.first, m.last = max(pick, 0), pick+1
}

// single returns the steps of the common day of one source with one lane, whose cells are minutes of
// nobody else.
func (m *Merger) single() (n uint64, ok bool) {
	if m.last-m.first != 1 {
		return 0, m.first == m.last
	}
	s := &m.day.Sources[m.first]
	if len(s.Lanes) != 1 || !s.within(&m.accepted) {
		return 0, false
	}
	l := &s.Lanes[0]
	for i, mark := range l.Marks[:l.cells()] {
		if mark != 0 {
			n += uint64(l.Counts[i])
		}
	}
	return n, true
}

// merge fills m.full, m.counted and m.excluded.
func (m *Merger) merge() {
	n := m.day.minutes()
	m.full = slices.Grow(m.full[:0], n)[:n]
	m.counted, m.excluded = m.full, Excluded{}
	if m.tracing {
		m.trace = slices.Grow(m.trace[:0], n)[:n]
		for i := range m.trace {
			m.trace[i] = mark{source: -1}
		}
	}
	m.limited = false
	m.addAll(&m.accepted)
	if !m.hasLimited() {
		return
	}
	m.limited = true
	m.kept = append(m.kept[:0], m.full...)
	m.counted = m.kept
	for _, o := range [...]steps.Origin{steps.OriginUnknown, steps.OriginManual} {
		if !m.accepted[o] {
			m.addLimited(o)
		}
	}
}

// hasLimited reports whether a source has cells of a capped or excluded origin.
func (m *Merger) hasLimited() bool {
	return slices.ContainsFunc(m.day.Sources[m.first:m.last], func(s Source) bool { return !s.within(&m.accepted) })
}

// blank returns s with n absent minutes.
func blank(s []uint32, n int) []uint32 {
	s = slices.Grow(s[:0], n)[:n]
	for i := range s {
		s[i] = absent
	}
	return s
}

// addAll merges the cells whose origin is in the set: minutes, then coarser records.
func (m *Merger) addAll(set *origins) {
	first := !m.limited
	m.records = cells{interval: 60}
	for m.source = m.first; m.source < m.last; m.source++ {
		s := &m.day.Sources[m.source]
		if len(s.Lanes) == 0 || s.Lanes[0].Interval != 60 || !s.touches(set) {
			continue
		}
		if first {
			first = false
			s.extract(m.full, set)
			m.noteAll(Priority)
			continue
		}
		m.next = slices.Grow(m.next[:0], len(m.full))[:len(m.full)]
		s.extract(m.next, set)
		if m.cfg.Policy == MaxMinute && !m.limited {
			m.maximum()
		} else {
			m.fill()
		}
	}
	if first {
		m.full = blank(m.full, len(m.full))
	}
	m.addCoarse(set)
}

// extract writes the source's one-minute lane to dst. When the lane reports some minutes and none of
// them as zero, it leaves its zeros out: what it does not report is zero.
func (s *Source) extract(dst []uint32, set *origins) {
	l := &s.Lanes[0]
	n := copy(dst, l.Counts)
	known := n
	all := s.within(set)
	for i, mark := range l.Marks[:n] {
		if mark == 0 || !all && !set.has(s.Origins[mark]) {
			dst[i] = absent
			known--
		}
	}
	rest := absent
	if known > 0 && known < len(dst) && !slices.Contains(dst[:n], 0) {
		rest = 0
		for i, c := range dst[:n] {
			if c == absent {
				dst[i] = 0
			}
		}
	}
	for i := n; i < len(dst); i++ {
		dst[i] = rest
	}
}

// maximum takes from m.next the minutes in which it counted more.
func (m *Merger) maximum() {
	for i, n := range m.next {
		if c := m.full[i]; n != absent && (c == absent || n > c) {
			m.full[i] = n
			m.note(i, Maximum)
		}
	}
}

// note remembers that a minute is now that of the source being merged.
func (m *Merger) note(minute int, r Reason) {
	switch {
	case !m.tracing:
	case open(m.full[minute]):
		m.trace[minute] = mark{source: -1}
	default:
		m.trace[minute] = mark{m.source, m.records, r}
	}
}

// noteAll is note for every minute.
func (m *Merger) noteAll(r Reason) {
	if m.tracing {
		for i := range m.full {
			m.note(i, r)
		}
	}
}

func sum(minutes []uint32) (n uint64) {
	for _, c := range minutes {
		n += value(c)
	}
	return n
}
