package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

const balanceVersion = 1

// appendBalance encodes what a balance record keeps: all but the provisional points, which are those
// of the open pages.
func appendBalance(dst []byte, b *steps.Balance) []byte {
	dst = append(dst, balanceVersion)
	dst = binary.AppendUvarint(dst, b.Entries)
	dst = binary.AppendUvarint(dst, uint64(len(b.Periods)))
	for i := range b.Periods {
		p := &b.Periods[i]
		dst = appendString(dst, string(p.Period))
		dst = binary.AppendUvarint(dst, uint64(p.Available))
		dst = binary.AppendUvarint(dst, uint64(p.Pending))
	}
	return dst
}

// parseBalance decodes into b and keeps its participant and its memory.
func parseBalance(body []byte, b *steps.Balance) error {
	r := reader{b: body}
	if r.byte() != balanceVersion {
		r.fail()
	}
	b.Entries = r.uvarint()
	n := r.count(len(r.b))
	b.Periods = b.Periods[:0]
	for range n {
		b.Periods = append(b.Periods, steps.PeriodBalance{
			Period: steps.PeriodID(r.string()), Available: steps.Points(r.uvarint()), Pending: steps.Points(r.uvarint()),
		})
	}
	return r.done()
}

// balance reads a participant's balance record; without one everything is zero.
func (s *Store) balance(txn *badger.Txn, p steps.ParticipantID) (b steps.Balance, err error) {
	b.Participant = p
	body, err := s.getSealed(txn, "balance", balanceKey(p), string(p))
	if err == nil && body != nil {
		if err = parseBalance(body, &b); err != nil {
			err = corrupt("balance", string(p), err)
		}
	}
	return b, err
}

// setBalance writes a balance record, and says so to a closing under way.
func (w *writes) setBalance(b *steps.Balance) {
	w.s.touched.add(b.Participant)
	w.set(balanceKey(b.Participant), appendBalance(nil, b))
}

// touched collects whose balances changed while a closing prepares new ones from a snapshot.
type touched struct {
	mu  sync.Mutex
	set map[steps.ParticipantID]struct{} // nil while nobody closes a day
}

func (t *touched) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.set = make(map[steps.ParticipantID]struct{})
}

func (t *touched) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.set = nil
}

func (t *touched) add(p steps.ParticipantID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.set != nil {
		t.set[p] = struct{}{}
	}
}

func (t *touched) has(p steps.ParticipantID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.set[p]
	return ok
}

// openDay is a day whose points are provisional: all of them, or after the closing has come to a
// participant only those of later ones.
type openDay struct {
	day   steps.Day
	after steps.ParticipantID
}

// viewOpen calls fn with a snapshot and the days whose points are provisional in it.
func (s *Store) viewOpen(fn func(txn *badger.Txn, open []openDay) error) error {
	closed := s.daysClosed() // before the snapshot: they are closed in it too
	return s.db.View(func(txn *badger.Txn) error {
		open, err := s.openDays(txn, closed)
		if err != nil {
			return err
		}
		return fn(txn, open)
	})
}

// openDays returns the days whose points are provisional in a snapshot. Those of closed are known not to be.
func (s *Store) openDays(txn *badger.Txn, closed map[steps.Day]struct{}) (open []openDay, err error) {
	for _, d := range s.daysBut(closed) { // whatever page is in the snapshot is of one of these days
		c, found, err := s.closedDay(txn, d)
		if err != nil {
			return nil, err
		}
		if !found || c.State == steps.DayClosing {
			open = append(open, openDay{d, c.last})
		}
	}
	return open, nil
}

func (s *Store) daysClosed() map[steps.Day]struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	closed := make(map[steps.Day]struct{}, len(s.closedDays))
	for d, c := range s.closedDays {
		if c.State == steps.DayClosed {
			closed[d] = struct{}{}
		}
	}
	return closed
}

// daysBut returns the days that have pages, without some.
func (s *Store) daysBut(without map[steps.Day]struct{}) (days []steps.Day) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for d := range s.pageDays {
		if _, ok := without[d]; !ok {
			days = append(days, d)
		}
	}
	return days
}

// Balance returns what a participant has. One who was never heard of has nothing.
func (s *Store) Balance(p steps.ParticipantID) (b steps.Balance, err error) {
	err = s.viewOpen(func(txn *badger.Txn, open []openDay) error {
		if b, err = s.balance(txn, p); err != nil {
			return err
		}
		pages := s.newSheetCursor(txn)
		defer pages.close()
		slices.SortFunc(open, func(x, y openDay) int { return cmp.Compare(x.day, y.day) })
		for _, o := range open {
			if p <= o.after {
				continue
			}
			pg, found, err := pages.find(steps.ParticipantDay{Participant: p, Day: o.day})
			if err != nil {
				return err
			}
			if found {
				b.Provisional += pg.points
			}
		}
		return nil
	})
	return b, err
}

// EachBalance calls fn for every participant who was ever scored or has an entry, in the order of their IDs.
// It works on one snapshot. The balance is valid during the call only.
func (s *Store) EachBalance(ctx context.Context, fn func(*steps.Balance) error) error {
	return s.viewOpen(func(txn *badger.Txn, open []openDay) error { return s.eachBalance(ctx, txn, open, fn) })
}

// Totals returns the balances of all accounts together, those of the participants summed up: the trial
// balance, whose sum is zero.
func (s *Store) Totals(ctx context.Context) (t steps.Totals, err error) {
	err = s.viewOpen(func(txn *badger.Txn, open []openDay) error {
		t, err = s.trialBalance(ctx, txn, open)
		return err
	})
	return t, err
}

func (s *Store) trialBalance(ctx context.Context, txn *badger.Txn, open []openDay) (t steps.Totals, err error) {
	if t, err = s.programmeTotals(txn); err != nil {
		return t, err
	}
	err = s.eachBalance(ctx, txn, open, func(b *steps.Balance) error {
		t[steps.AccountProvisional] += b.Provisional
		t[steps.AccountAvailable] += b.Available()
		t[steps.AccountPending] += b.Pending()
		return nil
	})
	return t, err
}

// eachBalance merges the balance table with the open days' pages, all of which are in the order of
// participants.
func (s *Store) eachBalance(ctx context.Context, txn *badger.Txn, open []openDay, fn func(*steps.Balance) error) error {
	merge, err := s.newBalanceMerge(txn, open)
	if err != nil {
		return err
	}
	defer merge.close()
	var b steps.Balance
	for {
		if ok, err := merge.next(&b); err != nil || !ok {
			return err
		}
		if err := cmp.Or(ctx.Err(), fn(&b)); err != nil {
			return err
		}
	}
}

// balanceMerge walks tables that hold something of each participant, side by side.
type balanceMerge struct {
	s       *Store
	sources []*mergeSource // a heap by participant
}

// mergeSource is one table: the balances, or the pages of a day.
type mergeSource struct {
	participant steps.ParticipantID // at which it stands
	balances    *badger.Iterator    // nil of a day
	pages       *sheetCursor        // nil of the balances
	day         steps.Day
}

func (s *Store) newBalanceMerge(txn *badger.Txn, open []openDay) (*balanceMerge, error) {
	m := &balanceMerge{s: s}
	opts := badger.DefaultIteratorOptions
	opts.Prefix, opts.PrefetchValues = []byte{prefixBalance}, false
	balances := txn.NewIterator(opts)
	balances.Rewind()
	sources := []*mergeSource{{balances: balances}}
	for _, o := range open {
		src := &mergeSource{pages: s.newSheetCursor(txn), day: o.day}
		sources = append(sources, src)
		if err := src.pages.walk(o.day, o.after); err != nil {
			m.sources = sources
			m.close()
			return nil, err
		}
	}
	for i, src := range sources {
		more, err := src.read()
		switch {
		case err != nil:
			m.sources = append(m.sources, sources[i:]...)
			m.close()
			return nil, err
		case more:
			m.sources = append(m.sources, src)
		default:
			src.close()
		}
	}
	for i := len(m.sources)/2 - 1; i >= 0; i-- {
		m.sink(i)
	}
	return m, nil
}

// read notes where the source stands, and false at its end.
func (src *mergeSource) read() (more bool, err error) {
	if src.pages == nil {
		if src.balances.Valid() {
			src.participant = steps.ParticipantID(src.balances.Item().Key()[1:])
			return true, nil
		}
		return false, nil
	}
	day, p, more, err := src.pages.peek()
	if err != nil || !more || day != src.day {
		return false, err
	}
	src.participant = p.participant
	return true, nil
}

// next moves the source on.
func (src *mergeSource) next() (more bool, err error) {
	if src.pages == nil {
		src.balances.Next()
	} else {
		src.pages.step()
	}
	return src.read()
}

func (src *mergeSource) close() {
	if src.pages == nil {
		src.balances.Close()
	} else {
		src.pages.close()
	}
}

func (m *balanceMerge) close() {
	for _, src := range m.sources {
		src.close()
	}
}

// sink restores the heap below i.
func (m *balanceMerge) sink(i int) {
	for {
		least := i
		for _, child := range [...]int{2*i + 1, 2*i + 2} {
			if child < len(m.sources) && m.sources[child].participant < m.sources[least].participant {
				least = child
			}
		}
		if least == i {
			return
		}
		m.sources[i], m.sources[least] = m.sources[least], m.sources[i]
		i = least
	}
}

// next reads the next participant's balance, and false at the end.
func (m *balanceMerge) next(b *steps.Balance) (bool, error) {
	if len(m.sources) == 0 {
		return false, nil
	}
	*b = steps.Balance{Participant: m.sources[0].participant, Periods: b.Periods[:0]}
	for len(m.sources) > 0 && m.sources[0].participant == b.Participant {
		src := m.sources[0]
		if err := m.add(src, b); err != nil {
			return false, err
		}
		more, err := src.next()
		if err != nil {
			return false, err
		}
		if !more {
			src.close()
			last := len(m.sources) - 1
			m.sources[0] = m.sources[last]
			m.sources = m.sources[:last]
		}
		m.sink(0)
	}
	return true, nil
}

// add adds what a table says of the participant.
func (m *balanceMerge) add(src *mergeSource, b *steps.Balance) error {
	if src.pages != nil {
		_, p, _, err := src.pages.peek()
		if err == nil {
			b.Provisional += p.points
		}
		return err
	}
	item := src.balances.Item()
	return item.Value(func(v []byte) error {
		body, err := m.s.auth.open(item.Key(), v)
		provisional := b.Provisional
		if err == nil {
			err = parseBalance(body, b)
		}
		if err != nil {
			return corrupt("balance", string(b.Participant), err)
		}
		b.Provisional = provisional
		return nil
	})
}
