package store

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// preload names the days of a commit's runs and reads those that the head does not hold, on the
// goroutine of whoever appends, so that late data costs its own connection a disk read and nobody
// else. An error means that merging would overwrite history that cannot be read.
func (s *Store) preload(scratch *appendScratch, c *steps.Commit) error {
	clear(scratch.days)
	scratch.days = scratch.days[:0]
	var last steps.ParticipantDay
	for i := range c.Runs {
		ref := dayRef{pd: steps.ParticipantDay{Participant: c.Runs[i].Participant, Day: c.Runs[i].Day}}
		if ref.pd != last {
			if err := s.readAhead(&ref); err != nil {
				return err
			}
		}
		last = ref.pd
		scratch.days = append(scratch.days, ref)
	}
	return nil
}

// readAhead reads the day of ref unless the head holds it.
func (s *Store) readAhead(ref *dayRef) (err error) {
	found := false
	if ref.left, found = s.head.lookup(ref.pd); found {
		return nil
	}
	if ref.loaded = s.head.readBefore(ref.pd, ref.left); ref.loaded != nil {
		return nil
	}
	ref.loaded, err = s.readDay(ref.pd)
	if err == nil {
		s.head.keepRead(ref.loaded, ref.left)
	}
	if errors.Is(err, errGone) {
		if _, found = s.head.lookup(ref.pd); found || !s.head.stays(ref.pd, ref.left) {
			return nil // it was in the head meanwhile, from where its mark or its award is
		}
	}
	return err
}

// locate finds a group's days in the head and brings in those that are not there, and pins them
// until the group is merged. Only the committer adds to the head, so it may look without the lock.
// A payload whose day cannot be read is refused.
func (s *Store) locate(g *group) {
	days := g.days
	for i := range g.entries {
		e := &g.entries[i]
		for j := range days[:e.runs] {
			if e.err == nil {
				e.err = s.locateDay(&days[j])
			}
		}
		days = days[e.runs:]
	}
}

func (s *Store) locateDay(ref *dayRef) (err error) {
	ref.day = s.head.find(ref.pd)
	if ref.day == nil {
		if ref.loaded != nil && s.head.stays(ref.pd, ref.left) {
			ref.day = ref.loaded
		} else if ref.day, err = s.readDay(ref.pd); err != nil {
			return err
		}
		s.mu.Lock()
		s.head.add(ref.day)
		s.mu.Unlock()
		s.head.dropRead(ref.pd)
	}
	ref.day.pins++
	return nil
}

func unpin(days []dayRef) {
	for i := range days {
		if days[i].day != nil {
			days[i].day.pins--
		}
	}
}

// readDay reads a day that the head does not hold.
func (s *Store) readDay(pd steps.ParticipantDay) (day *headDay, err error) {
	reported := s.waitsWithSteps(pd) // before the snapshot, which has the award of a day that waits no more
	err = s.db.View(func(txn *badger.Txn) error {
		if day, err = s.dayOf(txn, pd); err != nil {
			return err
		}
		if day.block == nil {
			return s.checkAbsent(txn, pd, reported)
		}
		return nil
	})
	return day, err
}

// errGone is wrapped by the error for a day that is on disk no more.
var errGone = errors.New("the day waits to be scored, or has an award, but has no block")

// waitsWithSteps reports whether a day waits to be scored whose steps are on disk, or, while the commit is
// under way that puts them there, in the head.
func (s *Store) waitsWithSteps(pd steps.ParticipantDay) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.dirty[pd].reported
}

// checkAbsent makes sure that a day without a block never had one: a day is written together with
// a list that says that it waits to be scored with its steps (reported), which holds until there is an
// award. It holds for days that are in neither the head nor the journal. A day on which something else than
// steps was recorded may be scored without them.
func (s *Store) checkAbsent(txn *badger.Txn, pd steps.ParticipantDay, reported bool) error {
	gone := corrupt("day block", nameOf(pd), errGone)
	if reported {
		return gone
	}
	award, found, err := s.page(txn, pd)
	if err != nil || !found {
		return err
	}
	legal := award.steps == 0
	if legal {
		legal, err = s.withoutSteps(txn, pd)
	}
	if err == nil && !legal {
		err = gone
	}
	return err
}

// dayOf reads a participant-day, an empty one if there is no block.
func (s *Store) dayOf(txn *badger.Txn, pd steps.ParticipantDay) (*headDay, error) {
	day := &headDay{ParticipantDay: pd}
	item, err := txn.Get(dayKey(prefixDay, pd))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return day, nil
	}
	if err != nil {
		return nil, steps.E("read day", steps.Internal, err)
	}
	err = item.Value(func(v []byte) error {
		block, err := s.auth.open(item.Key(), v)
		if err == nil {
			day.block, err = s.currentBlock(pd.Participant, block)
		}
		return err
	})
	if err != nil {
		return nil, corrupt("day block", fmt.Sprintf("%s %s", pd.Participant, pd.Day), err)
	}
	return day, nil
}

// loadDays reads days that are ascending, without decoding them: all of them in one pass, which takes a
// tenth of the time where most of a table's block is wanted. A day without a block is empty.
func (s *Store) loadDays(txn *badger.Txn, days []*headDay) error {
	blocks := s.newSeeker(txn, prefixDay)
	defer blocks.close()
	var key []byte
	for _, day := range days {
		key = append(appendDay(append(key[:0], prefixDay), day.Day), day.Participant...)
		block, _, err := blocks.find(key)
		if err == nil && block != nil && s.mayBeStale(day.Participant) {
			day.block, err = s.currentTotal(day.Participant, block)
		} else {
			day.block = bytes.Clone(block)
		}
		if err == nil {
			continue
		}
		day.damaged = true
		if err := s.tolerate(corrupt("day block", nameOf(day.ParticipantDay), err)); err != nil {
			return err
		}
	}
	return nil
}

// currentBlock returns a copy of a block whose total is that of its minutes: the block is damaged if it is
// not, unless days are totalled anew.
func (s *Store) currentBlock(p steps.ParticipantID, block []byte) ([]byte, error) {
	err := s.checkBlock(p, block)
	if errors.Is(err, errTotal) && s.mayBeStale(p) {
		return s.currentTotal(p, block)
	}
	return bytes.Clone(block), err
}

// errTotal says that a block's total is not that of its minutes.
var errTotal = fmt.Errorf("%w: its total is not the sum of its minutes", errBlock)

// checkBlock decodes a block and compares its total with its minutes.
func (s *Store) checkBlock(p steps.ParticipantID, block []byte) error {
	stored, _, err := parseBlockTotal(block)
	if err != nil {
		return err
	}
	n := stored
	if err := s.decode(block, func(h *hotDay) { n = s.totals.steps(p, h) }); err != nil {
		return err
	}
	if n != stored {
		return fmt.Errorf("%w: it is %d, they sum to %d", errTotal, stored, n)
	}
	return nil
}

// storedBlock returns the block of a day as it is on disk, nil if there is none.
func (s *Store) storedBlock(txn *badger.Txn, pd steps.ParticipantDay) ([]byte, error) {
	return s.getSealed(txn, "day block", dayKey(prefixDay, pd), nameOf(pd))
}

// totalOf reads the total of a day that is on disk.
func (s *Store) totalOf(txn *badger.Txn, pd steps.ParticipantDay) (n uint64, found bool, err error) {
	item, err := txn.Get(dayKey(prefixDay, pd))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, steps.E("read day total", steps.Internal, err)
	}
	n, err = s.auth.totalItem(item, pd)
	return n, err == nil, err
}

// totalItem reads a day's total.
func (k *auth) totalItem(item *badger.Item, pd steps.ParticipantDay) (n uint64, err error) {
	err = item.Value(func(v []byte) error {
		block, err := k.open(item.Key(), v)
		if err == nil {
			n, _, err = parseBlockTotal(block)
		}
		return err
	})
	if err != nil {
		return 0, corrupt("day block", fmt.Sprintf("%s %s", pd.Participant, pd.Day), err)
	}
	return n, nil
}

// setSealed puts a value with its tag into txn. Key and value belong to txn from here on.
func (s *Store) setSealed(txn *badger.Txn, key, value []byte) error {
	return txn.Set(key, s.auth.seal(key, value))
}
