package store

import (
	"context"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// Table is a small durable key-value table for a room that keeps its records in memory.
type Table struct{ s *Store }

// Table returns the registry's table.
func (s *Store) Table() Table { return Table{s} }

// Load calls fn for every record in key order. Key and value belong to fn.
func (t Table) Load(fn func(key string, value []byte) error) error {
	return t.s.db.View(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixTable}, nil, true, func(key, value []byte) error {
			body, err := t.s.auth.open(key, value)
			if err != nil {
				return corrupt("registry record", string(key[1:]), err)
			}
			return fn(string(key[1:]), slices.Clone(body))
		})
	})
}

// maxChangeBytes bounds what one Apply may add to a transaction.
const maxChangeBytes = 4 << 20

// Apply makes all changes durable together, or none. A nil value deletes.
func (t Table) Apply(ctx context.Context, changes []steps.Change) error {
	size := 0
	for i := range changes {
		size += len(changes[i].Key) + len(changes[i].Value) + 16
	}
	if most := min(maxChangeBytes, int(t.s.cfg.MemTableBytes/16)); size > most { // what a transaction has room for
		return steps.Errorf("apply changes", steps.Invalid, "%d bytes in one step; at most %d", size, most)
	}
	return t.s.change(ctx, size, func(txn *badger.Txn) error {
		for i := range changes {
			key := tableKey(changes[i].Key)
			var err error
			if changes[i].Value == nil {
				err = txn.Delete(key)
			} else {
				err = t.s.setSealed(txn, key, slices.Clip(changes[i].Value)) // the tag is not the caller's
			}
			if err != nil {
				return steps.E("apply changes", steps.Internal, err)
			}
		}
		return nil
	}, nil)
}
