package store

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"ayumi/ledger"
	"ayumi/steps"
)

const lateVersion = 2

func appendLate(dst []byte, l *steps.LateDay) []byte {
	dst = append(dst, lateVersion)
	dst = binary.AppendVarint(dst, l.At)
	dst = binary.AppendUvarint(dst, l.Steps)
	dst = binary.AppendUvarint(dst, uint64(l.Points))
	dst = appendString(dst, string(l.Parts))
	dst = appendString(dst, l.RuleSet)
	dst = append(dst, byte(l.Decision.State))
	dst = binary.AppendVarint(dst, l.Decision.At)
	dst = appendString(dst, l.Decision.By)
	return appendString(dst, l.Decision.Reason)
}

func parseLate(body []byte, pd steps.ParticipantDay) (l steps.LateDay, err error) {
	r := reader{b: body}
	if r.byte() != lateVersion {
		r.fail()
	}
	l.ParticipantDay = pd
	l.At, l.Steps, l.Points = r.varint(), r.uvarint(), steps.Points(r.uvarint())
	l.Parts, l.RuleSet = steps.Parts(r.string()), r.string()
	l.Decision = steps.Decision{State: steps.DecisionState(r.byte()), At: r.varint(), By: r.string(), Reason: r.string()}
	return l, r.done()
}

// late reads a participant-day's late data.
func (s *Store) late(txn *badger.Txn, pd steps.ParticipantDay) (l steps.LateDay, found bool, err error) {
	body, err := s.getSealed(txn, "late day", dayKey(prefixLate, pd), nameOf(pd))
	if err != nil || body == nil {
		return l, false, err
	}
	if l, err = parseLate(body, pd); err != nil {
		return l, false, corrupt("late day", nameOf(pd), err)
	}
	return l, true, nil
}

// EachLate calls fn for the closed days whose data changed afterwards so that they would have earned
// other points, in the order of day and participant.
func (s *Store) EachLate(ctx context.Context, f steps.LateFilter, fn func(steps.LateDay) error) error {
	err := s.db.View(func(txn *badger.Txn) error {
		pages := s.newSheetCursor(txn)
		defer pages.close()
		return scan(txn, []byte{prefixLate}, appendDay([]byte{prefixLate}, f.Days.From), true, func(key, value []byte) error {
			pd, ok := splitDayKey(key)
			if !ok || !f.Days.Contains(pd.Day) {
				return errStop
			}
			if f.Participant != "" && pd.Participant != f.Participant {
				return ctx.Err()
			}
			body, err := s.auth.open(key, value)
			var l steps.LateDay
			if err == nil {
				l, err = parseLate(body, pd)
			}
			if err != nil {
				return corrupt("late day", nameOf(pd), err)
			}
			if f.Undecided && l.Decision.State != steps.Open {
				return ctx.Err()
			}
			p, found, err := pages.find(pd)
			if err != nil {
				return err
			}
			if found {
				l.Final, l.Kept = p.points, p.parts
			}
			if l.Points == l.Final && !f.Even {
				return ctx.Err()
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			return fn(l)
		})
	})
	if err == errStop {
		return nil
	}
	return err
}

// DiscardLate records staff's decision to leave a closed day as it is; d.State and d.At are filled in.
// The day stays listed with the decision, which falls when the day would earn yet other points. It is
// NotFound if there is no late data, a Conflict if that is decided on.
func (s *Store) DiscardLate(ctx context.Context, pd steps.ParticipantDay, d steps.Decision) error {
	const op = "decide on late data"
	if d.By == "" || d.Reason == "" || len(d.By) > ledger.MaxByBytes || len(d.Reason) > ledger.MaxReasonBytes {
		return steps.Errorf(op, steps.Invalid, "a reason (at most %d bytes) and who decided (at most %d) are needed",
			ledger.MaxReasonBytes, ledger.MaxByBytes)
	}
	s.pageMu.Lock()
	defer s.pageMu.Unlock()
	return s.change(ctx, closeBytes+len(d.By)+len(d.Reason), func(txn *badger.Txn) error {
		l, found, err := s.late(txn, pd)
		if err != nil {
			return err
		}
		p, _, err := s.page(txn, pd)
		if err != nil {
			return err
		}
		if !found || l.Points == p.points {
			return steps.E(op, steps.NotFound, fmt.Errorf("%s has no late data", nameOf(pd)))
		}
		if l.Decision.State != steps.Open {
			return steps.Errorf(op, steps.Conflict, "%s was %s by %s already", nameOf(pd), l.Decision.State, l.Decision.By)
		}
		l.Decision = steps.Decision{State: steps.Discarded, At: s.cfg.Clock().Unix(), By: d.By, Reason: d.Reason}
		w := &writes{s: s}
		w.set(dayKey(prefixLate, pd), appendLate(nil, &l))
		return w.apply(txn)
	}, nil)
}
