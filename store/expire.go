package store

import (
	"context"

	"github.com/dgraph-io/badger/v4"

	"ayumi/ledger"
	"ayumi/steps"
)

// expiryPiece is how many participants' points expire in one transaction: some milliseconds of the
// committer.
const expiryPiece = 512

// Expire ends a point period: what participants still have available of it expires, by one entry each.
// It works in bounded transactions beside everything else, and only what is there expires: repeating
// it, after an interruption too, takes what was left out or has come back since. What is held for review
// stays. It is a Conflict while the period can still be exchanged today.
func (s *Store) Expire(ctx context.Context, p steps.Period, today steps.Day) (done steps.Expiry, err error) {
	const op = "expire points"
	if p.ID == "" || p.Expires == 0 {
		return done, steps.Errorf(op, steps.Invalid, "the period %q has no last day", p.ID)
	}
	if today <= p.Expires {
		return done, steps.Errorf(op, steps.Conflict, "points of the period %s can be exchanged until %s; today is %s", p.ID, p.Expires, today)
	}
	piece := make([]steps.ParticipantID, 0, expiryPiece)
	flush := func() error {
		n, err := s.expirePiece(ctx, p.ID, piece)
		done.Participants += n.Participants
		done.Points += n.Points
		piece = piece[:0]
		return err
	}
	err = s.db.View(func(txn *badger.Txn) error {
		return s.eachBalance(ctx, txn, nil, func(b *steps.Balance) error {
			if b.Of(p.ID).Available > 0 {
				piece = append(piece, b.Participant)
			}
			if len(piece) < expiryPiece {
				return nil
			}
			return flush()
		})
	})
	if err == nil && len(piece) > 0 {
		err = flush()
	}
	return done, err
}

// expirePiece expires what some participants have now of a period.
func (s *Store) expirePiece(ctx context.Context, id steps.PeriodID, piece []steps.ParticipantID) (done steps.Expiry, err error) {
	err = s.change(ctx, len(piece)*expiryBytes, func(txn *badger.Txn) error {
		w := &writes{s: s}
		for _, p := range piece {
			b, err := s.balance(txn, p)
			if err != nil {
				return err
			}
			posting, ok := ledger.Expire(&b, id)
			if !ok {
				continue // spent meanwhile
			}
			e := steps.Entry{Participant: p, Kind: steps.EntryExpiry, Postings: []steps.Posting{posting}}
			if err := w.post(&b, &e); err != nil {
				return err
			}
			done.Participants++
			done.Points += posting.Points
		}
		return w.apply(txn)
	}, nil)
	if err != nil {
		return steps.Expiry{}, err
	}
	return done, nil
}

// expiryBytes is about what one participant's expiry adds to a transaction.
const expiryBytes = 300
