package store

import (
	"context"
	"time"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// op is one thing to be made durable: a payload's commit, or a change of another table.
type op struct {
	commit  *steps.Commit
	encoded []byte // the commit's runs and contacts, as they stand in the journal

	loaded    []loadedDay // days of the commit that were read ahead
	evictions uint64      // the store's count before they were

	// write puts a change into the group's transaction. An error refuses this op alone and must
	// be returned before anything was set.
	write func(*badger.Txn) error
	after func() // runs when the group is durable, under mu

	size int // bytes it adds to the transaction, roughly
	done func(error)
	err  error
}

// enqueue hands o to the committer. An error means that o was not taken and done is not called.
func (s *Store) enqueue(ctx context.Context, o *op) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if err := s.refusal(o); err != nil {
		return err
	}
	select {
	case s.queue <- o:
		return nil
	default:
	}
	s.metrics.waits.Inc()
	select {
	case s.queue <- o:
		return nil
	case <-ctx.Done():
		return steps.Errorf("queue for commit", steps.Overload,
			"%d payloads wait already (store.queue_len): %w", s.cfg.QueueLen, context.Cause(ctx))
	}
}

// Ready reports why uploads would be refused now, or nil.
func (s *Store) Ready() error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	return s.refusal(&op{commit: new(steps.Commit)})
}

func (s *Store) refusal(o *op) error {
	switch {
	case s.closed:
		return steps.Errorf("queue for commit", steps.Unavailable, "the store is shutting down")
	case s.failed.Load():
		return steps.Errorf("queue for commit", steps.Unavailable, "the store failed to commit and stopped")
	case o.commit != nil && s.full.Load():
		return steps.Errorf("queue for commit", steps.Unavailable,
			"the disk is nearly full (store.min_free_bytes); free some space")
	}
	return nil
}

// Run commits until ctx ends, then drains the queue, writes the head to blocks as far as
// StopWithin allows, and returns. It returns early with an error if a commit failed: what is in
// doubt must not be served, so the process is expected to exit.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	stop := ctx.Done()
	for {
		var first *op
		var open = true
		if s.checkpoint != nil { // work to do between groups
			select {
			case first, open = <-s.queue:
			case <-stop:
				stop = s.shut()
			default:
			}
		} else {
			select {
			case first, open = <-s.queue:
			case <-tick.C:
				s.watch()
			case <-stop:
				stop = s.shut()
			}
		}
		if !open {
			return s.finish()
		}
		if err := s.commitGroup(s.gather(first)); err != nil {
			return s.fail(err)
		}
	}
}

// shut closes the queue to new work. What is queued is still committed.
func (s *Store) shut() <-chan struct{} {
	go func() { // senders that wait for room hold the gate until the committer made some
		s.gate.Lock()
		defer s.gate.Unlock()
		if !s.closed {
			s.closed = true
			close(s.queue)
		}
	}()
	return nil
}

// gather collects what waits, without waiting for more: a lone upload is not held back.
func (s *Store) gather(first *op) []*op {
	group := s.group[:0]
	for o, size := first, 0; o != nil; {
		group = append(group, o)
		if size += o.size; size >= s.cfg.GroupBytes || len(group) >= maxGroupOps {
			break
		}
		select {
		case o = <-s.queue:
		default:
			o = nil
		}
	}
	s.group = group
	return group
}

// maxGroupOps keeps a group far below Badger's limit of entries a transaction.
const maxGroupOps = 8192

// commitGroup makes a group and the next piece of a running checkpoint durable in one transaction
// with one fsync, merges the group into the head and reports to its ops.
func (s *Store) commitGroup(group []*op) error {
	if len(group) == 0 && s.checkpoint == nil {
		return nil
	}
	started := s.cfg.Clock()
	s.load(group)
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	journalled, err := s.writeGroup(txn, group)
	if err != nil {
		return err
	}
	piece, err := s.writePiece(txn)
	if err != nil {
		return err
	}
	if err := txn.Commit(); err != nil {
		return steps.E("commit group", steps.Unavailable, err)
	}
	if journalled {
		if err := s.watermark.set(s.next); err != nil {
			return err
		}
		s.next++
	}
	if err := s.watermark.sync(started); err != nil {
		return err
	}
	s.merge(group, s.next-1, piece)
	s.metrics.observe(len(group), s.cfg.Clock().Sub(started))
	for i, o := range group {
		done, err := o.done, o.err
		group[i] = nil
		s.release(o)
		done(err)
	}
	return nil
}

// writeGroup puts the group's journal record and other changes into txn.
func (s *Store) writeGroup(txn *badger.Txn, group []*op) (journalled bool, err error) {
	s.commits = s.commits[:0]
	for _, o := range group {
		if o.err == nil && o.write != nil {
			o.err = o.write(txn)
		}
		if o.err == nil && o.commit != nil {
			o.commit.Receipt.Record = steps.RecordID{Group: s.next, Index: uint32(len(s.commits))}
			s.commits = append(s.commits, o.encoded)
		}
	}
	if len(s.commits) == 0 {
		return false, nil
	}
	s.frame = appendGroup(s.frame[:0], s.next, s.commits)
	s.frame = s.auth.seal(journalKey(s.next, 0), s.frame)
	s.journalBytes.Add(int64(len(s.frame)))
	value := s.frame // Badger reads it until the commit returns
	for part := 0; len(value) > 0; part++ {
		n := min(len(value), partBytes)
		if err := txn.Set(journalKey(s.next, part), value[:n:n]); err != nil {
			return false, steps.E("journal group", steps.Internal, err)
		}
		value = value[n:]
	}
	return true, nil
}

// merge brings the head up to what has just become durable.
func (s *Store) merge(group []*op, seq uint64, piece *checkpointPiece) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if piece != nil {
		piece.flushed(s)
	}
	for _, o := range group {
		if o.err != nil {
			continue
		}
		if o.after != nil {
			o.after()
		}
		if o.commit != nil {
			s.apply(o.commit, seq)
		}
	}
	if piece != nil && piece.done {
		s.evict()
	}
	s.metrics.headDays.Set(float64(len(s.head)))
	s.metrics.dirtyDays.Set(float64(len(s.dirty)))
	if len(s.dirty) > 0 {
		s.wake()
	}
}

// fail refuses everything from now on and tells the waiting ops.
func (s *Store) fail(err error) error {
	s.failed.Store(true)
	s.log.Error("commit failed; nothing is acknowledged any more and the process must restart", "err", err)
	refused := steps.E("commit group", steps.Unavailable, err)
	for _, o := range s.group {
		if o != nil {
			o.done(refused)
		}
	}
	s.shut()
	for o := range s.queue {
		o.done(refused)
	}
	return err
}

// finish runs after the last op: it writes the head out so that the next start replays little.
func (s *Store) finish() error {
	deadline := s.cfg.Clock().Add(s.cfg.StopWithin)
	s.beginCheckpoint()
	for s.checkpoint != nil && s.cfg.Clock().Before(deadline) {
		if err := s.commitGroup(nil); err != nil {
			return s.fail(err)
		}
	}
	return nil
}
