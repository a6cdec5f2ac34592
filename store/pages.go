package store

import (
	"bytes"
	"context"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// PutAwards stores awards durably and clears the days that did not change since. A day's page gets a
// posting if its points or rule set changed. A closed day keeps its points: what it would have earned
// is listed as late. An award of less than nothing is Invalid.
//
// Pages are read, encoded and sealed here, one part while the committer writes the part before.
// pageMu keeps them from changing meanwhile.
func (s *Store) PutAwards(ctx context.Context, awards []steps.Award) error {
	for i := range awards {
		if a := &awards[i]; a.Points < 0 || a.Points > steps.MaxPoints {
			return steps.Errorf("store awards", steps.Invalid, "%d points for %s; a day earns 0 to %d",
				a.Points, nameOf(a.ParticipantDay), steps.MaxPoints)
		}
	}
	awards = inOrder(awards)
	s.pageMu.Lock()
	defer s.pageMu.Unlock()
	var before <-chan error
	for len(awards) > 0 { // each part is atomic, and repeating one is harmless
		n := min(len(awards), pieceKeys)
		b, err := s.preparePages(awards[:n])
		awards = awards[n:]
		var done <-chan error
		if err == nil {
			done, err = s.submit(ctx, b.size, func(txn *badger.Txn) error { return s.writePages(txn, b) },
				func() { s.clearDirty(b.awards) })
		}
		if before != nil {
			if early := <-before; err == nil && early != nil {
				<-done
				err = early
			}
		}
		if err != nil {
			return err
		}
		before = done
	}
	if before != nil {
		return <-before
	}
	return nil
}

// inOrder returns the awards in the order of their keys, the last of each day, so that pages are read
// and written side by side.
func inOrder(awards []steps.Award) []steps.Award {
	byDay := func(a, b steps.Award) int { return compareDays(a.ParticipantDay, b.ParticipantDay) }
	rising := true
	for i := 1; i < len(awards) && rising; i++ {
		rising = byDay(awards[i-1], awards[i]) < 0
	}
	if rising {
		return awards
	}
	sorted := slices.Clone(awards)
	slices.SortStableFunc(sorted, byDay)
	out := sorted[:0]
	for i := range sorted {
		if i+1 == len(sorted) || byDay(sorted[i], sorted[i+1]) != 0 {
			out = append(out, sorted[i])
		}
	}
	return out
}

// pageBatch is a part of PutAwards on its way to the committer.
type pageBatch struct {
	awards []steps.Award
	late   []steps.Award // those of closed days, which the committer compares itself
	pages  []keyValue    // sealed
	moved  steps.Totals
	size   int
}

// preparePages scores the pages of the days that are open. The caller holds pageMu.
func (s *Store) preparePages(awards []steps.Award) (*pageBatch, error) {
	b := &pageBatch{awards: awards, pages: make([]keyValue, 0, len(awards)), size: len(awards) * awardBytes}
	now := s.cfg.Clock().Unix()
	err := s.db.View(func(txn *badger.Txn) error {
		old := s.newSeeker(txn, prefixAward)
		defer old.close()
		arena := make([]byte, 0, len(awards)*awardBytes/2)
		for len(awards) > 0 {
			day, n := awards[0].Day, 1
			for n < len(awards) && awards[n].Day == day {
				n++
			}
			state := s.dayState(day)
			if state.closed {
				b.late = append(b.late, awards[:n]...)
				awards = awards[n:]
				continue
			}
			for i := range awards[:n] {
				var err error
				if arena, err = s.preparePage(b, arena, old, &awards[i], state.pages, now); err != nil {
					return err
				}
			}
			awards = awards[n:]
		}
		return nil
	})
	return b, err
}

// preparePage adds one day's page to the batch unless it stays as it is. Key and value are put into
// the arena.
func (s *Store) preparePage(b *pageBatch, arena []byte, old *seeker, a *steps.Award, written bool, now int64,
) ([]byte, error) {
	start := len(arena)
	arena = append(arena, prefixAward)
	arena = append(appendDay(arena, a.Day), a.Participant...)
	key := arena[start:len(arena):len(arena)]
	var p page
	found := false
	if written {
		var body []byte
		var err error
		if body, found, err = old.find(key); err == nil && found {
			p, err = parsePage(body, a.RuleSet)
		}
		if err != nil {
			return arena, corrupt("award", nameOf(a.ParticipantDay), err)
		}
	}
	delta, changed := p.score(a, now)
	if found && !changed {
		return arena[:start], nil
	}
	b.moved.Move(steps.Posting{From: steps.AccountIssued, To: steps.AccountProvisional, Points: delta})
	start = len(arena)
	arena = appendPage(arena, &p)
	tag := s.auth.tag(key, arena[start:])
	arena = append(arena, tag[:]...)
	value := arena[start:len(arena):len(arena)]
	b.pages = append(b.pages, keyValue{key, value})
	b.size += len(value)
	return arena, nil
}

// writePages puts a batch into txn.
func (s *Store) writePages(txn *badger.Txn, b *pageBatch) error {
	w := &writes{s: s, pairs: b.pages, moved: b.moved}
	for i := range b.late {
		if err := s.writeLate(txn, w, &b.late[i]); err != nil {
			return err
		}
	}
	s.scored(w, b.awards)
	return w.apply(txn)
}

// scored takes the days whose awards are current out of the dirty table, and notes that they have pages,
// before these can be seen.
func (s *Store) scored(w *writes, awards []steps.Award) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range awards {
		if i == 0 || awards[i].Day != awards[i-1].Day {
			s.pageDays[awards[i].Day] = struct{}{}
		}
	}
	cleared := 0
	for i := range awards {
		pd := awards[i].ParticipantDay
		d, ok := s.dirty[pd]
		if !ok || d.mark != awards[i].Mark {
			continue
		}
		cleared++
		if d.persisted {
			d.persisted = false // whatever makes it dirty again has to say so again
			s.dirty[pd] = d
			w.delete(dayKey(prefixDirty, pd))
		}
	}
	if s.rescoring && cleared == len(s.dirty) {
		w.delete(metaKey(metaRescore))
	}
}

// dayState says how PutAwards has to treat a day.
type dayState struct {
	pages  bool // it may have pages already
	closed bool // or is being closed
}

func (s *Store) dayState(d steps.Day) (state dayState) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, state.pages = s.pageDays[d]
	_, state.closed = s.closedDays[d]
	return state
}

// seeker looks keys up that come in ascending order. Where they lie close together it walks.
type seeker struct {
	s  *Store
	it *badger.Iterator
	at bool // the iterator stands somewhere
}

func (s *Store) newSeeker(txn *badger.Txn, prefix byte) *seeker {
	opts := badger.DefaultIteratorOptions
	opts.Prefix, opts.PrefetchValues = []byte{prefix}, false // a goroutine a value costs more than the value
	return &seeker{s: s, it: txn.NewIterator(opts)}
}

func (k *seeker) close() { k.it.Close() }

// stride is how many keys are walked over before it is cheaper to seek.
const stride = 8

// find returns the authenticated value under key; it is valid until the next call.
func (k *seeker) find(key []byte) (body []byte, found bool, err error) {
	order := -1
	for i := 0; k.at && order < 0; i++ {
		if i > 0 {
			k.it.Next()
		}
		if !k.it.Valid() {
			return nil, false, nil
		}
		if order = bytes.Compare(k.it.Item().Key(), key); order < 0 && i == stride {
			break
		}
	}
	if order < 0 {
		k.it.Seek(key)
		k.at = true
		if !k.it.Valid() {
			return nil, false, nil
		}
		order = bytes.Compare(k.it.Item().Key(), key)
	}
	if order != 0 {
		return nil, false, nil
	}
	err = k.it.Item().Value(func(v []byte) (err error) {
		body, err = k.s.auth.open(key, v)
		return err
	})
	return body, err == nil, err
}
