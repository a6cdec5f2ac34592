package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// upload reports n steps for a participant's day, as a device that corrects what it said before does.
func (r *running) upload(p steps.ParticipantID, day steps.Day, revision uint64, n uint32) {
	r.t.Helper()
	run := minutes(string(p), "d-"+string(p), revision, 0, n)
	run.Day = day
	if err := r.append(payload(run)); err != nil {
		r.t.Fatal(err)
	}
}

// perThousand scores a point a thousand steps.
func perThousand(n uint64) steps.Points { return steps.Points(n / 1000) }

// score does what the points engine does until nothing is dirty.
func (r *running) score(ruleSet string, points func(uint64) steps.Points) {
	r.t.Helper()
	for {
		days, err := dirtyDays(r.Store, pieceKeys)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(days) == 0 {
			return
		}
		var awards []steps.Award
		for _, d := range days {
			awards = append(awards, d.award(points(d.Steps), ruleSet))
		}
		if err := r.PutAwards(context.Background(), awards); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *running) closeDay(day steps.Day, held ...steps.ParticipantID) steps.ClosedDay {
	r.t.Helper()
	closed, err := r.CloseDay(context.Background(), steps.CloseRequest{Day: day, Period: "2026", By: "test",
		Held: func(p steps.ParticipantID) bool { return slices.Contains(held, p) }})
	if err != nil {
		r.t.Fatal(err)
	}
	return closed
}

func (r *running) post(p steps.ParticipantID, key steps.RequestKey, kind steps.EntryKind, n steps.Points) {
	r.t.Helper()
	req := steps.EntryRequest{Participant: p, Key: key, Kind: kind, Period: "2026", Points: n, Reason: "why", By: "me"}
	if kind == steps.EntryCorrection {
		req.Account = steps.AccountAvailable
	}
	if _, err := r.Post(context.Background(), req); err != nil {
		r.t.Fatal(err)
	}
}

// wants compares a balance, and the ledger's lines added up, with what is expected.
func (r *running) wants(p steps.ParticipantID, provisional, pending, available steps.Points) {
	r.t.Helper()
	b, err := r.Balance(p)
	if err != nil {
		r.t.Fatal(err)
	}
	if b.Provisional != provisional || b.Pending() != pending || b.Available() != available {
		r.t.Errorf("%s has %d provisional, %d pending, %d available; want %d, %d, %d", p,
			b.Provisional, b.Pending(), b.Available(), provisional, pending, available)
	}
	if sum := r.statement(p); sum[steps.AccountProvisional] != provisional ||
		sum[steps.AccountPending] != pending || sum[steps.AccountAvailable] != available {
		r.t.Errorf("the ledger of %s adds up to %v", p, sum)
	}
}

// statement adds up a participant's ledger line by line, and verifies that no account becomes negative on
// the way.
func (r *running) statement(p steps.ParticipantID) (sum steps.Totals) {
	r.t.Helper()
	at := int64(0)
	for _, e := range r.lines(p) {
		if e.At < at {
			r.t.Errorf("%s at %d follows %d", e.Kind, e.At, at)
		}
		at = e.At
		for _, posting := range e.Postings {
			sum.Move(posting)
		}
		if sum[steps.AccountProvisional] < 0 || sum[steps.AccountPending] < 0 || sum[steps.AccountAvailable] < 0 {
			r.t.Errorf("after %s %d the accounts of %s are %v", e.Kind, e.Seq, p, sum)
		}
	}
	return sum
}

func (r *running) lines(p steps.ParticipantID) (lines []steps.Entry) {
	r.t.Helper()
	err := r.EachEntry(context.Background(), p, func(e steps.Entry) error {
		lines = append(lines, e)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return lines
}

func (r *running) lateDays(f steps.LateFilter) (late []steps.LateDay) {
	r.t.Helper()
	err := r.EachLate(context.Background(), f, func(l steps.LateDay) error {
		late = append(late, l)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return late
}

func refused(t *testing.T, what string, err error, kind steps.Kind, message string) {
	t.Helper()
	if err == nil || steps.KindOf(err) != kind || !strings.Contains(err.Error(), message) {
		t.Errorf("%s: %v; want %v with %q", what, err, kind, message)
	}
}

func TestPageOfADay(t *testing.T) {
	r := start(t, testConfig(t.TempDir()))
	r.upload("p", day0, 1, 500)
	r.score("x@1", perThousand)
	if lines := r.lines("p"); len(lines) != 0 {
		t.Errorf("a day without points has the lines %v", lines)
	}
	r.upload("p", day0, 2, 3000)
	r.score("x@1", perThousand)
	r.upload("p", day0, 3, 3900) // no point more
	r.score("x@1", perThousand)
	r.upload("p", day0, 4, 2100) // corrected downwards
	r.score("x@1", perThousand)
	r.upload("p", day0, 5, 2200) // the same points by other rules
	r.score("x@2", perThousand)
	type line struct {
		kind    steps.EntryKind
		points  steps.Points
		steps   uint64
		ruleSet string
	}
	want := []line{
		{steps.EntryAward, 3, 3000, "x@1"}, {steps.EntryAdjustment, -1, 2100, "x@1"}, {steps.EntryAdjustment, 0, 2200, "x@2"},
	}
	var got []line
	for _, e := range r.lines("p") {
		l := line{kind: e.Kind, steps: e.Steps, ruleSet: e.RuleSet}
		for _, p := range e.Postings {
			l.points += p.Points
			if p.To == steps.AccountIssued {
				l.points -= 2 * p.Points
			}
		}
		got = append(got, l)
	}
	if !slices.Equal(got, want) {
		t.Errorf("lines %v; want %v", got, want)
	}
	r.wants("p", 2, 0, 0)
	err := r.EachDay(context.Background(), steps.DayRange{}, "p", func(a steps.Award) error {
		if a.Steps != 2200 || a.Points != 2 || a.RuleSet != "x@2" {
			t.Errorf("the award is %+v", a)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	refused(t, "a negative award", r.PutAwards(context.Background(), []steps.Award{
		{ParticipantDay: steps.ParticipantDay{Participant: "p", Day: day0}, Points: -1},
	}), steps.Invalid, "-1 points")
}

// TestPageIsBounded lets points go up and down for longer than a page holds.
func TestPageIsBounded(t *testing.T) {
	r := start(t, testConfig(t.TempDir()))
	const n = 3*pageLines + 5
	for i := range uint64(n) {
		r.upload("p", day0, i+1, uint32(1000+1000*(i%3)))
		r.score("x@1", perThousand)
	}
	lines := r.lines("p")
	if len(lines) > pageLines || len(lines) < linesPerCut {
		t.Errorf("a page of %d lines", len(lines))
	}
	if lines[0].Kind != steps.EntryCarried {
		t.Errorf("the first line is %s", lines[0].Kind)
	}
	r.wants("p", steps.Points(1+(n-1)%3), 0, 0)
	pg, _, err := r.pageOf(steps.ParticipantDay{Participant: "p", Day: day0})
	if err != nil {
		t.Fatal(err)
	}
	summed := uint64(len(pg.lines)) - 1 + pg.lines[0].number
	if summed != n {
		t.Errorf("the page stands for %d lines; there were %d", summed, n)
	}
}

// TestLongPagesAreSplit rewrites more pages than a transaction could hold when all of them are long.
func TestLongPagesAreSplit(t *testing.T) {
	r := start(t, testConfig(t.TempDir()))
	const n, rounds = 200, 20
	r.uploadMany(n, day0, 5000)
	awards := make([]steps.Award, n)
	for i := range steps.Points(rounds) {
		for j := range awards {
			awards[j] = steps.Award{ParticipantDay: steps.ParticipantDay{Participant: many(j), Day: day0}, Steps: 5000,
				Points: i % 2, RuleSet: strings.Repeat("x", 1000+int(i%3))}
		}
		if err := r.PutAwards(context.Background(), awards); err != nil {
			t.Fatal(err)
		}
	}
	r.wants(many(n-1), (rounds-1)%2, 0, 0)
}

func (r *running) pageOf(pd steps.ParticipantDay) (p page, found bool, err error) {
	err = r.db.View(func(txn *badger.Txn) error {
		p, found, err = r.page(txn, pd)
		return err
	})
	return p, found, err
}

// setPage changes a page behind the ledger's back, or takes it away.
func (r *running) setPage(txn *badger.Txn, w *writes, pd steps.ParticipantDay, p *page) error {
	sheets := sheetEditor{cursor: r.newSheetCursor(txn), set: w.setSheet}
	defer sheets.cursor.close()
	old, _, err := sheets.page(pd, true)
	if err != nil {
		return err
	}
	if p == nil {
		sheets.drop()
	} else {
		*old = *p
	}
	sheets.keep()
	sheets.finish()
	return nil
}

// many names one of many participants.
func many(i int) steps.ParticipantID { return steps.ParticipantID(fmt.Sprintf("p%06d", i)) }

// uploadMany reports the same steps for many participants.
func (r *running) uploadMany(n int, day steps.Day, count uint32) {
	r.t.Helper()
	for first := 0; first < n; first += 1000 {
		var runs []testRun
		for i := first; i < min(n, first+1000); i++ {
			run := minutes(string(many(i)), "d-"+string(many(i)), 1, 0, count)
			run.Day = day
			runs = append(runs, run)
		}
		if err := r.append(payload(runs...)); err != nil {
			r.t.Fatal(err)
		}
	}
}

func TestPost(t *testing.T) {
	cfg := testConfig(t.TempDir())
	r := start(t, cfg)
	ctx := context.Background()
	bonus := steps.EntryRequest{Participant: "p", Key: "b1", Kind: steps.EntryBonus, Period: "2026", Points: 30, Reason: "walk", By: "me"}
	first, err := r.Post(ctx, bonus)
	if err != nil || first.Seq != 1 {
		t.Fatalf("%+v, %v", first, err)
	}
	r.end()
	r = start(t, cfg)
	again, err := r.Post(ctx, bonus)
	if err != nil || again.Seq != 1 || again.At != first.At {
		t.Errorf("the same request made %+v, %v", again, err)
	}
	other := bonus
	other.Points = 31
	_, err = r.Post(ctx, other)
	refused(t, "another request with the key", err, steps.Conflict, `request key "b1" was used for another entry (bonus, 1)`)
	r.post("q", "b1", steps.EntryBonus, 4) // another participant's key
	r.post("p", "h1", steps.EntryHold, 10)
	r.wants("p", 0, 10, 20)
	r.post("p", "r1", steps.EntryRelease, 4)
	r.post("p", "c1", steps.EntryCorrection, -5)
	r.post("p", "c2", steps.EntryCorrection, 1)
	r.wants("p", 0, 6, 20)
	for _, tc := range []struct {
		name    string
		kind    steps.EntryKind
		account steps.Account
		points  steps.Points
		message string
	}{
		{"holding more than there is", steps.EntryHold, 0, 21, "has 20 available points of the period 2026; 1 are missing"},
		{"releasing more than is held", steps.EntryRelease, 0, 7, "has 6 pending points of the period 2026; 1 are missing"},
		{"taking more than there is", steps.EntryCorrection, steps.AccountAvailable, -25, "5 are missing"},
		{"taking more than is held", steps.EntryCorrection, steps.AccountPending, -8, "2 are missing"},
	} {
		_, err := r.Post(ctx, steps.EntryRequest{Participant: "p", Key: "x", Kind: tc.kind, Account: tc.account, Period: "2026",
			Points: tc.points, Reason: "why", By: "me"})
		refused(t, tc.name, err, steps.Conflict, tc.message)
	}
	_, err = r.Post(ctx, steps.EntryRequest{Participant: "p", Key: "x", Kind: steps.EntryBonus, Period: "2026", Points: 3})
	refused(t, "nobody's bonus", err, steps.Invalid, "reason")
	r.wants("p", 0, 6, 20)
	r.wants("q", 0, 0, 4)
	totals, err := r.Totals(ctx)
	want := steps.Totals{steps.AccountPending: 6, steps.AccountAvailable: 24, steps.AccountIssued: -30}
	if err != nil || totals != want || totals.Sum() != 0 {
		t.Errorf("trial balance %v, %v; want %v", totals, err, want)
	}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 77)) }
