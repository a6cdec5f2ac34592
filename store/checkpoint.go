package store

import (
	"encoding/binary"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// checkpoint writes the head to day blocks and then retires the journal groups that they cover.
// It advances by one piece a group commit, so uploads never wait for more than a piece. A crash
// in between is harmless: the journal is replayed over blocks that already hold some of it, and
// merging twice is merging once.
type checkpoint struct {
	upTo     uint64 // the newest group when the checkpoint began
	days     []steps.ParticipantDay
	contacts []steps.DeviceID
	journal  uint64 // next group to delete
}

// A piece of a checkpoint adds about this much to a transaction.
const (
	pieceBytes  = 1 << 20
	pieceKeys   = 4096
	pieceGroups = 1024
)

// checkpointPiece is what one transaction wrote for the checkpoint.
type checkpointPiece struct {
	days     []steps.ParticipantDay
	contacts []steps.DeviceID
	done     bool // the journal is retired
}

// beginCheckpoint starts a checkpoint of everything that is in the head only.
func (s *Store) beginCheckpoint() {
	if s.checkpoint != nil {
		return
	}
	s.mu.Lock()
	c := &checkpoint{upTo: s.next - 1, journal: s.retired + 1, days: s.unflushedDays, contacts: s.unflushedContacts}
	s.unflushedDays, s.unflushedContacts = nil, nil
	s.mu.Unlock()
	s.checkpointed = s.cfg.Clock().Unix()
	s.journalBytes.Store(0)
	if len(c.days)+len(c.contacts) > 0 || c.journal <= c.upTo {
		s.checkpoint = c
	}
}

// writePiece puts the next piece of the running checkpoint into txn.
func (s *Store) writePiece(txn *badger.Txn) (*checkpointPiece, error) {
	c := s.checkpoint
	if c == nil {
		return nil, nil
	}
	p := new(checkpointPiece)
	var err error
	switch {
	case len(c.days) > 0:
		p.days, err = s.writeDays(txn, c.days)
		c.days = c.days[len(p.days):]
	case len(c.contacts) > 0:
		p.contacts, err = s.writeContacts(txn, c.contacts)
		c.contacts = c.contacts[len(p.contacts):]
	default:
		p.done, err = s.retire(txn, c)
	}
	if err != nil {
		return nil, steps.E("write checkpoint", steps.Internal, err)
	}
	return p, nil
}

// writeDays writes blocks, totals and dirty marks of the first of days, and returns those.
func (s *Store) writeDays(txn *badger.Txn, days []steps.ParticipantDay) ([]steps.ParticipantDay, error) {
	s.mu.Lock() // encoding compacts the cells
	defer s.mu.Unlock()
	size := 0
	for n, pd := range days {
		if size >= pieceBytes || n >= pieceKeys {
			return days[:n], nil
		}
		h := s.head[pd]
		for i := range h.devices {
			if !h.devices[i].unflushed {
				continue
			}
			s.block = appendBlock(s.block[:0], h.devices[i].cells)
			block := append(make([]byte, 0, len(s.block)+tagBytes), s.block...)
			h.devices[i].block = block
			size += len(block)
			if err := s.setSealed(txn, blockKey(pd, h.devices[i].device), block); err != nil {
				return nil, err
			}
		}
		if err := s.setSealed(txn, dayKey(prefixTotal, pd), appendTotal(nil, h.steps())); err != nil {
			return nil, err
		}
		if d, ok := s.dirty[pd]; ok && !d.persisted {
			if err := txn.Set(dayKey(prefixDirty, pd), nil); err != nil {
				return nil, err
			}
		}
	}
	return days, nil
}

// retire deletes journal groups that the blocks now cover, and reports whether that was all.
func (s *Store) retire(txn *badger.Txn, c *checkpoint) (bool, error) {
	if c.journal > c.upTo {
		return true, nil
	}
	last := min(c.journal+pieceGroups-1, c.upTo)
	prefix := []byte{prefixJournal}
	var keys [][]byte
	err := s.db.View(func(view *badger.Txn) error {
		return scan(view, prefix, journalKey(c.journal, 0), false, func(key, _ []byte) error {
			if journalGroup(key) > last {
				return errStop
			}
			keys = append(keys, slices.Clone(key))
			return nil
		})
	})
	if err != nil && err != errStop {
		return false, err
	}
	for _, key := range keys {
		if err := txn.Delete(key); err != nil {
			return false, err
		}
	}
	c.journal = last + 1
	return c.journal > c.upTo, txn.Set(metaKey(metaRetired), binary.BigEndian.AppendUint64(nil, last))
}

// flushed marks as written what the piece's transaction made durable. The committer calls it
// before it merges the group of the same transaction.
func (p *checkpointPiece) flushed(s *Store) {
	for _, pd := range p.days {
		h := s.head[pd]
		h.unflushed = false
		for i := range h.devices {
			h.devices[i].cells, h.devices[i].unflushed = nil, false
		}
		if d, ok := s.dirty[pd]; ok {
			d.persisted = true
			s.dirty[pd] = d
		}
	}
	for _, d := range p.contacts {
		s.contacts[d].unflushed = false
	}
	if p.done {
		s.retired = s.checkpoint.upTo
		s.checkpoint = nil
		s.metrics.checkpoints.Inc()
	}
}

// evict drops days that are on disk from memory until the head is within its bound.
func (s *Store) evict() {
	if len(s.head) <= s.cfg.HeadDays {
		return
	}
	s.evictions.Add(1)
	for pd, h := range s.head {
		if len(s.head) <= s.cfg.HeadDays {
			return
		}
		if !h.unflushed {
			delete(s.head, pd)
			s.recent.remove(pd)
		}
	}
}

// watch runs once a second: is a checkpoint due, is the disk filling up?
func (s *Store) watch() {
	s.full.Store(s.diskFull())
	now := s.cfg.Clock().Unix()
	overfull := len(s.head) > 2*s.cfg.HeadDays
	late := now-s.checkpointed >= int64(s.cfg.CheckpointEvery.Seconds())
	if s.journalBytes.Load() >= s.cfg.CheckpointBytes || overfull || late {
		s.beginCheckpoint()
	}
}
