package store

import (
	"encoding/binary"
	"errors"

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
	done     bool // the transaction under way is the last
}

// A piece of a checkpoint adds about this much to a transaction.
const (
	pieceBytes = 1 << 20
	pieceKeys  = 4096
)

// beginCheckpoint starts a checkpoint of everything that is in the head only.
func (s *Store) beginCheckpoint() {
	if s.checkpoint != nil {
		return
	}
	s.mu.Lock()
	c := &checkpoint{upTo: s.merged, days: s.unflushedDays, contacts: s.unflushedContacts}
	s.unflushedDays, s.unflushedContacts = nil, nil
	s.mu.Unlock()
	s.checkpointed = s.cfg.Clock().Unix()
	s.journalBytes.Store(0)
	if len(c.days)+len(c.contacts) > 0 || s.retired < c.upTo {
		s.checkpoint = c
	}
}

// writePiece puts the next piece of the running checkpoint into txn. What it writes counts as
// written from here on, because after a failed commit nothing is served any more.
func (s *Store) writePiece(txn *badger.Txn) (err error) {
	c := s.checkpoint
	switch {
	case c == nil:
		return nil
	case len(c.days) > 0:
		c.days, err = s.writeDays(txn, c.days)
	case len(c.contacts) > 0:
		c.contacts, err = s.writeContacts(txn, c.contacts)
	default:
		c.done = true
		err = txn.Set(metaKey(metaRetired), binary.BigEndian.AppendUint64(nil, c.upTo))
	}
	if err != nil {
		return steps.E("write checkpoint", steps.Internal, err)
	}
	return nil
}

// endPiece runs when the transaction of a piece is durable, and no journal record is being written.
func (s *Store) endPiece() error {
	if s.checkpoint == nil || !s.checkpoint.done {
		return nil
	}
	s.retired = s.checkpoint.upTo
	s.checkpoint = nil
	s.metrics.checkpoints.Inc()
	s.mu.Lock()
	s.evict()
	s.mu.Unlock()
	if err := errors.Join(s.segments.rotate(), s.segments.retire(s.retired)); err != nil {
		return steps.E("retire journal", steps.Unavailable, err)
	}
	return nil
}

// writeDays writes blocks, totals and dirty marks of the first of days, and returns the others.
func (s *Store) writeDays(txn *badger.Txn, days []steps.ParticipantDay) ([]steps.ParticipantDay, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := 0
	for n, pd := range days {
		if size >= pieceBytes || n >= pieceKeys {
			return days[n:], nil
		}
		n, err := s.writeDay(txn, pd, s.head[pd])
		if err != nil {
			return nil, err
		}
		size += n
	}
	return nil, nil
}

// writeDay writes one day and keeps it encoded from then on. It returns the bytes written.
func (s *Store) writeDay(txn *badger.Txn, pd steps.ParticipantDay, h *headDay) (size int, err error) {
	total := h.steps()
	for i := range h.devices {
		d := &h.devices[i]
		if !d.unflushed {
			continue
		}
		s.block = appendBlock(s.block[:0], d.cells)
		d.block = append(make([]byte, 0, len(s.block)+tagBytes), s.block...)
		d.cells, d.unflushed = nil, false
		size += len(d.block)
		if err := s.setSealed(txn, blockKey(pd, d.device), d.block); err != nil {
			return size, err
		}
	}
	h.unflushed = false
	if err := s.setSealed(txn, dayKey(prefixTotal, pd), appendTotal(nil, total)); err != nil {
		return size, err
	}
	if d, ok := s.dirty[pd]; ok && !d.persisted {
		d.persisted = true
		s.dirty[pd] = d
		return size, txn.Set(dayKey(prefixDirty, pd), nil)
	}
	return size, nil
}

// evict drops days that are on disk from memory until the head is within its bound. The caller
// holds mu.
func (s *Store) evict() {
	if len(s.head) <= s.cfg.HeadDays {
		return
	}
	s.evictions.Add(1)
	for pd, h := range s.head {
		if len(s.head) <= s.cfg.HeadDays {
			return
		}
		if !h.unflushed && h.pins == 0 {
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
