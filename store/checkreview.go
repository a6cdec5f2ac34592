package store

import (
	"fmt"

	"ayumi/review"
	"ayumi/steps"
)

// compareReviews verifies each review against the ledger: what waits is held as it says, and what was cleared was
// released.
func (c *ledgerCheck) compareReviews() error {
	return c.scan(prefixReview, "review", func(key, body []byte) error {
		c.r.Reviews++
		pd, ok := splitDayKey(key)
		if !ok {
			return errKey
		}
		v, err := parseReview(body, pd)
		if err != nil {
			return err
		}
		if v.State < review.Open || v.State > review.Upheld || len(v.Flags) == 0 {
			return fmt.Errorf("it is %s with %d flags", v.State, len(v.Flags))
		}
		for i := range v.Events {
			if err := c.compareRelease(&v, i); err != nil {
				return err
			}
		}
		f, found, err := c.s.finalOf(c.txn, pd)
		if err == nil && found && v.State == review.Held && f.Postings[0].To != steps.AccountPending {
			err = fmt.Errorf("it is held, its points became %s", f.Postings[0].To)
		}
		return err
	})
}

// compareRelease verifies that a review's event made the entry that it names, and no other one.
func (c *ledgerCheck) compareRelease(v *review.Review, event int) error {
	e, found, err := c.s.requested(c.txn, v.Participant, review.ReleaseKey(v, event+1))
	if err != nil {
		return err
	}
	if want := v.Events[event].Entry; found != (want != 0) || found && (e.Seq != want || e.Kind != steps.EntryRelease) {
		return fmt.Errorf("%s by %s names the entry %d; it made %d (%s)", v.Events[event].Kind, v.Events[event].By, want, e.Seq, e.Kind)
	}
	return nil
}

// readPrints verifies that the fingerprints can be read.
func (c *ledgerCheck) readPrints() error {
	var p review.Prints
	return c.scan(prefixPrints, "fingerprints", func(_, body []byte) error { return parsePrints(body, &p) })
}
