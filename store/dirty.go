package store

import (
	"cmp"
	"encoding/binary"
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
		sortDays(s.due.due)
		s.due.due = slices.Compact(s.due.due) // a day that was scored without Dirty may be there twice
	}
	return len(s.due.due) > 0
}

// sortableDay is a day with eight bytes of its participant that decide most comparisons: the IDs themselves lie all over
// the memory.
type sortableDay struct {
	steps.ParticipantDay
	head uint64
}

func compareSortable(a, b sortableDay) int {
	switch {
	case a.Day != b.Day:
		return cmp.Compare(a.Day, b.Day)
	case a.head != b.head:
		return cmp.Compare(a.head, b.head)
	}
	return cmp.Compare(a.Participant, b.Participant)
}

// sortDays sorts days in the order of the tables, on two processors: while they are being sorted nothing can be
// scored.
func sortDays(days []steps.ParticipantDay) {
	if len(days) == 0 {
		return
	}
	same := sharedPrefix(days)
	sortable := make([]sortableDay, len(days))
	for i, d := range days {
		var head [8]byte // of a shorter rest the end is zeros, which sort before anything
		copy(head[:], d.Participant[same:])
		sortable[i] = sortableDay{d, binary.BigEndian.Uint64(head[:])}
	}
	a, b := sortable[:len(days)/2], sortable[len(days)/2:]
	var other sync.WaitGroup
	other.Go(func() { slices.SortFunc(b, compareSortable) })
	slices.SortFunc(a, compareSortable)
	other.Wait()
	for i := range days {
		from := &a
		if len(a) == 0 || len(b) > 0 && compareSortable(b[0], a[0]) < 0 {
			from = &b
		}
		days[i], *from = (*from)[0].ParticipantDay, (*from)[1:]
	}
}

// sharedPrefix returns how many bytes all participants begin with.
func sharedPrefix(days []steps.ParticipantDay) int {
	same := days[0].Participant
	for _, d := range days {
		n := 0
		for n < min(len(same), len(d.Participant)) && same[n] == d.Participant[n] {
			n++
		}
		same = same[:n]
	}
	return len(same)
}
