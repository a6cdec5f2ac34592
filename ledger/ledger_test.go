package ledger

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ayumi/steps"
)

func balanceOf(periods ...steps.PeriodBalance) *steps.Balance {
	return &steps.Balance{Participant: "p", Periods: periods}
}

func request(kind steps.EntryKind, points steps.Points) steps.EntryRequest {
	r := steps.EntryRequest{Participant: "p", Key: "k", Kind: kind, Period: "2026", Points: points, Reason: "why", By: "me"}
	if kind == steps.EntryCorrection {
		r.Account = steps.AccountAvailable
	}
	return r
}

func TestNew(t *testing.T) {
	change := func(r steps.EntryRequest, fn func(*steps.EntryRequest)) steps.EntryRequest {
		fn(&r)
		return r
	}
	bonus := request(steps.EntryBonus, 5)
	correction := request(steps.EntryCorrection, -5)
	for _, tc := range []struct {
		name     string
		r        steps.EntryRequest
		from, to steps.Account // of what is made; zero where it is Invalid
	}{
		{"bonus", bonus, steps.AccountIssued, steps.AccountAvailable},
		{"hold", request(steps.EntryHold, 5), steps.AccountAvailable, steps.AccountPending},
		{"release", request(steps.EntryRelease, 5), steps.AccountPending, steps.AccountAvailable},
		{"correction up", request(steps.EntryCorrection, 5), steps.AccountIssued, steps.AccountAvailable},
		{"correction down", correction, steps.AccountAvailable, steps.AccountIssued},
		{"correction of what is held", change(correction, func(r *steps.EntryRequest) { r.Account = steps.AccountPending }),
			steps.AccountPending, steps.AccountIssued},
		{"correction of a day", change(correction, func(r *steps.EntryRequest) { r.Day = 20000 }),
			steps.AccountAvailable, steps.AccountIssued},
		{"no participant", change(bonus, func(r *steps.EntryRequest) { r.Participant = "" }), 0, 0},
		{"no key", change(bonus, func(r *steps.EntryRequest) { r.Key = "" }), 0, 0},
		{"no period", change(bonus, func(r *steps.EntryRequest) { r.Period = "" }), 0, 0},
		{"no reason", change(bonus, func(r *steps.EntryRequest) { r.Reason = "" }), 0, 0},
		{"nobody", change(bonus, func(r *steps.EntryRequest) { r.By = "" }), 0, 0},
		{"long reason", change(bonus, func(r *steps.EntryRequest) { r.Reason = strings.Repeat("x", MaxReasonBytes+1) }), 0, 0},
		{"long name", change(bonus, func(r *steps.EntryRequest) { r.By = strings.Repeat("x", MaxByBytes+1) }), 0, 0},
		{"nothing", request(steps.EntryBonus, 0), 0, 0},
		{"correction by nothing", request(steps.EntryCorrection, 0), 0, 0},
		{"negative bonus", request(steps.EntryBonus, -5), 0, 0},
		{"negative hold", request(steps.EntryHold, -5), 0, 0},
		{"too much", request(steps.EntryBonus, steps.MaxPoints+1), 0, 0},
		{"too much taken", request(steps.EntryCorrection, -steps.MaxPoints-1), 0, 0},
		{"most negative", request(steps.EntryCorrection, -1<<63), 0, 0},
		{"correction of the programme's account", change(correction, func(r *steps.EntryRequest) { r.Account = steps.AccountSpent }), 0, 0},
		{"bonus of a day", change(bonus, func(r *steps.EntryRequest) { r.Day = 20000 }), 0, 0},
		{"bonus of an account", change(bonus, func(r *steps.EntryRequest) { r.Account = steps.AccountPending }), 0, 0},
		{"exchange", request(steps.EntryExchange, 5), 0, 0},
		{"final", request(steps.EntryFinal, 5), 0, 0},
		{"no kind", request(0, 5), 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, err := New(&tc.r)
			if tc.from == 0 {
				if steps.KindOf(err) != steps.Invalid || err == nil {
					t.Fatalf("made %v, %v; want Invalid", e, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := steps.Posting{From: tc.from, To: tc.to, Period: "2026", Points: 5}
			if len(e.Postings) != 1 || e.Postings[0] != want {
				t.Errorf("postings %v; want %v", e.Postings, want)
			}
			again, err := New(&tc.r)
			if err != nil || !Same(e, again) {
				t.Errorf("the same request makes another entry: %v, %v", again, err)
			}
			tc.r.Points += 7
			if other, err := New(&tc.r); err == nil && Same(e, other) {
				t.Error("another amount makes the same entry")
			}
		})
	}
}

func TestCheckEntry(t *testing.T) {
	for _, tc := range []struct {
		name string
		kind steps.EntryKind
		p    steps.Posting
		ok   bool
	}{
		{"exchange", steps.EntryExchange, steps.Posting{From: steps.AccountAvailable, To: steps.AccountSpent, Period: "a", Points: 1}, true},
		{"exchange of held points", steps.EntryExchange, steps.Posting{From: steps.AccountPending, To: steps.AccountSpent, Period: "a", Points: 1}, false},
		{"exchange backwards", steps.EntryExchange, steps.Posting{From: steps.AccountSpent, To: steps.AccountAvailable, Period: "a", Points: 1}, false},
		{"without a period", steps.EntryExchange, steps.Posting{From: steps.AccountAvailable, To: steps.AccountSpent, Points: 1}, false},
		{"award with a period", steps.EntryAward, steps.Posting{From: steps.AccountIssued, To: steps.AccountProvisional, Period: "a", Points: 1}, false},
		{"adjustment down", steps.EntryAdjustment, steps.Posting{From: steps.AccountProvisional, To: steps.AccountIssued, Points: 1}, true},
		{"final", steps.EntryFinal, steps.Posting{From: steps.AccountProvisional, To: steps.AccountPending, Period: "a", Points: 1}, true},
		{"expiry of held points", steps.EntryExpiry, steps.Posting{From: steps.AccountPending, To: steps.AccountExpired, Period: "a", Points: 1}, false},
		{"expiry", steps.EntryExpiry, steps.Posting{From: steps.AccountAvailable, To: steps.AccountExpired, Period: "a", Points: 1}, true},
		{"refund of what expired", steps.EntryRefund, steps.Posting{From: steps.AccountExpired, To: steps.AccountAvailable, Period: "a", Points: 1}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := &steps.Entry{Participant: "p", Kind: tc.kind, Postings: []steps.Posting{tc.p}, Reason: "why", By: "me"}
			if err := Check(e); (err == nil) != tc.ok {
				t.Errorf("Check: %v; allowed is %t", err, tc.ok)
			}
		})
	}
}

func TestApplyRefusesWhole(t *testing.T) {
	b := balanceOf(steps.PeriodBalance{Period: "a", Available: 5}, steps.PeriodBalance{Period: "b", Available: 2})
	e := &steps.Entry{Kind: steps.EntryExchange, Postings: []steps.Posting{
		{From: steps.AccountAvailable, To: steps.AccountSpent, Period: "a", Points: 5},
		{From: steps.AccountAvailable, To: steps.AccountSpent, Period: "b", Points: 3},
	}}
	err := Apply(b, e)
	if steps.KindOf(err) != steps.Conflict || !strings.Contains(err.Error(), "has 2 available points of the period b; 1 are missing") {
		t.Errorf("more than there is: %v", err)
	}
	if b.Of("a").Available != 5 || b.Of("b").Available != 2 {
		t.Errorf("a refused entry left %v", b.Periods)
	}
	e.Postings[1].Points = 2
	if err := Apply(b, e); err != nil || len(b.Periods) != 0 {
		t.Errorf("all that there is: %v, left %v", err, b.Periods)
	}
}

func TestSpend(t *testing.T) {
	periods := []steps.Period{
		{ID: "never"},
		{ID: "2027", Days: steps.DayRange{From: 100, Until: 199}, Expires: 300},
		{ID: "2026", Days: steps.DayRange{From: 0, Until: 99}, Expires: 200},
		{ID: "gift", Days: steps.DayRange{From: 50, Until: 60}, Expires: 200},
	}
	b := balanceOf(
		steps.PeriodBalance{Period: "2026", Available: 10, Pending: 100}, steps.PeriodBalance{Period: "2027", Available: 10},
		steps.PeriodBalance{Period: "gift", Available: 10}, steps.PeriodBalance{Period: "never", Available: 10},
		steps.PeriodBalance{Period: "unknown", Available: 1000},
	)
	type part struct {
		id steps.PeriodID
		n  steps.Points
	}
	for _, tc := range []struct {
		name    string
		price   steps.Points
		today   steps.Day
		want    []part
		kind    steps.Kind
		message string
	}{
		{"what expires first", 10, 150, []part{{"2026", 10}}, 0, ""},
		{"then what began later", 15, 150, []part{{"2026", 10}, {"gift", 5}}, 0, ""},
		{"what never expires comes last", 40, 150, []part{{"2026", 10}, {"gift", 10}, {"2027", 10}, {"never", 10}}, 0, ""},
		{"on the last day", 5, 200, []part{{"2026", 5}}, 0, ""},
		{"after it", 5, 201, []part{{"2027", 5}}, 0, ""},
		{"too much", 41, 150, nil, steps.Conflict, "has 40 points to exchange; the price is 41, so 1 are missing"},
		{"too much, after the end of some", 21, 201, nil, steps.Conflict, "has 20 points to exchange; the price is 21, so 1 are missing"},
		{"no price", 0, 150, nil, steps.Invalid, "a price of 0"},
		{"negative price", -1, 150, nil, steps.Invalid, "a price of -1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Spend(b, tc.price, periods, tc.today)
			if tc.message != "" {
				if err == nil || steps.KindOf(err) != tc.kind || !strings.Contains(err.Error(), tc.message) {
					t.Errorf("%v, %v; want %v with %q", got, err, tc.kind, tc.message)
				}
				return
			}
			if err != nil || len(got) != len(tc.want) {
				t.Fatalf("%v, %v; want %v", got, err, tc.want)
			}
			for i, p := range got {
				if p.Period != tc.want[i].id || p.Points != tc.want[i].n {
					t.Errorf("posting %d is %v; want %v", i, p, tc.want[i])
				}
			}
		})
	}
}

// TestConservation applies random entries: whatever is accepted, no account of the participant is
// negative, all accounts together are zero, and an exchange that is reversed leaves what was.
func TestConservation(t *testing.T) {
	periods := []steps.Period{{ID: "a", Expires: 10}, {ID: "b", Expires: 20}, {ID: "c"}}
	rapid.Check(t, func(t *rapid.T) {
		b := balanceOf()
		var totals steps.Totals
		post := func(e *steps.Entry) {
			if Apply(b, e) != nil {
				return
			}
			for _, p := range e.Postings {
				totals.Move(p)
			}
		}
		kinds := []steps.EntryKind{steps.EntryBonus, steps.EntryCorrection, steps.EntryHold, steps.EntryRelease}
		for range rapid.IntRange(1, 40).Draw(t, "entries") {
			period := periods[rapid.IntRange(0, 2).Draw(t, "period")].ID
			if price := rapid.IntRange(-20, 20).Draw(t, "price"); price > 0 {
				before := *b
				postings, err := Spend(b, steps.Points(price), periods, steps.Day(rapid.IntRange(0, 25).Draw(t, "today")))
				if err != nil {
					continue
				}
				post(&steps.Entry{Kind: steps.EntryExchange, Postings: postings})
				if price%2 == 0 {
					post(&steps.Entry{Kind: steps.EntryRefund, Postings: Reverse(postings)})
					if before.Available() != b.Available() || before.Of(period) != b.Of(period) {
						t.Fatalf("%v became %v through an exchange and its refund", before, *b)
					}
				}
				continue
			}
			r := request(rapid.SampledFrom(kinds).Draw(t, "kind"), steps.Points(rapid.IntRange(-9, 30).Draw(t, "points")))
			r.Period = period
			if e, err := New(&r); err == nil {
				post(e)
			}
		}
		if totals.Sum() != 0 || totals[steps.AccountAvailable] != b.Available() || totals[steps.AccountPending] != b.Pending() {
			t.Fatalf("balance %v, all accounts %v", *b, totals)
		}
		for _, p := range b.Periods {
			if p.Available < 0 || p.Pending < 0 || p.Available+p.Pending == 0 {
				t.Fatalf("balance %v", *b)
			}
		}
	})
}

func TestExpire(t *testing.T) {
	b := balanceOf(steps.PeriodBalance{Period: "a", Available: 5, Pending: 3}, steps.PeriodBalance{Period: "b", Pending: 2})
	p, ok := Expire(b, "a")
	if want := (steps.Posting{From: steps.AccountAvailable, To: steps.AccountExpired, Period: "a", Points: 5}); !ok || p != want {
		t.Errorf("%v, %t; want %v", p, ok, want)
	}
	for _, id := range []steps.PeriodID{"b", "c"} {
		if p, ok := Expire(b, id); ok {
			t.Errorf("of %s expire %v", id, p)
		}
	}
}
