package registry

import (
	"hash/maphash"
	"slices"
	"sync"
)

const shardCount = 64 // enough that the cores of one machine rarely meet in a shard

// table maps IDs to immutable values and keeps the IDs in order. The single writer calls put; any
// number of readers call the rest.
type table[K ~string, V any] struct {
	seed   maphash.Seed
	shards [shardCount]shard[K, V]
	order  index[K]
}

type shard[K ~string, V any] struct {
	mu sync.RWMutex
	m  map[K]entry[K, V]
	_  [24]byte // fills a cache line, so that neighbours do not slow each other down
}

type entry[K ~string, V any] struct {
	key   K // the one copy of the ID that others share
	value *V
}

func newTable[K ~string, V any]() *table[K, V] {
	t := &table[K, V]{seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].m = map[K]entry[K, V]{}
	}
	return t
}

func (t *table[K, V]) shard(k K) *shard[K, V] {
	return &t.shards[maphash.String(t.seed, string(k))%shardCount]
}

// get returns the value of k, or nil.
func (t *table[K, V]) get(k K) *V {
	v, _ := t.find(k)
	return v
}

// find returns the value of k, or nil, and the table's copy of k.
func (t *table[K, V]) find(k K) (*V, K) {
	s := t.shard(k)
	s.mu.RLock()
	e := s.m[k]
	s.mu.RUnlock()
	return e.value, e.key
}

// put sets the value of k.
func (t *table[K, V]) put(k K, v *V) {
	s := t.shard(k)
	s.mu.Lock()
	e, known := s.m[k]
	if !known {
		e.key = k
	}
	e.value = v
	s.m[e.key] = e
	s.mu.Unlock()
	if !known {
		t.order.insert(e.key)
	}
}

func (t *table[K, V]) len() int { return t.order.len() }

const blockSize = 512

// index is an ordered set of keys in blocks, so that an insertion among a million moves a few
// kilobytes only.
type index[K ~string] struct {
	mu     sync.RWMutex
	blocks [][]K // none empty; ascending
	n      int
}

func (x *index[K]) len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.n
}

// insert adds k, which must not be in the set.
func (x *index[K]) insert(k K) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.n++
	if len(x.blocks) == 0 {
		x.blocks = append(x.blocks, []K{k})
		return
	}
	at := x.block(k)
	b := x.blocks[at]
	if len(b) >= blockSize {
		cut := blockSize / 2
		if at == len(x.blocks)-1 && k > b[len(b)-1] {
			cut = blockSize // ascending insertion leaves full blocks behind
		}
		right := append(make([]K, 0, blockSize), b[cut:]...)
		clear(b[cut:])
		x.blocks[at] = b[:cut]
		x.blocks = slices.Insert(x.blocks, at+1, right)
		if len(right) == 0 || k > right[0] {
			at++
		}
		b = x.blocks[at]
	}
	i, _ := slices.BinarySearch(b, k)
	x.blocks[at] = slices.Insert(b, i, k)
}

// block returns the block that k belongs into.
func (x *index[K]) block(k K) int {
	i, found := slices.BinarySearchFunc(x.blocks, k, func(b []K, k K) int {
		switch {
		case b[0] < k:
			return -1
		case b[0] > k:
			return 1
		}
		return 0
	})
	if !found && i > 0 {
		i--
	}
	return i
}

// page returns up to limit keys above after, ascending.
func (x *index[K]) page(after K, limit int) []K {
	x.mu.RLock()
	defer x.mu.RUnlock()
	out := make([]K, 0, min(limit, x.n))
	if len(x.blocks) == 0 {
		return out
	}
	at := x.block(after)
	i, found := slices.BinarySearch(x.blocks[at], after)
	if found {
		i++
	}
	for ; at < len(x.blocks) && len(out) < limit; at, i = at+1, 0 {
		b := x.blocks[at][i:]
		out = append(out, b[:min(len(b), limit-len(out))]...)
	}
	return out
}
