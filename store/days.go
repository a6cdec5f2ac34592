package store

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// EachDay calls fn for every participant-day in the range that has steps or an award, ordered by day,
// then participant, with its merged total over everything acknowledged and the award that was last
// computed. A non-empty participant narrows it. It works on a snapshot taken when it is called.
func (s *Store) EachDay(ctx context.Context, r steps.DayRange, p steps.ParticipantID, fn func(steps.Award) error) error {
	recent := s.recentTotals(r, p) // before the snapshot: what leaves the head meanwhile is in it
	return s.db.View(func(txn *badger.Txn) error {
		if p != "" {
			return s.eachOwnDay(ctx, txn, r, p, recent, fn)
		}
		j := dayJoin{totals: s.newCursor(txn, prefixDay, r), pages: s.newSheetCursor(txn), recent: recent}
		defer j.totals.close()
		defer j.pages.close()
		if err := j.pages.walk(r.From, ""); err != nil {
			return err
		}
		for {
			award, ok, err := j.next()
			if err != nil || !ok {
				return err
			}
			if err := cmp.Or(ctx.Err(), fn(award)); err != nil {
				return err
			}
		}
	})
}

// eachOwnDay is EachDay for one participant.
func (s *Store) eachOwnDay(ctx context.Context, txn *badger.Txn, r steps.DayRange, p steps.ParticipantID,
	recent []steps.DayTotal, fn func(steps.Award) error,
) error {
	totals, pages := make(map[steps.Day]uint64), make(map[steps.Day]page)
	err := s.eachOwnPage(txn, r, p, func(d steps.Day, own *page) error {
		pages[d] = page{steps: own.steps, points: own.points, ruleSet: own.ruleSet, parts: own.parts}
		return nil
	})
	if err != nil {
		return err
	}
	err = s.eachOwn(txn, prefixDay, r, p, func(item *badger.Item, pd steps.ParticipantDay) (err error) {
		totals[pd.Day], err = s.auth.totalItem(item, pd)
		return err
	})
	if err != nil {
		return err
	}
	for _, d := range recent {
		totals[d.Day] = d.Steps
	}
	days := slices.AppendSeq(slices.Collect(maps.Keys(totals)), maps.Keys(pages))
	slices.Sort(days)
	for _, d := range slices.Compact(days) {
		pd, own := steps.ParticipantDay{Participant: p, Day: d}, pages[d]
		n, reported := totals[d]
		a := own.award(steps.DayTotal{ParticipantDay: pd, Steps: n})
		if !reported {
			a, err = s.awardWithoutSteps(&own, pd)
		}
		if err := cmp.Or(err, ctx.Err()); err != nil {
			return err
		}
		if err := fn(a); err != nil {
			return err
		}
	}
	return nil
}

// eachOwn calls fn for a participant's days in a table, which lie apart: after each it seeks the
// participant in the next day that anybody has.
func (s *Store) eachOwn(txn *badger.Txn, prefix byte, r steps.DayRange, p steps.ParticipantID,
	fn func(item *badger.Item, pd steps.ParticipantDay) error,
) error {
	c := s.newCursor(txn, prefix, r)
	defer c.close()
	for {
		pd, ok := c.peek()
		if !ok {
			return nil
		}
		next := pd.Day
		if pd.Participant == p {
			if err := fn(c.it.Item(), pd); err != nil {
				return err
			}
		}
		if pd.Participant >= p {
			next++
		}
		c.it.Seek(dayKey(prefix, steps.ParticipantDay{Participant: p, Day: next}))
	}
}

// Total returns a participant-day's merged steps; found is false for a day nobody reported.
func (s *Store) Total(pd steps.ParticipantDay) (n uint64, found bool, err error) {
	if n, found := s.recentTotal(pd); found {
		return n, true, nil
	}
	err = s.db.View(func(txn *badger.Txn) (err error) {
		n, found, err = s.totalOf(txn, pd)
		return err
	})
	return n, found, err
}

func (s *Store) recentTotal(pd steps.ParticipantDay) (uint64, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if day := s.head.find(pd); day != nil && !day.empty() {
		return s.head.steps(day), true
	}
	return 0, false
}

// recentTotals returns the totals of the range that are in the head, ordered like the tables. It holds
// the lock for a shard at a time: a day that leaves the head before its shard's turn is on disk by then.
func (s *Store) recentTotals(r steps.DayRange, p steps.ParticipantID) []steps.DayTotal {
	shards := s.head.shards[:]
	if p != "" {
		own, _ := s.head.place(steps.ParticipantDay{Participant: p})
		shards = shards[own : own+1]
	}
	var out []steps.DayTotal
	for i := range shards {
		s.mu.RLock()
		for pd, day := range shards[i].days {
			if r.Contains(pd.Day) && (p == "" || p == pd.Participant) && !day.empty() {
				out = append(out, steps.DayTotal{ParticipantDay: pd, Steps: s.head.steps(day)})
			}
		}
		s.mu.RUnlock()
	}
	slices.SortFunc(out, func(a, b steps.DayTotal) int { return compareDays(a.ParticipantDay, b.ParticipantDay) })
	return out
}

func compareDays(a, b steps.ParticipantDay) int {
	return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Participant, b.Participant))
}

// cursor walks a table that is ordered by day and participant.
type cursor struct {
	it   *badger.Iterator
	r    steps.DayRange
	auth *auth
}

func (s *Store) newCursor(txn *badger.Txn, prefix byte, r steps.DayRange) *cursor {
	opts := badger.DefaultIteratorOptions
	opts.Prefix, opts.PrefetchValues = []byte{prefix}, false
	it := txn.NewIterator(opts)
	it.Seek(appendDay([]byte{prefix}, r.From))
	return &cursor{it, r, s.auth}
}

func (c *cursor) close() { c.it.Close() }

// peek returns the current key, or ok = false at the end of the range.
func (c *cursor) peek() (pd steps.ParticipantDay, ok bool) {
	if !c.it.Valid() {
		return pd, false
	}
	pd, ok = splitDayKey(c.it.Item().Key())
	return pd, ok && c.r.Contains(pd.Day)
}

// nextTotal merges the stored totals with those of the head, which are newer.
func nextTotal(stored *cursor, recent *[]steps.DayTotal) (t steps.DayTotal, ok bool, err error) {
	pd, more := stored.peek()
	if len(*recent) > 0 {
		head := (*recent)[0]
		order := compareDays(head.ParticipantDay, pd)
		if !more || order <= 0 {
			*recent = (*recent)[1:]
			if more && order == 0 {
				stored.it.Next()
			}
			return head, true, nil
		}
	}
	if !more {
		return t, false, nil
	}
	t.ParticipantDay = pd
	if t.Steps, err = stored.auth.totalItem(stored.it.Item(), pd); err != nil {
		return t, false, err
	}
	stored.it.Next()
	return t, true, nil
}

// dayJoin walks through all days that have steps or an award.
type dayJoin struct {
	totals     *cursor
	pages      *sheetCursor
	recent     []steps.DayTotal // of the head
	total      steps.DayTotal   // the next one
	held, more bool             // whether total is valid, and whether there is one
}

func (j *dayJoin) next() (a steps.Award, ok bool, err error) {
	if !j.held {
		if j.total, j.more, err = nextTotal(j.totals, &j.recent); err != nil {
			return a, false, err
		}
		j.held = true
	}
	day, page, awarded, err := j.pages.peek()
	if err != nil {
		return a, false, err
	}
	var pd steps.ParticipantDay
	order := 1
	if awarded = awarded && j.totals.r.Contains(day); awarded {
		pd, order = steps.ParticipantDay{Participant: page.participant, Day: day}, -1
		if j.more {
			order = compareDays(pd, j.total.ParticipantDay)
		}
	}
	switch {
	case order < 0: // nobody reported the day
		if a, err = j.pages.s.awardWithoutSteps(&page.page, pd); err != nil {
			return a, false, err
		}
	case !j.more:
		return a, false, nil
	case order == 0:
		a = page.award(j.total)
	default:
		a = steps.Award{ParticipantDay: j.total.ParticipantDay, Steps: j.total.Steps}
	}
	if order <= 0 {
		j.pages.step()
	}
	j.held = order < 0
	return a, true, nil
}

// awardWithoutSteps returns the award of a day for which the snapshots at hand have a page and no steps: nobody
// reported any, or somebody did between the two.
func (s *Store) awardWithoutSteps(p *page, pd steps.ParticipantDay) (steps.Award, error) {
	a := p.award(steps.DayTotal{ParticipantDay: pd})
	if a.Unreported = p.steps == 0; a.Unreported {
		return a, nil
	}
	n, found, err := s.Total(pd)
	if err == nil && !found {
		err = corrupt("day block", nameOf(pd), errGone)
	}
	a.Steps = n
	return a, err
}

// award returns what a page says that a day with this total was awarded.
func (p *page) award(t steps.DayTotal) steps.Award {
	return steps.Award{ParticipantDay: t.ParticipantDay, Steps: t.Steps, Points: p.points, RuleSet: p.ruleSet, Parts: p.parts}
}
