package plausibility

// walking is the least count of a minute in which somebody walked.
const walking = 20

// flat counts the minutes that lie in an even window: one of walking throughout, slower than running,
// whose counts vary little. People who walk for hours slow down, stop and turn; what hangs on a
// pendulum does not.
func (s *Scorer) flat(r *reporter, seen []uint32) {
	cfg := &s.cfg.Flat
	var total, squares uint64
	idle := -1 // the last minute without walking
	even, end, first := 0, 0, 0
	for i, n := range seen {
		total += uint64(n)
		squares += uint64(n) * uint64(n)
		if n < walking {
			idle = i
		}
		if from := i - cfg.Window; from >= 0 {
			total -= uint64(seen[from])
			squares -= uint64(seen[from]) * uint64(seen[from])
		}
		from := i + 1 - cfg.Window
		if from <= idle || !cfg.even(total, squares) {
			continue
		}
		if even == 0 {
			first = from
		}
		even += i + 1 - max(end, from)
		end = i + 1
	}
	r.over(FlatCadence, first, end, float64(even), float64(cfg.Minutes))
}

// even reports whether a window with this sum and sum of squares varies little. Its variance by its
// squared mean is (window·squares - total²) / total².
func (c *FlatConfig) even(total, squares uint64) bool {
	w := uint64(c.Window)
	if total > uint64(c.MaxCadence)*w {
		return false
	}
	return float64(w*squares-total*total) <= c.Variation*c.Variation*float64(total*total)
}

// unbroken looks at the longest walk without a rest.
func (s *Scorer) unbroken(r *reporter, seen []uint32) {
	cfg := &s.cfg.Unbroken
	from, to := longest(seen, cfg.Pauses, func(n uint32) bool { return n >= cfg.Cadence })
	r.over(Unbroken, from, to, float64(to-from), float64(cfg.Minutes))
}

// brisk looks at the share of small movements. Whoever walks two hours a day also gets up, turns
// round and waits; whoever writes numbers does not think of it.
func (s *Scorer) brisk(r *reporter, seen []uint32) {
	cfg := &s.cfg.Brisk
	brisk, small, active := 0, 0, 0
	first, last := 0, 0
	for i, n := range seen {
		if n == 0 {
			continue
		}
		if active == 0 {
			first = i
		}
		last = i + 1
		active++
		if n >= cfg.Cadence {
			brisk++
		}
		if n < cfg.Small {
			small++
		}
	}
	if brisk >= cfg.Minutes {
		r.under(NoSmallMovement, first, last, float64(small)/float64(active), cfg.Share)
	}
}

// regular looks at counts that repeat the one before, and at round ones.
func (s *Scorer) regular(r *reporter, seen []uint32) {
	cfg := &s.cfg.Regular
	walked, round, pairs, equal := 0, 0, 0, 0
	first, last := 0, 0
	for i, n := range seen {
		if n < walking {
			continue
		}
		if walked == 0 {
			first = i
		}
		last = i + 1
		walked++
		if n%10 == 0 {
			round++
		}
		if i > 0 && seen[i-1] >= walking {
			pairs++
			if n == seen[i-1] {
				equal++
			}
		}
	}
	if pairs >= cfg.Minutes {
		r.over(RepeatedCounts, first, last, float64(equal)/float64(pairs), cfg.Repeated)
	}
	if walked >= cfg.Minutes {
		r.over(RoundCounts, first, last, float64(round)/float64(walked), cfg.Round)
	}
}
