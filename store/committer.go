package store

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// Run commits until ctx ends, then drains the queue, writes the head to blocks as far as
// StopWithin allows, and returns. It returns early with an error if a commit failed: what is in
// doubt must not be served, so the process is expected to exit.
//
// While a group's fsync is under way, Run merges the group before it and reports to its submitters.
func (s *Store) Run(ctx context.Context) error {
	defer s.help(ctx)()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	stop := ctx.Done()
	var before *group // durable, and not yet merged
	for {
		var g *group
		if !s.mindMemory() {
			g = s.takeGroup()
		}
		if g == nil && before != nil { // nothing to overlap with
			s.conclude(before)
			before = nil
			continue
		}
		if g == nil && (s.checkpoint == nil || s.short.Load()) {
			if s.drained() {
				return s.finish()
			}
			select {
			case <-s.work:
			case <-tick.C:
				s.watch()
			case <-stop:
				stop = nil
				s.shut()
			}
			continue
		}
		s.full.Store(s.diskFull())
		commit, err := s.beginCommit(g)
		if err != nil {
			return s.fail(err, before, g)
		}
		if before != nil {
			s.conclude(before)
			before = nil
		}
		if err := s.endCommit(g, commit); err != nil {
			return s.fail(err, g)
		}
		before = g
		select { // under load there is no other moment for these
		case <-tick.C:
			s.watch()
		case <-stop:
			stop = nil
			s.shut()
		default:
		}
	}
}

// help starts the goroutines beside Run, and returns what ends them.
func (s *Store) help(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	go s.writeRecords()
	var beside sync.WaitGroup
	beside.Go(func() { s.resumeRetotals(ctx) })
	beside.Go(func() { s.segments.spares.run(ctx, s.full.Load, s.log) })
	return func() {
		cancel()
		close(s.records)
		for range s.written { // until the goroutine has ended
		}
		beside.Wait()
	}
}

// shut closes the queue to new work. What is queued is still committed.
func (s *Store) shut() {
	s.queue.Lock()
	defer s.queue.Unlock()
	s.closed = true
	if s.open.room != nil { // whoever waits for room learns of it
		close(s.open.room)
		s.open.room = nil
	}
}

// drained reports whether the queue is closed and empty.
func (s *Store) drained() bool {
	s.queue.Lock()
	defer s.queue.Unlock()
	return s.closed && len(s.open.entries) == 0
}

// commit is a group on its way to the disk.
type commit struct {
	begun time.Time
	txn   bool // Badger has a part in it
}

// beginCommit starts to make a group, and the next piece of a running checkpoint, durable: payloads
// by one journal record, everything else by one Badger transaction, each with one fsync. A payload
// that has both is whole once both are; a crash in between leaves something that was not
// acknowledged and does no harm when it is sent again. g may be nil.
func (s *Store) beginCommit(g *group) (*commit, error) {
	c := &commit{begun: s.cfg.Clock()}
	txn := s.db.NewTransaction(true)
	if err := s.fill(txn, g, c); err != nil {
		txn.Discard()
		return nil, err
	}
	if c.txn {
		txn.CommitWith(func(err error) { s.committed <- err })
	} else {
		txn.Discard()
	}
	if g != nil && g.seq > 0 {
		s.records <- journalRecord{g.seq, s.segments.seal(g.seq, g.journal)}
	}
	return c, nil
}

// fill puts into txn what of the group and the checkpoint belongs there.
func (s *Store) fill(txn *badger.Txn, g *group, c *commit) error {
	c.txn = g == nil // which has something to write, or it would not be here
	if g != nil {
		changes, err := s.writeGroup(txn, g)
		if err != nil {
			return err
		}
		c.txn = changes
	}
	if s.checkpoint != nil && !s.short.Load() {
		c.txn = true
		if err := s.writePiece(txn); err != nil {
			return err
		}
	}
	if !c.txn {
		return nil
	}
	if err := s.dropLists(txn); err != nil {
		return err
	}
	s.txns++
	return txn.Set(metaKey(metaTxns), binary.BigEndian.AppendUint64(nil, s.txns))
}

// journalRecord is work for the goroutine that writes the journal.
type journalRecord struct {
	group  uint64
	record []byte
}

// writeRecords writes the journal until the channel is closed, so that the committer can merge
// meanwhile.
func (s *Store) writeRecords() {
	for r := range s.records {
		s.written <- s.segments.append(r.group, r.record)
	}
	close(s.written)
}

// endCommit waits for the fsyncs and notes how far the store is durable.
func (s *Store) endCommit(g *group, c *commit) error {
	var txnErr, recordErr error
	journalled := g != nil && g.seq > 0
	if c.txn {
		txnErr = <-s.committed
	}
	if journalled {
		recordErr = <-s.written
	}
	if err := errors.Join(txnErr, recordErr); err != nil {
		return steps.E("commit group", steps.Unavailable, err)
	}
	now := s.cfg.Clock()
	if journalled {
		s.watermark.group = g.seq
	}
	if journalled || c.txn {
		if err := s.watermark.write(s.txns); err != nil {
			return err
		}
	}
	if c.txn && !s.full.Load() {
		if err := s.logs.extend(); err != nil {
			return err
		}
	}
	if err := errors.Join(s.watermark.sync(now), s.endPiece()); err != nil {
		return err
	}
	if g != nil {
		s.metrics.observe(len(g.entries), now.Sub(c.begun))
	}
	return nil
}

// writeGroup puts a group's changes into txn, numbers its journal record, and reports whether there
// were changes.
func (s *Store) writeGroup(txn *badger.Txn, g *group) (changes bool, err error) {
	s.refuse(g)
	s.locate(g)
	dropped, payloads := false, 0
	for i := range g.entries {
		e := &g.entries[i]
		switch {
		case e.err != nil:
		case e.change != nil:
			changes = true
			if e.err = e.change.write(txn); errors.As(e.err, new(*tornError)) {
				return changes, e.err
			}
		case e.rare != nil:
			changes = true
			e.err = s.writeRare(txn, e)
		}
		if e.done != nil {
			payloads++
			dropped = dropped || e.err != nil
		}
	}
	if dropped {
		payloads = g.dropRefused()
	}
	if payloads > 0 {
		g.seq = s.next
		s.next++
		putFrame(g.journal[lengthBytes:], g.seq, payloads)
		s.journalBytes.Add(int64(len(g.journal)))
	}
	return changes, nil
}

// dropRefused takes the payloads that were refused out of the journal and returns how many are
// left.
func (g *group) dropRefused() (left int) {
	journal, start := g.journal[:groupHead], groupHead
	for i := range g.entries {
		e := &g.entries[i]
		bytes := g.journal[start:e.end]
		start = e.end
		if e.done != nil && e.err == nil {
			left++
			journal = append(journal, bytes...)
		}
		e.end = len(journal)
	}
	g.journal = journal
	return left
}

// conclude merges a durable group into the head and reports to its submitters.
func (s *Store) conclude(g *group) {
	s.merge(g)
	s.recycle(g)
}

// fail refuses everything from now on and tells the waiting submitters. The groups are those whose
// outcome is in doubt or was not reported yet.
func (s *Store) fail(err error, groups ...*group) error {
	s.log.Error("commit failed; nothing is acknowledged any more and the process must restart", "err", err)
	s.queue.Lock()
	s.failed = true
	groups = append(groups, s.open)
	if s.open.room != nil {
		close(s.open.room)
	}
	s.open = newGroup()
	s.queue.Unlock()
	refused := steps.E("commit group", steps.Unavailable, err)
	for _, g := range groups {
		if g == nil {
			continue
		}
		for i := range g.entries {
			s.report(&g.entries[i], new(steps.Receipt), refused)
		}
	}
	s.flush()
	return err
}

// report tells a submitter the outcome.
func (s *Store) report(e *entry, r *steps.Receipt, err error) {
	if e.change != nil {
		e.change.done <- err
		return
	}
	if f := e.done.Complete(r, err); f != nil {
		s.flushers = append(s.flushers, f)
	}
}

// flush sends the acknowledgements that completions have left.
func (s *Store) flush() {
	for i, f := range s.flushers {
		f.Flush()
		s.flushers[i] = nil
	}
	s.flushers = s.flushers[:0]
}

// finish runs after the last group: it writes the head out so that the next start replays little.
func (s *Store) finish() error {
	deadline := s.cfg.Clock().Add(s.cfg.StopWithin)
	s.beginCheckpoint()
	for (s.checkpoint != nil || len(s.lists.spent) > 0) && s.cfg.Clock().Before(deadline) {
		if s.full.Store(s.diskFull()); s.short.Load() {
			break
		}
		c, err := s.beginCommit(nil)
		if err == nil {
			err = s.endCommit(nil, c)
		}
		if err != nil {
			return s.fail(err)
		}
	}
	return nil
}
