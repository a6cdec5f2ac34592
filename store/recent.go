package store

import (
	"hash/maphash"
	"sync/atomic"

	"ayumi/steps"
)

// recent tells, without a lock, which days the head probably holds. A wrong yes costs the committer
// a disk read, a wrong no costs the asker one; neither is an error.
type recent struct {
	seed  maphash.Seed
	slots [recentSlots]atomic.Uint64
}

// recentSlots is a power of two; the table takes 8 bytes a slot.
const recentSlots = 1 << 17

func newRecent() *recent { return &recent{seed: maphash.MakeSeed()} }

func (r *recent) slot(pd steps.ParticipantDay) (*atomic.Uint64, uint64) {
	h := maphash.Comparable(r.seed, pd) | 1 // 0 is an empty slot
	return &r.slots[h>>8%recentSlots], h
}

func (r *recent) probably(pd steps.ParticipantDay) bool {
	slot, h := r.slot(pd)
	return slot.Load() == h
}

func (r *recent) add(pd steps.ParticipantDay) {
	slot, h := r.slot(pd)
	slot.Store(h)
}

func (r *recent) remove(pd steps.ParticipantDay) {
	slot, h := r.slot(pd)
	slot.CompareAndSwap(h, 0)
}
