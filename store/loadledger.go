package store

import (
	"encoding/binary"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// loadLedger reads what the ledger keeps in memory.
func (s *Store) loadLedger(txn *badger.Txn) (err error) {
	if s.accounts, err = s.programmeTotals(txn); err != nil {
		return err
	}
	err = scan(txn, []byte{prefixClosed}, nil, true, func(key, value []byte) error {
		c, err := s.openClosed(key, value)
		if err == nil {
			s.closedDays[c.Day] = c
		}
		return err
	})
	if err != nil {
		return err
	}
	s.loadPageDays(txn)
	opts := badger.DefaultIteratorOptions
	opts.Prefix, opts.PrefetchValues, opts.Reverse = []byte{prefixExchange}, false, true
	it := txn.NewIterator(opts)
	defer it.Close()
	if it.Seek([]byte{prefixExchange, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}); it.Valid() {
		s.exchanges = steps.ExchangeID(binary.BigEndian.Uint64(it.Item().Key()[1:]))
	}
	return nil
}

// loadPageDays finds the days that have pages, by one look-up each.
func (s *Store) loadPageDays(txn *badger.Txn) {
	opts := badger.DefaultIteratorOptions
	opts.Prefix, opts.PrefetchValues = []byte{prefixSheet}, false
	it := txn.NewIterator(opts)
	defer it.Close()
	for it.Rewind(); it.Valid(); {
		day, _, ok := splitSheetKey(it.Item().Key())
		if !ok {
			it.Next()
			continue
		}
		s.pageDays[day] = struct{}{}
		it.Seek(sheetKey(day+1, ""))
	}
}
