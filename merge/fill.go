package merge

import "slices"

// fill takes from m.next what the sources so far left open: whole stretches in which they were not
// carried, and between those what a walk lacks.
func (m *Merger) fill() {
	done := 0
	for i := 0; i < len(m.full); {
		if !open(m.full[i]) {
			i++
			continue
		}
		end := i + 1
		for end < len(m.full) && open(m.full[end]) {
			end++
		}
		if from, to := m.trim(i, end); from < to {
			m.walks(done, from)
			m.takeAll(from, to, NotCarried)
			done = to
		}
		i = end
	}
	m.walks(done, len(m.full))
}

// trim returns the part of a run of open minutes [from, to) in which the sources so far were not
// carried; it is empty when the run is short. Where the run touches a counted minute, the minutes of the
// clock tolerance are cut off: what the next source has there can be the same steps on another clock.
// They are not cut off when it counted beyond them without a pause.
func (m *Merger) trim(from, to int) (int, int) {
	if to-from < m.cfg.NotCarriedMinutes {
		return from, from
	}
	edge := m.cfg.ClockToleranceMinutes
	a, b := from, to
	if from > 0 && slices.ContainsFunc(m.next[from:from+edge+1], open) {
		a += edge
	}
	if to < len(m.full) && slices.ContainsFunc(m.next[to-edge-1:to], open) {
		b -= edge
	}
	return a, b
}

// takeAll takes what m.next has in [from, to).
func (m *Merger) takeAll(from, to int, r Reason) {
	for i := from; i < to; i++ {
		if n := m.next[i]; n != absent {
			m.full[i] = n
			m.note(i, r)
		}
	}
}

// walk is a stretch of minutes in which some source counted steps, between silences of all sources.
type walk struct {
	from, to     int
	ours, theirs uint64 // steps of the sources so far, and of m.next
	holes        bool   // the sources so far left out minutes
	complete     bool   // they did, and m.next left out none
}

// walks cuts [from, to) into walks and settles each.
func (m *Merger) walks(from, to int) {
	for i := from; i < to; {
		if open(m.full[i]) && open(m.next[i]) {
			i++
			continue
		}
		w := m.walk(i, from, to)
		m.settle(&w)
		i = w.to
	}
}

// walk measures the walk that begins at a minute, within [since, limit). The silence next to it counts
// as left out too: by another clock its first or last steps may have fallen there.
func (m *Merger) walk(from, since, limit int) walk {
	w := walk{from: from, to: from}
	for i := from; i < limit && i-w.to < m.cfg.ClockToleranceMinutes; i++ {
		ours, theirs := m.full[i], m.next[i]
		if open(ours) && open(theirs) {
			continue
		}
		w.ours += value(ours)
		w.theirs += value(theirs)
		w.to = i + 1
	}
	around := m.cfg.ClockToleranceMinutes
	first, last := max(w.from-around, since), min(w.to+around, limit)
	w.holes = slices.Contains(m.full[first:last], absent)
	w.complete = w.holes && !m.limited && !slices.Contains(m.next[first:last], absent)
	return w
}

// settle decides what a walk takes from m.next.
func (m *Merger) settle(w *walk) {
	if w.complete && w.theirs >= w.ours {
		for i := w.from; i < w.to; i++ {
			m.full[i] = m.next[i]
			m.note(i, WholeWalk)
		}
		return
	}
	if w.holes {
		for i := w.from; i < w.to; i++ {
			if n := m.next[i]; m.full[i] == absent && n != absent {
				m.full[i] = n
				m.note(i, NotReported)
				w.ours += uint64(n)
			}
		}
	}
	if w.theirs > w.ours {
		m.fillWalk(w)
	}
}

// fillWalk fills the open minutes of a walk, the largest counts first, until it has as many steps as
// m.next counted for it.
func (m *Merger) fillWalk(w *walk) {
	rest := w.theirs - w.ours
	var all uint64
	m.order = m.order[:0]
	for i := w.from; i < w.to; i++ {
		if open(m.full[i]) && !open(m.next[i]) {
			m.order = append(m.order, int32(i))
			all += uint64(m.next[i])
		}
	}
	if all > rest {
		slices.SortFunc(m.order, func(a, b int32) int {
			if x, y := m.next[a], m.next[b]; x != y {
				return int(int64(y) - int64(x))
			}
			return int(a - b)
		})
	}
	for _, i := range m.order {
		n := min(rest, uint64(m.next[i]))
		if n == 0 {
			return
		}
		m.full[i] = uint32(n)
		m.note(int(i), FilledWalk)
		rest -= n
	}
}
