package plausibility

import (
	"cmp"
	"slices"

	"ayumi/steps"
)

// Day is a participant's merged day.
type Day struct {
	steps.ParticipantDay
	Minutes []uint32 // steps of each minute
	Coarse  []Span   // minutes that are shares of coarse records
}

// Span is a stretch of minutes [From, To) whose counts are shares of records of several minutes: a run
// of merged minutes whose interval is longer than one. Spans do not overlap.
type Span struct {
	From, To int
	Interval uint32 // of the records, in seconds
}

// Peer is a day to compare with: another participant's, or another one of the same participant.
type Peer = Day

// Flag is one thing that staff should look at.
type Flag struct {
	Kind     Kind
	Score    int // 1 to 100
	From, To int // minutes of the day that it rests on, To exclusive
	Figure   float64
	Limit    float64
	// Other is the day that agrees with this one, for SharedPattern and RepeatedPattern.
	Other steps.ParticipantDay
	// Shift is how many minutes later this day is than Other.
	Shift float64
	// Exact says that the counts agree, not only nearly.
	Exact bool
}

// Report is what a day raised.
type Report struct {
	Flags      []Flag // in the order of their kinds
	Sum        int    // of their scores, at most 100
	Max        int    // the largest score
	Suggestion Suggestion
}

// Scorer scores days. It keeps no state and may be used by several goroutines.
type Scorer struct {
	cfg     Config
	weights [lastKind + 1]int
}

// New returns a Scorer. An unusable configuration is Invalid.
func New(cfg Config) (*Scorer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Scorer{cfg: cfg, weights: cfg.weights()}, nil
}

// Score looks at a day and compares it with its peers: the days whose fingerprints are near. The day
// itself among the peers is passed over.
func (s *Scorer) Score(d *Day, peers []Peer) Report {
	r := reporter{weights: &s.weights}
	seen := d.seen()
	s.totals(&r, d)
	s.cadence(&r, seen)
	s.coverage(&r, d)
	s.flat(&r, seen)
	s.unbroken(&r, seen)
	s.brisk(&r, seen)
	s.regular(&r, seen)
	s.evening(&r, d)
	s.coarse(&r, d)
	s.patterns(&r, d, seen, peers)
	return r.report(&s.cfg.Suggest)
}

// seen returns the minutes that a source counted as such; the shares of coarse records are 0.
func (d *Day) seen() []uint32 { return d.within(60) }

// within returns the minutes without the shares of records longer than so many seconds.
func (d *Day) within(interval uint32) []uint32 {
	out := slices.Clone(d.Minutes)
	for _, c := range d.Coarse {
		if c.Interval > interval {
			from, to := c.bounds(len(out))
			clear(out[from:to])
		}
	}
	return out
}

// bounds returns the span's part of a day of n minutes.
func (c *Span) bounds(n int) (from, to int) {
	from = min(max(c.From, 0), n)
	return from, min(max(c.To, from), n)
}

// reporter gathers flags.
type reporter struct {
	weights *[lastKind + 1]int
	flags   []Flag
}

// over flags a figure that reached its limit. The score is the kind's weight at the limit and grows in
// proportion.
func (r *reporter) over(k Kind, from, to int, figure, limit float64) {
	if figure >= limit {
		r.add(Flag{Kind: k, From: from, To: to, Figure: figure, Limit: limit}, figure/limit)
	}
}

// under flags a figure that is no more than its limit. The score is the kind's weight at the limit and
// twice that at 0.
func (r *reporter) under(k Kind, from, to int, figure, limit float64) {
	if figure <= limit {
		r.add(Flag{Kind: k, From: from, To: to, Figure: figure, Limit: limit}, 2-figure/limit)
	}
}

func (r *reporter) add(f Flag, factor float64) {
	if w := r.weights[f.Kind]; w > 0 {
		f.Score = min(100, int(float64(w)*min(factor, 100)))
		r.flags = append(r.flags, f)
	}
}

func (r *reporter) report(t *ThresholdConfig) Report {
	slices.SortStableFunc(r.flags, func(a, b Flag) int { return cmp.Compare(a.Kind, b.Kind) })
	out := Report{Flags: r.flags}
	for i := range r.flags {
		out.Sum += r.flags[i].Score
		out.Max = max(out.Max, r.flags[i].Score)
	}
	switch {
	case out.Sum >= t.Hold:
		out.Suggestion = Hold
	case out.Sum >= t.Review:
		out.Suggestion = Review
	}
	out.Sum = min(out.Sum, 100)
	return out
}
