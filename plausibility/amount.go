package plausibility

// hourLong is the interval up to which a coarse record says in which hour somebody was active, in
// seconds.
const hourLong = 3600

// totals looks at the steps of the day and of its busiest 60 minutes.
func (s *Scorer) totals(r *reporter, d *Day) {
	total := sum(d.Minutes)
	if limit := s.cfg.Day.Steps; total > limit {
		r.over(BusyDay, 0, len(d.Minutes), float64(total), float64(limit))
	}
	var hour, busiest uint64
	at := 0
	for i, n := range d.Minutes {
		hour += uint64(n)
		if i >= 60 {
			hour -= uint64(d.Minutes[i-60])
		}
		if hour > busiest {
			busiest, at = hour, i+1
		}
	}
	if limit := s.cfg.Hour.Steps; busiest > limit {
		r.over(BusyHour, max(at-60, 0), at, float64(busiest), float64(limit))
	}
}

// cadence looks at the longest run of minutes at an impossible cadence.
func (s *Scorer) cadence(r *reporter, seen []uint32) {
	from, to := longest(seen, 0, func(n uint32) bool { return n > s.cfg.Cadence.Steps })
	r.over(HighCadence, from, to, float64(to-from), float64(s.cfg.Cadence.Minutes))
}

// coverage counts the hours with activity. A record of more than an hour does not say in which of
// them somebody was active.
func (s *Scorer) coverage(r *reporter, d *Day) {
	known := d.within(hourLong)
	hours, first, last := 0, 0, 0
	for from := 0; from < len(known); from += 60 {
		hour := known[from:min(from+60, len(known))]
		minutes := 0
		for _, n := range hour {
			if n > 0 {
				minutes++
			}
		}
		if minutes < s.cfg.Coverage.Minutes || sum(hour) < s.cfg.Coverage.Steps {
			continue
		}
		if hours == 0 {
			first = from
		}
		hours, last = hours+1, from+len(hour)
	}
	r.over(LongActivity, first, last, float64(hours), float64(s.cfg.Coverage.Hours))
}

// evening looks at how much of a big day came late.
func (s *Scorer) evening(r *reporter, d *Day) {
	total := sum(d.Minutes)
	if total < s.cfg.Evening.Steps || total == 0 {
		return
	}
	from := min(s.cfg.Evening.From, len(d.Minutes))
	late := sum(d.Minutes[from:])
	r.over(LateSteps, from, len(d.Minutes), float64(late)/float64(total), s.cfg.Evening.Share)
}

// coarse looks at how many steps nobody saw minute by minute.
func (s *Scorer) coarse(r *reporter, d *Day) {
	var n uint64
	first, last := len(d.Minutes), 0
	for i := range d.Coarse {
		from, to := d.Coarse[i].bounds(len(d.Minutes))
		n += sum(d.Minutes[from:to])
		first, last = min(first, from), max(last, to)
	}
	if limit := s.cfg.Coarse.Steps; n > limit {
		r.over(CoarseSteps, first, last, float64(n), float64(limit))
	}
}

func sum(minutes []uint32) (n uint64) {
	for _, c := range minutes {
		n += uint64(c)
	}
	return n
}

// longest returns the longest stretch that begins and ends with minutes that fit and holds at most so
// many others.
func longest(minutes []uint32, others int, fits func(uint32) bool) (from, to int) {
	start, misses := 0, 0
	for i, n := range minutes {
		if !fits(n) {
			misses++
			continue
		}
		for misses > others || start < i && !fits(minutes[start]) {
			if !fits(minutes[start]) {
				misses--
			}
			start++
		}
		if i+1-start > to-from {
			from, to = start, i+1
		}
	}
	return from, to
}
