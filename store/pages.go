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
// is listed as late, and if the award took it for open, it is dirty again, since awards of other days did so
// too. An award of less than nothing is Invalid.
//
// Days are cleared when all is stored of which a part was scored because of them: whoever is killed in between
// scores everything again.
//
// Sheets are read, encoded and sealed here, one part while the committer writes the part before.
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
	w := s.newPageWriter()
	marked := markedAwards(awards)
	var before <-chan error
	for left := awards; len(left) > 0; { // each part is atomic, and repeating one is harmless
		b, err := w.next(left)
		left = left[len(b.awards):]
		cleared := b.awards
		if len(marked) < len(awards) && len(b.awards) < len(awards) {
			cleared = nil
		}
		var done <-chan error
		if err == nil {
			done, err = s.submit(ctx, b.size, func(txn *badger.Txn) error { return s.writePages(txn, b) }, func() {
				s.clearDirty(cleared)
				s.markListed(&b.again)
			})
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
		if err := <-before; err != nil {
			return err
		}
	}
	if len(marked) == len(awards) {
		return nil
	}
	for some := range slices.Chunk(marked, pieceKeys) {
		err := s.change(ctx, 0, func(*badger.Txn) error { return nil }, func() { s.clearDirty(some) })
		if err != nil {
			return err
		}
	}
	return nil
}

// markedAwards returns the awards of dirty days; the others are of days that depend on those.
func markedAwards(awards []steps.Award) []steps.Award {
	if !slices.ContainsFunc(awards, func(a steps.Award) bool { return a.Mark == 0 }) {
		return awards
	}
	return slices.DeleteFunc(slices.Clone(awards), func(a steps.Award) bool { return a.Mark == 0 })
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
	pairs  []keyValue // sheets and late days, sealed
	again  dirtyList  // days that were closed since they were scored as open ones
	moved  steps.Totals
	size   int

	auth  *auth
	arena []byte // holds keys and values
}

// pageWriter turns awards into sheets.
type pageWriter struct {
	s      *Store
	now    int64
	sheets sheetEditor
	codec  sheetCodec
	late   *seeker
	part   *pageBatch // at hand
}

func (s *Store) newPageWriter() *pageWriter {
	w := &pageWriter{s: s, now: s.cfg.Clock().Unix()}
	w.sheets.cursor = &sheetCursor{s: s}
	w.sheets.set = w.setSheet
	return w
}

// next scores the pages of open days, and compares closed ones with what they earned: of as many
// awards as go into one transaction. The caller holds pageMu.
func (w *pageWriter) next(awards []steps.Award) (*pageBatch, error) {
	b := &pageBatch{auth: w.s.auth, arena: make([]byte, 0, pieceBytes/4)}
	w.part = b
	err := w.s.db.View(func(txn *badger.Txn) error {
		w.sheets.cursor.begin(txn)
		w.late = w.s.newSeeker(txn, prefixLate)
		defer w.sheets.cursor.close()
		defer w.late.close()
		var state dayState
		for i := 0; i < min(len(awards), pieceKeys) && b.size < pieceBytes; i++ {
			if i == 0 || awards[i].Day != awards[i-1].Day {
				state = w.s.dayState(awards[i].Day)
			}
			if err := w.write(&awards[i], state); err != nil {
				return err
			}
			b.awards = awards[:i+1]
		}
		w.sheets.pause()
		return nil
	})
	return b, err
}

// write enters one award.
func (w *pageWriter) write(a *steps.Award, state dayState) error {
	p, found, err := w.sheets.page(a.ParticipantDay, state.pages)
	if err != nil {
		return err
	}
	if !found && a.Unreported && a.Points == 0 && a.Parts == "" {
		w.sheets.drop()
		return nil
	}
	if state.closed {
		if a.Open {
			w.part.again.days = append(w.part.again.days, markedDay{a.ParticipantDay, a.Unreported})
			w.part.size += awardBytes
		}
		return w.writeLate(p, found, a)
	}
	if delta, changed := p.score(a, w.now); changed || !found {
		w.sheets.keep()
		w.part.moved.Move(steps.Posting{From: steps.AccountIssued, To: steps.AccountProvisional, Points: delta})
	}
	return nil
}

// writeLate notes what a closed day would have earned, also where other rules would have given as much. Its page
// takes up the steps and no points.
func (w *pageWriter) writeLate(p *page, found bool, a *steps.Award) error {
	if !found {
		p.ruleSet = a.RuleSet
	}
	if !found || p.steps != a.Steps {
		p.steps = a.Steps
		w.sheets.keep()
	}
	b := w.part
	key := b.key(prefixLate, a.ParticipantDay)
	var old steps.LateDay
	body, listed, err := w.late.find(key)
	if err == nil && listed {
		old, err = parseLate(body, a.ParticipantDay)
	}
	if err != nil {
		return corrupt("late day", nameOf(a.ParticipantDay), err)
	}
	if a.Points == p.points && a.Parts == p.parts {
		if listed {
			b.pairs = append(b.pairs, keyValue{key: key})
		}
		return nil
	}
	late := steps.LateDay{ParticipantDay: a.ParticipantDay, At: w.now, Steps: a.Steps, Points: a.Points, Parts: a.Parts, RuleSet: a.RuleSet}
	if listed {
		late.At = old.At
		if old.Points == late.Points {
			late.Decision = old.Decision // on the same question
		}
	}
	if !listed || late != old {
		b.set(key, func(dst []byte) []byte { return appendLate(dst, &late) })
	}
	return nil
}

// setSheet adds a sheet to the part at hand.
func (w *pageWriter) setSheet(key []byte, pages []sheetPage) {
	w.part.set(key, func(dst []byte) []byte { return w.codec.append(dst, pages) })
}

// key makes a key in the arena.
func (b *pageBatch) key(prefix byte, pd steps.ParticipantDay) []byte {
	start := len(b.arena)
	b.arena = append(appendDay(append(b.arena, prefix), pd.Day), pd.Participant...)
	return b.arena[start:len(b.arena):len(b.arena)]
}

// set seals in the arena what encode appends.
func (b *pageBatch) set(key []byte, encode func(dst []byte) []byte) {
	start := len(b.arena)
	b.arena = encode(b.arena)
	b.arena = b.auth.sealFrom(key, b.arena, start)
	value := b.arena[start:len(b.arena):len(b.arena)]
	b.pairs = append(b.pairs, keyValue{key, value})
	b.size += len(key) + len(value) + keyOverhead
}

// writePages puts a batch into txn, and notes which days have pages before these can be seen.
func (s *Store) writePages(txn *badger.Txn, b *pageBatch) error {
	s.mu.Lock()
	for i := range b.awards {
		if i == 0 || b.awards[i].Day != b.awards[i-1].Day {
			s.pageDays[b.awards[i].Day] = struct{}{}
		}
	}
	s.mu.Unlock()
	w := &writes{s: s, pairs: b.pairs, moved: b.moved}
	if err := w.apply(txn); err != nil {
		return err
	}
	return s.rescoreAfter(txn, &b.again)
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
	s     *Store
	it    *badger.Iterator
	at    bool // the iterator stands somewhere
	apart int  // for how many more keys walking is not tried, because it was in vain
}

func (s *Store) newSeeker(txn *badger.Txn, prefix byte) *seeker {
	opts := badger.DefaultIteratorOptions
	opts.Prefix, opts.PrefetchValues = []byte{prefix}, false // a goroutine a value costs more than the value
	return &seeker{s: s, it: txn.NewIterator(opts)}
}

func (k *seeker) close() { k.it.Close() }

const (
	stride  = 24 // how many keys are walked over before it is cheaper to seek, which unpacks a block of every table
	retryAt = 16 // after how many keys that were sought walking is tried again
)

// find returns the authenticated value under key; it is valid until the next call.
func (k *seeker) find(key []byte) (body []byte, found bool, err error) {
	if !k.reach(key) {
		return nil, false, nil
	}
	err = k.it.Item().Value(func(v []byte) (err error) {
		body, err = k.s.auth.open(key, v)
		return err
	})
	return body, err == nil, err
}

// reach moves the iterator to key, or to the next one, and reports whether key is there.
func (k *seeker) reach(key []byte) bool {
	most := stride
	if k.apart > 0 {
		k.apart--
		most = 0
	}
	for i := 0; k.at; i++ {
		if !k.it.Valid() {
			return false
		}
		if order := bytes.Compare(k.it.Item().Key(), key); order >= 0 {
			return order == 0
		}
		if i == most {
			break
		}
		k.it.Next()
	}
	if k.at && most > 0 {
		k.apart = retryAt
	}
	k.it.Seek(key)
	k.at = true
	return k.it.Valid() && bytes.Equal(k.it.Item().Key(), key)
}
