package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// castagnoli is the polynomial of every checksum in the store.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CorruptionError says that a value in the store does not mean what it must.
type CorruptionError struct {
	Table string // such as "day block"
	Key   string // readable
	Err   error
}

// Error names the value.
func (e *CorruptionError) Error() string {
	return fmt.Sprintf("%s %s: %v; restore it from a backup", e.Table, e.Key, e.Err)
}

// Unwrap returns the cause.
func (e *CorruptionError) Unwrap() error { return e.Err }

func corrupt(table, key string, err error) error {
	return steps.E("read "+table, steps.Internal, &CorruptionError{table, key, err})
}

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
		h, err = readDay(txn, pd)
		return err
	})
	return h, err
}

// readDay reads a participant-day's blocks. A day without blocks is empty, unless its total says
// that there were some.
func readDay(txn *badger.Txn, pd steps.ParticipantDay) (*headDay, error) {
	h := &headDay{}
	var cells []*deviceDay
	prefix := blockPrefix(pd)
	err := scan(txn, prefix, nil, true, func(key, value []byte) error {
		device := steps.DeviceID(key[len(prefix):])
		day, err := parseBlock(value)
		if err != nil {
			return corrupt("day block", fmt.Sprintf("%s %s %s", pd.Participant, pd.Day, device), err)
		}
		cells = append(cells, day)
		h.devices = append(h.devices, headDevice{device: device, block: bytes.Clone(value)})
		return nil
	})
	if err != nil {
		return nil, err
	}
	h.total, h.totalOK = total(cells), true
	stored, found, err := readTotal(txn, pd)
	if err != nil {
		return nil, err
	}
	if found != (len(cells) > 0) || (found && stored != h.total) {
		return nil, corrupt("day total", fmt.Sprintf("%s %s", pd.Participant, pd.Day),
			fmt.Errorf("total %d (present: %t), but %d blocks of %d steps", stored, found, len(cells), h.total))
	}
	return h, nil
}

// readTotal reads a stored day total.
func readTotal(txn *badger.Txn, pd steps.ParticipantDay) (n uint64, found bool, err error) {
	item, err := txn.Get(dayKey(prefixTotal, pd))
	if err == badger.ErrKeyNotFound {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, steps.E("read day total", steps.Internal, err)
	}
	err = item.Value(func(v []byte) (err error) {
		n, err = parseTotal(v)
		return err
	})
	if err != nil {
		return 0, false, corrupt("day total", fmt.Sprintf("%s %s", pd.Participant, pd.Day), err)
	}
	return n, true, nil
}

// appendTotal encodes a day total: uvarint steps, CRC-32C of it.
func appendTotal(dst []byte, n uint64) []byte {
	start := len(dst)
	dst = binary.AppendUvarint(dst, n)
	return seal(dst, start)
}

func parseTotal(b []byte) (uint64, error) {
	body, err := checked(b)
	if err != nil {
		return 0, err
	}
	r := reader{b: body}
	n := r.uvarint()
	return n, r.done()
}

// checked returns the value without its trailing CRC-32C.
func checked(b []byte) ([]byte, error) {
	if len(b) < 5 {
		return nil, fmt.Errorf("%d bytes are too few", len(b))
	}
	body, stored := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if got := crc32.Checksum(body, castagnoli); got != stored {
		return nil, fmt.Errorf("checksum %08x, stored %08x", got, stored)
	}
	return body, nil
}

// seal appends the CRC-32C of dst[start:].
func seal(dst []byte, start int) []byte {
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}
