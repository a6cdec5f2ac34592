package store

import (
	"context"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// Changed receives a value after days became dirty. Values are coalesced.
func (s *Store) Changed() <-chan struct{} { return s.changed }

// awardBytes is about what an award adds to a transaction besides its page.
const awardBytes = 120

// clearDirty forgets the days that were scored at their current mark, when their awards are durable. The caller
// holds mu.
func (s *Store) clearDirty(awards []steps.Award) {
	for i := range awards {
		a := &awards[i]
		d, ok := s.dirty[a.ParticipantDay]
		switch {
		case !ok:
		case d.mark == a.Mark:
			s.lists.release(&d)
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
	for some := range slices.Chunk(days, pieceKeys) {
		if err := s.rescore(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

// rescore makes as many days dirty as go into one list.
func (s *Store) rescore(ctx context.Context, days []steps.Award) error {
	var l *dirtyList
	write := func(txn *badger.Txn) error {
		l = s.newList()
		for i := range days {
			day := markedDay{days[i].ParticipantDay, false}
			if days[i].Unreported { // which it was when it was read
				var err error
				if day.unreported, err = withoutBlock(txn, day.ParticipantDay); err != nil {
					return err
				}
			}
			l.days = append(l.days, day)
		}
		if err := s.setList(txn, l); err != nil {
			return steps.E("rescore participant", steps.Internal, err)
		}
		return nil
	}
	return s.change(ctx, len(days)*awardBytes, write, func() { s.markListed(l) })
}
