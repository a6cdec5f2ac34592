package bench

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestQuantilesAgreeWithSorting(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h histogram
	var all []time.Duration
	for range 20_000 {
		d := time.Duration(random.ExpFloat64() * float64(3*time.Millisecond))
		n := 1 + random.IntN(3)
		h.add(d, uint64(n))
		for range n {
			all = append(all, d)
		}
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1} {
		want := all[min(int(q*float64(len(all))), len(all)-1)]
		if got := h.quantile(q); got < want || got > want+want/32+1 {
			t.Errorf("quantile %v: %v, sorting says %v", q, got, want)
		}
	}
	if h.total() != uint64(len(all)) {
		t.Errorf("total %d, want %d", h.total(), len(all))
	}
}

func TestBucketsAreContiguous(t *testing.T) {
	next := uint64(0)
	for i := range buckets - 1 {
		if got := bucket(next); got != i {
			t.Fatalf("value %d falls into bucket %d, want %d", next, got, i)
		}
		if got := bucket(uint64(upper(i))); got != i {
			t.Fatalf("upper end %v of bucket %d falls into %d", upper(i), i, got)
		}
		next = uint64(upper(i)) + 1
	}
	if upper(buckets-1) < time.Hour {
		t.Errorf("the last bucket ends at %v; want more than an hour", upper(buckets-1))
	}
}

func TestHistogramEdges(t *testing.T) {
	var h, other histogram
	if got := h.quantile(0.99); got != 0 {
		t.Errorf("quantile of nothing: %v", got)
	}
	h.add(-time.Second, 1)
	other.add(1000*time.Hour, 1)
	h.merge(&other)
	if h.quantile(0) != 0 || h.quantile(1) < time.Hour || h.total() != 2 {
		t.Errorf("quantiles %v and %v of %d", h.quantile(0), h.quantile(1), h.total())
	}
}
