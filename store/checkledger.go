package store

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"ayumi/ledger"
	"ayumi/steps"
)

// ledgerCheck recomputes the ledger from its postings: pages, final points and entries. Participants'
// balances are kept in memory, about 200 bytes each.
type ledgerCheck struct {
	s   *Store
	ctx context.Context // of the Check
	txn *badger.Txn
	r   *Report

	balances    map[steps.ParticipantID]*steps.Balance // what the postings add up to
	corrections map[steps.ParticipantDay]steps.Points
	payments    map[steps.ExchangeID]steps.Entry
	refunds     map[steps.ExchangeID]steps.Entry
	closed      map[steps.Day]*closedDay
	sums        map[steps.Day]*steps.ClosedDay // of the final points
	requests    int
	totals      steps.Totals // of all postings
}

// checkLedger verifies that every balance is the sum of its postings, that all accounts together are
// zero, and that stock and exchanges agree.
func (s *Store) checkLedger(ctx context.Context, txn *badger.Txn, r *Report) error {
	c := &ledgerCheck{
		s: s, ctx: ctx, txn: txn, r: r,
		balances:    make(map[steps.ParticipantID]*steps.Balance),
		corrections: make(map[steps.ParticipantDay]steps.Points),
		payments:    make(map[steps.ExchangeID]steps.Entry),
		refunds:     make(map[steps.ExchangeID]steps.Entry),
		closed:      make(map[steps.Day]*closedDay),
		sums:        make(map[steps.Day]*steps.ClosedDay),
	}
	for _, step := range []func() error{
		c.readClosed, c.readEntries, c.readPages, c.compareClosed, c.compareBalances, c.compareRequests,
		c.compareAccounts, c.compareExchanges, c.compareLate, c.compareReviews, c.readPrints,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (c *ledgerCheck) balance(p steps.ParticipantID) *steps.Balance {
	b := c.balances[p]
	if b == nil {
		b = &steps.Balance{Participant: p}
		c.balances[p] = b
	}
	return b
}

// scan is scan with what every table of the ledger needs: authenticated values, and the context.
func (c *ledgerCheck) scan(prefix byte, table string, fn func(key, body []byte) error) error {
	return scan(c.txn, []byte{prefix}, nil, true, func(key, value []byte) error {
		body, err := c.s.auth.open(key, value)
		if err == nil {
			err = fn(key, body)
		}
		if err != nil {
			c.r.problem("%s %q: %v", table, key[1:], err)
		}
		return c.ctx.Err()
	})
}

func (c *ledgerCheck) readClosed() error {
	return c.scan(prefixClosed, "closed day", func(key, body []byte) error {
		day := takeDay(key[1:])
		closed, err := parseClosed(body, day)
		c.closed[day], c.sums[day] = &closed, &steps.ClosedDay{}
		c.r.ClosedDays++
		return err
	})
}

// readEntries adds up the entries, which must be numbered without gaps.
func (c *ledgerCheck) readEntries() error {
	return c.scan(prefixEntry, "ledger entry", func(key, body []byte) error {
		p, seq, ok := splitEntryKey(key)
		if !ok {
			return errKey
		}
		e, err := parseEntry(body, p, seq)
		if err != nil {
			return err
		}
		c.r.Entries++
		b := c.balance(p)
		if b.Entries++; b.Entries != seq {
			return fmt.Errorf("number %d follows %d", seq, b.Entries-1)
		}
		if e.Key != "" {
			c.requests++
		}
		for _, posting := range e.Postings {
			c.post(b, posting)
			if e.Kind == steps.EntryCorrection && e.Day != 0 {
				pd := steps.ParticipantDay{Participant: p, Day: e.Day}
				if posting.To == steps.AccountIssued {
					posting.Points = -posting.Points
				}
				c.corrections[pd] += posting.Points
			}
		}
		switch e.Kind {
		case steps.EntryExchange:
			c.payments[e.Exchange] = e
		case steps.EntryRefund:
			c.refunds[e.Exchange] = e
		}
		return ledger.Check(&e)
	})
}

// post adds one posting to the totals and, as far as it is one of the participant's, to the balance.
func (c *ledgerCheck) post(b *steps.Balance, p steps.Posting) {
	c.totals.Move(p)
	ledger.Add(b, p.From, p.Period, -p.Points)
	ledger.Add(b, p.To, p.Period, p.Points)
}

// readPages verifies each page by itself and walks the final points beside it.
func (c *ledgerCheck) readPages() error {
	finals := c.newFinalCursor()
	defer finals.close()
	var codec sheetCodec
	last := steps.ParticipantDay{Day: math.MinInt32}
	err := c.scan(prefixSheet, "award sheet", func(key, body []byte) error {
		day, upTo, ok := splitSheetKey(key)
		if !ok {
			return errKey
		}
		pages, err := codec.parse(body)
		if err != nil {
			return err
		}
		for i := range pages {
			pd := steps.ParticipantDay{Participant: pages[i].participant, Day: day}
			if compareDays(pd, last) <= 0 || string(pd.Participant) > string(upTo) {
				return fmt.Errorf("%s is not where it belongs", nameOf(pd))
			}
			last = pd
			if err := c.readPage(finals, pd, &pages[i].page); err != nil {
				c.r.problem("award: %v", err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for pd, n := range c.corrections {
		c.r.problem("entries correct %s by %d points, which has no page", nameOf(pd), n)
	}
	return finals.skipTo(nil)
}

// readPage verifies a page.
func (c *ledgerCheck) readPage(finals *finalCursor, pd steps.ParticipantDay, p *page) error {
	if sum := p.sum(); sum != p.points {
		return fmt.Errorf("%s has %d points, its postings sum to %d", nameOf(pd), p.points, sum)
	}
	earned, corrected := p.points, steps.Points(0)
	for i := range p.lines {
		if p.lines[i].kind == steps.EntryCorrection {
			corrected += p.lines[i].delta
		}
	}
	earned -= corrected
	c.totals.Move(steps.Posting{From: steps.AccountIssued, To: steps.AccountProvisional, Points: earned})
	if want := c.corrections[pd]; want != corrected {
		return fmt.Errorf("%s was corrected by %d points, the entries say %d", nameOf(pd), corrected, want)
	}
	delete(c.corrections, pd)
	return c.comparePage(finals, pd, earned)
}

// comparePage compares what a page earned with the final points of the day, if it is closed.
func (c *ledgerCheck) comparePage(finals *finalCursor, pd steps.ParticipantDay, earned steps.Points) error {
	if err := finals.skipTo(&pd); err != nil {
		return err
	}
	f, period, found := finals.take(pd)
	if !found {
		day := c.closed[pd.Day]
		if due := day != nil && (day.State == steps.DayClosed || pd.Participant <= day.last); due && earned != 0 {
			return fmt.Errorf("%s earned %d points, of which none became final", nameOf(pd), earned)
		}
		return nil
	}
	c.post(c.balance(pd.Participant), steps.Posting{
		From: steps.AccountProvisional, To: f.account(), Period: period, Points: f.points,
	})
	c.balance(pd.Participant).Provisional = 0 // pages are not kept in balances
	if sum := c.sums[pd.Day]; sum != nil {
		sum.Participants++
		if f.held {
			sum.Held += f.points
		} else {
			sum.Points += f.points
		}
	}
	if f.points != earned {
		return fmt.Errorf("%s earned %d points, %d became final", nameOf(pd), earned, f.points)
	}
	return nil
}

// compareClosed compares the sums that a closed day's record gives.
func (c *ledgerCheck) compareClosed() error {
	for _, day := range slices.Sorted(maps.Keys(c.closed)) {
		d, sum := c.closed[day], c.sums[day]
		if d.Participants != sum.Participants || d.Points != sum.Points || d.Held != sum.Held {
			c.r.problem("closed day %s says %d participants, %d points and %d held; its final points are %d, %d and %d",
				day, d.Participants, d.Points, d.Held, sum.Participants, sum.Points, sum.Held)
		}
	}
	return nil
}

// compareBalances compares every balance with what the postings add up to.
func (c *ledgerCheck) compareBalances() error {
	err := c.scan(prefixBalance, "balance", func(key, body []byte) error {
		b := steps.Balance{Participant: steps.ParticipantID(key[1:])}
		if err := parseBalance(body, &b); err != nil {
			return err
		}
		c.r.Balances++
		want := c.balance(b.Participant)
		delete(c.balances, b.Participant)
		want.Periods = slices.DeleteFunc(want.Periods, func(p steps.PeriodBalance) bool { return p.Available == 0 && p.Pending == 0 })
		if b.Entries != want.Entries || !slices.Equal(b.Periods, want.Periods) {
			return fmt.Errorf("it says %d entries and %v; they are %d and sum to %v", b.Entries, b.Periods, want.Entries, want.Periods)
		}
		for _, p := range b.Periods {
			if p.Available < 0 || p.Pending < 0 {
				return fmt.Errorf("it is negative: %v", p)
			}
		}
		return nil
	})
	for p, b := range c.balances {
		c.r.problem("participant %s has no balance; the postings sum to %v", p, b.Periods)
	}
	return err
}

func (c *ledgerCheck) compareRequests() error {
	n := 0
	err := c.scan(prefixRequest, "request", func(key, body []byte) error {
		n++
		p, name, ok := splitOwnKey(key)
		if !ok {
			return errKey
		}
		e, found, err := c.s.requested(c.txn, p, steps.RequestKey(name))
		if err == nil && (!found || string(e.Key) != string(name)) {
			err = fmt.Errorf("the entry %d was made for the request %q", e.Seq, e.Key)
		}
		return err
	})
	if n != c.requests {
		c.r.problem("%d entries have a request key, %d keys are known", c.requests, n)
	}
	return err
}

// compareAccounts compares the programme's accounts with the postings and draws up the trial balance.
func (c *ledgerCheck) compareAccounts() error {
	stored, err := c.s.programmeTotals(c.txn)
	if err != nil {
		c.r.problem("%v", err)
		return nil
	}
	for _, a := range programmeAccounts {
		if stored[a] != c.totals[a] {
			c.r.problem("account %s has %d points, its postings sum to %d", a, stored[a], c.totals[a])
		}
	}
	open, err := c.s.openDays(c.txn, nil)
	var all steps.Totals
	if err == nil {
		all, err = c.s.trialBalance(c.ctx, c.txn, open)
	}
	if err != nil {
		c.r.problem("%v", err)
		return c.ctx.Err()
	}
	if sum := all.Sum(); sum != 0 {
		c.r.problem("all accounts together have %d points, not 0", sum)
	}
	c.r.Points = make(map[string]steps.Points, len(all)-1)
	for a, n := range all {
		if a > 0 {
			c.r.Points[steps.Account(a).String()] = n
		}
	}
	return nil
}

// compareExchanges verifies that every exchange was paid for, and that those that stand are what the
// catalogue says is taken.
func (c *ledgerCheck) compareExchanges() error {
	taken := make(map[steps.PrizeID]uint64)
	last := steps.ExchangeID(0)
	err := c.s.eachExchange(c.txn, func(x steps.Exchange) error {
		c.r.Exchanges++
		if x.ID != last+1 {
			c.r.problem("exchange %d follows %d", x.ID, last)
		}
		last = x.ID
		if x.State != steps.ExchangeCancelled {
			taken[x.Prize]++
		}
		if err := c.compareExchange(&x); err != nil {
			c.r.problem("exchange %d: %v", x.ID, err)
		}
		return c.ctx.Err()
	})
	if err != nil {
		c.r.problem("%v", err)
		return c.ctx.Err()
	}
	if n := len(c.payments); n > c.r.Exchanges {
		c.r.problem("%d exchanges were paid for, %d are there", n, c.r.Exchanges)
	}
	err = c.s.eachPrize(c.ctx, c.txn, func(p steps.Prize) error {
		if p.Taken != taken[p.ID] || !p.Unlimited && p.Taken > p.Stock {
			c.r.problem("prize %s has a stock of %d, of which %d are taken; %d exchanges stand", p.ID, p.Stock, p.Taken, taken[p.ID])
		}
		delete(taken, p.ID)
		return nil
	})
	if err != nil {
		c.r.problem("%v", err)
	}
	for id, n := range taken {
		c.r.problem("%d exchanges are for the prize %q, which is not in the catalogue", n, id)
	}
	return c.ctx.Err()
}

func (c *ledgerCheck) compareExchange(x *steps.Exchange) error {
	paid, refund := c.payments[x.ID], c.refunds[x.ID]
	price := steps.Points(0)
	for _, p := range paid.Postings {
		price += p.Points
	}
	if paid.Participant != x.Participant || paid.Seq != x.Entry || price != x.Price {
		return fmt.Errorf("participant %s paid %d points by entry %d; it says %s, %d and %d",
			paid.Participant, price, paid.Seq, x.Participant, x.Price, x.Entry)
	}
	if (x.State == steps.ExchangeCancelled) != (refund.Seq != 0) || refund.Seq != x.Refund {
		return fmt.Errorf("it is %s, refunded by entry %d; the refund is entry %d", x.State, x.Refund, refund.Seq)
	}
	if refund.Seq != 0 && !slices.Equal(refund.Postings, ledger.Reverse(paid.Postings)) {
		return fmt.Errorf("paid by %v, refunded by %v", paid.Postings, refund.Postings)
	}
	return nil
}

// compareLate verifies that what is listed as late is, and of a closed day.
func (c *ledgerCheck) compareLate() error {
	pages := c.s.newSheetCursor(c.txn)
	defer pages.close()
	return c.scan(prefixLate, "late day", func(key, body []byte) error {
		c.r.Late++
		pd, _ := splitDayKey(key)
		l, err := parseLate(body, pd)
		if err != nil {
			return err
		}
		p, found, err := pages.find(pd)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("%s is listed and has no page", nameOf(pd))
		}
		if c.closed[pd.Day] == nil || l.Points == p.points && l.Parts == p.parts || l.Steps != p.steps {
			return fmt.Errorf("%s is listed with %d steps and %d points; it has %d and earned %d",
				nameOf(pd), l.Steps, l.Points, p.steps, p.points)
		}
		return nil
	})
}

// finalCursor walks the final points of all days in the order of the pages.
type finalCursor struct {
	c      *ledgerCheck
	it     *badger.Iterator
	day    steps.Day
	period steps.PeriodID
	chunk  []final // what is left of the chunk at hand
}

func (c *ledgerCheck) newFinalCursor() *finalCursor {
	opts := badger.DefaultIteratorOptions
	opts.Prefix, opts.PrefetchValues = []byte{prefixFinal}, false
	f := &finalCursor{c: c, it: c.txn.NewIterator(opts)}
	f.it.Rewind()
	return f
}

func (f *finalCursor) close() { f.it.Close() }

// fill reads the next chunk if that at hand is used up. false is the end.
func (f *finalCursor) fill() (bool, error) {
	for len(f.chunk) == 0 {
		if !f.it.Valid() {
			return false, nil
		}
		item := f.it.Item()
		pd, ok := splitDayKey(item.Key())
		if !ok {
			return false, errKey
		}
		value, err := item.ValueCopy(nil)
		if err != nil {
			return false, err
		}
		body, err := f.c.s.auth.open(item.Key(), value)
		if err != nil {
			return false, corrupt("final points", nameOf(pd), err)
		}
		f.day, f.chunk = pd.Day, f.chunk[:0]
		_, f.period, err = eachFinal(body, func(p []byte, n steps.Points, held bool) error {
			f.chunk = append(f.chunk, final{steps.ParticipantID(p), n, held})
			return nil
		})
		if err != nil {
			return false, corrupt("final points", nameOf(pd), err)
		}
		f.it.Next()
	}
	return true, nil
}

// skipTo reports the final points before a page, which have none, or all that are left.
func (f *finalCursor) skipTo(pd *steps.ParticipantDay) error {
	for {
		ok, err := f.fill()
		if err != nil || !ok {
			return err
		}
		at := steps.ParticipantDay{Participant: f.chunk[0].participant, Day: f.day}
		if pd != nil && compareDays(at, *pd) >= 0 {
			return nil
		}
		f.c.r.problem("%s got %d final points and has no page", nameOf(at), f.chunk[0].points)
		f.chunk = f.chunk[1:]
	}
}

// take returns the final points of a page if there are some.
func (f *finalCursor) take(pd steps.ParticipantDay) (got final, period steps.PeriodID, found bool) {
	if len(f.chunk) == 0 || f.day != pd.Day || f.chunk[0].participant != pd.Participant {
		return got, "", false
	}
	got = f.chunk[0]
	f.chunk = f.chunk[1:]
	return got, f.period, true
}
