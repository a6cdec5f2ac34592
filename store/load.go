package store

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// loadedDay is a day that was read before its commit reached the committer.
type loadedDay struct {
	pd  steps.ParticipantDay
	day *headDay
}

// preload reads the days that the head probably does not hold, on the goroutine of whoever appends,
// so that late data costs its own connection a disk read and nobody else.
func (s *Store) preload(o *op) {
	o.evictions = s.evictions.Load() // before reading: what is evicted later may be newer on disk
	var last steps.ParticipantDay
	for i := range o.commit.Runs {
		pd := steps.ParticipantDay{Participant: o.commit.Runs[i].Participant, Day: o.commit.Runs[i].Day}
		if pd == last || s.recent.probably(pd) {
			continue
		}
		last = pd
		if day, err := s.readDay(pd); err == nil { // otherwise the committer meets the error
			o.loaded = append(o.loaded, loadedDay{pd, day})
		}
	}
}

// load brings the participant-days of a group into the head. An op whose day cannot be read is
// refused: merging into a day that was taken for empty would overwrite history.
func (s *Store) load(group []*op) {
	for _, o := range group {
		if o.commit == nil {
			continue
		}
		if o.evictions == s.evictions.Load() {
			for _, l := range o.loaded {
				if s.head[l.pd] == nil {
					s.addDay(l.pd, l.day)
				}
			}
		}
		o.err = s.loadDays(o.commit)
	}
}

// loadDays brings the participant-days of one commit into the head that are not there yet. Only
// the committer adds to the head, so it may look without the lock.
func (s *Store) loadDays(c *steps.Commit) error {
	var last steps.ParticipantDay
	for i := range c.Runs {
		pd := steps.ParticipantDay{Participant: c.Runs[i].Participant, Day: c.Runs[i].Day}
		if pd == last || s.head[pd] != nil {
			continue
		}
		last = pd
		h, err := s.readDay(pd)
		if err != nil {
			return err
		}
		s.addDay(pd, h)
	}
	return nil
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
