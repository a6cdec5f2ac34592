package store

import (
	"slices"
	"sync"

	"ayumi/steps"
)

// dirtyState says that a day waits to be scored.
type dirtyState struct {
	mark  uint64 // of the newest change
	since uint64 // of the oldest one that may not be scored
	list  uint64 // that it counts in; 0 while only the head and the journal say so
	// reported says that there is a block on disk, which a list has said since the day became dirty.
	reported bool
}

// markDirty notes a change of a day. The caller holds mu.
func (s *Store) markDirty(pd steps.ParticipantDay) {
	s.markSeq++
	d, ok := s.dirty[pd]
	if !ok {
		d.since = s.markSeq
		s.fresh = append(s.fresh, pd)
	}
	d.mark = s.markSeq
	s.dirty[pd] = d
}

// wake tells the points engine that days became dirty.
func (s *Store) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// dueDays are the dirty days in the order in which they are to be scored: that of the tables, so that
// what is read and written for them lies side by side. A dirty day is in due, in out, or in the
// store's fresh days.
type dueDays struct {
	mu  sync.Mutex
	due []steps.ParticipantDay
	out []steps.ParticipantDay // handed out since Redo
}

// dirtyAtOnce is how many dirty days are looked at while the lock is held once.
const dirtyAtOnce = 256

// Dirty returns up to limit days that changed since they were scored, and that it has not returned since
// Redo.
func (s *Store) Dirty(limit int) ([]steps.DirtyDay, error) {
	s.due.mu.Lock()
	defer s.due.mu.Unlock()
	days := make([]steps.DirtyDay, 0, min(limit, len(s.due.due)))
	for len(days) < limit && s.refill() {
		n := min(limit-len(days), len(s.due.due), dirtyAtOnce)
		s.mu.RLock()
		for _, pd := range s.due.due[:n] {
			state, ok := s.dirty[pd]
			if !ok { // somebody scored it without having asked
				continue
			}
			days = append(days, steps.DirtyDay{ParticipantDay: pd, Mark: state.mark})
			s.due.out = append(s.due.out, pd)
		}
		s.mu.RUnlock()
		s.due.due = s.due.due[n:]
	}
	return days, nil
}

// Redo has Dirty return again those that it has returned and that are still dirty.
func (s *Store) Redo() {
	s.due.mu.Lock()
	defer s.due.mu.Unlock()
	for part := range slices.Chunk(s.due.out, dirtyAtOnce) {
		s.mu.Lock()
		for _, pd := range part {
			if _, ok := s.dirty[pd]; ok {
				s.fresh = append(s.fresh, pd)
			}
		}
		s.mu.Unlock()
	}
	s.due.out = s.due.out[:0]
}

// refill makes the fresh days due when no others are, and reports whether there are any.
func (s *Store) refill() bool {
	if len(s.due.due) == 0 {
		s.mu.Lock()
		s.due.due, s.fresh = s.fresh, nil
		s.mu.Unlock()
		s.due.due = sortDays(s.due.due)
		s.due.due = slices.Compact(s.due.due) // a day that was scored without Dirty may be there twice
	}
	return len(s.due.due) > 0
}

// sortDays sorts days in the order of the tables, a large number of them on two processors: while they are being
// sorted nothing can be scored.
func sortDays(days []steps.ParticipantDay) []steps.ParticipantDay {
	if len(days) < pieceKeys {
		slices.SortFunc(days, compareDays)
		return days
	}
	a, b := days[:len(days)/2], days[len(days)/2:]
	var other sync.WaitGroup
	other.Go(func() { slices.SortFunc(b, compareDays) })
	slices.SortFunc(a, compareDays)
	other.Wait()
	out := make([]steps.ParticipantDay, 0, len(days))
	for len(a) > 0 && len(b) > 0 {
		if compareDays(a[0], b[0]) <= 0 {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}
