package store

import "ayumi/steps"

// dirtyState says that a day waits to be scored.
type dirtyState struct {
	mark      uint64
	persisted bool // a key of the dirty table says so too
}

func (s *Store) markDirty(pd steps.ParticipantDay) {
	s.markSeq++
	d := s.dirty[pd]
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
