package plausibility

// patterns compares the day with its peers.
func (s *Scorer) patterns(r *reporter, d *Day, seen []uint32, peers []Peer) {
	cfg := &s.cfg.Pattern
	for i := range peers {
		p := &peers[i]
		if p.ParticipantDay == d.ParticipantDay {
			continue
		}
		a := cfg.align(p.seen(), seen)
		exact := a.identical >= cfg.ActiveMinutes && float64(a.identical) >= cfg.Identical*float64(a.active)
		near := a.agreeing >= cfg.ActiveMinutes && a.small >= cfg.Small && float64(a.agreeing) >= cfg.Share*float64(a.active)
		if !exact && !near {
			continue
		}
		f := Flag{
			Kind: SharedPattern, From: a.from, To: a.to, Other: p.ParticipantDay, Shift: float64(a.quarters) / 4, Exact: exact,
			Figure: float64(a.agreeing) / float64(a.active), Limit: cfg.Share,
		}
		if p.Participant == d.Participant {
			f.Kind = RepeatedPattern
		}
		if exact {
			f.Figure, f.Limit = float64(a.identical)/float64(a.active), cfg.Identical
			if r.weights[f.Kind] > 0 {
				f.Score = 100
				r.flags = append(r.flags, f)
			}
			continue
		}
		r.add(f, f.Figure/f.Limit)
	}
}

// alignment is how far two days agree when one is moved.
type alignment struct {
	quarters  int // of a minute that the second day is later
	active    int // minutes in which either is active
	agreeing  int // of those, minutes whose counts agree
	small     int // of those, minutes of less than 60 steps
	identical int // active minutes whose counts are equal; only when moved by whole minutes
	from, to  int // the agreeing minutes, of the second day
}

// align returns the alignment in which most of the active minutes of two days agree. It moves one of
// them by quarters of a minute, since two devices cut the same walk into minutes at different seconds.
func (c *PatternConfig) align(a, b []uint32) (best alignment) {
	for quarters := range 8*c.Shift + 1 {
		q := (quarters + 1) / 2 // 0, 1, -1, 2, -2 …: the smaller shift wins a tie
		if quarters%2 == 0 {
			q = -q
		}
		x := alignAt(a, b, q)
		if quarters == 0 || x.agreeing*best.active > best.agreeing*x.active {
			best = x
		}
	}
	return best
}

// alignAt compares two days, the second taken to be later by quarters of a minute. Counts agree when
// they differ by up to a tenth or three steps.
func alignAt(a, b []uint32, quarters int) alignment {
	x := alignment{quarters: quarters}
	whole, part := quarters>>2, int64(quarters&3) // >> rounds down, so part is 0 to 3
	for i, n := range b {
		if n == 0 && at(a, i-whole)+at(a, i-whole-1) < active {
			continue // most minutes of most days
		}
		was := (4-part)*at(a, i-whole) + part*at(a, i-whole-1) // in quarter steps
		now := 4 * int64(n)
		largest := max(was, now)
		if largest < 4*active {
			continue
		}
		x.active++
		if max(was-now, now-was) > max(12, largest/10) {
			continue
		}
		if x.agreeing == 0 {
			x.from = i
		}
		x.to = i + 1
		x.agreeing++
		if largest < 4*60 {
			x.small++
		}
		if was == now && part == 0 {
			x.identical++
		}
	}
	return x
}

func at(minutes []uint32, i int) int64 {
	if i < 0 || i >= len(minutes) {
		return 0
	}
	return int64(minutes[i])
}
