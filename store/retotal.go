package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"ayumi/merge"
	"ayumi/steps"
)

// retotalling is the work of giving every stored day the total of another merge policy, as it stands in the
// meta table: what it is for, and how far it has come.
type retotalling struct {
	Sources merge.Config `json:"sources"`
	After   []byte       `json:"after,omitempty"` // key of the last day that is done
}

// A batch of days that are totalled anew holds at most so many, of so many that were looked at.
const (
	retotalDays  = 64
	retotalReads = 8192
)

// retotalAgain is how long to wait after a batch that failed, on a full disk for one.
const retotalAgain = 5 * time.Second

// loadPolicy decides by which policy days are totalled. Where it is not the one that the stored totals are by,
// the meta table says so before any day is written under it; Run does the rest.
func (s *Store) loadPolicy() error {
	var stored *merge.Config
	var job *retotalling
	err := s.db.View(func(txn *badger.Txn) (err error) {
		if stored, err = getMeta[merge.Config](s, txn, metaSources); err != nil {
			return err
		}
		job, err = getMeta[retotalling](s, txn, metaRetotal)
		return err
	})
	if err != nil {
		return err
	}
	cfg := merge.DefaultConfig()
	switch {
	case s.cfg.Sources != nil:
		cfg = *s.cfg.Sources
	case job != nil:
		cfg = job.Sources
	case stored != nil:
		cfg = *stored
	}
	if err := s.totals.use(cfg); err != nil {
		return err
	}
	if job == nil && stored != nil && *stored == cfg {
		return nil
	}
	if job == nil || job.Sources != cfg {
		job = &retotalling{Sources: cfg}
	}
	s.retotal = job
	s.restaled.Store(true)
	if s.cfg.Sources == nil { // who has no policy only looks
		return nil
	}
	return s.db.Update(func(txn *badger.Txn) error { return setMeta(txn, metaRetotal, job) })
}

// getMeta reads a value of the meta table, nil if there is none.
func getMeta[T any](s *Store, txn *badger.Txn, name string) (*T, error) {
	b, err := s.get(txn, metaKey(name))
	if b == nil || err != nil {
		return nil, err
	}
	v := new(T)
	if err := json.Unmarshal(b, v); err != nil {
		return nil, fmt.Errorf("meta value %q: %w", name, err)
	}
	return v, nil
}

func setMeta(txn *badger.Txn, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return txn.Set(metaKey(name), b)
}

// mayBeStale reports whether the stored total of a participant's day may be another than that of its minutes
// without being damaged. Once it may, it may until the store is closed: somebody can have read the day before.
func (s *Store) mayBeStale(p steps.ParticipantID) bool {
	if s.restaled.Load() {
		return true
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, stale := s.reordered[p]
	return stale
}

// resumeRetotals finishes what a change of the policy, or of participants' orders, has left to do.
func (s *Store) resumeRetotals(ctx context.Context) {
	for _, work := range []func(context.Context) error{s.finishOrders, s.retotalAll} {
		for err := work(ctx); err != nil; err = work(ctx) {
			if ctx.Err() != nil {
				return
			}
			s.log.Error("cannot total days anew; trying again", "err", err, "in", retotalAgain)
			select {
			case <-ctx.Done():
				return
			case <-time.After(retotalAgain):
			}
		}
	}
	close(s.retotalled)
}

// Retotalled returns a channel that is closed when the stored totals are by the policy and the orders that
// the store was opened with, and Run has nothing to total anew.
func (s *Store) Retotalled() <-chan struct{} { return s.retotalled }

// finishOrders totals the days of participants whose order changed shortly before the store was closed.
func (s *Store) finishOrders(ctx context.Context) error {
	for len(s.orderless) > 0 {
		if err := s.retotalOwn(ctx, s.orderless[0]); err != nil {
			return err
		}
		s.orderless = s.orderless[1:]
	}
	return nil
}

// retotalAll brings every stored day up to the policy, batch by batch. Those whose minutes may have changed
// are dirty from then on, durably. The policy is noted as that of all days with the last batch.
func (s *Store) retotalAll(ctx context.Context) error {
	if s.retotal == nil {
		return nil
	}
	s.log.Info("the merge policy is another than the stored totals are by; totalling all days anew",
		"policy", s.totals.cfg.Policy, "after", fmt.Sprintf("%x", s.retotal.After))
	seen, changed, told := 0, 0, s.cfg.Clock()
	for end := false; !end; {
		b, err := s.staleDays(s.retotal.After)
		if err != nil {
			return err
		}
		if err := s.writeRetotals(ctx, b); err != nil {
			return err
		}
		s.retotal.After, end = b.after, b.end
		seen, changed = seen+b.seen, changed+len(b.days)
		if now := s.cfg.Clock(); now.Sub(told) >= 10*time.Second {
			told = now
			s.log.Info("totalling days anew", "participant_days", seen, "changed", changed)
		}
	}
	s.retotal = nil
	s.log.Info("all days are totalled by the merge policy", "participant_days", seen, "changed", changed)
	return nil
}

// retotalBatch is a part of retotalAll.
type retotalBatch struct {
	days  []steps.ParticipantDay
	size  int // bytes of their blocks
	seen  int
	after []byte // the last key that was looked at
	end   bool   // of the table
}

// staleDays looks for the next days, behind a key, that have another total than they should, or maybe other
// minutes than they had. A day that cannot be read is passed over: another policy does not mend it.
func (s *Store) staleDays(after []byte) (*retotalBatch, error) {
	b := &retotalBatch{after: after, end: true}
	from := []byte{prefixDay}
	if len(after) > 0 {
		from = append(bytes.Clone(after), 0)
	}
	err := s.db.View(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixDay}, from, true, func(key, value []byte) error {
			if len(b.days) == retotalDays || b.size >= pieceBytes/4 || b.seen == retotalReads {
				b.end = false
				return errStop
			}
			b.seen++
			b.after = append(b.after[:0:0], key...)
			pd, ok := splitDayKey(key)
			block, err := s.auth.open(key, value)
			stale := false
			if err == nil && ok {
				stale, err = s.isStale(pd.Participant, block)
			}
			switch {
			case err != nil || !ok:
				s.log.Error("a day that cannot be read keeps its total", "day", nameOf(pd), "err", err)
			case stale:
				b.days = append(b.days, pd)
				b.size += len(block) + awardBytes
			}
			return nil
		})
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return b, err
}

// isStale reports whether a block has another total than it should, or maybe had other minutes.
func (s *Store) isStale(p steps.ParticipantID, block []byte) (stale bool, err error) {
	stored, _, err := parseBlockTotal(block)
	if err != nil {
		return false, err
	}
	err = s.decode(block, func(h *hotDay) { stale = s.totals.steps(p, h) != stored || !indifferent(h) })
	return stale, err
}

// decode calls fn with a block's day, which is good during the call.
func (s *Store) decode(block []byte, fn func(*hotDay)) error {
	hot := s.decoded.Get().(*hotDay)
	defer s.decoded.Put(hot)
	hot.reset()
	if err := hot.parse(block); err != nil {
		return err
	}
	fn(hot)
	return nil
}

// writeRetotals makes a batch of retotalAll durable.
func (s *Store) writeRetotals(ctx context.Context, b *retotalBatch) error {
	return s.retotalDays(ctx, b.days, b.size, func(txn *badger.Txn) error {
		if !b.end {
			return setMeta(txn, metaRetotal, &retotalling{Sources: s.totals.cfg, After: b.after})
		}
		return errors.Join(setMeta(txn, metaSources, &s.totals.cfg), txn.Delete(metaKey(metaRetotal)))
	})
}

// retotalDays totals days anew, on the committer, and marks those dirty whose minutes may have changed. note
// puts into the same transaction that this is done. size is about what the days take.
func (s *Store) retotalDays(ctx context.Context, days []steps.ParticipantDay, size int, note func(*badger.Txn) error) error {
	var changed *dirtyList
	write := func(txn *badger.Txn) error {
		w := &writes{s: s}
		changed = s.newList()
		for _, pd := range days {
			block, err := s.retotalDay(txn, pd)
			if err != nil {
				s.log.Error("a day that cannot be read keeps its total", "day", nameOf(pd), "err", err)
				continue
			}
			if block != nil {
				changed.days = append(changed.days, markedDay{pd, false})
				w.set(dayKey(prefixDay, pd), block)
			}
		}
		if err := w.apply(txn); err != nil {
			return err
		}
		if err := errors.Join(s.setList(txn, changed), note(txn)); err != nil {
			return &tornError{steps.E("total days anew", steps.Internal, err)}
		}
		return nil
	}
	return s.change(ctx, size, write, func() { s.markListed(changed) })
}

// retotalDay returns the block of a day with the total that it has now, and brings the head up to it; nil if
// the day has it already and no other minutes than before. It is the committer's.
func (s *Store) retotalDay(txn *badger.Txn, pd steps.ParticipantDay) ([]byte, error) {
	stored, err := s.storedBlock(txn, pd)
	if err != nil {
		return nil, err
	}
	day := s.head.find(pd)
	switch {
	case day != nil && day.empty(), day == nil && stored == nil:
		return nil, nil
	case day != nil && day.block == nil: // newer than what is stored; its total is computed when it is asked for
		return appendBlock(nil, s.head.steps(day), day.hot), nil
	case day != nil:
		stale := !bytes.Equal(day.block, stored)
		block, err := s.currentTotal(pd.Participant, day.block)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(block, day.block) {
			s.mu.Lock()
			s.head.of(day).retotal(day, block)
			s.mu.Unlock()
			stale = true
		}
		if !stale {
			if stale, err = s.isStale(pd.Participant, block); err != nil || !stale {
				return nil, err
			}
		}
		return bytes.Clone(block), nil // the tag is appended to it
	}
	if stale, err := s.isStale(pd.Participant, stored); err != nil || !stale {
		return nil, err
	}
	return s.currentTotal(pd.Participant, stored)
}

// currentTotal returns a copy of a block with the total that its minutes have now.
func (s *Store) currentTotal(p steps.ParticipantID, block []byte) (out []byte, err error) {
	_, cells, err := parseBlockTotal(block)
	if err != nil {
		return nil, err
	}
	err = s.decode(block, func(h *hotDay) {
		out = make([]byte, 0, len(block)+tagBytes+1)
		out = append(appendBlockTotal(out, s.totals.steps(p, h)), cells...)
	})
	return out, err
}

// Reorder changes something by which a participant's sources are merged: their order, or the chosen one. update
// stores the change, so that SourceOrder answers it from then on. Every day of the participant is totalled
// anew, and dirty if its minutes may have changed. After a crash in between the next start does the rest.
func (s *Store) Reorder(ctx context.Context, p steps.ParticipantID, update func(context.Context) error) error {
	s.ordering.Lock()
	defer s.ordering.Unlock()
	s.mu.Lock()
	s.reordered[p] = struct{}{}
	s.mu.Unlock()
	err := s.change(ctx, len(p), func(txn *badger.Txn) error {
		if err := txn.Set(orderKey(p), nil); err != nil {
			return &tornError{steps.E("reorder sources", steps.Internal, err)}
		}
		return nil
	}, nil)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // whoever leaves in the middle must not leave days behind
	if err := update(ctx); err != nil {
		return errors.Join(err, s.retotalOwn(ctx, p)) // it may have been stored nevertheless
	}
	return s.retotalOwn(ctx, p)
}

// retotalOwn totals a participant's days anew and notes that this is done.
func (s *Store) retotalOwn(ctx context.Context, p steps.ParticipantID) error {
	s.head.forget(p) // what somebody has read ahead was totalled in the order before
	var days []steps.ParticipantDay
	err := s.EachDay(ctx, steps.DayRange{}, p, func(a steps.Award) error {
		days = append(days, a.ParticipantDay)
		return nil
	})
	if err != nil {
		return err
	}
	for {
		some := days[:min(len(days), retotalDays)]
		days = days[len(some):]
		err := s.retotalDays(ctx, some, len(some)*blockBytes, func(txn *badger.Txn) error {
			if len(days) > 0 {
				return nil
			}
			return txn.Delete(orderKey(p))
		})
		if err != nil || len(days) == 0 {
			return err
		}
	}
}

// blockBytes is about what a full day's block takes.
const blockBytes = 1 << 10
