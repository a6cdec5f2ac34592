package store

import (
	"cmp"
	"context"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// EachEntry calls fn for every line of a participant's ledger in the order of time: awards and
// adjustments of each day, the final points when it was closed, and the entries. Adding up their
// postings gives the balance. It works on one snapshot.
func (s *Store) EachEntry(ctx context.Context, p steps.ParticipantID, fn func(steps.Entry) error) error {
	var lines []ledgerLine
	err := s.db.View(func(txn *badger.Txn) (err error) {
		if lines, err = s.dayLines(ctx, txn, p); err != nil {
			return err
		}
		own, err := s.entryLines(txn, p)
		lines = append(lines, own...)
		return err
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(lines, func(a, b ledgerLine) int { return cmp.Compare(a.order, b.order) })
	for i := range lines {
		if err := cmp.Or(ctx.Err(), fn(lines[i].Entry)); err != nil {
			return err
		}
	}
	return nil
}

// ledgerLine is an entry with its place in time: its own, but never before the line that it follows,
// whatever the clock did between them.
type ledgerLine struct {
	steps.Entry
	order int64
}

func follow(lines []ledgerLine, e *steps.Entry, after int64) ([]ledgerLine, int64) {
	after = max(after, e.At)
	return append(lines, ledgerLine{*e, after}), after
}

// dayLines returns the lines of a participant's days, what became final after what was awarded.
func (s *Store) dayLines(ctx context.Context, txn *badger.Txn, p steps.ParticipantID) (lines []ledgerLine, err error) {
	var finals []ledgerLine
	err = s.eachOwnPage(txn, steps.DayRange{}, p, func(d steps.Day, pg *page) error {
		pd := steps.ParticipantDay{Participant: p, Day: d}
		after := int64(0)
		for i := range pg.lines {
			if pg.lines[i].kind != steps.EntryCorrection { // that is an entry of its own
				e := pg.lines[i].entry(pd)
				lines, after = follow(lines, &e, after)
			}
		}
		final, found, err := s.finalOf(txn, pd)
		if found {
			finals, _ = follow(finals, &final, after)
		}
		return cmp.Or(err, ctx.Err())
	})
	return append(lines, finals...), err
}

// entry returns the line of the ledger that a page's posting is.
func (l *pageLine) entry(pd steps.ParticipantDay) steps.Entry {
	e := steps.Entry{Participant: pd.Participant, Kind: l.kind, At: l.at, Day: pd.Day, Steps: l.steps, RuleSet: l.ruleSet}
	p := steps.Posting{From: steps.AccountIssued, To: steps.AccountProvisional, Points: l.delta}
	if p.Points < 0 {
		p.From, p.To, p.Points = p.To, p.From, -p.Points
	}
	if p.Points > 0 {
		e.Postings = []steps.Posting{p}
	}
	return e
}

// entryLines returns a participant's entries.
func (s *Store) entryLines(txn *badger.Txn, p steps.ParticipantID) (lines []ledgerLine, err error) {
	after := int64(0)
	err = s.eachOwnEntry(txn, p, func(e *steps.Entry) error {
		lines, after = follow(lines, e, after)
		return nil
	})
	return lines, err
}

// eachOwnEntry calls fn for a participant's entries in their order.
func (s *Store) eachOwnEntry(txn *badger.Txn, p steps.ParticipantID, fn func(*steps.Entry) error) error {
	return scan(txn, ownPrefix(prefixEntry, p), nil, true, func(key, value []byte) error {
		e, err := s.openEntry(key, value)
		if err != nil {
			return err
		}
		return fn(&e)
	})
}

// openEntry decodes an entry as a scan finds it.
func (s *Store) openEntry(key, value []byte) (e steps.Entry, err error) {
	p, seq, ok := splitEntryKey(key)
	if !ok {
		return e, corrupt("ledger entry", string(key), errKey)
	}
	body, err := s.auth.open(key, value)
	if err == nil {
		e, err = parseEntry(body, p, seq)
	}
	if err != nil {
		return e, corrupt("ledger entry", string(p), err)
	}
	return e, nil
}
