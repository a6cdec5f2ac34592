package replay

import (
	"slices"
	"time"

	"ayumi/steps"
)

func (pl *planner) offset(unix int64) int32 {
	_, offset := time.Unix(unix, 0).In(pl.o.Calendar.Location()).Zone()
	return int32(offset) //nolint:gosec // within a day
}

// brokenEpochs are where devices find themselves after losing their clock: the epoch of many
// real-time clocks, and the day on which 32-bit NTP seconds roll over.
var brokenEpochs = [...]steps.Day{
	steps.DateDay(2000, time.January, 1),
	steps.DateDay(2036, time.February, 7),
}

// breakClocks sends a copy of each picked upload from each of the two wrong times. The copies touch
// no minute of the person, so their revisions contradict nothing.
func (pl *planner) breakClocks(picked []int) {
	for _, i := range picked {
		for _, epoch := range brokenEpochs {
			a := pl.acts[i]
			first := a.stretches[0].start
			a.shift = int64(epoch)*day - (first - first%day)
			a.at += 1 + pl.rng.Int64N(day)
			a.label = BrokenClock
			pl.acts = append(pl.acts, a)
		}
	}
}

// correct lets upload i be preceded by an older revision whose counts are wrong: mostly too low, as
// with an app that learns of a watch's steps later, sometimes too high, as with one that counted
// phone and watch together. The true upload goes out up to three days later.
func (pl *planner) correct(i int) {
	wrong := pl.acts[i]
	wrong.stretches = slices.Clone(wrong.stretches)
	wrong.label |= Superseded
	low, changed := pl.rng.IntN(4) != 0, false
	for j := range wrong.stretches {
		s := &wrong.stretches[j]
		s.counts = slices.Clone(s.counts)
		for m, c := range s.counts {
			if c == 0 || pl.rng.IntN(2) == 0 {
				continue
			}
			if low || c >= maxWrong {
				s.counts[m] = uint32(pl.rng.IntN(int(c))) //nolint:gosec // below c
			} else {
				s.counts[m] = c + 1 + uint32(pl.rng.IntN(int(maxWrong-c))) //nolint:gosec // at most maxWrong
			}
			changed = true
		}
	}
	if !changed {
		return // nobody walked: there is nothing to correct
	}
	pl.acts[i].at += hour + pl.rng.Int64N(3*day)
	pl.acts = append(pl.acts, wrong)
}

// split sends upload i as two, cut at some minute and overlapping by up to ten. Each half's series
// is cut once more somewhere else, so that the boundaries differ from the whole's.
func (pl *planner) split(i int) {
	whole := pl.acts[i]
	total := 0
	for _, s := range whole.stretches {
		total += len(s.counts)
	}
	at := 1 + pl.rng.IntN(total-1)
	first, second := whole, whole
	first.stretches = pl.cut(slice(whole.stretches, 0, min(total, at+pl.rng.IntN(11))))
	second.stretches = pl.cut(slice(whole.stretches, at, total))
	first.label |= Split
	second.label |= Split
	second.at += pl.rng.Int64N(hour)
	pl.acts[i] = first
	pl.acts = append(pl.acts, second)
}

// cut breaks the first stretch in two where it is long enough.
func (pl *planner) cut(parts []stretch) []stretch {
	n := len(parts[0].counts)
	if n < 2 || pl.rng.IntN(2) == 0 {
		return parts
	}
	at := 1 + pl.rng.IntN(n-1)
	head := stretch{start: parts[0].start, counts: parts[0].counts[:at]}
	tail := stretch{start: parts[0].start + int64(at)*minute, counts: parts[0].counts[at:]}
	return append([]stretch{head, tail}, parts[1:]...)
}

// slice returns the minutes from to until-1 of the stretches, counted over all of them.
func slice(parts []stretch, from, until int) []stretch {
	var out []stretch
	for _, s := range parts {
		n := len(s.counts)
		if lo, hi := max(from, 0), min(until, n); lo < hi {
			out = append(out, stretch{start: s.start + int64(lo)*minute, counts: s.counts[lo:hi]})
		}
		from, until = from-n, until-n
	}
	return out
}
