package store

import (
	"bytes"
	"encoding/binary"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// In format 1 an award was uvarint steps, varint points, string rule set, tag: it said what a day had
// earned, not how that came about, and there was no ledger.
const metaMigrated = "migrated" // the newest key that is a page

// makePages turns the awards of format 1 into pages whose points are brought forward in one line. Each
// transaction says how far it has come, so that an interrupted one is gone on with.
func (s *Store) makePages() error {
	s.log.Info("bringing awards of an older format into the ledger")
	pages := 0
	for {
		n, err := s.makeSomePages()
		if err != nil {
			return err
		}
		if n == 0 {
			s.log.Info("awards are in the ledger", "pages", pages)
			return nil
		}
		pages += n
	}
}

// makeSomePages converts one transaction's worth of awards. When there are none left it marks the store
// as being of the current format.
func (s *Store) makeSomePages() (n int, err error) {
	err = s.db.Update(func(txn *badger.Txn) error {
		start, err := s.get(txn, metaKey(metaMigrated))
		if err != nil {
			return err
		}
		if s.accounts, err = s.programmeTotals(txn); err != nil {
			return err
		}
		w := &writes{s: s}
		last, err := s.oldAwards(txn, w, start)
		if err != nil {
			return err
		}
		n = len(w.pairs)
		if err := w.apply(txn); err != nil {
			return err
		}
		if n > 0 {
			return txn.Set(metaKey(metaMigrated), last)
		}
		if err := txn.Delete(metaKey(metaMigrated)); err != nil {
			return err
		}
		return txn.Set(metaKey(metaFormat), []byte{formatVersion})
	})
	return n, err
}

// oldAwards adds the pages of some awards after the key start, and returns the key of the last one.
func (s *Store) oldAwards(txn *badger.Txn, w *writes, start []byte) (last []byte, err error) {
	now := s.cfg.Clock().Unix()
	if start != nil {
		start = append(start, 0) // the next key there can be
	}
	err = scan(txn, []byte{prefixAward}, start, true, func(key, value []byte) error {
		if len(w.pairs) == pieceKeys {
			return errStop
		}
		pd, _ := splitDayKey(key)
		body, err := s.auth.open(key, value)
		var p page
		if err == nil {
			p, err = parseOldAward(body)
		}
		if err != nil {
			return s.tolerate(corrupt("award", nameOf(pd), err))
		}
		if p.points > 0 {
			p.lines = []pageLine{{kind: steps.EntryCarried, at: now, delta: p.points}}
		}
		w.moved.Move(steps.Posting{From: steps.AccountIssued, To: steps.AccountProvisional, Points: p.points})
		last = bytes.Clone(key)
		w.set(last, appendPage(nil, &p))
		return nil
	})
	if err == errStop {
		err = nil
	}
	return last, err
}

func parseOldAward(b []byte) (p page, err error) {
	r := reader{b: b}
	p.steps, p.points, p.ruleSet = r.uvarint(), steps.Points(r.varint()), r.string()
	return p, r.done()
}

// loadLedger reads what the ledger keeps in memory.
func (s *Store) loadLedger(txn *badger.Txn) (err error) {
	if s.accounts, err = s.programmeTotals(txn); err != nil {
		return err
	}
	err = scan(txn, []byte{prefixClosed}, nil, true, func(key, value []byte) error {
		day := takeDay(key[1:])
		body, err := s.auth.open(key, value)
		var c closedDay
		if err == nil {
			c, err = parseClosed(body, day)
		}
		if err != nil {
			return corrupt("closed day", day.String(), err)
		}
		s.closedDays[day] = c
		return nil
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
	opts.Prefix, opts.PrefetchValues = []byte{prefixAward}, false
	it := txn.NewIterator(opts)
	defer it.Close()
	for it.Rewind(); it.Valid(); {
		pd, ok := splitDayKey(it.Item().Key())
		if !ok {
			it.Next()
			continue
		}
		s.pageDays[pd.Day] = struct{}{}
		it.Seek(appendDay([]byte{prefixAward}, pd.Day+1))
	}
}
