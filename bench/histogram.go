package bench

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// A histogram has 32 buckets for each power of two, as HdrHistogram with two digits has, so that a
// quantile is at most 1/32 above the true value. It spans 1 ns to more than an hour.
const (
	subBits = 5
	octaves = 38 // 2^(38+4) ns is 73 minutes
	buckets = octaves << subBits
)

// histogram counts durations. add may be called from several goroutines at once.
type histogram struct {
	counts [buckets]atomic.Uint64
	most   atomic.Int64
}

func (h *histogram) add(d time.Duration, n uint64) {
	d = max(d, 0)
	h.counts[bucket(uint64(d))].Add(n)
	for most := h.most.Load(); int64(d) > most; most = h.most.Load() {
		if h.most.CompareAndSwap(most, int64(d)) {
			return
		}
	}
}

// bucket returns the index for v: below 32 v itself, above it the five bits after the first one.
func bucket(v uint64) int {
	shift := bits.Len64(v) - subBits - 1
	if shift < 0 {
		return int(v)
	}
	return min((shift+1)<<subBits+int(v>>shift)-1<<subBits, buckets-1)
}

// upper returns the largest value of a bucket.
func upper(i int) time.Duration {
	if i < 1<<subBits {
		return time.Duration(i)
	}
	shift := i>>subBits - 1
	return time.Duration((uint64(i&(1<<subBits-1)|1<<subBits)+1)<<shift - 1)
}

// merge adds all of o.
func (h *histogram) merge(o *histogram) {
	for i := range o.counts {
		if n := o.counts[i].Load(); n > 0 {
			h.counts[i].Add(n)
		}
	}
	h.most.Store(max(h.most.Load(), o.most.Load()))
}

func (h *histogram) total() (n uint64) {
	for i := range h.counts {
		n += h.counts[i].Load()
	}
	return n
}

// quantile returns a value that the share q of all is not above, 0 when there is none.
func (h *histogram) quantile(q float64) time.Duration {
	left := int64(q*float64(h.total())) + 1
	for i := range h.counts {
		if left -= int64(h.counts[i].Load()); left <= 0 {
			return min(upper(i), time.Duration(h.most.Load()))
		}
	}
	return time.Duration(h.most.Load())
}
