package store

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"ayumi/ledger"
	"ayumi/steps"
)

const entryVersion = 1

func appendEntry(dst []byte, e *steps.Entry) []byte {
	dst = append(dst, entryVersion, byte(e.Kind))
	dst = binary.AppendVarint(dst, e.At)
	dst = appendString(dst, string(e.Key))
	dst = binary.AppendVarint(dst, int64(e.Day))
	dst = binary.AppendUvarint(dst, uint64(e.Exchange))
	dst = appendString(dst, e.Reason)
	dst = appendString(dst, e.By)
	dst = binary.AppendUvarint(dst, uint64(len(e.Postings)))
	for i := range e.Postings {
		p := &e.Postings[i]
		dst = append(dst, byte(p.From), byte(p.To))
		dst = appendString(dst, string(p.Period))
		dst = binary.AppendUvarint(dst, uint64(p.Points))
	}
	return dst
}

func parseEntry(body []byte, p steps.ParticipantID, seq uint64) (e steps.Entry, err error) {
	r := reader{b: body}
	if r.byte() != entryVersion {
		r.fail()
	}
	e.Participant, e.Seq = p, seq
	e.Kind, e.At, e.Key, e.Day = steps.EntryKind(r.byte()), r.varint(), steps.RequestKey(r.string()), steps.Day(r.varint())
	e.Exchange, e.Reason, e.By = steps.ExchangeID(r.uvarint()), r.string(), r.string()
	for range r.count(len(r.b)) {
		e.Postings = append(e.Postings, steps.Posting{
			From: steps.Account(r.byte()), To: steps.Account(r.byte()),
			Period: steps.PeriodID(r.string()), Points: steps.Points(r.uvarint()),
		})
	}
	return e, r.done()
}

// entry reads a participant's entry, which must be there.
func (s *Store) entry(txn *badger.Txn, p steps.ParticipantID, seq uint64) (e steps.Entry, err error) {
	name := fmt.Sprintf("%s %d", p, seq)
	body, err := s.getSealed(txn, "ledger entry", entryKey(p, seq), name)
	if err != nil {
		return e, err
	}
	if body == nil {
		return e, corrupt("ledger entry", name, fmt.Errorf("it is missing"))
	}
	if e, err = parseEntry(body, p, seq); err != nil {
		err = corrupt("ledger entry", name, err)
	}
	return e, err
}

// requested returns the entry that was made under a request key; found is false if there is none.
func (s *Store) requested(txn *badger.Txn, p steps.ParticipantID, k steps.RequestKey) (e steps.Entry, found bool, err error) {
	name := fmt.Sprintf("%s %s", p, k)
	body, err := s.getSealed(txn, "request", requestKey(p, k), name)
	if err != nil || body == nil {
		return e, false, err
	}
	r := reader{b: body}
	seq := r.uvarint()
	if err := r.done(); err != nil {
		return e, false, corrupt("request", name, err)
	}
	e, err = s.entry(txn, p, seq)
	return e, err == nil, err
}

// post makes e the participant's next entry: it applies it to b, numbers it, and adds what is to be set.
// An error changes neither.
func (w *writes) post(b *steps.Balance, e *steps.Entry) error {
	if err := ledger.Check(e); err != nil {
		return err
	}
	if err := ledger.Apply(b, e); err != nil {
		return err
	}
	b.Entries++
	e.Seq, e.At = b.Entries, w.s.cfg.Clock().Unix()
	for _, p := range e.Postings {
		w.moved.Move(p)
	}
	w.setBalance(b)
	w.set(entryKey(e.Participant, e.Seq), appendEntry(nil, e))
	if e.Key != "" {
		w.set(requestKey(e.Participant, e.Key), binary.AppendUvarint(nil, e.Seq))
	}
	return nil
}

// entryBytes is about what an entry adds to a transaction besides its texts.
const entryBytes = 1 << 10

// Post makes an entry: a bonus, a correction, a hold or a release. Asking again with the same key is
// answered with the entry that is there; asking for something else with it is a Conflict. So is taking
// more than there is, and correcting a day that is not closed: late data changes that by itself. A
// correction of a day on which the participant has no page is NotFound; give a bonus instead. It makes the day
// dirty, since the points of open days depend on what it has.
func (s *Store) Post(ctx context.Context, r steps.EntryRequest) (steps.Entry, error) {
	draft, err := ledger.New(&r)
	if err != nil {
		return steps.Entry{}, err
	}
	e := *draft
	var corrected dirtyList
	if r.Day != 0 {
		s.pageMu.Lock()
		defer s.pageMu.Unlock()
	}
	err = s.change(ctx, entryBytes+len(r.Reason)+len(r.By), func(txn *badger.Txn) error {
		old, found, err := s.requested(txn, r.Participant, r.Key)
		if err != nil {
			return err
		}
		if found {
			if !ledger.Same(&old, draft) {
				return steps.Errorf("post entry", steps.Conflict,
					"the request key %q was used for another entry (%s, %d); use a new key for a new request", r.Key, old.Kind, old.Seq)
			}
			e = old
			return nil
		}
		b, err := s.balance(txn, r.Participant)
		if err != nil {
			return err
		}
		w := &writes{s: s}
		if err := w.post(&b, &e); err != nil {
			return err
		}
		if e.Day != 0 {
			if corrected.days, err = s.correctDay(txn, w, &e); err != nil {
				return err
			}
		}
		if err := w.apply(txn); err != nil {
			return err
		}
		return s.rescoreAfter(txn, &corrected)
	}, func() { s.markListed(&corrected) })
	if err != nil {
		return steps.Entry{}, err
	}
	return e, nil
}

// correctDay appends a correction to the page of the closed day that it is about, and returns that day.
func (s *Store) correctDay(txn *badger.Txn, w *writes, e *steps.Entry) ([]markedDay, error) {
	const op = "correct day"
	s.mu.RLock()
	day := s.closedDays[e.Day]
	s.mu.RUnlock()
	posting := e.Postings[0]
	delta := posting.Points
	if posting.To == steps.AccountIssued {
		delta = -delta
	}
	switch {
	case day.State != steps.DayClosed:
		return nil, steps.Errorf(op, steps.Conflict, "%s is not closed; only closed days are corrected", e.Day)
	case day.Period != posting.Period:
		return nil, steps.Errorf(op, steps.Invalid, "the points of %s are in the period %s, not %s", e.Day, day.Period, posting.Period)
	}
	pd := steps.ParticipantDay{Participant: e.Participant, Day: e.Day}
	sheets := sheetEditor{cursor: s.newSheetCursor(txn), set: w.setSheet}
	defer sheets.cursor.close()
	p, found, err := sheets.page(pd, true)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, steps.Errorf(op, steps.NotFound, "%s was not scored; give a bonus instead", nameOf(pd))
	}
	if p.points+delta < 0 {
		return nil, steps.Errorf(op, steps.Conflict, "%s earned %d points; %d cannot be taken from it", nameOf(pd), p.points, -delta)
	}
	l, listed, err := s.late(txn, pd)
	if err != nil {
		return nil, err
	}
	if p.points += delta; listed && l.Points == p.points { // what came late is accepted
		p.parts = l.Parts
		w.delete(dayKey(prefixLate, pd))
	}
	p.lines = append(p.lines, pageLine{kind: steps.EntryCorrection, at: e.At, delta: delta, number: e.Seq})
	sheets.keep()
	sheets.finish()
	unreported, err := withoutBlock(txn, pd)
	return []markedDay{{pd, unreported}}, err
}
