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

// bookDay is a participant-day of the model.
type bookDay struct {
	p   steps.ParticipantID
	day steps.Day
}

// book is the ledger, written as plainly as possible: the amounts themselves, without postings.
type book struct {
	steps     map[bookDay]uint64
	revisions map[bookDay]uint64
	dirty     map[bookDay]bool
	asked     map[steps.Day]map[bookDay]bool // what a closing waits for
	points    map[bookDay]steps.Points       // of the page, corrections included
	late      map[bookDay]steps.Points
	decided   map[bookDay]bool
	closed    map[steps.Day]steps.PeriodID
	available map[steps.ParticipantID]map[steps.PeriodID]steps.Points
	pending   map[steps.ParticipantID]map[steps.PeriodID]steps.Points
	requests  map[string]string // participant and key, and what was asked for
	stock     uint64
	exchanges []bookExchange
	issued    steps.Points
	expired   steps.Points
}

type bookExchange struct {
	p     steps.ParticipantID
	parts map[steps.PeriodID]steps.Points
	state steps.ExchangeState
}

func newBook() *book {
	return &book{
		steps: map[bookDay]uint64{}, revisions: map[bookDay]uint64{}, dirty: map[bookDay]bool{},
		asked: map[steps.Day]map[bookDay]bool{}, points: map[bookDay]steps.Points{}, late: map[bookDay]steps.Points{},
		decided: map[bookDay]bool{}, closed: map[steps.Day]steps.PeriodID{},
		available: map[steps.ParticipantID]map[steps.PeriodID]steps.Points{},
		pending:   map[steps.ParticipantID]map[steps.PeriodID]steps.Points{}, requests: map[string]string{},
	}
}

func give(m map[steps.ParticipantID]map[steps.PeriodID]steps.Points, p steps.ParticipantID, id steps.PeriodID, n steps.Points) {
	if m[p] == nil {
		m[p] = map[steps.PeriodID]steps.Points{}
	}
	m[p][id] += n
}

// score scores what is dirty.
func (m *book) score(points func(uint64) steps.Points) {
	for d := range m.dirty {
		n := points(m.steps[d])
		if _, closed := m.closed[d.day]; !closed {
			m.issued += n - m.points[d]
			m.points[d] = n
			continue
		}
		if _, known := m.points[d]; !known {
			m.points[d] = 0
		}
		was, listed := m.late[d]
		delete(m.late, d)
		if n != m.points[d] {
			m.late[d] = n
		}
		if !listed || was != n || n == m.points[d] {
			delete(m.decided, d)
		}
	}
	clear(m.dirty)
	clear(m.asked)
}

// close closes a day if it can be.
func (m *book) close(day steps.Day, id steps.PeriodID, held func(steps.ParticipantID) bool) steps.Kind {
	if into, closed := m.closed[day]; closed {
		if into != id {
			return steps.Conflict
		}
		return fine
	}
	if m.asked[day] == nil {
		m.asked[day] = map[bookDay]bool{}
		for d := range m.dirty {
			if d.day == day {
				m.asked[day][d] = true
			}
		}
	}
	if len(m.asked[day]) > 0 {
		return steps.Unavailable
	}
	m.closed[day] = id
	for d, n := range m.points {
		if d.day == day && held(d.p) {
			give(m.pending, d.p, id, n)
		} else if d.day == day {
			give(m.available, d.p, id, n)
		}
	}
	return fine
}

// fine is the kind of no error.
const fine = steps.Kind(255)

func kindOf(err error) steps.Kind {
	if err == nil {
		return fine
	}
	return steps.KindOf(err)
}

// post does what an entry asks for, if it can be.
func (m *book) post(r *steps.EntryRequest) steps.Kind {
	name, content := fmt.Sprint(r.Participant, "/", r.Key), fmt.Sprintf("%+v", *r)
	if was, known := m.requests[name]; known {
		if was != content {
			return steps.Conflict
		}
		return fine
	}
	n := r.Points
	from, to := m.available, m.pending
	switch {
	case r.Kind == steps.EntryBonus:
		from, to = nil, m.available
	case r.Kind == steps.EntryRelease:
		from, to = m.pending, m.available
	case r.Kind == steps.EntryCorrection && n > 0:
		from, to = nil, m.available
	case r.Kind == steps.EntryCorrection:
		to, n = nil, -n
	}
	if r.Account == steps.AccountPending && from == nil {
		to = m.pending
	} else if r.Account == steps.AccountPending {
		from = m.pending
	}
	if from != nil && from[r.Participant][r.Period] < n {
		return steps.Conflict
	}
	if r.Day != 0 {
		if kind := m.correct(r); kind != fine {
			return kind
		}
	}
	if from != nil {
		give(from, r.Participant, r.Period, -n)
	} else {
		m.issued += n
	}
	if to != nil {
		give(to, r.Participant, r.Period, n)
	} else {
		m.issued -= n
	}
	m.requests[name] = content
	return fine
}

func (m *book) correct(r *steps.EntryRequest) steps.Kind {
	d := bookDay{r.Participant, r.Day}
	into, closed := m.closed[r.Day]
	points, known := m.points[d]
	switch {
	case !closed:
		return steps.Conflict
	case into != r.Period:
		return steps.Invalid
	case !known:
		return steps.NotFound
	case points+r.Points < 0:
		return steps.Conflict
	}
	m.points[d] += r.Points
	if late, listed := m.late[d]; listed && late == m.points[d] {
		delete(m.late, d)
		delete(m.decided, d)
	}
	return fine
}

const modelPrice = 4

// exchange takes a prize from what expires first: 2025 before 2026.
func (m *book) exchange(p steps.ParticipantID, key steps.RequestKey, today steps.Day) steps.Kind {
	name := fmt.Sprint(p, "/", key)
	if was, known := m.requests[name]; known {
		if was != "exchange" {
			return steps.Conflict
		}
		return fine
	}
	if m.stock == 0 {
		return steps.Conflict
	}
	parts, rest := map[steps.PeriodID]steps.Points{}, steps.Points(modelPrice)
	for _, period := range []steps.Period{periods()[1], periods()[0]} {
		if today <= period.Expires {
			parts[period.ID] = min(rest, m.available[p][period.ID])
			rest -= parts[period.ID]
		}
	}
	if rest > 0 {
		return steps.Conflict
	}
	for id, n := range parts {
		give(m.available, p, id, -n)
	}
	m.stock--
	m.requests[name] = "exchange"
	m.exchanges = append(m.exchanges, bookExchange{p, parts, steps.ExchangeRequested})
	return fine
}

func (m *book) change(id int, state steps.ExchangeState) steps.Kind {
	if id < 1 || id > len(m.exchanges) {
		return steps.NotFound
	}
	x := &m.exchanges[id-1]
	switch {
	case x.state == state:
		return fine
	case x.state == steps.ExchangeCancelled:
		return steps.Conflict
	case state == steps.ExchangeCancelled:
		for period, n := range x.parts {
			give(m.available, x.p, period, n)
		}
		m.stock++
	}
	x.state = state
	return fine
}

func (m *book) expire(id steps.PeriodID) {
	for p := range m.available {
		m.expired += m.available[p][id]
		m.available[p][id] = 0
	}
}

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
	day := day0 + steps.Day(k.rng.IntN(12))
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

// score scores what waits, sometimes by other rules, under which every day is scored again.
func (k *bookkeeper) score() {
	if k.rng.IntN(8) == 0 {
		k.rules = 1 - k.rules
		if err := k.r.Rescore(context.Background(), fmt.Sprint(k.rules)); err != nil {
			k.t.Fatal(err)
		}
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
	k.compareRest(totals)
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
