package store

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"

	"ayumi/steps"
)

// recent tells, without a lock, which days the head probably holds. A wrong yes costs the committer
// a disk read, a wrong no costs the asker one; neither is an error. Only the committer adds and
// removes.
type recent struct {
	seed    maphash.Seed
	buckets []recentBucket
	victim  int // where the next day goes whose bucket is full
}

// recentBucket holds the hashes of some days; 0 is an empty slot. It fills a cache line, so that
// looking at all of it costs as much as looking at one slot.
type recentBucket [8]atomic.Uint64

// newRecent makes room for about as many days, at half load: then next to none finds its bucket full.
func newRecent(days int) *recent {
	buckets := max(2*days/len(recentBucket{}), 1<<12)
	return &recent{seed: maphash.MakeSeed(), buckets: make([]recentBucket, 1<<bits.Len(uint(buckets-1)))}
}

func (r *recent) bucket(pd steps.ParticipantDay) (*recentBucket, uint64) {
	h := maphash.Comparable(r.seed, pd)
	return &r.buckets[h%uint64(len(r.buckets))], h | 1<<63
}

func (r *recent) probably(pd steps.ParticipantDay) bool {
	b, h := r.bucket(pd)
	return b.find(h) >= 0
}

func (b *recentBucket) find(h uint64) int {
	for i := range b {
		if b[i].Load() == h {
			return i
		}
	}
	return -1
}

func (r *recent) add(pd steps.ParticipantDay) {
	b, h := r.bucket(pd)
	if b.find(h) >= 0 {
		return
	}
	at := b.find(0)
	if at < 0 {
		r.victim = (r.victim + 1) % len(b)
		at = r.victim
	}
	b[at].Store(h)
}

func (r *recent) remove(pd steps.ParticipantDay) {
	b, h := r.bucket(pd)
	if at := b.find(h); at >= 0 {
		b[at].Store(0)
	}
}
