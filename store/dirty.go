package store

import "ayumi/steps"

// dirtyState says that a day waits to be scored.
type dirtyState struct {
	mark      uint64 // of the newest change
	since     uint64 // of the oldest one that may not be scored
	persisted bool   // a key of the dirty table says so too
}

func (s *Store) markDirty(pd steps.ParticipantDay) {
	s.markSeq++
	d, ok := s.dirty[pd]
	if !ok {
		d.since = s.markSeq
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
