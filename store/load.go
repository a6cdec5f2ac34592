package store

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// preload names the days of a commit's runs and reads those that the head probably does not hold,
// on the goroutine of whoever appends, so that late data costs its own connection a disk read and
// nobody else. An error means that merging would overwrite history that cannot be read.
func (s *Store) preload(scratch *appendScratch, c *steps.Commit) error {
	clear(scratch.days)
	scratch.days = scratch.days[:0]
	evictions := s.evictions.Load() // before reading: what is evicted later may be newer on disk
	var last steps.ParticipantDay
	for i := range c.Runs {
		ref := dayRef{
			pd:        steps.ParticipantDay{Participant: c.Runs[i].Participant, Day: c.Runs[i].Day},
			evictions: evictions,
		}
		if ref.pd != last && !s.recent.probably(ref.pd) {
			var err error
			if ref.loaded, err = s.readDay(ref.pd); err != nil {
				return err
			}
		}
		last = ref.pd
		scratch.days = append(scratch.days, ref)
	}
	return nil
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
	ref.day = s.head[ref.pd]
	if ref.day == nil {
		if ref.loaded != nil && ref.evictions == s.evictions.Load() {
			ref.day = ref.loaded
		} else if ref.day, err = s.readDay(ref.pd); err != nil {
			return err
		}
		s.addDay(ref.pd, ref.day)
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

func (s *Store) addDay(pd steps.ParticipantDay, h *headDay) {
	s.recent.add(pd)
	s.mu.Lock()
	s.head[pd] = h
	s.mu.Unlock()
}

func (s *Store) readDay(pd steps.ParticipantDay) (h *headDay, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		h, err = s.dayOf(txn, pd)
		return err
	})
	return h, err
}

// dayOf reads a participant-day's blocks. A day without blocks is empty, unless its total says
// that there were some.
func (s *Store) dayOf(txn *badger.Txn, pd steps.ParticipantDay) (*headDay, error) {
	h := &headDay{}
	var cells []*deviceDay
	prefix := blockPrefix(pd)
	err := scan(txn, prefix, nil, true, func(key, value []byte) error {
		device := steps.DeviceID(key[len(prefix):])
		body, err := s.auth.open(key, value)
		if err != nil {
			return corrupt("day block", fmt.Sprintf("%s %s %s", pd.Participant, pd.Day, device), err)
		}
		day, err := parseBlock(body)
		if err != nil {
			return corrupt("day block", fmt.Sprintf("%s %s %s", pd.Participant, pd.Day, device), err)
		}
		cells = append(cells, day)
		h.devices = append(h.devices, headDevice{device: device, block: bytes.Clone(body)})
		return nil
	})
	if err != nil {
		return nil, err
	}
	h.total, h.totalOK = total(cells), true
	stored, found, err := s.totalOf(txn, pd)
	if err != nil {
		return nil, err
	}
	if found != (len(cells) > 0) || (found && stored != h.total) {
		return nil, corrupt("day total", fmt.Sprintf("%s %s", pd.Participant, pd.Day),
			fmt.Errorf("total %d (present: %t), but %d blocks of %d steps", stored, found, len(cells), h.total))
	}
	return h, nil
}

// totalOf reads a stored day total.
func (s *Store) totalOf(txn *badger.Txn, pd steps.ParticipantDay) (n uint64, found bool, err error) {
	item, err := txn.Get(dayKey(prefixTotal, pd))
	if err == badger.ErrKeyNotFound {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, steps.E("read day total", steps.Internal, err)
	}
	err = item.Value(func(v []byte) error {
		body, err := s.auth.open(item.Key(), v)
		if err == nil {
			n, err = parseTotal(body)
		}
		return err
	})
	if err != nil {
		return 0, false, corrupt("day total", fmt.Sprintf("%s %s", pd.Participant, pd.Day), err)
	}
	return n, true, nil
}

// appendTotal encodes a day total.
func appendTotal(dst []byte, n uint64) []byte { return binary.AppendUvarint(dst, n) }

func parseTotal(b []byte) (uint64, error) {
	r := reader{b: b}
	n := r.uvarint()
	return n, r.done()
}

// setSealed puts a value with its tag into txn. Key and value belong to txn from here on.
func (s *Store) setSealed(txn *badger.Txn, key, value []byte) error {
	return txn.Set(key, s.auth.seal(key, value))
}
