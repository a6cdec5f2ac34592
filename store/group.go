package store

import (
	"context"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// group is what one transaction makes durable. Payloads are appended to it by whoever submits
// them, encoded as they will stand in the journal, so that a payload on its way costs its own few
// bytes and nothing that it was decoded into.
type group struct {
	seq     uint64  // of the journal record; 0 while open, or without one
	journal []byte  // groupHead left free, then the encoded commits
	entries []entry // in the order of submission
	days    []dayRef
	size    int           // bytes it adds to the transaction, roughly
	room    chan struct{} // closed when the committer takes the group; nil while nobody waits
}

// entry is one payload, or one change of another table.
type entry struct {
	done   steps.Completion // of a payload
	rare   *rare            // of a payload that is more than accepted samples
	change *change
	end    int // of the payload's bytes in the journal
	runs   int // the payload's part of the group's days
	err    error
}

// rare is what few payloads have.
type rare struct {
	receipt    steps.Receipt // with faults
	quarantine []steps.QuarantineEntry
	resolve    *steps.Resolution
}

// change is a write of another table.
type change struct {
	// write puts the change into the group's transaction. An error refuses this change alone and
	// must be returned before anything was set, unless it is a *tornError, which fails the commit.
	write func(*badger.Txn) error
	after func() // runs when the group is durable, under mu; may be nil
	done  chan<- error
}

// dayRef is the participant-day of one run, with its place in the head once that is known.
type dayRef struct {
	pd     steps.ParticipantDay
	day    *headDay
	loaded *headDay // read ahead by whoever submitted
	left   uint32   // of head.lookup before that
}

func newGroup() *group { return &group{journal: make([]byte, groupHead, 4096)} }

// reset empties g and keeps its memory.
func (g *group) reset() {
	clear(g.entries)
	clear(g.days)
	*g = group{journal: g.journal[:groupHead], entries: g.entries[:0], days: g.days[:0]}
}

// maxEntries keeps a group far below Badger's limit of entries a transaction, whatever its
// payloads put there.
const maxEntries = 1 << 16

// Append queues one payload's commit. done is told once c is fsynced and merged, so that reads see
// it, or with the error that keeps it from being acknowledged; in the order of the Append calls of
// one goroutine. c is read until Append returns and not afterwards.
//
// It blocks while the queue is full until ctx ends (Kind Overload), and calls beforeWait first unless
// that is nil. When it returns an error, done is not called. Kinds: Overload, Unavailable, Internal
// when a day that c adds to cannot be read.
func (s *Store) Append(ctx context.Context, c *steps.Commit, beforeWait func(), done steps.Completion) error {
	scratch := s.scratch.Get().(*appendScratch)
	defer s.scratch.Put(scratch)
	scratch.encoded = appendCommit(scratch.encoded[:0], c)
	if err := s.preload(scratch, c); err != nil {
		return err
	}
	size := len(scratch.encoded)
	var extra *rare
	if len(c.Quarantine) > 0 || c.Resolve != nil {
		extra = newRare(c)
		for i := range c.Quarantine {
			size += len(c.Quarantine[i].Raw) + quarantineOverhead
		}
	}
	return s.enqueue(ctx, size, true, beforeWait, func(g *group) {
		g.journal = append(g.journal, scratch.encoded...)
		g.days = append(g.days, scratch.days...)
		g.entries = append(g.entries, entry{done: done, rare: extra, end: len(g.journal), runs: len(scratch.days)})
	})
}

// appendScratch is the memory of one Append.
type appendScratch struct {
	encoded []byte
	days    []dayRef
}

// newRare copies what outlives the Append.
func newRare(c *steps.Commit) *rare {
	r := &rare{resolve: c.Resolve, quarantine: append([]steps.QuarantineEntry(nil), c.Quarantine...)}
	r.receipt.Uploads = append([]steps.UploadReceipt(nil), c.Receipt.Uploads...)
	for i := range r.receipt.Uploads {
		u := &r.receipt.Uploads[i]
		u.Faults = append([]steps.Fault(nil), u.Faults...)
	}
	return r
}

// change queues a write of another table and waits until it is durable. size is about what it adds
// to the transaction.
func (s *Store) change(ctx context.Context, size int, write func(*badger.Txn) error, after func()) error {
	done, err := s.submit(ctx, size, write, after)
	if err != nil {
		return err
	}
	return <-done // the committer always answers
}

// submit is change without the waiting: done receives the outcome.
func (s *Store) submit(ctx context.Context, size int, write func(*badger.Txn) error, after func()) (done <-chan error, err error) {
	result := make(chan error, 1)
	err = s.enqueue(ctx, size, false, nil, func(g *group) {
		g.entries = append(g.entries, entry{change: &change{write, after, result}, end: len(g.journal)})
	})
	if err != nil {
		return nil, err
	}
	return result, nil
}

// enqueue adds to the open group under its lock, and waits for room first if need be: beforeWait is
// called once then, unless it is nil.
func (s *Store) enqueue(ctx context.Context, size int, payload bool, beforeWait func(), add func(*group)) error {
	for waited := false; ; waited = true {
		s.queue.Lock()
		if err := s.refusal(payload); err != nil {
			s.queue.Unlock()
			return err
		}
		g := s.open
		if len(g.entries) < s.cfg.QueueLen && (g.size+size <= s.cfg.GroupBytes || len(g.entries) == 0) {
			g.size += size
			add(g)
			first := len(g.entries) == 1
			s.queue.Unlock()
			if first {
				s.signal()
			}
			return nil
		}
		if g.room == nil {
			g.room = make(chan struct{})
		}
		room := g.room
		s.queue.Unlock()
		if !waited {
			s.metrics.waits.Inc()
			if beforeWait != nil {
				beforeWait()
			}
		}
		select {
		case <-room:
		case <-ctx.Done():
			return steps.Errorf("queue for commit", steps.Overload,
				"the queue is full (store.queue_len %d): %w", s.cfg.QueueLen, context.Cause(ctx))
		}
	}
}

// signal wakes the committer.
func (s *Store) signal() {
	select {
	case s.work <- struct{}{}:
	default:
	}
}

// takeGroup closes the open group and returns it, or nil if it is empty.
func (s *Store) takeGroup() *group {
	s.queue.Lock()
	defer s.queue.Unlock()
	g := s.open
	if len(g.entries) == 0 {
		return nil
	}
	s.open, s.spare = s.spare, nil
	if s.open == nil {
		s.open = newGroup()
	}
	if g.room != nil {
		close(g.room)
	}
	return g
}

// maxSpareBytes is the largest journal buffer that is kept for the next group.
const maxSpareBytes = 8 << 20

// recycle keeps a group's memory for the next one.
func (s *Store) recycle(g *group) {
	if cap(g.journal) > maxSpareBytes {
		return
	}
	g.reset()
	s.queue.Lock()
	s.spare = g
	s.queue.Unlock()
}

// Ready reports why uploads would be refused now, or nil.
func (s *Store) Ready() error {
	s.queue.Lock()
	defer s.queue.Unlock()
	return s.refusal(true)
}

// refusal says why nothing is taken at present. The caller holds the queue's lock.
func (s *Store) refusal(payload bool) error {
	switch {
	case s.failed:
		return steps.Errorf("queue for commit", steps.Unavailable, "the store failed to commit and stopped")
	case s.closed:
		return steps.Errorf("queue for commit", steps.Unavailable, "the store is shutting down")
	}
	return s.noRoom(payload)
}
