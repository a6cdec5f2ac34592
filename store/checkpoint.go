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
	days     []*headDay
	sent     []steps.ParticipantID
	contacts []*contactState
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
	c := &checkpoint{upTo: s.merged, days: s.head.takeUnflushed(), contacts: s.contacts.takeUnflushed()}
	c.sent = s.head.senders()
	s.mu.Unlock()
	s.checkpointed = s.cfg.Clock().Unix()
	s.journalBytes.Store(0)
	if len(c.days)+len(c.sent)+len(c.contacts) > 0 || s.retired.Load() < c.upTo {
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
	case len(c.sent) > 0:
		c.sent, err = s.writeSendings(txn, c.sent)
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

// endPiece runs when a commit is durable, with the piece in its transaction, and no other is under way.
func (s *Store) endPiece() error {
	s.evict()
	s.forgetSendings()
	if s.checkpoint == nil || !s.checkpoint.done {
		return nil
	}
	s.retired.Store(s.checkpoint.upTo)
	s.checkpoint = nil
	s.metrics.checkpoints.Inc()
	if err := errors.Join(s.segments.rotate(), s.segments.retire(s.retired.Load())); err != nil {
		return steps.E("retire journal", steps.Unavailable, err)
	}
	return nil
}

// writeDays writes blocks of the first of days, and a list of those that wait to be scored, and returns the
// others. Readers get in between every few days.
func (s *Store) writeDays(txn *badger.Txn, days []*headDay) ([]*headDay, error) {
	p := piece{txn: txn, room: make([]byte, 0, 2*pieceBytes), list: s.newList()}
	n := 0
	for n < len(days) && n < pieceKeys && len(p.room) < pieceBytes {
		some := days[n:min(n+daysAtOnce, len(days))]
		n += len(some)
		for _, day := range some {
			if err := s.writeDay(&p, day); err != nil {
				return nil, err
			}
		}
		s.mu.Lock()
		for _, day := range some {
			s.head.of(day).flushed(day)
		}
		s.mu.Unlock()
	}
	return days[n:], s.setList(txn, p.list)
}

// daysAtOnce is how many days are marked as written while the lock is held once.
const daysAtOnce = 64

// piece is what a checkpoint adds to one transaction.
type piece struct {
	txn  *badger.Txn
	room []byte // memory of keys and values; what has been taken of it is the transaction's
	list *dirtyList
}

// writeDay writes one day.
func (s *Store) writeDay(p *piece, day *headDay) error {
	pd := day.ParticipantDay
	key := p.key(prefixDay, pd)
	start := len(p.room)
	if day.block != nil {
		p.room = append(p.room, day.block...)
	} else {
		p.room = appendBlock(p.room, s.head.steps(day), day.hot)
	}
	p.room = s.auth.sealFrom(key, p.room, start)
	if err := p.txn.Set(key, p.room[start:len(p.room):len(p.room)]); err != nil {
		return err
	}
	s.listMark(p.list, pd, true)
	return nil
}

// key makes a day's key.
func (p *piece) key(prefix byte, pd steps.ParticipantDay) []byte {
	start := len(p.room)
	p.room = append(appendDay(append(p.room, prefix), pd.Day), pd.Participant...)
	return p.room[start:len(p.room):len(p.room)]
}

// evict drops days that are on disk from memory until the head is within its bound. Nothing that it
// drops may be in a transaction that is under way.
func (s *Store) evict() {
	for i := range s.head.shards {
		sh := &s.head.shards[i]
		turns := 2 * sh.idle.n // one to lose being touched, one to go; days that are pinned do neither
		for ; turns > 0 && sh.overfull(); turns -= evictAtOnce {
			s.mu.Lock()
			s.head.evict(sh, min(turns, evictAtOnce))
			s.mu.Unlock()
		}
	}
}

// evictAtOnce is how many days are looked at while the lock is held once.
const evictAtOnce = 256

// mindMemory begins a checkpoint when the head holds too much that is not on disk, and reports whether
// what is queued must wait for it.
func (s *Store) mindMemory() (wait bool) {
	all, held := s.head.memory()
	if held > int(s.cfg.HeadBytes/2) {
		s.beginCheckpoint()
	}
	return s.checkpoint != nil && all > int(s.cfg.HeadBytes)
}

// watch runs once a second: is a checkpoint due, is the disk filling up?
func (s *Store) watch() {
	s.full.Store(s.diskFull())
	now := s.cfg.Clock().Unix()
	late := now-s.checkpointed >= int64(s.cfg.CheckpointEvery.Seconds())
	if s.journalBytes.Load() >= s.cfg.CheckpointBytes || late {
		s.beginCheckpoint()
	}
}
