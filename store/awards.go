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
}

// RescoreParticipant makes the participant's days dirty, durably, because something that their
// points depend on changed.
func (s *Store) RescoreParticipant(ctx context.Context, p steps.ParticipantID) error {
	var days []steps.Award
	err := s.EachDay(ctx, steps.DayRange{}, p, func(a steps.Award) error {
		days = append(days, a)
		return nil
	})
	if err != nil {
		return err
	}
	mark := func(a *steps.Award) []byte {
		if a.Unreported {
			return unreported
		}
		return nil
	}
	write := func(txn *badger.Txn) error {
		for i := range days {
			if err := txn.Set(dayKey(prefixDirty, days[i].ParticipantDay), mark(&days[i])); err != nil {
				return steps.E("rescore participant", steps.Internal, err)
			}
		}
		return nil
	}
	return s.change(ctx, len(days)*awardBytes, write, func() {
		for i := range days {
			s.markDirtyOnDisk(days[i].ParticipantDay, mark(&days[i]))
		}
	})
}
