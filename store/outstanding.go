package store

import (
	"cmp"
	"context"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"ayumi/ledger"
	"ayumi/steps"
)

// OpenDays returns the days that have pages and are not closed, in order. Those whose closing was
// interrupted are among them.
func (s *Store) OpenDays() []steps.Day {
	days := s.daysBut(s.daysClosed())
	slices.Sort(days)
	return days
}

// Outstanding returns what all participants together have of each point period, ascending by period. It
// reads every balance once.
func (s *Store) Outstanding(ctx context.Context) ([]steps.PeriodBalance, error) {
	var all steps.Balance // of everybody
	err := s.db.View(func(txn *badger.Txn) error {
		return s.eachBalance(ctx, txn, nil, func(b *steps.Balance) error {
			for i := range b.Periods {
				p := &b.Periods[i]
				ledger.Add(&all, steps.AccountAvailable, p.Period, p.Available)
				ledger.Add(&all, steps.AccountPending, p.Period, p.Pending)
			}
			return nil
		})
	})
	return all.Periods, cmp.Or(err, ctx.Err())
}
