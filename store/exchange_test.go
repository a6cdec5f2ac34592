package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"ayumi/steps"
)

// periods are those of the tests: the year before, which ends first, and the year.
func periods() []steps.Period {
	return []steps.Period{
		{ID: "2026", Days: steps.DayRange{From: day0, Until: day0 + 364}, Expires: day0 + 500},
		{ID: "2025", Days: steps.DayRange{From: day0 - 365, Until: day0 - 1}, Expires: day0 + 100},
	}
}

func towel(stock uint64) steps.Prize {
	return steps.Prize{ID: "towel", NameJA: "タオル", NameEN: "Towel", Price: 10, Stock: stock, Days: steps.DayRange{From: day0}}
}

func (r *running) putPrize(p steps.Prize) {
	r.t.Helper()
	if _, err := r.PutPrize(context.Background(), p); err != nil {
		r.t.Fatal(err)
	}
}

func want(p steps.ParticipantID, key steps.RequestKey) steps.ExchangeRequest {
	return steps.ExchangeRequest{Participant: p, Key: key, Prize: "towel", Price: 10, Today: day0 + 10, Periods: periods()}
}

func (r *running) exchangeIDs(f steps.ExchangeFilter) (ids []steps.ExchangeID) {
	r.t.Helper()
	err := r.EachExchange(context.Background(), f, func(x steps.Exchange) error {
		ids = append(ids, x.ID)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return ids
}

func (r *running) taken(id steps.PrizeID) uint64 {
	r.t.Helper()
	p, err := r.Prize(id)
	if err != nil {
		r.t.Fatal(err)
	}
	return p.Taken
}

func TestExchange(t *testing.T) {
	cfg := testConfig(t.TempDir())
	r := start(t, cfg)
	ctx := context.Background()
	r.putPrize(towel(2))
	r.post("p", "b", steps.EntryBonus, 25)
	_, err := r.Post(ctx, steps.EntryRequest{Participant: "p", Key: "old", Kind: steps.EntryBonus, Period: "2025", Points: 4, Reason: "why", By: "me"})
	if err != nil {
		t.Fatal(err)
	}
	x, err := r.Exchange(ctx, want("p", "k1"))
	if err != nil || x.ID != 1 || x.State != steps.ExchangeRequested || x.Entry != 3 || x.Price != 10 {
		t.Fatalf("%+v, %v", x, err)
	}
	b, err := r.Balance("p")
	if err != nil || b.Of("2025").Available != 0 || b.Of("2026").Available != 19 {
		t.Errorf("what expires first is spent first; left is %v, %v", b.Periods, err)
	}
	r.end()
	r = start(t, cfg)
	if again, err := r.Exchange(ctx, want("p", "k1")); err != nil || again != x {
		t.Errorf("asked again: %+v, %v", again, err)
	}
	dearer := want("p", "k1")
	dearer.Price = 11
	_, err = r.Exchange(ctx, dearer)
	refused(t, "another price under the key", err, steps.Conflict, "was used for prize towel at 10 points")
	_, err = r.Exchange(ctx, want("p", "b"))
	refused(t, "the key of a bonus", err, steps.Conflict, "another entry (bonus, 1)")
	_, err = r.Post(ctx, steps.EntryRequest{Participant: "p", Key: "k1", Kind: steps.EntryBonus, Period: "2026", Points: 3, Reason: "why", By: "me"})
	refused(t, "a bonus under the key of an exchange", err, steps.Conflict, "another entry (exchange, 3)")
	_, err = r.Exchange(ctx, want("q", "k1"))
	refused(t, "who has nothing", err, steps.Conflict, "has 0 points to exchange; the price is 10, so 10 are missing")
	unknown := want("p", "k9")
	unknown.Prize = "car"
	_, err = r.Exchange(ctx, unknown)
	refused(t, "an unknown prize", err, steps.NotFound, `no prize "car"`)
	if _, err := r.Exchange(ctx, want("p", "k2")); err != nil {
		t.Error(err)
	}
	_, err = r.Exchange(ctx, want("p", "k3"))
	refused(t, "a third of two", err, steps.Conflict, "out of stock")
	r.wants("p", 0, 0, 9)
	if n := r.taken("towel"); n != 2 {
		t.Errorf("%d taken", n)
	}
	_, err = r.PutPrize(ctx, towel(1))
	refused(t, "less stock than is taken", err, steps.Conflict, "2 of prize towel are given already")
	r.putPrize(towel(3))
	if n := r.taken("towel"); n != 2 {
		t.Errorf("%d taken after the stock was raised", n)
	}
	if ids := r.exchangeIDs(steps.ExchangeFilter{Participant: "p"}); !slices.Equal(ids, []steps.ExchangeID{1, 2}) {
		t.Errorf("exchanges %v", ids)
	}
}

func TestCancelExchange(t *testing.T) {
	cfg := testConfig(t.TempDir())
	r := start(t, cfg)
	ctx := context.Background()
	r.putPrize(towel(1))
	r.post("p", "b", steps.EntryBonus, 10)
	if _, err := r.Exchange(ctx, want("p", "k1")); err != nil {
		t.Fatal(err)
	}
	ship := steps.ExchangeChange{ID: 1, State: steps.ExchangeShipped, By: "me"}
	for range 2 {
		if x, err := r.ChangeExchange(ctx, ship); err != nil || x.State != steps.ExchangeShipped {
			t.Fatalf("%+v, %v", x, err)
		}
	}
	cancel := steps.ExchangeChange{ID: 1, State: steps.ExchangeCancelled, By: "me", Reason: "came back"}
	for range 2 {
		x, err := r.ChangeExchange(ctx, cancel)
		if err != nil || x.State != steps.ExchangeCancelled || x.Refund != 3 {
			t.Fatalf("%+v, %v", x, err)
		}
		r.wants("p", 0, 0, 10)
		if n := r.taken("towel"); n != 0 {
			t.Errorf("%d taken", n)
		}
		r.end()
		r = start(t, cfg)
	}
	_, err := r.ChangeExchange(ctx, ship)
	refused(t, "shipping what is cancelled", err, steps.Conflict, "was cancelled by me (came back)")
	_, err = r.ChangeExchange(ctx, steps.ExchangeChange{ID: 2, State: steps.ExchangeShipped, By: "me"})
	refused(t, "an exchange that is not there", err, steps.NotFound, "no exchange 2")
	if x, err := r.Exchange(ctx, want("p", "k2")); err != nil || x.ID != 2 {
		t.Errorf("the prize is there again: %+v, %v", x, err)
	}
	for _, tc := range []struct {
		f    steps.ExchangeFilter
		want []steps.ExchangeID
	}{
		{steps.ExchangeFilter{}, []steps.ExchangeID{1, 2}},
		{steps.ExchangeFilter{State: steps.ExchangeRequested}, []steps.ExchangeID{2}},
		{steps.ExchangeFilter{Participant: "p", State: steps.ExchangeCancelled}, []steps.ExchangeID{1}},
		{steps.ExchangeFilter{Participant: "q"}, nil},
		{steps.ExchangeFilter{Prize: "car"}, nil},
	} {
		if ids := r.exchangeIDs(tc.f); !slices.Equal(ids, tc.want) {
			t.Errorf("%+v: exchanges %v; want %v", tc.f, ids, tc.want)
		}
	}
	if x, err := r.FindExchange(1); err != nil || x.Reason != "came back" {
		t.Errorf("%+v, %v", x, err)
	}
}

// TestExchangesConcurrently has many participants, and many requests of each, after few prizes.
func TestExchangesConcurrently(t *testing.T) {
	r := start(t, testConfig(t.TempDir()))
	const stock, people, each = 20, 8, 12
	r.putPrize(towel(stock))
	for i := range people {
		r.post(many(i), "b", steps.EntryBonus, 45) // for four of them
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := make(map[steps.ExchangeID]string)
	for i := range people {
		for k := range each {
			wg.Go(func() {
				request := want(many(i), steps.RequestKey(fmt.Sprintf("k%d", k/2))) // each asked for twice
				x, err := r.Exchange(context.Background(), request)
				mu.Lock()
				defer mu.Unlock()
				switch name := fmt.Sprint(request.Participant, request.Key); {
				case err == nil && got[x.ID] != "" && got[x.ID] != name:
					t.Errorf("exchange %d was made for %s and for %s", x.ID, got[x.ID], name)
				case err == nil:
					got[x.ID] = name
				case steps.KindOf(err) != steps.Conflict:
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if len(got) != stock || r.taken("towel") != stock {
		t.Errorf("%d exchanges, %d taken; the stock was %d", len(got), r.taken("towel"), stock)
	}
	spent := steps.Points(0)
	err := r.EachBalance(context.Background(), func(b *steps.Balance) error {
		if b.Available() < 5 {
			t.Errorf("%s has %d points left of 45", b.Participant, b.Available())
		}
		spent += 45 - b.Available()
		return nil
	})
	if err != nil || spent != 10*stock {
		t.Errorf("%d points were spent, %v", spent, err)
	}
}

// endsAfter is a context that ends when it was asked some times whether it has.
type endsAfter struct {
	context.Context
	left int
}

func (c *endsAfter) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

func TestExpire(t *testing.T) {
	cfg := testConfig(t.TempDir())
	r := start(t, cfg)
	ctx := context.Background()
	const n = 2*expiryPiece + 3
	r.uploadMany(n, day0, 4000)
	r.score("x@1", perThousand)
	r.closeDay(day0, many(2))
	r.post(many(1), "b", steps.EntryBonus, 6)
	r.putPrize(towel(1))
	if _, err := r.Exchange(ctx, want(many(1), "k")); err != nil {
		t.Fatal(err)
	}
	year := periods()[0]
	_, err := r.Expire(ctx, year, year.Expires)
	refused(t, "on the last day", err, steps.Conflict, "can be exchanged until")
	_, err = r.Expire(ctx, steps.Period{ID: "2026"}, day0+900)
	refused(t, "a period that never ends", err, steps.Invalid, "has no last day")
	// Interrupted after its first piece, and gone on with in a copy of the files.
	done, err := r.Expire(&endsAfter{ctx, expiryPiece + 100}, year, year.Expires+1)
	if !errors.Is(err, context.Canceled) || done.Participants == 0 || done.Participants >= n-2 {
		t.Fatalf("interrupted: %+v, %v", done, err)
	}
	r.wants(many(0), 0, 0, 0)
	r.wants(many(n-1), 0, 0, 4)
	dir := r.image()
	r.end()
	cfg.Dir = dir
	r = start(t, cfg)
	rest, err := r.Expire(ctx, year, year.Expires+1)
	if err != nil || done.Participants+rest.Participants != n-2 {
		t.Fatalf("%+v and %+v, %v", done, rest, err)
	}
	r.wants(many(2), 0, 4, 0)
	totals, err := r.Totals(ctx)
	if err != nil || totals[steps.AccountExpired] != 4*(n-2) || totals[steps.AccountAvailable] != 0 {
		t.Errorf("totals %v, %v", totals, err)
	}
	if done, err := r.Expire(ctx, year, year.Expires+1); err != nil || done.Participants != 0 {
		t.Errorf("again: %+v, %v", done, err)
	}
	// What comes back afterwards expires with the next call.
	if _, err := r.ChangeExchange(ctx, steps.ExchangeChange{ID: 1, State: steps.ExchangeCancelled, By: "me", Reason: "came back"}); err != nil {
		t.Fatal(err)
	}
	r.post(many(2), "r", steps.EntryRelease, 4)
	if done, err := r.Expire(ctx, year, year.Expires+2); err != nil || done != (steps.Expiry{Participants: 2, Points: 14}) {
		t.Errorf("what came back: %+v, %v", done, err)
	}
}

func FuzzParseLedger(f *testing.F) {
	f.Add(appendBalance(nil, &steps.Balance{Entries: 3, Periods: []steps.PeriodBalance{{Period: "a", Available: 5}}}))
	f.Add(appendEntry(nil, &steps.Entry{Kind: steps.EntryBonus, Key: "k", Reason: "r", By: "b",
		Postings: []steps.Posting{{From: steps.AccountIssued, To: steps.AccountAvailable, Period: "a", Points: 3}}}))
	f.Add(appendFinals(nil, &steps.ClosedDay{Period: "a"}, []final{{"p1", 3, false}, {"p2", 4, true}}))
	f.Add(appendClosed(nil, &closedDay{ClosedDay: steps.ClosedDay{State: steps.DayClosed, Period: "a", By: "b"}}))
	f.Add(appendLate(nil, &steps.LateDay{Steps: 3, Points: 4, RuleSet: "x"}))
	f.Add(appendPrize(nil, &steps.Prize{NameJA: "a", NameEN: "b", Price: 3}))
	f.Add(appendExchange(nil, &steps.Exchange{Participant: "p", Prize: "x"}))
	f.Fuzz(func(_ *testing.T, b []byte) { // no panic, and no memory by what b claims
		_ = parseBalance(b, new(steps.Balance))
		_, _ = parseEntry(b, "p", 1)
		_, _, _ = eachFinal(b, func([]byte, steps.Points, bool) error { return nil })
		_, _ = parseClosed(b, day0)
		_, _ = parseLate(b, steps.ParticipantDay{})
		_, _ = parsePrize(b, "p")
		_, _ = parseExchange(b, 1)
	})
}
