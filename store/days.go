package store

import (
	"cmp"
	"context"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// EachDay calls fn for every participant-day in the range, ordered by day, then participant, with
// its merged total over everything acknowledged and the award that was last computed. A non-empty
// participant narrows it. It works on a snapshot taken when it is called.
func (s *Store) EachDay(ctx context.Context, r steps.DayRange, p steps.ParticipantID, fn func(steps.Award) error) error {
	recent := s.recentTotals(r, p) // before the snapshot: what leaves the head meanwhile is in it
	return s.db.View(func(txn *badger.Txn) error {
		if p != "" {
			return s.eachOwnDay(ctx, txn, r, p, recent, fn)
		}
		awards := s.newCursor(txn, prefixAward, r)
		defer awards.close()
		totals := s.newCursor(txn, prefixDay, r)
		defer totals.close()
		for {
			day, ok, err := nextTotal(totals, &recent)
			if err != nil || !ok {
				return err
			}
			award, err := awards.awardOf(day)
			if err != nil {
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
	days := make(map[steps.Day]uint64, len(recent))
	if err := s.storedTotals(txn, r, p, days); err != nil {
		return err
	}
	for _, d := range recent {
		days[d.Day] = d.Steps
	}
	order := make([]steps.Day, 0, len(days))
	for d := range days {
		order = append(order, d)
	}
	slices.Sort(order)
	for _, d := range order {
		pd := steps.ParticipantDay{Participant: p, Day: d}
		award, err := s.award(txn, steps.DayTotal{ParticipantDay: pd, Steps: days[d]})
		if err != nil {
			return err
		}
		if err := cmp.Or(ctx.Err(), fn(award)); err != nil {
			return err
		}
	}
	return nil
}

// storedTotals reads the totals of a participant's days, which lie apart: after each it seeks the
// participant in the next day that anybody has.
func (s *Store) storedTotals(txn *badger.Txn, r steps.DayRange, p steps.ParticipantID, out map[steps.Day]uint64) error {
	c := s.newCursor(txn, prefixDay, r)
	defer c.close()
	for {
		pd, ok := c.peek()
		if !ok {
			return nil
		}
		next := pd.Day
		if pd.Participant == p {
			n, err := s.auth.totalItem(c.it.Item(), pd)
			if err != nil {
				return err
			}
			out[pd.Day] = n
		}
		if pd.Participant >= p {
			next++
		}
		c.it.Seek(dayKey(prefixDay, steps.ParticipantDay{Participant: p, Day: next}))
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

// awardOf advances to the award of a day and returns it with the day's current total.
func (c *cursor) awardOf(t steps.DayTotal) (steps.Award, error) {
	for {
		pd, ok := c.peek()
		if !ok || compareDays(pd, t.ParticipantDay) > 0 {
			return steps.Award{ParticipantDay: t.ParticipantDay, Steps: t.Steps}, nil
		}
		if pd == t.ParticipantDay {
			return c.auth.awardItem(c.it.Item(), t)
		}
		c.it.Next()
	}
}

// award looks up the award of one day.
func (s *Store) award(txn *badger.Txn, t steps.DayTotal) (steps.Award, error) {
	item, err := txn.Get(dayKey(prefixAward, t.ParticipantDay))
	if err == badger.ErrKeyNotFound {
		return steps.Award{ParticipantDay: t.ParticipantDay, Steps: t.Steps}, nil
	}
	if err != nil {
		return steps.Award{}, steps.E("read award", steps.Internal, err)
	}
	return s.auth.awardItem(item, t)
}

func (k *auth) awardItem(item *badger.Item, t steps.DayTotal) (a steps.Award, err error) {
	err = item.Value(func(v []byte) error {
		body, err := k.open(item.Key(), v)
		if err != nil {
			return err
		}
		p, _, err := parsePageHead(body, "")
		a.Points, a.RuleSet = p.points, p.ruleSet
		return err
	})
	if err != nil {
		return a, corrupt("award", nameOf(t.ParticipantDay), err)
	}
	a.ParticipantDay, a.Steps = t.ParticipantDay, t.Steps
	return a, nil
}
