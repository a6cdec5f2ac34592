package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ayumi/admin"
	"ayumi/registry"
	"ayumi/steps"
)

// programme is a ward's year from uploads to expiry: real people's steps, two point periods, and a
// gateway that is started again whenever the calendar is to have moved on, which the rules' dates do.
type programme struct {
	t     *testing.T
	dir   string
	today steps.Day
	g     *testGateway
	days  map[personDay]walked // what everybody walked and earned
	late  *walker              // somebody whose data come late
}

// newProgramme is one whose day does not change while the test runs.
func newProgramme(t *testing.T) *programme {
	t.Helper()
	p := &programme{t: t, dir: t.TempDir()}
	cal, err := steps.NewCalendar("Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	p.today = cal.Day(time.Now().Unix())
	if _, end := cal.Bounds(p.today); time.Until(time.Unix(end, 0)) < 3*time.Minute {
		t.Skip("the day would change on the way")
	}
	return p
}

// The periods: the days before split earn "old" points, the others "new" ones.
func (p *programme) split() steps.Day      { return p.today - 14 }
func (p *programme) old() steps.PeriodID   { return steps.PeriodID("old@" + (p.today - 60).String()) }
func (p *programme) fresh() steps.PeriodID { return steps.PeriodID("new@" + p.split().String()) }

// serve starts the gateway on rules with the given dates; days after their grace, and those that are
// finalAfter days old, are due.
func (p *programme) serve(grace, expires steps.Day, finalAfter int) {
	p.t.Helper()
	if p.g != nil {
		p.g.stop()
	}
	text := fmt.Sprintf("programme: ward\nperiods:\n"+
		"  - {name: old, from: %s, until: %s, grace: %s, expires: %s}\n  - {name: new, from: %s, until: %s}\n"+
		"rule_sets:\n  - effective: 2000-01-01\n    bands:\n      - tiers:\n", p.today-60, p.split()-1, grace, expires, p.split(), p.today+30)
	for i := 1; i <= 5; i++ {
		text += fmt.Sprintf("          - {steps: %d, points: %d}\n", 2000*i, i)
	}
	cfg := testConfig()
	cfg.Points.CloseAfterStart, cfg.Plausibility.HoldSevere = 0, true
	cfg.Programme.Rules, cfg.Points.FinalAfterDays = wrote(p.t, "rules.yaml", []byte(text)), finalAfter
	p.g = startGateway(p.t, cfg, p.dir)
}

// await waits until a metric has come to a value.
func await(t *testing.T, g *testGateway, name string, value float64) {
	t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(toolPatience); metric(t, g, name) != value; <-look.C {
		if time.Now().After(end) {
			t.Fatalf("%s is %v, not %v", name, metric(t, g, name), value)
		}
	}
}

// walk uploads a whole day's steps of the one who is late.
func (p *programme) walk(seq int, day steps.Day, n int) {
	p.t.Helper()
	body := fmt.Sprintf(`{"boot":1,"seq":%d,"series":[{"start":"%sT00:00:00+09:00","interval_s":86400,"steps":[%d]}]}`, seq, day, n)
	if status, _, text := request(p.t, p.g, p.late, http.Header{"Content-Type": {"application/json"}}, []byte(body)); status != http.StatusOK {
		p.t.Fatalf("%d %s", status, text)
	}
}

// balances reads what everybody has, and checks each against its ledger.
func (p *programme) balances() map[steps.ParticipantID]admin.Balance {
	p.t.Helper()
	all := map[steps.ParticipantID]admin.Balance{}
	err := p.g.client.EachBalance(p.t.Context(), func(b *admin.Balance) error {
		all[b.Participant] = *b
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	for id, b := range all {
		addsUp(p.t, p.g.client, id, &b)
	}
	return all
}

// addsUp compares a balance with the sum of the participant's entries.
func addsUp(t *testing.T, c *admin.Client, id steps.ParticipantID, b *admin.Balance) {
	t.Helper()
	sum := map[string]steps.Points{}
	err := c.EachEntry(t.Context(), id, func(e *admin.Entry) error {
		for _, m := range e.Postings {
			sum[m.From] -= m.Points
			sum[m.To] += m.Points
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if sum["provisional"] != b.Provisional || sum["available"] != b.Available || sum["pending"] != b.Pending {
		t.Errorf("%s has %d, %d, %d; the entries add up to %v", id, b.Provisional, b.Available, b.Pending, sum)
	}
}

// of is what a balance has available of a period.
func of(b admin.Balance, id steps.PeriodID) steps.Points {
	for _, p := range b.Periods {
		if p.Period == id {
			return p.Available
		}
	}
	return 0
}

// TestLedgerFromUploadToExpiry goes the whole way of points through the production assembly.
func TestLedgerFromUploadToExpiry(t *testing.T) {
	file := sharedFile(t, "data/fitbit-53894/minuteStepsWide_merged.csv")
	p := newProgramme(t)
	p.serve(p.today+5, p.today+100, 400)
	p.late = enrolWalker(t, p.g, "late", registry.App, false)
	mustVerb(t, "replay", "fitbit-minutes", "--data-dir", p.dir, "--faults", file)
	p.walk(1, p.today-20, 4000)
	p.days = exportDays(t, file, midnight(t, p.today-1))
	p.days[personDay{string(p.late.participant), (p.today - 20).String()}] = walked{4000, 2}
	sameDays(t, readDays(t, p.dir), p.days)

	const finalAfter = 3
	p.serve(p.today-14, p.today+100, finalAfter)
	await(t, p.g, "ayumi_closing_last_closed_day_seconds", float64(p.today-finalAfter-1)*86400)
	p.closedAll(p.today - finalAfter - 1)
	p.lateEarnsNothing()
	p.onePrize()
	p.expires(finalAfter)
	p.g.stop()
}

// closedAll checks the days up to last, which the gateway closed by itself.
func (p *programme) closedAll(last steps.Day) {
	p.t.Helper()
	next := steps.Day(0)
	err := p.g.client.EachClosedDay(p.t.Context(), steps.DayRange{}, func(d *admin.ClosedDay) error {
		period := p.old()
		if d.Day >= p.split() {
			period = p.fresh()
		}
		if next != 0 && d.Day != next || d.State != "closed" || d.By != "ayumi" || d.Period != period {
			p.t.Errorf("after %s: %+v", next-1, d)
		}
		next = d.Day + 1
		return nil
	})
	if err != nil || next != last+1 {
		p.t.Fatalf("closed through %s: %v", next-1, err)
	}
	type holding struct{ provisional, old, fresh steps.Points }
	want := map[steps.ParticipantID]holding{}
	for k, w := range p.days {
		h := want[steps.ParticipantID(k.person)]
		switch day, n := mustDay(p.t, k.day), steps.Points(w.points); {
		case day > last:
			h.provisional += n
		case day >= p.split():
			h.fresh += n
		default:
			h.old += n
		}
		want[steps.ParticipantID(k.person)] = h
	}
	have := p.balances()
	for id, h := range want {
		b := have[id]
		if got := (holding{b.Provisional, of(b, p.old()), of(b, p.fresh())}); got != h {
			p.t.Errorf("%s has %+v, earned %+v", id, got, h)
		}
	}
	if len(have) != len(want) || len(want) < 20 {
		p.t.Errorf("%d balances, %d people", len(have), len(want))
	}
}

func mustDay(t *testing.T, text string) steps.Day {
	t.Helper()
	d, err := steps.ParseDay(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// lateEarnsNothing sends data for a closed day, and has staff correct it.
func (p *programme) lateEarnsNothing() {
	p.t.Helper()
	ctx, day := p.t.Context(), p.today-20
	p.walk(2, day, 12_000)
	var late []admin.LateDay
	err := p.g.client.EachLate(ctx, steps.LateFilter{Undecided: true}, func(l *admin.LateDay) error { late = append(late, *l); return nil })
	if err != nil || len(late) != 1 || late[0].Participant != p.late.participant || late[0].Day != day ||
		late[0].Steps != 12_000 || late[0].Points != 5 || late[0].Final != 2 {
		p.t.Fatalf("late: %+v %v", late, err)
	}
	available := func() steps.Points {
		b, err := p.g.client.Balance(ctx, p.late.participant)
		if err != nil {
			p.t.Fatal(err)
		}
		return b.Available
	}
	if n := available(); n != 2 {
		p.t.Errorf("late data earned: %d points are available", n)
	}
	correct := []string{"points", "late", "correct", "--data-dir", p.dir, string(p.late.participant), day.String(), "--reason", "in hospital", "--by", "desk"}
	mustVerb(p.t, correct...)
	if n := available(); n != 5 {
		p.t.Errorf("corrected: %d points are available", n)
	}
	if _, errs, status := verb(p.t, correct...); status != 1 || !strings.Contains(errs, "has no late data") {
		p.t.Errorf("corrected again: %d %s", status, errs)
	}
}

// onePrize has twenty people ask for the only towel at once.
func (p *programme) onePrize() {
	p.t.Helper()
	ctx, c := p.t.Context(), p.g.client
	const price, clients = 3, 20
	if _, err := c.PutPrize(ctx, admin.Prize{ID: "towel", NameJA: "手ぬぐい", NameEN: "towel", Price: price, Stock: 1}); err != nil {
		p.t.Fatal(err)
	}
	before := p.balances()
	var people []steps.ParticipantID
	for _, id := range sortedKeys(before) {
		if before[id].Spendable >= price && len(people) < clients {
			people = append(people, id)
		}
	}
	if len(people) < clients {
		p.t.Fatalf("only %d people can pay", len(people))
	}
	asked := make([]admin.ExchangeRequest, clients)
	got, errs := make([]admin.Exchange, clients), make([]error, clients)
	var all sync.WaitGroup
	for i, id := range people {
		asked[i] = admin.ExchangeRequest{Participant: id, Key: "towel-please", Prize: "towel", Price: price}
		all.Go(func() { got[i], errs[i] = askAlone(ctx, p.dir, asked[i]) })
	}
	all.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner < 0:
			winner = i
		case err == nil:
			p.t.Errorf("the towel was given twice: %+v and %+v", got[winner], got[i])
		case steps.KindOf(err) != steps.Conflict || !strings.Contains(err.Error(), "out of stock"):
			p.t.Errorf("%s: %v", people[i], err)
		}
	}
	if winner < 0 {
		p.t.Fatal("nobody got the towel")
	}
	again, err := c.Exchange(ctx, asked[winner])
	if err != nil || again != got[winner] {
		p.t.Errorf("the same request again: %+v %v, want %+v", again, err, got[winner])
	}
	p.giveBack(got[winner], before)
}

// askAlone asks for a prize as a client of its own.
func askAlone(ctx context.Context, dir string, r admin.ExchangeRequest) (x admin.Exchange, err error) {
	c, err := admin.Dial(dir)
	if err != nil {
		return x, err
	}
	defer func() { _ = c.Close() }() // frees idle connections only
	return c.Exchange(ctx, r)
}

// giveBack checks that one exchange was paid for, and cancels it.
func (p *programme) giveBack(x admin.Exchange, before map[steps.ParticipantID]admin.Balance) {
	p.t.Helper()
	ctx, c := p.t.Context(), p.g.client
	after := p.balances()
	for id, b := range before {
		paid := steps.Points(0)
		if id == x.Participant {
			paid = x.Price
		}
		if after[id].Available != b.Available-paid {
			p.t.Errorf("%s had %d points and has %d", id, b.Available, after[id].Available)
		}
	}
	had, has := of(before[x.Participant], p.old()), of(after[x.Participant], p.old())
	if has != had-min(had, x.Price) {
		p.t.Errorf("points that expire first are taken first: %d of %d are left", has, had)
	}
	if _, err := c.Cancel(ctx, x.ID, "desk", "moved away"); err != nil {
		p.t.Fatal(err)
	}
	back := p.balances()
	for id, b := range before {
		if !slices.EqualFunc(back[id].Periods, b.Periods, func(a, b admin.PeriodBalance) bool {
			return a.Period == b.Period && a.Available == b.Available && a.Pending == b.Pending
		}) {
			p.t.Errorf("%s had %+v and has %+v", id, b.Periods, back[id].Periods)
		}
	}
	towel, err := findPrize(ctx, c, "towel")
	if err != nil || towel.Taken != 0 || *towel.Left != 1 {
		p.t.Errorf("the towel is not back: %+v %v", towel, err)
	}
	exchanges := 0
	err = c.EachExchange(ctx, steps.ExchangeFilter{}, func(*admin.Exchange) error { exchanges++; return nil })
	if err != nil || exchanges != 1 {
		p.t.Errorf("%d exchanges, %v", exchanges, err)
	}
}

// expires starts the gateway when the old period's points were good until yesterday.
func (p *programme) expires(finalAfter int) {
	p.t.Helper()
	before := p.balances()
	var old, available steps.Points
	for _, b := range before {
		old += of(b, p.old())
		available += b.Available
	}
	p.serve(p.today-14, p.today-1, finalAfter)
	await(p.t, p.g, "ayumi_closing_expired_points_total", float64(old))
	for id, b := range p.balances() {
		was := before[id]
		if of(b, p.old()) != 0 || of(b, p.fresh()) != of(was, p.fresh()) || b.Provisional != was.Provisional {
			p.t.Errorf("%s had %+v and has %+v", id, was, b)
		}
	}
	t, err := p.g.client.Totals(p.t.Context())
	if err != nil || t.Sum != 0 || t.Expired != old || t.Available != available-old || t.Spent != 0 || old == 0 {
		p.t.Errorf("totals %+v %v; %d were to expire", t, err, old)
	}
	if rows, err := csv.NewReader(strings.NewReader(mustVerb(p.t, "points", "statement", "--data-dir", p.dir,
		string(p.late.participant), "--output", "csv"))).ReadAll(); err != nil || len(rows) != 5 || rows[4][1] != "expiry" || rows[4][7] != "5" {
		p.t.Errorf("statement %q %v", rows, err)
	}
}

// TestActivityEarns records a checkup, whose points are provisional, closes its day, and takes it back too
// late.
func TestActivityEarns(t *testing.T) {
	cfg := testConfig()
	cfg.Programme.Rules = wrote(t, "rules.yaml", []byte("programme: checkups\nrule_sets:\n  - effective: 2000-01-01\n    rules:\n"+
		"      - name: checkup\n        activity: {kinds: [checkup], points: 100, once: month}\n"))
	g := startGateway(t, cfg, t.TempDir())
	ctx, c := t.Context(), g.client
	if _, err := c.AddParticipant(ctx, "p-1", nil); err != nil {
		t.Fatal(err)
	}
	yesterday := today(t, c) - 1
	pd := steps.ParticipantDay{Participant: "p-1", Day: yesterday}
	for range 2 { // once counts
		if a, err := c.AddActivity(ctx, pd, "checkup", 1, "desk"); err != nil || !a.Counts {
			t.Fatalf("%+v %v", a, err)
		}
	}
	has := func(provisional, available steps.Points) {
		t.Helper()
		b, err := c.Balance(ctx, "p-1")
		if err != nil || b.Provisional != provisional || b.Available != available {
			t.Errorf("%+v %v, want %d provisional and %d available", b, err, provisional, available)
		}
		addsUp(t, c, "p-1", &b)
	}
	has(100, 0)
	if _, err := c.CancelActivity(ctx, pd, "checkup", "desk", "of another person"); err != nil {
		t.Fatal(err)
	}
	has(0, 0)
	if _, err := c.AddActivity(ctx, pd, "checkup", 1, "desk"); err != nil {
		t.Fatal(err)
	}
	days, err := c.CloseDays(ctx, admin.CloseRequest{Through: &yesterday, Early: true, By: "desk"})
	if err != nil || len(days) != 1 || days[0].Points != 100 {
		t.Fatalf("%+v %v", days, err)
	}
	has(0, 100)
	if _, err := c.CancelActivity(ctx, pd, "checkup", "desk", "of another person after all"); err != nil {
		t.Fatal(err)
	}
	has(0, 100)
	mustVerb(t, "points", "late", "correct", "--data-dir", g.dir, "p-1", yesterday.String(), "--reason", "of another person", "--by", "desk")
	has(0, 0)
}
