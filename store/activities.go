package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// activityBytes is about what an activity with its dirty mark adds to a transaction.
const activityBytes = 512

// PutActivity stores an activity durably and has its day scored anew. It is idempotent: an activity
// of that kind and day that stands already is kept as it was recorded first; one that was cancelled,
// or happened another number of times, is replaced. Kinds: Unavailable.
func (s *Store) PutActivity(ctx context.Context, a steps.Activity) error {
	return s.changeActivity(ctx, a.ParticipantDay, a.Kind, func(old *steps.Activity) (*steps.Activity, error) {
		if old != nil && old.Cancelled.At == 0 && max(old.Times, 1) == max(a.Times, 1) {
			return nil, nil
		}
		return &a, nil
	})
}

// CancelActivity takes an activity back and has its day scored anew; the record stays. Kinds:
// NotFound, Conflict when it was cancelled before, Unavailable.
func (s *Store) CancelActivity(ctx context.Context, pd steps.ParticipantDay, kind steps.ActivityKind, c steps.Cancellation) error {
	const op = "cancel activity"
	return s.changeActivity(ctx, pd, kind, func(old *steps.Activity) (*steps.Activity, error) {
		switch {
		case old == nil:
			return nil, steps.Errorf(op, steps.NotFound, "%s has no %s on %s; list the activities", pd.Participant, kind, pd.Day)
		case old.Cancelled.At != 0:
			return nil, steps.Errorf(op, steps.Conflict, "%s of %s on %s was cancelled by %s already", kind, pd.Participant, pd.Day, old.Cancelled.By)
		}
		old.Cancelled = c
		return old, nil
	})
}

// changeActivity replaces an activity by what decide makes of it; nil leaves it as it is.
func (s *Store) changeActivity(ctx context.Context, pd steps.ParticipantDay, kind steps.ActivityKind,
	decide func(old *steps.Activity) (*steps.Activity, error),
) error {
	key, changed := activityKey(pd, kind), false
	var l *dirtyList
	write := func(txn *badger.Txn) error {
		old, err := s.activity(txn, key)
		if err != nil {
			return err
		}
		next, err := decide(old)
		if err != nil || next == nil {
			return err
		}
		unreported, err := withoutBlock(txn, pd)
		if err != nil {
			return err
		}
		changed, l = true, s.newList()
		l.days = []markedDay{{pd, unreported}}
		if err := errors.Join(s.setSealed(txn, key, appendActivity(nil, next)), s.setList(txn, l)); err != nil {
			return &tornError{steps.E("store activity", steps.Internal, err)}
		}
		return nil
	}
	return s.change(ctx, activityBytes, write, func() {
		if changed {
			s.markListed(l)
		}
	})
}

// Activities returns a participant's activities in a range of days, by day and kind, those that were
// cancelled included.
func (s *Store) Activities(p steps.ParticipantID, r steps.DayRange) (out []steps.Activity, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		prefix := activityPrefix(p)
		err := scan(txn, prefix, appendDay(bytes.Clone(prefix), r.From), true, func(key, value []byte) error {
			if !r.Contains(takeDay(key[len(prefix):])) {
				return errStop
			}
			a, err := s.openActivity(key, value)
			if err == nil {
				out = append(out, *a)
			}
			return err
		})
		if err == errStop {
			return nil
		}
		return err
	})
	return out, err
}

// EachActivity calls fn for every activity, by participant, then day and kind, those that were cancelled
// included.
func (s *Store) EachActivity(ctx context.Context, fn func(*steps.Activity) error) error {
	return s.db.View(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixActivity}, nil, true, func(key, value []byte) error {
			a, err := s.openActivity(key, value)
			if err != nil {
				return err
			}
			return cmp.Or(ctx.Err(), fn(a))
		})
	})
}

// hasActivity reports whether an activity was ever recorded for a day.
func hasActivity(txn *badger.Txn, pd steps.ParticipantDay) bool {
	opts := badger.DefaultIteratorOptions
	opts.Prefix, opts.PrefetchValues = activityKey(pd, ""), false
	it := txn.NewIterator(opts)
	defer it.Close()
	it.Rewind()
	return it.Valid()
}

func (s *Store) activity(txn *badger.Txn, key []byte) (*steps.Activity, error) {
	value, err := s.get(txn, key)
	if err != nil || value == nil {
		return nil, err
	}
	return s.openActivity(key, value)
}

func (s *Store) openActivity(key, value []byte) (*steps.Activity, error) {
	body, err := s.auth.open(key, value)
	if err == nil {
		var a *steps.Activity
		if a, err = parseActivity(key, body); err == nil {
			return a, nil
		}
	}
	return nil, corrupt("activity", fmt.Sprintf("%q", key[1:]), err)
}

func appendActivity(dst []byte, a *steps.Activity) []byte {
	dst = binary.AppendVarint(dst, a.RecordedAt)
	dst = appendString(dst, a.By)
	dst = binary.AppendVarint(dst, a.Cancelled.At)
	dst = appendString(dst, a.Cancelled.By)
	dst = appendString(dst, a.Cancelled.Reason)
	return append(dst, a.Times)
}

func parseActivity(key, body []byte) (*steps.Activity, error) {
	a := &steps.Activity{}
	end := bytes.IndexByte(key, 0)
	if end < 1 || len(key) < end+6 {
		return nil, fmt.Errorf("its key %x is none of an activity", key)
	}
	a.Participant, a.Day = steps.ParticipantID(key[1:end]), takeDay(key[end+1:])
	a.Kind = steps.ActivityKind(key[end+5:])
	r := reader{b: body}
	a.RecordedAt, a.By = r.varint(), r.string()
	a.Cancelled = steps.Cancellation{At: r.varint(), By: r.string(), Reason: r.string()}
	if len(r.b) > 0 { // records of earlier builds have none
		a.Times = r.byte()
	}
	return a, r.done()
}
