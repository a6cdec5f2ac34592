package store

import (
	"encoding/binary"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// writes collects what a change of the ledger sets, and what it moves between accounts. Everything is
// computed, and refused if need be, before anything is set: half an entry would be points from nowhere.
type writes struct {
	s     *Store
	pairs []keyValue
	moved steps.Totals
}

type keyValue struct{ key, value []byte }

// tornError says that a change was set in part. The group must not be committed.
type tornError struct{ err error }

func (e *tornError) Error() string { return e.err.Error() }
func (e *tornError) Unwrap() error { return e.err }

// set seals a value under its key. The value must have been made for this.
func (w *writes) set(key, value []byte) {
	w.pairs = append(w.pairs, keyValue{key, w.s.auth.seal(key, value)})
}

// setSheet sets a sheet of pages.
func (w *writes) setSheet(key []byte, pages []sheetPage) {
	w.set(key, new(sheetCodec).append(nil, pages))
}

func (w *writes) delete(key []byte) { w.pairs = append(w.pairs, keyValue{key: key}) }

// apply puts everything into txn. After an error the transaction must be thrown away.
func (w *writes) apply(txn *badger.Txn) error {
	w.accounts()
	for _, p := range w.pairs {
		var err error
		if p.value == nil {
			err = txn.Delete(p.key)
		} else {
			err = txn.Set(p.key, p.value)
		}
		if err != nil {
			return &tornError{steps.E("write ledger", steps.Internal, err)}
		}
	}
	return nil
}

// programmeAccounts are those whose balances are stored: a participant's follow from pages and entries.
var programmeAccounts = [...]steps.Account{steps.AccountIssued, steps.AccountSpent, steps.AccountExpired}

// accounts brings the programme's accounts up to what is moved. They are the committer's.
func (w *writes) accounts() {
	for _, a := range programmeAccounts {
		if n := w.moved[a]; n != 0 {
			w.s.accounts[a] += n
			w.set(accountKey(a), binary.AppendVarint(nil, int64(w.s.accounts[a])))
		}
	}
}

// programmeTotals reads the programme's accounts.
func (s *Store) programmeTotals(txn *badger.Txn) (t steps.Totals, err error) {
	for _, a := range programmeAccounts {
		key := accountKey(a)
		body, err := s.getSealed(txn, "account", key, a.String())
		if err != nil {
			return t, err
		}
		if body == nil {
			continue
		}
		r := reader{b: body}
		t[a] = steps.Points(r.varint())
		if err := r.done(); err != nil {
			return t, corrupt("account", a.String(), err)
		}
	}
	return t, nil
}

// getSealed returns the authenticated value under key, or nil if there is none. table and name are
// for the error.
func (s *Store) getSealed(txn *badger.Txn, table string, key []byte, name string) ([]byte, error) {
	item, err := txn.Get(key)
	if err == badger.ErrKeyNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, steps.E("read "+table, steps.Internal, err)
	}
	return s.openItem(item, table, name)
}

// openItem returns a copy of an item's authenticated value.
func (s *Store) openItem(item *badger.Item, table, name string) (body []byte, err error) {
	value, err := item.ValueCopy(nil)
	if err != nil {
		return nil, steps.E("read "+table, steps.Internal, err)
	}
	if body, err = s.auth.open(item.Key(), value); err != nil {
		return nil, corrupt(table, name, err)
	}
	return body, nil
}

func nameOf(pd steps.ParticipantDay) string { return fmt.Sprintf("%s %s", pd.Participant, pd.Day) }
