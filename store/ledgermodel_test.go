package store

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"ayumi/steps"
)

// bookkeeper does the same to the store and to the model.
type bookkeeper struct {
	t     *testing.T
	rng   *rand.Rand
	cfg   Config
	r     *running
	m     *book
	rules int
	today steps.Day
	// replayed says that the journal was read again: days wait to be scored that were scored before.
	replayed bool
}

// TestLedgerAgainstModel does random things to the ledger, reopens it and takes it up from the files of a
// killed one, and compares all that can be seen of it with the model.
func TestLedgerAgainstModel(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			k := &bookkeeper{t: t, rng: newRand(seed), cfg: testConfig(t.TempDir()), m: newBook(), today: day0}
			k.r = start(t, k.cfg)
			k.m.stock = 12
			prize := towel(12)
			prize.Price = modelPrice
			k.r.putPrize(prize)
			for range 400 {
				if k.step(); t.Failed() {
					return
				}
			}
			k.compare()
			t.Logf("%d days closed, %d late, %d exchanges, %d requests, %d points expired", len(k.m.closed), len(k.m.late),
				len(k.m.exchanges), len(k.m.requests), k.m.expired)
		})
	}
}

func (k *bookkeeper) step() {
	ctx := context.Background()
	p := many(k.rng.IntN(4))
	day := day0 + steps.Day(k.rng.IntN(modelDays))
	period := periods()[k.rng.IntN(2)].ID
	switch n := k.rng.IntN(40); {
	case n < 14:
		d := bookDay{p, day}
		k.m.revisions[d]++
		k.m.steps[d] = uint64(k.rng.IntN(20)) * 700
		k.m.dirty[d] = true
		k.r.upload(p, day, k.m.revisions[d], uint32(k.m.steps[d]))
	case n < 19:
		k.score()
	case n < 22:
		k.closing(day, period)
	case n < 28:
		k.entry(p, day, period)
	case n < 32:
		key := steps.RequestKey(fmt.Sprint("k", k.rng.IntN(60)))
		request := want(p, key)
		request.Today, request.Price = k.today, modelPrice
		_, err := k.r.Exchange(ctx, request)
		k.same("exchange", err, k.m.exchange(p, key, k.today))
	case n < 34:
		id := k.rng.IntN(len(k.m.exchanges) + 2)
		state := []steps.ExchangeState{steps.ExchangeShipped, steps.ExchangeCancelled}[k.rng.IntN(2)]
		_, err := k.r.ChangeExchange(ctx, steps.ExchangeChange{ID: steps.ExchangeID(id), State: state, By: "me", Reason: "why"})
		k.same("change of exchange", err, k.m.change(id, state))
	case n == 34:
		k.discard(bookDay{p, day})
	case n == 35:
		k.expiry()
	case n == 36:
		k.compare()
	case n == 37:
		k.reopen(k.cfg.Dir)
	case n == 38:
		k.reopen(k.r.image())
	default:
		k.r.settle()
	}
}

func (k *bookkeeper) same(what string, err error, want steps.Kind) {
	k.t.Helper()
	if got := kindOf(err); got != want {
		k.t.Fatalf("%s: %v; the model says %v", what, err, want)
	}
}

// rescore has all days scored again.
func (k *bookkeeper) rescore() {
	people := map[steps.ParticipantID]bool{}
	for d := range k.m.steps {
		people[d.p] = true
	}
	for p := range people {
		if err := k.r.RescoreParticipant(context.Background(), p); err != nil {
			k.t.Fatal(err)
		}
	}
}

// score scores what waits, sometimes by other rules, under which every day is scored again.
func (k *bookkeeper) score() {
	if k.rng.IntN(8) == 0 {
		k.rules = 1 - k.rules
		k.rescore()
		for d := range k.m.steps {
			k.m.dirty[d] = true
		}
	}
	k.replayed = false
	points := []func(uint64) steps.Points{perThousand, func(n uint64) steps.Points { return steps.Points(n / 1500) }}[k.rules]
	k.r.score(fmt.Sprint("x@", k.rules), points)
	k.m.score(points)
}

func (k *bookkeeper) closing(day steps.Day, period steps.PeriodID) {
	if k.replayed || k.rng.IntN(3) > 0 {
		k.score()
	}
	held := func(p steps.ParticipantID) bool { return (int(p[len(p)-1])+int(day))%3 == 0 }
	_, err := k.r.CloseDay(context.Background(), steps.CloseRequest{Day: day, Period: period, By: "test", Held: held})
	k.same("close", err, k.m.close(day, period, held))
}

func (k *bookkeeper) entry(p steps.ParticipantID, day steps.Day, period steps.PeriodID) {
	r := steps.EntryRequest{
		Participant: p, Key: steps.RequestKey(fmt.Sprint("k", k.rng.IntN(60))), Period: period, Reason: "why", By: "me",
		Kind:   []steps.EntryKind{steps.EntryBonus, steps.EntryHold, steps.EntryRelease, steps.EntryCorrection}[k.rng.IntN(4)],
		Points: steps.Points(1 + k.rng.IntN(9)),
	}
	if r.Kind == steps.EntryCorrection {
		r.Account = []steps.Account{steps.AccountAvailable, steps.AccountPending}[k.rng.IntN(2)]
		r.Points *= steps.Points(1 - 2*k.rng.IntN(2))
		if k.rng.IntN(2) == 0 {
			r.Day = day
		}
	}
	_, err := k.r.Post(context.Background(), r)
	k.same(fmt.Sprintf("%+v", r), err, k.m.post(&r))
}

func (k *bookkeeper) discard(d bookDay) {
	err := k.r.DiscardLate(context.Background(), steps.ParticipantDay{Participant: d.p, Day: d.day},
		steps.Decision{By: "me", Reason: "why"})
	_, listed := k.m.late[d]
	switch {
	case !listed:
		k.same("decision", err, steps.NotFound)
	case k.m.decided[d]:
		k.same("decision", err, steps.Conflict)
	default:
		k.same("decision", err, fine)
		k.m.decided[d] = true
	}
}

// expiry lets time go on, and the points of periods that are over expire.
func (k *bookkeeper) expiry() {
	k.today += steps.Day(k.rng.IntN(35))
	for _, p := range periods() {
		_, err := k.r.Expire(context.Background(), p, k.today)
		if k.today <= p.Expires {
			k.same("expire", err, steps.Conflict)
			continue
		}
		k.same("expire", err, fine)
		k.m.expire(p.ID)
	}
}

func (k *bookkeeper) reopen(dir string) {
	k.r.end()
	k.cfg.Dir = dir
	k.r = start(k.t, k.cfg)
	clear(k.m.asked)
	k.replayed = true
	k.compare()
}

// compare looks at everything.
func (k *bookkeeper) compare() {
	k.t.Helper()
	provisional := make(map[steps.ParticipantID]steps.Points)
	for d, n := range k.m.points {
		if _, closed := k.m.closed[d.day]; !closed {
			provisional[d.p] += n
		}
	}
	var totals steps.Totals
	all := make(map[steps.ParticipantID]steps.Balance)
	err := k.r.EachBalance(context.Background(), func(b *steps.Balance) error {
		all[b.Participant] = steps.Balance{Provisional: b.Provisional, Periods: slices.Clone(b.Periods)}
		return nil
	})
	if err != nil {
		k.t.Fatal(err)
	}
	for i := range 4 {
		p := many(i)
		available, pending := steps.Points(0), steps.Points(0)
		for _, period := range periods() {
			a, h := k.m.available[p][period.ID], k.m.pending[p][period.ID]
			b := all[p]
			if have := b.Of(period.ID); have.Available != a || have.Pending != h {
				k.t.Errorf("%s has %+v; want %d and %d", p, have, a, h)
			}
			available, pending = available+a, pending+h
		}
		if all[p].Provisional != provisional[p] {
			k.t.Errorf("%s has %d provisional points of all; want %d", p, all[p].Provisional, provisional[p])
		}
		k.r.wants(p, provisional[p], pending, available)
		totals[steps.AccountProvisional] += provisional[p]
		totals[steps.AccountPending] += pending
		totals[steps.AccountAvailable] += available
	}
	k.compareSums(all)
	k.compareRest(totals)
}

// modelDays is how many days the model is asked about.
const modelDays = 12

// compareSums looks at what everybody together has, and at the days that are open.
func (k *bookkeeper) compareSums(all map[steps.ParticipantID]steps.Balance) {
	k.t.Helper()
	want := make(map[steps.PeriodID]steps.PeriodBalance)
	for _, b := range all {
		for _, p := range b.Periods {
			sum := want[p.Period]
			want[p.Period] = steps.PeriodBalance{Period: p.Period, Available: sum.Available + p.Available, Pending: sum.Pending + p.Pending}
		}
	}
	have, err := k.r.Outstanding(context.Background())
	for i, p := range have {
		if p != want[p.Period] || i > 0 && have[i-1].Period >= p.Period {
			k.t.Errorf("everybody has %+v of %s; want %+v", p, p.Period, want[p.Period])
		}
	}
	if err != nil || len(have) != len(want) {
		k.t.Errorf("everybody has points of %d periods, want %d: %v", len(have), len(want), err)
	}
	open := make(map[steps.Day]struct{})
	for d := range k.m.points {
		if _, closed := k.m.closed[d.day]; !closed {
			open[d.day] = struct{}{}
		}
	}
	days := slices.DeleteFunc(k.r.OpenDays(), func(d steps.Day) bool {
		_, known := k.m.closed[d]
		return !known && d >= day0+modelDays // on which something was sent: the model knows nothing of that
	})
	if !slices.Equal(days, slices.Sorted(maps.Keys(open))) {
		k.t.Errorf("open days %v; want %v", days, slices.Sorted(maps.Keys(open)))
	}
}

func (k *bookkeeper) compareRest(totals steps.Totals) {
	k.t.Helper()
	taken := 0
	for _, x := range k.m.exchanges {
		if x.state != steps.ExchangeCancelled {
			taken++
		}
	}
	totals[steps.AccountSpent] = steps.Points(taken * modelPrice)
	totals[steps.AccountExpired], totals[steps.AccountIssued] = k.m.expired, -k.m.issued
	if got, err := k.r.Totals(context.Background()); err != nil || got != totals || got.Sum() != 0 {
		k.t.Errorf("trial balance %v, %v; want %v", got, err, totals)
	}
	if n := k.r.taken("towel"); n != uint64(taken) || n+k.m.stock != 12 {
		k.t.Errorf("%d prizes are taken; want %d, and %d left", n, taken, k.m.stock)
	}
	late, decided := make(map[bookDay]steps.Points), make(map[bookDay]bool)
	for _, l := range k.r.lateDays(steps.LateFilter{}) {
		d := bookDay{l.Participant, l.Day}
		late[d] = l.Points
		if l.Decision.State != steps.Open {
			decided[d] = true
		}
		if l.Final != k.m.points[d] {
			k.t.Errorf("late day %+v; the model has %d points", l, k.m.points[d])
		}
	}
	if !maps.Equal(late, k.m.late) || !maps.Equal(decided, k.m.decided) {
		k.t.Errorf("late days %v, decided %v; want %v and %v", late, decided, k.m.late, k.m.decided)
	}
	n := 0
	err := k.r.EachExchange(context.Background(), steps.ExchangeFilter{}, func(x steps.Exchange) error {
		if want := k.m.exchanges[n]; x.Participant != want.p || x.State != want.state {
			k.t.Errorf("exchange %+v; want %+v", x, want)
		}
		n++
		return nil
	})
	if err != nil || n != len(k.m.exchanges) {
		k.t.Errorf("%d exchanges, %v; want %d", n, err, len(k.m.exchanges))
	}
}
