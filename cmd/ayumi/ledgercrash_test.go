package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"ayumi/admin"
	"ayumi/steps"
)

// teller is a member of staff who works through an endless sequence of entries and exchanges for one
// participant. All before done are acknowledged; with doubt the outcome of the one at done is unknown.
type teller struct {
	script
	participant steps.ParticipantID
	exchange    steps.ExchangeID // the last one that was acknowledged
}

// Of every five operations the first gives 10 points, the second pays 3 for a prize, the third takes 1, the
// fourth holds 2, and the fifth returns what the second paid.
const (
	tellerRound = 5
	towels      = 3 // fewer than tellers
	towelPrice  = 3
)

// tellerHas is what the participant has after n operations.
func tellerHas(n int) (available, pending steps.Points) {
	rounds := steps.Points(n / tellerRound)
	after := [tellerRound][2]steps.Points{{0, 0}, {10, 0}, {7, 0}, {6, 0}, {4, 2}}[n%tellerRound]
	return 7*rounds + after[0], 2*rounds + after[1]
}

func (l *teller) key(n int) steps.RequestKey { return steps.RequestKey(fmt.Sprintf("op-%06d", n)) }

// do performs operation n. Doing it again does nothing.
func (l *teller) do(ctx context.Context, c *admin.Client, n int) error {
	r := admin.EntryRequest{Key: l.key(n), By: "teller", Reason: fmt.Sprint("operation ", n)}
	switch n % tellerRound {
	case 0:
		r.Kind, r.Points = "bonus", 10
	case 1:
		return l.ask(ctx, c, n)
	case 2:
		r.Kind, r.Points = "correction", -1
	case 3:
		r.Kind, r.Points = "hold", 2
	case 4:
		_, err := c.Cancel(ctx, l.exchange, "teller", "changed their mind")
		return err
	}
	_, err := c.PostEntry(ctx, l.participant, r)
	return err
}

// ask tries for one of the few towels, and takes a stamp when there is none.
func (l *teller) ask(ctx context.Context, c *admin.Client, n int) error {
	r := admin.ExchangeRequest{Participant: l.participant, Key: l.key(n), Prize: "towel", Price: towelPrice}
	x, err := c.Exchange(ctx, r)
	if steps.KindOf(err) == steps.Conflict && err != nil {
		r.Prize = "stamp" // under the same key: it was not used, or for a stamp
		x, err = c.Exchange(ctx, r)
	}
	if err == nil {
		l.exchange = x.ID
	}
	return err
}

// verify compares what the gateway holds with what it acknowledged. What was in doubt may be there.
func (l *teller) verify(t *testing.T, c *admin.Client) {
	t.Helper()
	b, err := c.Balance(t.Context(), l.participant)
	if err != nil {
		t.Fatal(err)
	}
	addsUp(t, c, l.participant, &b)
	has := func(n int) bool {
		available, pending := tellerHas(n)
		return b.Available == available && b.Pending == pending && b.Entries == uint64(n) //nolint:gosec // not negative
	}
	if !has(l.done) && (!l.doubt || !has(l.done+1)) {
		t.Errorf("%s after %d operations (one more in doubt: %t) has %+v", l.participant, l.done, l.doubt, b)
	}
	keys := map[steps.RequestKey]int{}
	err = c.EachEntry(t.Context(), l.participant, func(e *admin.Entry) error {
		if e.Key != "" {
			keys[e.Key]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := range l.done {
		if want := 1 - n%tellerRound/(tellerRound-1); keys[l.key(n)] != want { // a refund has no key
			t.Errorf("%s: operation %d was acknowledged and is there %d times", l.participant, n, keys[l.key(n)])
		}
	}
}

// counter is the tellers at work.
type counter struct{ tellers []*teller }

func newCounter(t *testing.T, c *admin.Client, tellers int) *counter {
	t.Helper()
	k := new(counter)
	for i := range tellers {
		l := &teller{participant: steps.ParticipantID(fmt.Sprintf("customer-%02d", i))}
		l.name = string(l.participant)
		if _, err := c.AddParticipant(t.Context(), l.participant, nil); err != nil {
			t.Fatal(err)
		}
		k.tellers = append(k.tellers, l)
	}
	for _, p := range []admin.Prize{
		{ID: "towel", NameJA: "手ぬぐい", NameEN: "towel", Price: towelPrice, Stock: towels},
		{ID: "stamp", NameJA: "スタンプ", NameEN: "stamp", Price: towelPrice, Unlimited: true},
	} {
		if _, err := c.PutPrize(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

// work has all tellers work at once until ctx ends or the gateway is gone.
func (k *counter) work(ctx context.Context, t *testing.T, p *process, lit *fuse) (settle func()) {
	t.Helper()
	var all sync.WaitGroup
	for _, l := range k.tellers {
		c := p.dial()
		all.Go(func() {
			l.run(ctx, lit, func(ctx context.Context, n int) error { return l.do(ctx, c, n) })
		})
	}
	return func() {
		all.Wait()
		for _, l := range k.tellers {
			if steps.KindOf(l.err) != steps.Unavailable { // what a gateway answers that is gone
				t.Errorf("%s: operation %d: %v", l.name, l.done, l.err)
			}
		}
	}
}

// verify checks everybody's account, the trial balance and the stock.
func (k *counter) verify(t *testing.T, c *admin.Client) {
	t.Helper()
	for _, l := range k.tellers {
		l.verify(t, c)
	}
	totals, err := c.Totals(t.Context())
	if err != nil || totals.Sum != 0 {
		t.Errorf("totals %+v, %v", totals, err)
	}
	standing := map[steps.PrizeID]uint64{}
	spent := steps.Points(0)
	err = c.EachExchange(t.Context(), steps.ExchangeFilter{}, func(x *admin.Exchange) error {
		if x.State != steps.ExchangeCancelled.String() {
			standing[x.Prize]++
			spent += x.Price
		}
		return nil
	})
	if err != nil || spent != totals.Spent {
		t.Errorf("%d points are spent on standing exchanges, %d in all, %v", spent, totals.Spent, err)
	}
	err = c.EachPrize(t.Context(), func(p *admin.Prize) error {
		if p.Taken != standing[p.ID] || p.ID == "towel" && p.Taken > towels {
			t.Errorf("%d of prize %s are taken, %d exchanges stand", p.Taken, p.ID, standing[p.ID])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestKillKeepsTheLedger kills the gateway in the middle of concurrent exchanges, corrections and holds.
// After each kill everybody's balance is the sum of their entries and what was acknowledged, once.
func TestKillKeepsTheLedger(t *testing.T) {
	t.Parallel()
	dir, rng := filepath.Join(t.TempDir(), "data"), dice(t)
	config := writeConfig(t, lastingPorts(t), "")
	p := serve(t, dir, config)
	k := newCounter(t, p.dial(), 2*towels+2)
	for round := range crashes(t) {
		lit := newFuse(1 + rng.IntN(400))
		ctx, cancel := context.WithCancel(t.Context())
		settle := k.work(ctx, t, p, lit)
		<-lit.fired
		p.kill()
		cancel()
		settle()
		soundStore(t, dir)
		p = serve(t, dir, config)
		k.verify(t, p.dial())
		t.Logf("kill %d: nothing is lost or done twice", round+1)
		if t.Failed() {
			return
		}
	}
	p.signal()
	p.stopsWithin(stopLimit())
	soundStore(t, dir)
}

// TestKillWhileDaysClose kills the gateway again and again while it closes a month. In the end everything
// that was due is closed once, and everybody has what they earned.
func TestKillWhileDaysClose(t *testing.T) {
	t.Parallel()
	dir, rng := filepath.Join(t.TempDir(), "data"), dice(t)
	ports := lastingPorts(t)
	p := serve(t, dir, writeConfig(t, ports, ""))
	const people, month, finalAfter = 30, 35, 2
	f := crashFleet(t, p.dial(), people, month, 0)
	wholeReplay(t, f, <-startReplay(t.Context(), sending(t, p.dial(), f), f.devices))
	now := today(t, p.dial())
	p.signal()
	p.stopsWithin(stopLimit())

	config := writeConfig(t, ports, fmt.Sprintf("points:\n  final_after_days: %d\n  close_after_start: 0s\n", finalAfter))
	due, killed := month-finalAfter, 0
	for closed := 0; closed < due; {
		p = serve(t, dir, config)
		closed = awaitClosed(t, p, min(due, closed+1+rng.IntN(due/crashes(t)+1)))
		if closed < due {
			killed++
		}
		p.kill()
		soundStore(t, dir)
	}
	t.Logf("killed %d times", killed)
	if killed == 0 {
		t.Error("everything was closed before the first kill")
	}
	p = serve(t, dir, config)
	closedAs(t, p.dial(), now-finalAfter-1, due, f)
	p.signal()
	p.stopsWithin(stopLimit())
	soundStore(t, dir)
}

// awaitClosed waits until so many days are closed, and returns how many were seen.
func awaitClosed(t *testing.T, p *process, enough int) (closed int) {
	t.Helper()
	for c := p.dial(); closed < enough; {
		closed = 0
		err := c.EachClosedDay(t.Context(), steps.DayRange{}, func(d *admin.ClosedDay) error {
			if d.State == steps.DayClosed.String() {
				closed++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-p.exited:
			t.Fatalf("the gateway ended: %v", p.waitErr)
		case <-t.Context().Done():
			t.Fatal("the test ends")
		default:
		}
	}
	return closed
}

// closedAs checks that a fleet's days up to last are closed, and what everybody has.
func closedAs(t *testing.T, c *admin.Client, last steps.Day, days int, f *fleet) {
	t.Helper()
	n, participants, points := 0, 0, steps.Points(0)
	err := c.EachClosedDay(t.Context(), steps.DayRange{}, func(d *admin.ClosedDay) error {
		if d.Day != last-steps.Day(days-1-n) || d.State != steps.DayClosed.String() { //nolint:gosec // small
			t.Errorf("closed day %d: %+v", n, d)
		}
		n++
		participants += d.Participants
		points += d.Points
		return nil
	})
	if err != nil || n != days {
		t.Errorf("%d of %d days are closed: %v", n, days, err)
	}
	want, provisional := map[steps.ParticipantID]steps.Points{}, map[steps.ParticipantID]steps.Points{}
	finals, all := 0, steps.Points(0)
	for _, d := range f.want.Days {
		earned := steps.Points(yokohama(d.Steps))
		if d.Day > last {
			provisional[steps.ParticipantID(d.Person)] += earned
			continue
		}
		want[steps.ParticipantID(d.Person)] += earned
		all += earned
		if earned > 0 {
			finals++
		}
	}
	if participants != finals || points != all {
		t.Errorf("closed with %d finals and %d points, want %d and %d", participants, points, finals, all)
	}
	err = c.EachBalance(t.Context(), func(b *admin.Balance) error {
		if b.Available != want[b.Participant] || b.Provisional != provisional[b.Participant] {
			t.Errorf("%s has %d available and %d provisional, want %d and %d", b.Participant, b.Available, b.Provisional,
				want[b.Participant], provisional[b.Participant])
		}
		addsUp(t, c, b.Participant, b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
