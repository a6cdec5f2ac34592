package store

import "ayumi/steps"

// aheadDay is a day that was read for an upload which is on its way to the committer. Other uploads of the
// day come close behind, since devices do not wait for an acknowledgement, and find it here
// instead of reading it again. It lies in its slot until the head has it or another day needs the slot.
type aheadDay struct {
	day  *headDay
	left uint32 // of lookup before it was read
}

// readBefore returns a day that was read for another upload and has not changed on disk since, or nil; left is
// what lookup has just returned. Any goroutine may ask.
func (h *head) readBefore(pd steps.ParticipantDay, left uint32) *headDay {
	shard, slot := h.place(pd)
	a := h.shards[shard].ahead[slot].Load()
	if a == nil || a.left != left || a.day.ParticipantDay != pd {
		return nil
	}
	return a.day
}

// keepRead lets other uploads have a day that was read when lookup returned left.
func (h *head) keepRead(day *headDay, left uint32) {
	shard, slot := h.place(day.ParticipantDay)
	h.shards[shard].ahead[slot].Store(&aheadDay{day, left})
}

// dropRead forgets a day that the head holds now.
func (h *head) dropRead(pd steps.ParticipantDay) {
	shard, slot := h.place(pd)
	if a := h.shards[shard].ahead[slot].Load(); a != nil && a.day.ParticipantDay == pd {
		h.shards[shard].ahead[slot].CompareAndSwap(a, nil)
	}
}
