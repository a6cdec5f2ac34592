package review

import (
	"cmp"
	"context"
	"slices"

	"ayumi/merge"
	"ayumi/plausibility"
	"ayumi/steps"
)

// atOnce is how many days are read, or written, in one go.
const atOnce = 256

// look scores a day of everybody. Its memory is some 250 bytes a person, and what a few hundred days' minutes take.
type look struct {
	r    *Reviewer
	day  steps.Day
	full bool // those that did not change too
	tell func(done, of int) error

	people   []steps.ParticipantDay
	steps    []uint64
	reviewed map[steps.ParticipantID]bool // who has a review of the day
	marks    []mark
	own      map[int][]steps.ParticipantDay // a person's other days that are near
	scored   []scored                       // in the order of people
	findings []Finding
	out      Outcome
}

// Outcome is what a look at a day found.
type Outcome struct {
	Day          steps.Day
	Participants int // with steps
	Scored       int // of them, those that changed since the last look
	Flagged      int // whose review is new, or changed
	Held         int // of them, those whose points are held
}

// run looks at the day. What it has found by the time of an error is kept.
func (l *look) run(ctx context.Context) error {
	if err := l.gather(ctx); err != nil {
		return err
	}
	for from := 0; from < len(l.people); from += atOnce {
		if err := l.alone(ctx, from, min(from+atOnce, len(l.people))); err != nil {
			return err
		}
		if err := l.tell(min(from+atOnce, len(l.people)), len(l.people)); err != nil {
			return err
		}
	}
	if err := l.compare(ctx); err != nil {
		return err
	}
	if err := l.note(ctx); err != nil {
		return err
	}
	for some := range slices.Chunk(l.scored, atOnce) { // at last: what is kept was looked at, whatever happens
		if err := l.keep(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

// scored is the fingerprint of somebody's day that was scored.
type scored struct {
	who   int
	print Print
}

// keep stores fingerprints.
func (l *look) keep(ctx context.Context, some []scored) error {
	ids := make([]steps.ParticipantID, len(some))
	for i := range some {
		ids[i] = l.people[some[i].who].Participant
	}
	changed := make([]Prints, len(some))
	err := l.r.book.EachPrints(ctx, ids, func(i int, p *Prints) error {
		changed[i] = Prints{Participant: p.Participant, Days: slices.Clone(p.Days)}
		changed[i].Put(some[i].print, l.r.cfg.CompareDays)
		return nil
	})
	if err != nil {
		return err
	}
	return l.r.book.PutPrints(ctx, changed)
}

// gather lists who has steps on the day, and who a review.
func (l *look) gather(ctx context.Context) error {
	one := steps.DayRange{From: l.day, Until: l.day}
	err := l.r.days.EachDay(ctx, one, "", func(a steps.Award) error {
		if !a.Unreported {
			l.people = append(l.people, a.ParticipantDay)
			l.steps = append(l.steps, a.Steps)
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.out.Day, l.out.Participants = l.day, len(l.people)
	l.reviewed, l.own = map[steps.ParticipantID]bool{}, map[int][]steps.ParticipantDay{}
	return l.r.book.EachReview(ctx, Filter{Days: one}, func(v *Review) error {
		l.reviewed[v.Participant] = true
		return nil
	})
}

// alone scores some people's day by itself, and takes its fingerprint, where it changed since the last look.
func (l *look) alone(ctx context.Context, from, to int) error {
	ids := make([]steps.ParticipantID, 0, to-from)
	for _, pd := range l.people[from:to] {
		ids = append(ids, pd.Participant)
	}
	var due []int // indexes into people
	kept, now := make([][]Print, len(ids)), make([]Print, len(ids))
	err := l.r.book.EachPrints(ctx, ids, func(i int, p *Prints) error {
		kept[i] = slices.Clone(p.Days)
		var known bool
		now[i], known = p.Of(l.day)
		if who := from + i; l.full || !known || now[i].Steps != l.steps[who] || l.reviewed[p.Participant] {
			due = append(due, who)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := l.score(ctx, due, now, from); err != nil {
		return err
	}
	for i := range kept {
		l.remember(from+i, &now[i], kept[i])
	}
	return nil
}

// score scores those that are due, and takes their fingerprints. now begins with from's.
func (l *look) score(ctx context.Context, due []int, now []Print, from int) error {
	if len(due) == 0 {
		return nil
	}
	days := make([]steps.ParticipantDay, len(due))
	for i, who := range due {
		days[i] = l.people[who]
	}
	i := 0
	err := l.r.eachDay(ctx, days, func(d *plausibility.Day, n uint64) error {
		who := due[i]
		i++
		l.find(d, n, nil)
		p := &now[who-from]
		*p = Print{Day: l.day, Steps: n}
		p.Pattern, p.Active = l.r.scorer.Fingerprint(d)
		l.scored = append(l.scored, scored{who, *p})
		return nil
	})
	l.out.Scored += len(due)
	return err
}

// remember enters somebody's fingerprint of the day among the marks, and their own days that are near.
func (l *look) remember(who int, now *Print, days []Print) {
	if !now.Active {
		return
	}
	l.marks = append(l.marks, mark{who, now.Pattern})
	var list []steps.ParticipantDay
	for i := range days {
		if d := &days[i]; d.Day != l.day && d.Active && l.r.scorer.Near(now.Pattern, d.Pattern) && len(list) < mostPeers {
			list = append(list, steps.ParticipantDay{Participant: l.people[who].Participant, Day: d.Day})
		}
	}
	if list != nil {
		l.own[who] = list
	}
}

// find notes what a day raises. One that raises nothing is noted if it has a review.
func (l *look) find(d *plausibility.Day, n uint64, peers []plausibility.Peer) {
	report := l.r.scorer.Score(d, peers)
	f := Finding{ParticipantDay: d.ParticipantDay, Steps: n}
	hold := l.r.cfg.HoldSevere && report.Suggestion == plausibility.Hold || slices.ContainsFunc(report.Flags, func(f plausibility.Flag) bool {
		return slices.Contains(l.r.cfg.HoldKinds, f.Kind)
	})
	if hold || report.Suggestion != plausibility.Nothing {
		f.Score, f.Flags, f.Hold = report.Sum, report.Flags, hold
	} else if !l.reviewed[d.Participant] {
		return
	}
	l.findings = append(l.findings, f)
}

// compare scores the days again that others are near to, together with those.
func (l *look) compare(ctx context.Context) error {
	others := near(l.r.scorer, l.marks)
	l.marks = nil
	fresh := make([]bool, len(l.people))
	for i := range l.scored {
		fresh[l.scored[i].who] = true
	}
	var some []int
	for who := range l.people {
		if len(others[who]) == 0 && len(l.own[who]) == 0 {
			continue
		}
		if !fresh[who] && !slices.ContainsFunc(others[who], func(o neighbour) bool { return fresh[o.who] }) {
			continue // a look before this one compared them
		}
		if some = append(some, who); len(some) < atOnce/mostPeers {
			continue
		}
		if err := l.together(ctx, some, others); err != nil {
			return err
		}
		some = some[:0]
	}
	return l.together(ctx, some, others)
}

// together scores some people's days with their peers. Only what peers raise is new: it takes the place of what
// the day raised alone.
func (l *look) together(ctx context.Context, some []int, others neighbours) error {
	var wanted []steps.ParticipantDay
	for _, who := range some {
		wanted = append(append(wanted, l.people[who]), l.peersOf(who, others)...)
	}
	slices.SortFunc(wanted, compareDays)
	wanted = slices.Compact(wanted)
	read := make(map[steps.ParticipantDay]*plausibility.Day, len(wanted))
	totals := make(map[steps.ParticipantDay]uint64, len(wanted))
	err := l.r.eachDay(ctx, wanted, func(d *plausibility.Day, n uint64) error {
		copied := *d
		copied.Minutes = slices.Clone(d.Minutes)
		read[d.ParticipantDay], totals[d.ParticipantDay] = &copied, n
		return nil
	})
	if err != nil {
		return err
	}
	for _, who := range some {
		pd := l.people[who]
		var peers []plausibility.Peer
		for _, other := range l.peersOf(who, others) {
			peers = append(peers, *read[other])
		}
		l.find(read[pd], totals[pd], peers)
	}
	return nil
}

// peersOf returns the days that are near to somebody's.
func (l *look) peersOf(who int, others neighbours) []steps.ParticipantDay {
	list := slices.Clone(l.own[who])
	for _, o := range others[who] {
		list = append(list, l.people[o.who])
	}
	return list
}

func compareDays(a, b steps.ParticipantDay) int {
	return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Participant, b.Participant))
}

// note stores what was found. Of two findings of a day the later one, with peers, counts.
func (l *look) note(ctx context.Context) error {
	last := make(map[steps.ParticipantID]int, len(l.findings))
	for i := range l.findings {
		last[l.findings[i].Participant] = i
	}
	var some []Finding
	for i := range l.findings {
		if last[l.findings[i].Participant] == i {
			some = append(some, l.findings[i])
		}
	}
	for chunk := range slices.Chunk(some, atOnce) {
		changed, err := l.r.book.NoteReviews(ctx, chunk)
		if err != nil {
			return err
		}
		l.out.Flagged += len(changed)
		for i := range changed {
			if changed[i].State == Held {
				l.out.Held++
			}
			l.r.metrics.found(&changed[i])
		}
	}
	return nil
}

// eachDay calls fn for each of days, which are in order, as it was merged, with its steps. It is valid during the
// call only. A day that nobody reports any more has no minutes.
func (r *Reviewer) eachDay(ctx context.Context, days []steps.ParticipantDay, fn func(d *plausibility.Day, n uint64) error) error {
	return r.days.EachMinutes(ctx, days, func(t steps.DayTotal, minutes []uint32) error {
		d := plausibility.Day{ParticipantDay: t.ParticipantDay, Minutes: minutes}
		if t.Coarse {
			var err error
			if d.Coarse, err = r.coarse(t.ParticipantDay); err != nil {
				return err
			}
		}
		return fn(&d, t.Steps)
	})
}

// coarse returns the minutes of a day that are shares of longer records.
func (r *Reviewer) coarse(pd steps.ParticipantDay) (spans []plausibility.Span, err error) {
	sources, found, err := r.days.Sources(pd)
	if err != nil || !found {
		return nil, err
	}
	m, err := merge.New(r.days.Policy())
	if err != nil {
		return nil, err
	}
	merged := m.Explain(sources)
	for i := range merged.Runs {
		if run := &merged.Runs[i]; run.Interval > 60 {
			spans = append(spans, plausibility.Span{From: run.From, To: run.To, Interval: run.Interval})
		}
	}
	return spans, nil
}
