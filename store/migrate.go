package store

import (
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// Version 1 of the format kept one block for each device of a day, in a table that was ordered by
// participant, and the day's total in a row of its own.

// migrate brings a store of version 1 up to the present one: its days, then its awards. What was cut
// off goes on where it stood; the version is changed last.
func (s *Store) migrate() error {
	if err := s.migrateDays(); err != nil {
		return err
	}
	return s.makePages()
}

// migrateDays rewrites the days, each in one transaction.
func (s *Store) migrateDays() error {
	s.log.Info("rewriting the day blocks of format 1", "dir", s.cfg.Dir)
	m := migration{s: s, txn: s.db.NewTransaction(true)}
	defer func() { m.txn.Discard() }()
	err := s.db.View(func(txn *badger.Txn) error {
		err := scan(txn, []byte{prefixBlock1}, nil, true, func(key, value []byte) error { return m.block(txn, key, value) })
		if err != nil {
			return err
		}
		return m.endDay(txn)
	})
	if err != nil {
		return err
	}
	s.log.Info("rewrote the day blocks of format 1", "participant_days", m.days)
	return m.txn.Commit()
}

// migration is a store of version 1 on its way to version 2.
type migration struct {
	s            *Store
	txn          *badger.Txn // what is written
	keysIn, size int         // keys and bytes in txn
	days         int

	pd   steps.ParticipantDay // the day at hand
	hot  hotDay
	keys [][]byte // of its blocks
}

// block takes the next block of version 1, in the order of its table.
func (m *migration) block(txn *badger.Txn, key, value []byte) error {
	pd, device, ok := splitBlockKey1(key)
	if !ok {
		return fmt.Errorf("day block with the unreadable key %x", key)
	}
	if pd != m.pd {
		if err := m.endDay(txn); err != nil {
			return err
		}
		m.pd = pd
	}
	body, err := m.s.auth.open(key, value)
	if err != nil {
		return m.s.tolerate(corrupt("day block", fmt.Sprintf("%s %s %s", pd.Participant, pd.Day, device), err))
	}
	cells, err := parseBlock1(body)
	if err != nil {
		return m.s.tolerate(corrupt("day block", fmt.Sprintf("%s %s %s", pd.Participant, pd.Day, device), err))
	}
	m.hot.parts = append(m.hot.parts, part{device, cells})
	m.keys = append(m.keys, append([]byte(nil), key...))
	return nil
}

// endDay writes the day at hand in the present format.
func (m *migration) endDay(txn *badger.Txn) error {
	if len(m.keys) == 0 {
		return nil
	}
	key := dayKey(prefixDay, m.pd)
	stored, err := m.total(txn, key)
	if err != nil {
		if err := m.s.tolerate(corrupt("day total", fmt.Sprintf("%s %s", m.pd.Participant, m.pd.Day), err)); err != nil {
			return err
		}
	}
	block := appendBlock(nil, stored, &m.hot)
	if err := m.s.setSealed(m.txn, key, block); err != nil {
		return err
	}
	for _, old := range m.keys {
		if err := m.txn.Delete(old); err != nil {
			return err
		}
	}
	m.keysIn += 1 + len(m.keys)
	m.size += len(block)
	m.days++
	m.hot, m.keys = hotDay{}, m.keys[:0]
	if m.keysIn < pieceKeys && m.size < pieceBytes {
		return nil
	}
	err = m.txn.Commit()
	m.txn, m.keysIn, m.size = m.s.db.NewTransaction(true), 0, 0
	return err
}

// total returns the day's total of version 1, and an error if it is not that of the minutes. The total of the
// merge policy replaces it later, with the day marked dirty: its award is of this one.
func (m *migration) total(txn *badger.Txn, key []byte) (uint64, error) {
	sum := total1(m.hot.parts)
	item, err := txn.Get(key)
	if err != nil {
		return sum, err
	}
	value, err := item.ValueCopy(nil)
	if err != nil {
		return sum, err
	}
	body, err := m.s.auth.open(key, value)
	if err != nil {
		return sum, err
	}
	r := reader{b: body}
	stored := r.uvarint()
	if err := r.done(); err != nil {
		return sum, err
	}
	if sum != stored {
		return sum, fmt.Errorf("it is %d, the minutes sum to %d", stored, sum)
	}
	return sum, nil
}
