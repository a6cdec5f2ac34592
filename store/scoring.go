package store

import (
	"context"
	"maps"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// Scoring returns what SetScoring last stored.
func (s *Store) Scoring() (sc steps.Scoring, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		rules, err := s.get(txn, metaKey(metaRules))
		if err != nil {
			return err
		}
		through, err := s.get(txn, metaKey(metaThrough))
		if err == nil && len(through) == 4 {
			sc = steps.Scoring{Rules: string(rules), Through: takeDay(through)}
		}
		return err
	})
	return sc, err
}

// SetScoring stores durably under which rules, and through which day, everything has been scored but
// for dirty days.
func (s *Store) SetScoring(ctx context.Context, sc steps.Scoring) error {
	return s.change(ctx, len(sc.Rules), func(txn *badger.Txn) error {
		if err := txn.Set(metaKey(metaRules), []byte(sc.Rules)); err != nil {
			return err
		}
		return txn.Set(metaKey(metaThrough), appendDay(nil, sc.Through))
	}, nil)
}

// StoredDays returns the days of the range on which anybody has steps or an award, rising; it may name
// others.
func (s *Store) StoredDays(r steps.DayRange) ([]steps.Day, error) {
	days := map[steps.Day]struct{}{}
	s.mu.RLock()
	maps.Copy(days, s.pageDays)
	s.mu.RUnlock()
	s.head.daysSeen(days)
	err := s.db.View(func(txn *badger.Txn) error {
		opts := badger.DefaultIteratorOptions
		opts.Prefix, opts.PrefetchValues = []byte{prefixDay}, false
		it := txn.NewIterator(opts)
		defer it.Close()
		var key []byte
		for it.Rewind(); it.Valid(); it.Seek(key) {
			day := takeDay(it.Item().Key()[1:])
			days[day] = struct{}{}
			key = appendDay(append(key[:0], prefixDay), day+1)
		}
		return nil
	})
	out := make([]steps.Day, 0, len(days))
	for day := range days {
		if r.Contains(day) {
			out = append(out, day)
		}
	}
	slices.Sort(out)
	return out, err
}

// EachOf calls fn for each of the participants, which must rise, with the merged steps of a day, in
// order; reported is false where nobody reported anything.
func (s *Store) EachOf(day steps.Day, people []steps.ParticipantID, fn func(i int, n uint64, reported bool) error) error {
	found, missing := s.recentOf(day, people)
	if err := s.storedOf(day, people, found, missing); err != nil {
		return err
	}
	for i, d := range found {
		if err := fn(i, d.steps, d.reported); err != nil {
			return err
		}
	}
	return nil
}

type reportedSteps struct {
	steps    uint64
	reported bool
	stored   bool // there is a block if the head has nothing
}

// recentOf looks up what the head holds, and returns the indices of the others. The head goes before a
// snapshot of the disk: what leaves it meanwhile is in that.
func (s *Store) recentOf(day steps.Day, people []steps.ParticipantID) (found []reportedSteps, missing []int) {
	found = make([]reportedSteps, len(people))
	for from := 0; from < len(people); from += dirtyAtOnce {
		s.mu.RLock()
		for i := from; i < min(from+dirtyAtOnce, len(people)); i++ {
			pd := steps.ParticipantDay{Participant: people[i], Day: day}
			d := s.head.find(pd)
			if d != nil && !d.empty() {
				found[i] = reportedSteps{steps: s.head.steps(d), reported: true}
			} else {
				found[i].stored = s.dirty[pd].reported
				missing = append(missing, i)
			}
		}
		s.mu.RUnlock()
	}
	return found, missing
}

// storedOf reads the steps of those whose indices are given.
func (s *Store) storedOf(day steps.Day, people []steps.ParticipantID, found []reportedSteps, missing []int) error {
	if len(missing) == 0 {
		return nil
	}
	return s.db.View(func(txn *badger.Txn) error {
		blocks := s.newSeeker(txn, prefixDay)
		defer blocks.close()
		for _, i := range missing {
			pd := steps.ParticipantDay{Participant: people[i], Day: day}
			block, there, err := blocks.find(dayKey(prefixDay, pd))
			switch {
			case err != nil:
			case there:
				found[i].reported = true
				found[i].steps, _, err = parseBlockTotal(block)
			case found[i].stored:
				err = errGone
			}
			if err != nil {
				return corrupt("day block", nameOf(pd), err)
			}
		}
		return nil
	})
}

// daysSeen adds the days that anybody has had in the head since it was opened.
func (h *head) daysSeen(days map[steps.Day]struct{}) {
	for i := range h.shards {
		sh := &h.shards[i]
		sh.mu.RLock()
		maps.Copy(days, sh.seen)
		sh.mu.RUnlock()
	}
}
