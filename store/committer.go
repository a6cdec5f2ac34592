package store

import (
	"context"
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
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	stop := ctx.Done()
	var before *group // durable, and not yet merged
	for {
		g := s.takeGroup()
		if g == nil && before != nil { // nothing to overlap with
			s.conclude(before)
			before = nil
			continue
		}
		if g == nil && s.checkpoint == nil {
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

// commit is a transaction under way.
type commit struct {
	begun time.Time
	done  chan error
}

// beginCommit starts to make a group, and the next piece of a running checkpoint, durable in one
// transaction with one fsync. g may be nil.
func (s *Store) beginCommit(g *group) (*commit, error) {
	c := &commit{begun: s.cfg.Clock(), done: s.committed}
	txn := s.db.NewTransaction(true)
	if g != nil {
		if err := s.writeGroup(txn, g); err != nil {
			txn.Discard()
			return nil, err
		}
	}
	if err := s.writePiece(txn); err != nil {
		txn.Discard()
		return nil, err
	}
	txn.CommitWith(func(err error) { c.done <- err })
	return c, nil
}

// endCommit waits for the fsync and notes how far the journal is durable.
func (s *Store) endCommit(g *group, c *commit) error {
	if err := <-c.done; err != nil {
		return steps.E("commit group", steps.Unavailable, err)
	}
	now := s.cfg.Clock()
	if g != nil && g.seq > 0 {
		if err := s.watermark.set(g.seq); err != nil {
			return err
		}
	}
	if err := s.watermark.sync(now); err != nil {
		return err
	}
	s.endPiece()
	if g != nil {
		s.metrics.observe(len(g.entries), now.Sub(c.begun))
	}
	return nil
}

// writeGroup puts a group's journal record and other changes into txn.
func (s *Store) writeGroup(txn *badger.Txn, g *group) error {
	s.locate(g)
	dropped, payloads := false, 0
	for i := range g.entries {
		e := &g.entries[i]
		switch {
		case e.err != nil:
		case e.change != nil:
			e.err = e.change.write(txn)
		case e.rare != nil:
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
	if payloads == 0 {
		return nil
	}
	g.seq = s.next
	s.next++
	putFrame(g.journal, g.seq, payloads)
	sealed := s.auth.seal(journalKey(g.seq, 0), g.journal)
	s.journalBytes.Add(int64(len(sealed)))
	for part := 0; len(sealed) > 0; part++ { // Badger reads it until the commit ends
		n := min(len(sealed), partBytes)
		if err := txn.Set(journalKey(g.seq, part), sealed[:n:n]); err != nil {
			return steps.E("journal group", steps.Internal, err)
		}
		sealed = sealed[n:]
	}
	return nil
}

// dropRefused takes the payloads that were refused out of the journal and returns how many are
// left.
func (g *group) dropRefused() (left int) {
	journal, start := g.journal[:frameBytes], frameBytes
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
			g.entries[i].report(new(steps.Receipt), refused)
		}
	}
	return err
}

// report tells a submitter the outcome.
func (e *entry) report(r *steps.Receipt, err error) {
	if e.change != nil {
		e.change.done <- err
		return
	}
	e.done.Complete(r, err)
}

// finish runs after the last group: it writes the head out so that the next start replays little.
func (s *Store) finish() error {
	deadline := s.cfg.Clock().Add(s.cfg.StopWithin)
	for s.beginCheckpoint(); s.checkpoint != nil && s.cfg.Clock().Before(deadline); {
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
