package store

import (
	"context"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// Changed receives a value after days became dirty. Values are coalesced.
func (s *Store) Changed() <-chan struct{} { return s.changed }

// awardBytes is about what an award adds to a transaction besides its page.
const awardBytes = 120

// clearDirty forgets the days that were scored at their current mark. The caller holds mu.
func (s *Store) clearDirty(awards []steps.Award) {
	for i := range awards {
		a := &awards[i]
		d, ok := s.dirty[a.ParticipantDay]
		switch {
		case !ok:
		case d.mark == a.Mark:
			delete(s.dirty, a.ParticipantDay)
		case d.since <= a.Mark:
			d.since = a.Mark + 1
			s.dirty[a.ParticipantDay] = d
		}
	}
	if len(s.dirty) == 0 {
		s.rescoring = false
	}
}

// RulesFingerprint returns what Rescore last stored, "" if nothing.
func (s *Store) RulesFingerprint() (fingerprint string, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		v, err := s.get(txn, metaKey(metaRules))
		fingerprint = string(v)
		return err
	})
	return fingerprint, err
}

// Rescore stores the fingerprint and makes every stored day dirty. After a crash in between, the
// next start makes them dirty again.
func (s *Store) Rescore(ctx context.Context, fingerprint string) error {
	err := s.change(ctx, len(fingerprint), func(txn *badger.Txn) error {
		if err := txn.Set(metaKey(metaRules), []byte(fingerprint)); err != nil {
			return err
		}
		return txn.Set(metaKey(metaRescore), []byte{1})
	}, nil)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.rescoring = true
	s.mu.Unlock()
	return s.markStoredDirty()
}

// markStoredDirty makes every day dirty that is on disk or in the head.
func (s *Store) markStoredDirty() error {
	mark := func(days []steps.ParticipantDay) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, pd := range days {
			s.markDirty(pd)
		}
	}
	for i := range s.head.shards {
		s.mu.Lock()
		for pd, day := range s.head.shards[i].days {
			if !day.empty() {
				s.markDirty(pd)
			}
		}
		s.mu.Unlock()
	}
	batch := make([]steps.ParticipantDay, 0, pieceKeys)
	err := s.db.View(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixDay}, nil, false, func(key, _ []byte) error {
			if pd, ok := splitDayKey(key); ok {
				batch = append(batch, pd)
			}
			if len(batch) == cap(batch) {
				mark(batch)
				batch = batch[:0]
			}
			return nil
		})
	})
	mark(batch)
	s.wake()
	return err
}

// RescoreParticipant makes the participant's days dirty, durably, because something that their
// points depend on changed.
func (s *Store) RescoreParticipant(ctx context.Context, p steps.ParticipantID) error {
	var days []steps.ParticipantDay
	err := s.EachDay(ctx, steps.DayRange{}, p, func(a steps.Award) error {
		days = append(days, a.ParticipantDay)
		return nil
	})
	if err != nil {
		return err
	}
	write := func(txn *badger.Txn) error {
		for _, pd := range days {
			if err := txn.Set(dayKey(prefixDirty, pd), nil); err != nil {
				return steps.E("rescore participant", steps.Internal, err)
			}
		}
		return nil
	}
	return s.change(ctx, len(days)*awardBytes, write, func() {
		for _, pd := range days {
			s.markDirtyOnDisk(pd)
		}
	})
}
