package admin

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ayumi/steps"
)

var (
	oldYear = steps.Period{ID: "2025", Days: steps.DayRange{From: steps.DateDay(2025, 4, 1), Until: steps.DateDay(2026, 3, 31)}, Expires: today - 1}
	year    = steps.Period{ID: "2026", Days: steps.DayRange{From: steps.DateDay(2026, 4, 1), Until: steps.DateDay(2027, 3, 31)}, Expires: today}
)

// desk is a bench with two participants and the periods above.
func desk(t *testing.T) *bench {
	t.Helper()
	b := start(t, t.TempDir(), nil)
	b.periods = []steps.Period{oldYear, year}
	for _, p := range []steps.ParticipantID{"p1", "p2"} {
		_, err := b.c.AddParticipant(context.Background(), p, nil)
		must(t, err)
	}
	return b
}

// same compares what arrived with what was expected, pointers followed.
func same(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestBalances(t *testing.T) {
	ctx := context.Background()
	b := desk(t)
	settled := 0
	b.settle = func(context.Context) error { settled++; return nil }
	b.balances = []steps.Balance{
		{Participant: "p1", Provisional: 4, Entries: 9, Periods: []steps.PeriodBalance{
			{Period: "2025", Available: 10, Pending: 1}, {Period: "2026", Available: 20, Pending: 2}, {Period: "gone", Available: 40},
		}},
		{Participant: "p2", Provisional: 1},
	}
	got, err := b.c.Balance(ctx, "p1")
	must(t, err)
	expires := today - 1
	same(t, got, Balance{Participant: "p1", Provisional: 4, Available: 70, Pending: 3, Spendable: 20, Entries: 9, Periods: []PeriodBalance{
		{Period: "2025", From: &oldYear.Days.From, Until: &oldYear.Days.Until, Expires: &expires, Available: 10, Pending: 1},
		{Period: "2026", From: &year.Days.From, Until: &year.Days.Until, Expires: &year.Expires, Spendable: true, Available: 20, Pending: 2},
		{Period: "gone", Available: 40},
	}})
	_, err = b.c.Balance(ctx, "misspelt")
	wantError(t, err, steps.NotFound, `participant "misspelt" is not registered; check the ID`)
	var all []string
	must(t, b.c.EachBalance(ctx, func(x *Balance) error {
		all = append(all, fmt.Sprintf("%s %d %d", x.Participant, x.Provisional, x.Available))
		return nil
	}))
	if !slices.Equal(all, []string{"p1 4 70", "p2 1 0"}) || settled != 2 {
		t.Errorf("%q, settled %d times", all, settled)
	}
	b.trial = steps.Totals{0, 5, 3, 70, -90, 8, 4}
	totals, err := b.c.Totals(ctx)
	must(t, err)
	same(t, totals, Totals{Provisional: 5, Pending: 3, Available: 70, Issued: -90, Spent: 8, Expired: 4})
}

func TestStatement(t *testing.T) {
	b := desk(t)
	b.lines = []steps.Entry{
		{Kind: steps.EntryAward, At: now.Unix(), Day: today - 9, Steps: 8000, RuleSet: "r@1",
			Postings: []steps.Posting{{From: steps.AccountIssued, To: steps.AccountProvisional, Points: 4}}},
		{Kind: steps.EntryExchange, Seq: 2, At: now.Unix(), Key: "k", Exchange: 5, By: "desk",
			Postings: []steps.Posting{{From: steps.AccountAvailable, To: steps.AccountSpent, Period: "2026", Points: 3}}},
	}
	var got []Entry
	must(t, b.c.EachEntry(context.Background(), "p1", func(e *Entry) error { got = append(got, *e); return nil }))
	day := today - 9
	same(t, got, []Entry{
		{At: now, Kind: "award", Day: &day, Steps: 8000, RuleSet: "r@1", Postings: []Posting{{"issued", "provisional", "", 4}}},
		{At: now, Kind: "exchange", Seq: 2, Key: "k", Exchange: 5, By: "desk", Postings: []Posting{{"available", "spent", "2026", 3}}},
	})
	err := b.c.EachEntry(context.Background(), "nix", func(*Entry) error { return nil })
	wantError(t, err, steps.NotFound, "nix")
}

func TestEntriesFindTheirPeriod(t *testing.T) {
	ctx := context.Background()
	b := desk(t)
	b.closed = []steps.ClosedDay{{Day: today - 300, Period: "2025"}}
	b.have = []steps.PeriodBalance{{Period: "gone", Available: 1}}
	day := today - 300
	for name, tc := range map[string]struct {
		in   EntryRequest
		want steps.EntryRequest
	}{
		"bonus, today's period": {EntryRequest{Kind: "bonus", Points: 5},
			steps.EntryRequest{Kind: steps.EntryBonus, Points: 5, Period: "2026"}},
		"hold of a period that is gone": {EntryRequest{Kind: "hold", Points: 5, Period: "gone"},
			steps.EntryRequest{Kind: steps.EntryHold, Points: 5, Period: "gone"}},
		"release": {EntryRequest{Kind: "release", Points: 5, Period: "2025"},
			steps.EntryRequest{Kind: steps.EntryRelease, Points: 5, Period: "2025"}},
		"correction of a day": {EntryRequest{Kind: "correction", Points: -5, Day: &day},
			steps.EntryRequest{Kind: steps.EntryCorrection, Account: steps.AccountAvailable, Points: -5, Day: day, Period: "2025"}},
		"correction of pending points": {EntryRequest{Kind: "correction", Points: 5, Account: "pending"},
			steps.EntryRequest{Kind: steps.EntryCorrection, Account: steps.AccountPending, Points: 5, Period: "2026"}},
	} {
		t.Run(name, func(t *testing.T) {
			b.posted = nil
			tc.in.Key, tc.in.By, tc.in.Reason = "k-1", " desk ", " why "
			tc.want.Participant, tc.want.Key, tc.want.By, tc.want.Reason = "p1", "k-1", "desk", "why"
			e, err := b.c.PostEntry(ctx, "p1", tc.in)
			must(t, err)
			same(t, b.posted, []steps.EntryRequest{tc.want})
			if e.Seq != 7 || e.Key != "k-1" || e.Kind != tc.in.Kind {
				t.Errorf("%+v", e)
			}
		})
	}
}

// refusal is a request that must be refused before anything is changed.
type refusal struct {
	method, path, body string
	kind               steps.Kind
	text               string
}

func (b *bench) refuse(t *testing.T, all map[string]refusal) {
	t.Helper()
	b.err = steps.Errorf("reach the books", steps.Internal, "this should not have come so far")
	for name, tc := range all {
		t.Run(name, func(t *testing.T) {
			resp, err := b.c.do(context.Background(), tc.method, tc.path, typeJSON, strings.NewReader(tc.body))
			if err == nil {
				_ = resp.Body.Close()
			}
			wantError(t, err, tc.kind, tc.text)
		})
	}
}

func TestEntriesAreReadStrictly(t *testing.T) {
	const path = "/v1/participants/p1/entries"
	desk(t).refuse(t, map[string]refusal{
		"nobody":          {"POST", "/v1/participants/nix/entries", `{}`, steps.NotFound, "check the ID"},
		"unknown field":   {"POST", path, `{"amount":5}`, steps.Invalid, `unknown field "amount"`},
		"too long":        {"POST", path, `{"reason":"` + strings.Repeat("x", maxBody) + `"}`, steps.Invalid, "too large"},
		"unknown kind":    {"POST", path, `{"kind":"award"}`, steps.Invalid, `kind is "award"; use one of bonus, correction, hold, release`},
		"no key":          {"POST", path, `{"kind":"bonus","points":5}`, steps.Invalid, "key is empty; choose one"},
		"bad key":         {"POST", path, `{"kind":"bonus","points":5,"key":"a b"}`, steps.Invalid, "use letters, digits"},
		"nobody decides":  {"POST", path, `{"kind":"bonus","points":5,"key":"k","reason":"r","by":" "}`, steps.Invalid, "by is empty"},
		"no reason":       {"POST", path, `{"kind":"bonus","points":5,"key":"k","by":"b"}`, steps.Invalid, "reason is empty"},
		"a long name":     {"POST", path, `{"kind":"bonus","points":5,"key":"k","reason":"r","by":"` + strings.Repeat("x", 201) + `"}`, steps.Invalid, "by has more than 200 bytes"},
		"a long reason":   {"POST", path, `{"kind":"bonus","points":5,"key":"k","by":"b","reason":"` + strings.Repeat("x", 1001) + `"}`, steps.Invalid, "reason has more than 1000 bytes"},
		"negative bonus":  {"POST", path, `{"kind":"bonus","points":-5,"key":"k","by":"b","reason":"r"}`, steps.Invalid, "points is -5; a bonus moves 1 to"},
		"no points":       {"POST", path, `{"kind":"correction","key":"k","by":"b","reason":"r"}`, steps.Invalid, "points is 0"},
		"too many points": {"POST", path, `{"kind":"correction","points":-1099511627777,"key":"k","by":"b","reason":"r"}`, steps.Invalid, "points is -1099511627777"},
		"day of a hold":   {"POST", path, `{"kind":"hold","points":1,"day":"2026-11-01","key":"k","by":"b","reason":"r"}`, steps.Invalid, "day and account are for corrections"},
		"bad account":     {"POST", path, `{"kind":"correction","points":1,"account":"spent","key":"k","by":"b","reason":"r"}`, steps.Invalid, `account is "spent"; use available or pending`},
		"unknown period":  {"POST", path, `{"kind":"bonus","points":1,"period":"2031","key":"k","by":"b","reason":"r"}`, steps.NotFound, `no point period "2031"`},
		"an open day":     {"POST", path, `{"kind":"correction","points":1,"day":"2026-11-20","key":"k","by":"b","reason":"r"}`, steps.Conflict, "day: 2026-11-20 is not closed"},
	})
}

func TestClosedDaysAndPeriods(t *testing.T) {
	ctx := context.Background()
	b := desk(t)
	b.closed = []steps.ClosedDay{{Day: today - 9, State: steps.DayClosed, Period: "2026", At: now.Unix(), By: "ayumi", Participants: 3, Points: 30, Held: 5},
		{Day: today - 8, State: steps.DayClosing, Period: "2026", At: now.Unix()}}
	var got []ClosedDay
	must(t, b.c.EachClosedDay(ctx, steps.DayRange{Until: today - 9}, func(d *ClosedDay) error { got = append(got, *d); return nil }))
	same(t, got, []ClosedDay{{today - 9, "closed", "2026", now, "ayumi", 3, 30, 5}})
	day := today - 7
	days, err := b.c.CloseDays(ctx, CloseRequest{Day: &day, By: "desk", Early: true})
	must(t, err)
	same(t, days, []ClosedDay{{day, "closed", "2026", now, "desk", 2, 9, 1}})
	days, err = b.c.CloseDays(ctx, CloseRequest{Through: &day, By: "desk"})
	must(t, err)
	if len(days) != 2 || days[1].Day != day {
		t.Errorf("%+v", days)
	}
	same(t, b.asked, []closeAsked{{day, "desk", true, false}, {day, "desk", false, true}})
	b.have = []steps.PeriodBalance{{Period: "2025", Pending: 3}, {Period: "gone", Available: 2}}
	var periods []string
	must(t, b.c.EachPeriod(ctx, func(p *PeriodBalance) error {
		periods = append(periods, fmt.Sprintf("%s %d %d %t", p.Period, p.Available, p.Pending, p.Spendable))
		return nil
	}))
	if !slices.Equal(periods, []string{"2026 0 0 true", "2025 0 3 false", "gone 2 0 false"}) {
		t.Errorf("periods %q", periods)
	}
	done, err := b.c.Expire(ctx, "spring@2026-04-01")
	must(t, err)
	if done != (Expiry{3, 40}) || b.expired[0] != "spring@2026-04-01" {
		t.Errorf("%+v of %q", done, b.expired)
	}
	b.refuse(t, map[string]refusal{
		"nobody closes":        {"POST", "/v1/closed", `{"day":"2026-11-01"}`, steps.Invalid, "by is empty"},
		"nothing to close":     {"POST", "/v1/closed", `{"by":"b"}`, steps.Invalid, "give either day or through"},
		"both":                 {"POST", "/v1/closed", `{"by":"b","day":"2026-11-01","through":"2026-11-01"}`, steps.Invalid, "give either day or through"},
		"unknown field":        {"POST", "/v1/closed", `{"by":"b","date":"2026-11-01"}`, steps.Invalid, "unknown field"},
		"expiry with a body":   {"POST", "/v1/periods/2025/expire", `{"by":"b"}`, steps.Invalid, "unknown field"},
		"range without a day":  {"GET", "/v1/closed?from=2026-11-02&to=2026-11-01", "", steps.Invalid, "holds no day"},
		"unknown parameter":    {"GET", "/v1/balances?participant=p1", "", steps.Invalid, "there is no parameter"},
		"parameter of periods": {"GET", "/v1/periods?from=2026-11-01", "", steps.Invalid, "there is no parameter"},
	})
}

func TestLateDays(t *testing.T) {
	ctx := context.Background()
	b := desk(t)
	pd := steps.ParticipantDay{Participant: "p1", Day: today - 9}
	b.late = []steps.LateDay{{ParticipantDay: pd, At: now.Unix(), Steps: 9000, Points: 6, Final: 4, RuleSet: "r@1"},
		{ParticipantDay: steps.ParticipantDay{Participant: "p2", Day: today - 9}}}
	want := LateDay{Participant: "p1", Day: today - 9, NotedAt: now, Steps: 9000, Points: 6, Final: 4, RuleSet: "r@1", State: "open"}
	read := func(f steps.LateFilter) (got []LateDay) {
		t.Helper()
		must(t, b.c.EachLate(ctx, f, func(l *LateDay) error { got = append(got, *l); return nil }))
		return got
	}
	same(t, read(steps.LateFilter{Participant: "p1"}), []LateDay{want})
	got, err := b.c.DiscardLate(ctx, pd, "desk", "walked by the dog")
	must(t, err)
	want.State, want.Decision = "discarded", &Decision{now, "desk", "walked by the dog"}
	same(t, got, want)
	if left := read(steps.LateFilter{Undecided: true}); len(left) != 1 || left[0].Participant != "p2" {
		t.Errorf("undecided %+v", left)
	}
	if all := read(steps.LateFilter{Days: steps.DayRange{From: today}}); len(all) != 0 {
		t.Errorf("narrowed %+v", all)
	}
	_, err = b.c.DiscardLate(ctx, steps.ParticipantDay{Participant: "p1", Day: today}, "desk", "none")
	wantError(t, err, steps.NotFound, "there is none")
	b.refuse(t, map[string]refusal{
		"no day":    {"POST", "/v1/late/discard", `{"participant":"p1","by":"b","reason":"r"}`, steps.Invalid, "day is missing"},
		"no one":    {"POST", "/v1/late/discard", `{"day":"2026-11-01","by":"b","reason":"r"}`, steps.Invalid, "id has 0 bytes"},
		"no reason": {"POST", "/v1/late/discard", `{"participant":"p1","day":"2026-11-01","by":"b"}`, steps.Invalid, "reason is empty"},
		"misspelt":  {"GET", "/v1/late?participant=p9", "", steps.NotFound, "p9"},
		"bad flag":  {"GET", "/v1/late?undecided=perhaps", "", steps.Invalid, "use true or false"},
	})
}
