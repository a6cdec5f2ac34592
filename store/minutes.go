package store

import (
	"context"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"ayumi/merge"
	"ayumi/steps"
)

// Policy returns the merge policy by which days are totalled.
func (s *Store) Policy() merge.Config { return s.totals.cfg }

// Sources returns what each of a participant's sources counted on a day, in the order in which they are merged
// under Policy; found is false for a day nobody reported. The result belongs to the caller.
func (s *Store) Sources(pd steps.ParticipantDay) (day *merge.Day, found bool, err error) {
	err = s.view(pd, func(h *hotDay) {
		found = true
		r := s.totals.reckon(pd.Participant, h)
		defer s.totals.release(r)
		day = &merge.Day{Length: r.day.Length, Elapsed: r.day.Elapsed, Chosen: r.day.Chosen}
		for i := range r.day.Sources {
			from := &r.day.Sources[i]
			to := merge.Source{Device: from.Device, Origins: slices.Clone(from.Origins)}
			for _, l := range from.Lanes {
				to.Lanes = append(to.Lanes, merge.Lane{Interval: l.Interval, Counts: slices.Clone(l.Counts), Marks: slices.Clone(l.Marks)})
			}
			day.Sources = append(day.Sources, to)
		}
	})
	return day, found, err
}

// Minutes returns the merged steps of a day, minute by minute; their sum is Total's. Nil is a day nobody
// reported. The slice belongs to the caller.
func (s *Store) Minutes(pd steps.ParticipantDay) (minutes []uint32, err error) {
	err = s.view(pd, func(h *hotDay) { minutes = s.totals.appendMinutes(nil, pd.Participant, h) })
	return minutes, err
}

// appendMinutes appends a day's merged minutes.
func (t *totals) appendMinutes(dst []uint32, p steps.ParticipantID, h *hotDay) []uint32 {
	r := t.reckon(p, h)
	defer t.release(r)
	minutes, _ := r.merger.Minutes(&r.day)
	return append(dst, minutes...)
}

// view calls fn with a day's cells, unless nobody reported it. It holds the store's mu meanwhile if the day is
// newer than its encoded form.
func (s *Store) view(pd steps.ParticipantDay, fn func(*hotDay)) error {
	block, viewed := s.viewRecent(pd, fn)
	if viewed {
		return nil
	}
	if block != nil {
		return s.viewBlock(pd, block, fn)
	}
	return s.db.View(func(txn *badger.Txn) error {
		block, err := s.storedBlock(txn, pd)
		if block == nil || err != nil {
			return err
		}
		return s.viewBlock(pd, block, fn)
	})
}

func (s *Store) viewBlock(pd steps.ParticipantDay, block []byte, fn func(*hotDay)) error {
	if err := s.decode(block, fn); err != nil {
		return corrupt("day block", nameOf(pd), err)
	}
	return nil
}

// viewRecent calls fn with a day of the head that is not encoded, or returns its block, nil if the head does
// not hold the day. A block is never changed, so it may be read without the lock.
func (s *Store) viewRecent(pd steps.ParticipantDay, fn func(*hotDay)) (block []byte, viewed bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	day := s.head.find(pd)
	switch {
	case day == nil || day.empty():
		return nil, false
	case day.block != nil:
		return day.block, false
	}
	fn(day.hot)
	return nil, true
}

// EachMinutes calls fn for each of days, which are ascending by day, then participant, with the merged minutes
// and their sum, over everything acknowledged before the call. A day that nobody reported has no minutes. The
// minutes hold during the call only. What is on disk is read in one walk.
func (s *Store) EachMinutes(ctx context.Context, days []steps.ParticipantDay, fn func(t steps.DayTotal, minutes []uint32) error) error {
	var b minutesBatch
	for some := range slices.Chunk(days, dirtyAtOnce) {
		if err := b.read(ctx, s, some, fn); err != nil {
			return err
		}
	}
	return nil
}

// minutesBatch is a part of EachMinutes.
type minutesBatch struct {
	recent  []recentMinutes
	hot     []uint32 // minutes of days that are not encoded
	minutes []uint32 // of the day at hand
}

// recentMinutes is what the head has of a day.
type recentMinutes struct {
	block    []byte
	from, to int // in hot
	found    bool
	coarse   bool
}

// coarse reports whether some records are longer than a minute.
func coarse(h *hotDay) bool {
	for i := range h.parts {
		if lanes := h.parts[i].cells.lanes; len(lanes) > 0 && lanes[len(lanes)-1].interval > 60 {
			return true
		}
	}
	return false
}

// read calls fn for some of the days. The snapshot is taken after the head was asked: what leaves the head
// in between is in it.
func (b *minutesBatch) read(ctx context.Context, s *Store, days []steps.ParticipantDay, fn func(steps.DayTotal, []uint32) error) error {
	b.recent, b.hot = b.recent[:0], b.hot[:0]
	for _, pd := range days {
		r := recentMinutes{from: len(b.hot)}
		var viewed bool
		r.block, viewed = s.viewRecent(pd, func(h *hotDay) {
			b.hot = s.totals.appendMinutes(b.hot, pd.Participant, h)
			r.coarse = coarse(h)
		})
		r.to, r.found = len(b.hot), viewed || r.block != nil
		b.recent = append(b.recent, r)
	}
	return s.db.View(func(txn *badger.Txn) error {
		blocks := s.newSeeker(txn, prefixDay)
		defer blocks.close()
		var key []byte
		for i, pd := range days {
			r := &b.recent[i]
			if !r.found {
				key = append(appendDay(append(key[:0], prefixDay), pd.Day), pd.Participant...)
				var err error
				if r.block, _, err = blocks.find(key); err != nil {
					return corrupt("day block", nameOf(pd), err)
				}
			}
			minutes := b.hot[r.from:r.to]
			if r.block != nil {
				take := func(h *hotDay) {
					b.minutes = s.totals.appendMinutes(b.minutes[:0], pd.Participant, h)
					r.coarse = coarse(h)
				}
				if err := s.viewBlock(pd, r.block, take); err != nil {
					return err
				}
				minutes = b.minutes
			}
			if err := ctx.Err(); err != nil {
				return steps.E("read minutes", steps.Unavailable, err)
			}
			if err := fn(steps.DayTotal{ParticipantDay: pd, Steps: sum(minutes), Coarse: r.coarse}, minutes); err != nil {
				return err
			}
		}
		return nil
	})
}
