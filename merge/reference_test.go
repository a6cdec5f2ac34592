package merge

import (
	"slices"
	"sort"

	"ayumi/steps"
)

// reference is the merge once more, written to be read: every rule works on whole days, minute by
// minute, with maps, and nothing is shared with the code under test.
type reference struct {
	cfg     Config
	day     *Day
	n       int
	sources []Source
	merged  map[int]uint64 // minutes that somebody reported
}

// mergeByReference returns the counted minutes and what was excluded.
func mergeByReference(cfg Config, d *Day) ([]uint64, Excluded) {
	r := &reference{cfg: cfg, day: d, n: d.Length, merged: map[int]uint64{}}
	for _, s := range d.Sources {
		for _, l := range s.Lanes {
			for i := range l.Counts {
				if start := i * int(l.Interval) / 60; start < MaxMinutes {
					r.n = max(r.n, start+1)
				}
			}
		}
	}
	r.sources = r.participating()
	accepted := func(o steps.Origin) bool { return r.treatment(o).Treatment == Accept }
	r.minutes(accepted, false)
	r.coarse(accepted)
	counted := make([]uint64, r.n)
	for i, n := range r.merged {
		counted[i] = n
	}
	var excluded Excluded
	for _, o := range []steps.Origin{steps.OriginUnknown, steps.OriginManual} {
		rule := r.treatment(o)
		if rule.Treatment == Accept {
			continue
		}
		before := map[int]uint64{}
		for i, n := range r.merged {
			before[i] = n
		}
		only := func(other steps.Origin) bool { return other == o }
		r.minutes(only, true)
		r.coarse(only)
		allowed := uint64(0)
		if rule.Treatment == Cap {
			allowed = rule.Steps
		}
		for i := range r.n {
			gained := r.merged[i] - before[i]
			ok := min(gained, allowed)
			allowed -= ok
			counted[i] += ok
			if o == steps.OriginManual {
				excluded.Manual += gained - ok
			} else {
				excluded.Unknown += gained - ok
			}
		}
	}
	return counted, excluded
}

func (r *reference) treatment(o steps.Origin) OriginRule {
	if o == steps.OriginSensor {
		return OriginRule{Treatment: Accept}
	}
	if o == steps.OriginManual {
		return r.cfg.Manual
	}
	return r.cfg.Unknown
}

func (r *reference) participating() []Source {
	if r.cfg.Policy != OneDevice {
		return r.day.Sources
	}
	for _, mustCount := range []bool{true, false} {
		for _, s := range r.day.Sources {
			if r.day.Chosen == "" && r.counted(s, mustCount) || r.day.Chosen != "" && s.Device == r.day.Chosen {
				return []Source{s}
			}
		}
	}
	return nil
}

// counted reports whether a source counted a step, of an accepted origin if that must be.
func (r *reference) counted(s Source, accepted bool) bool {
	for _, l := range s.Lanes {
		for i, n := range l.Counts {
			if l.Marks[i] != 0 && n > 0 && (!accepted || r.treatment(s.Origins[l.Marks[i]]).Treatment == Accept) {
				return true
			}
		}
	}
	return false
}

// cellsOf returns the reported counts of a lane by their first minute.
func cellsOf(s Source, l Lane, in func(steps.Origin) bool) map[int]uint64 {
	out := map[int]uint64{}
	for i, n := range l.Counts {
		if l.Marks[i] != 0 && in(s.Origins[l.Marks[i]]) {
			out[i*int(l.Interval)/60] = uint64(n)
		}
	}
	return out
}

func (r *reference) minutes(in func(steps.Origin) bool, limited bool) {
	first := !limited
	for _, s := range r.sources {
		for _, l := range s.Lanes {
			if l.Interval != 60 {
				continue
			}
			next := cellsOf(s, l, in)
			if len(next) == 0 {
				continue
			}
			saysZero := false
			for _, n := range next {
				saysZero = saysZero || n == 0
			}
			for i := 0; i < r.n && !saysZero; i++ {
				next[i] += 0
			}
			switch {
			case first:
				r.merged = next
			case r.cfg.Policy == MaxMinute && !limited:
				for i, n := range next {
					r.merged[i] = max(r.merged[i], n)
				}
			default:
				r.fill(next, limited)
			}
			first = false
		}
	}
}

// fill labels every minute as belonging to a stretch in which the sources so far were not carried, or
// to a walk, and then settles each.
func (r *reference) fill(next map[int]uint64, limited bool) {
	ours := map[int]uint64{}
	for i, n := range r.merged {
		ours[i] = n
	}
	away := make([]bool, r.n)
	for from := 0; from < r.n; from++ {
		to := from
		for to < r.n && ours[to] == 0 {
			to++
		}
		if to-from >= r.cfg.NotCarriedMinutes {
			a, b := from, to
			if from > 0 && !goesOn(next, from, 1, r.cfg.ClockToleranceMinutes) {
				a += r.cfg.ClockToleranceMinutes
			}
			if to < r.n && !goesOn(next, to-1, -1, r.cfg.ClockToleranceMinutes) {
				b -= r.cfg.ClockToleranceMinutes
			}
			for i := a; i < b; i++ {
				away[i] = true
			}
		}
		from = to
	}
	for i := range r.n {
		if n, ok := next[i]; ok && away[i] {
			r.merged[i] = n
		}
	}
	for i := 0; i < r.n; i++ {
		if away[i] || ours[i]+next[i] == 0 {
			continue
		}
		last := i
		for j := i; j < r.n && !away[j] && j-last <= r.cfg.ClockToleranceMinutes; j++ {
			if ours[j]+next[j] > 0 {
				last = j
			}
		}
		r.walk(i, last, next, away, limited)
		i = last
	}
}

// goesOn reports whether next counted in a minute and in those beyond it up to the tolerance.
func goesOn(next map[int]uint64, minute, direction, tolerance int) bool {
	for k := 0; k <= tolerance; k++ {
		if next[minute+k*direction] == 0 {
			return false
		}
	}
	return true
}

func (r *reference) walk(first, last int, next map[int]uint64, away []bool, limited bool) {
	var ours, theirs uint64
	holes, complete := false, !limited
	for i := first - r.cfg.ClockToleranceMinutes; i <= last+r.cfg.ClockToleranceMinutes; i++ {
		if i < 0 || i >= r.n || away[i] {
			continue
		}
		_, weKnow := r.merged[i]
		_, theyKnow := next[i]
		holes = holes || !weKnow
		complete = complete && theyKnow
		if i >= first && i <= last {
			ours += r.merged[i]
			theirs += next[i]
		}
	}
	if holes && complete && theirs >= ours {
		for i := first; i <= last; i++ {
			r.merged[i] = next[i]
		}
		return
	}
	for i := first; i <= last; i++ {
		if n, ok := next[i]; ok {
			if _, known := r.merged[i]; !known {
				r.merged[i] = n
				ours += n
			}
		}
	}
	for ours < theirs {
		best := -1
		for i := first; i <= last; i++ {
			if r.merged[i] == 0 && next[i] > 0 && (best < 0 || next[i] > next[best]) {
				best = i
			}
		}
		if best < 0 {
			return
		}
		r.merged[best] = min(next[best], theirs-ours)
		ours += r.merged[best]
	}
}

func (r *reference) coarse(in func(steps.Origin) bool) {
	var intervals []uint32
	for _, s := range r.sources {
		for _, l := range s.Lanes {
			if l.Interval > 60 && !slices.Contains(intervals, l.Interval) {
				intervals = append(intervals, l.Interval)
			}
		}
	}
	slices.Sort(intervals)
	for _, interval := range intervals {
		for _, s := range r.sources {
			for k, l := range s.Lanes {
				for o := range steps.Origin(3) {
					if l.Interval == interval && in(o) {
						r.lane(s, k, func(other steps.Origin) bool { return other == o })
					}
				}
			}
		}
	}
}

func (r *reference) lane(s Source, k int, in func(steps.Origin) bool) {
	finer := map[int]uint64{}
	for _, l := range s.Lanes[:k] {
		for _, c := range sortedCells(cellsOf(s, l, in)) {
			from, to := r.bounds(l, c.minute)
			apportion(finer, from, to, to, c.count, nil)
		}
	}
	for _, c := range sortedCells(cellsOf(s, s.Lanes[k], in)) {
		from, to := r.bounds(s.Lanes[k], c.minute)
		if from >= MaxMinutes {
			continue
		}
		begun := to
		if r.day.Elapsed > 0 && r.day.Elapsed < to {
			begun = max(from+1, r.day.Elapsed)
		}
		var known uint64
		for i := from; i < to; i++ {
			known += finer[i]
		}
		rest := max(c.count, known) - known
		apportion(r.merged, from, to, begun, rest, finer)
	}
}

func (r *reference) bounds(l Lane, minute int) (from, to int) {
	if l.Interval == 86400 && len(l.Counts) == 1 {
		return 0, r.n
	}
	return minute, min(minute+int(l.Interval)/60, r.n)
}

// apportion adds to the minutes [from, to) that finer does not know what count holds beyond them, step
// by step in turn, to those before begun that have none. With finer nil, that is to unknown ones only.
func apportion(minutes map[int]uint64, from, to, begun int, count uint64, finer map[int]uint64) {
	var gaps []int
	var have uint64
	for i := from; i < to; i++ {
		if _, known := finer[i]; known {
			continue
		}
		have += minutes[i]
		_, known := minutes[i]
		if i < begun && (finer == nil && !known || finer != nil && minutes[i] == 0) {
			gaps = append(gaps, i)
		}
	}
	for _, i := range gaps {
		minutes[i] = 0
	}
	for k := 0; len(gaps) > 0 && have < count; k++ {
		minutes[gaps[k%len(gaps)]]++
		have++
	}
}

type cellAt struct {
	minute int
	count  uint64
}

func sortedCells(cells map[int]uint64) []cellAt {
	var out []cellAt
	for i, n := range cells {
		out = append(out, cellAt{i, n})
	}
	sort.Slice(out, func(a, b int) bool { return out[a].minute < out[b].minute })
	return out
}
