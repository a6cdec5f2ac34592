package closing

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ayumi/rounds"
	"ayumi/steps"
)

// first is the day on which a synctest bubble begins.
var first = steps.DateDay(2000, 1, 1)

func TestDaysCloseWhenTheirTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		b.earn(5, first-10, first-8, first-3)
		r := newRig(t, b, plain, 0)
		stop := r.start(t)
		defer stop()
		synctest.Wait()
		r.wantOrder(t, first-10, first-9, first-8) // and the empty day in between; seven days later it is over
		b.earn(5, first-12)                        // older than all: taken until the end of the day
		time.Sleep(2 * time.Hour)
		r.wantOrder(t, first-10, first-9, first-8)
		midnight(1)
		synctest.Wait()
		r.wantOrder(t, first-10, first-9, first-8, first-12, first-11, first-7)
		midnight(4)
		synctest.Wait()
		r.wantOrder(t, first-10, first-9, first-8, first-12, first-11, first-7, first-6, first-5, first-4, first-3)
		if n := r.metric(t, "points_total"); n != 20 {
			t.Errorf("%v points", n)
		}
		if n := r.metric(t, "last_closed_day_seconds"); n != float64(first-3)*86400 {
			t.Errorf("last closed day %v", n)
		}
		if n := r.metric(t, "days_total"); n != 10 {
			t.Errorf("%v days", n)
		}
		if c := b.closed[first-3]; c.By != automatic || c.Period != "1999" {
			t.Errorf("closed %+v", c)
		}
	})
}

// A day that is not due holds up those after it: here the days of a new rule set that is quicker.
func TestDaysCloseInOrder(t *testing.T) {
	rules := halves +
		"  - effective: 1999-12-20\n    final_after_days: 2\n    bands:\n      - tiers: [{steps: 1, points: 1}]\n"
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		slow, quick := steps.DateDay(1999, 12, 19), steps.DateDay(1999, 12, 20)
		b.earn(1, slow, quick)
		r := newRig(t, b, rules, 0)
		stop := r.start(t)
		defer stop()
		midnight(1) // the 2nd: 14 days after the 19th
		synctest.Wait()
		r.wantOrder(t)
		midnight(1)
		synctest.Wait()
		if b.closed[slow].State != steps.DayClosed || b.closed[quick].State != steps.DayClosed || b.order[0] != slow {
			t.Errorf("closed %v", b.order)
		}
	})
}

func TestPeriodsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		id := steps.PeriodID("first@1999-04-01") // until 31 December
		b.have[id] = steps.PeriodBalance{Period: id, Available: 30, Pending: 4}
		b.have["second@1999-10-01"] = steps.PeriodBalance{Period: "second@1999-10-01", Available: 7}
		b.have["nobody-knows"] = steps.PeriodBalance{Period: "nobody-knows", Available: 2}
		r := newRig(t, b, strings.ReplaceAll(halves, "1999-01-01", "1998-01-01"), 0)
		stop := r.start(t)
		defer stop()
		synctest.Wait()
		if b.have[id].Available != 30 {
			t.Error("the programme's calendar begins in 2000") // see firstYear
		}
		midnight(366)
		b.mu.Lock()
		next := steps.PeriodID("first@2000-04-01")
		b.have[next] = steps.PeriodBalance{Period: next, Available: 11, Pending: 4}
		b.mu.Unlock()
		time.Sleep(rounds.Longest)
		synctest.Wait()
		if h := b.have[next]; h.Available != 0 || h.Pending != 4 {
			t.Errorf("left %+v", h)
		}
		if n := r.metric(t, "expired_points_total"); n != 11 {
			t.Errorf("%v points expired", n)
		}
		if n := r.metric(t, "pending_points"); n != 8 {
			t.Errorf("%v points pending", n)
		}
		_, err := r.Expire(t.Context(), "second@2000-10-01")
		wantError(t, err, steps.Invalid, "no last day")
		_, err = r.Expire(t.Context(), "third")
		wantError(t, err, steps.NotFound, `no point period "third"`)
	})
}

// A closing that is interrupted anywhere, again and again, by refusals or by the end of the process,
// comes to the same end.
func TestInterruptedClosingGoesOn(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { interrupted(t, seed) })
		})
	}
}

func interrupted(t *testing.T, seed uint64) {
	failures := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test
	b := newBook()
	b.earn(3, first-20, first-15, first-9, first-8)
	kinds := []steps.Kind{steps.Unavailable, steps.Overload, steps.Internal}
	b.fail = func(method string) error {
		if failures.IntN(3) == 0 {
			return steps.Errorf(method, kinds[failures.IntN(len(kinds))], "not now")
		}
		return nil
	}
	lives := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test
	for range 5 {                           // each a process
		r := newRig(t, b, plain, 0)
		stop := r.start(t)
		time.Sleep(time.Duration(lives.IntN(20)) * time.Second)
		stop()
	}
	b.fail = func(string) error { return nil }
	r := newRig(t, b, plain, 0)
	stop := r.start(t)
	synctest.Wait()
	stop()
	var want []steps.Day
	for d := first - 20; d <= first-8; d++ {
		want = append(want, d)
	}
	r.wantOrder(t, want...)
	if n := b.have["1999"].Available; n != 12 {
		t.Errorf("%d points", n)
	}
}

// Refusals are tried again soon, without the next day's beginning.
func TestRefusalsAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		b.earn(3, first-8)
		refuse := true
		b.fail = func(method string) error {
			if refuse && method == "post" {
				return steps.Errorf("close day", steps.Overload, "the queue is full")
			}
			return nil
		}
		r := newRig(t, b, plain, 0)
		stop := r.start(t)
		defer stop()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		r.wantOrder(t)
		if n := r.metric(t, "failures_total"); n != 4 { // at 0, 1, 3 and 7 s
			t.Errorf("%v failures", n)
		}
		if n := r.metric(t, "due_days"); n != 1 {
			t.Errorf("%v days are due", n)
		}
		b.mu.Lock()
		refuse = false
		b.mu.Unlock()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		r.wantOrder(t, first-8)
		if !strings.Contains(b.log.String(), "level=WARN") || strings.Contains(b.log.String(), "level=ERROR") {
			t.Errorf("log: %s", b.log.String())
		}
	})
}

// What came in between settling and closing is scored, and the closing asked for again.
func TestClosingSettlesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		b.earn(3, first-8)
		b.fail = func(method string) error {
			if method == "freeze" && b.settled == 1 {
				return steps.Errorf("close day", steps.Unavailable, "1 participant-day waits")
			}
			return nil
		}
		r := newRig(t, b, plain, 0)
		stop := r.start(t)
		synctest.Wait()
		stop()
		r.wantOrder(t, first-8)
		if b.settled != 2 || r.metric(t, "failures_total") != 0 {
			t.Errorf("settled %d times", b.settled)
		}
	})
}

func TestStaffClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		b := newBook()
		b.earn(3, first-9, first-8, first-2)
		r := newRig(t, b, plain, 0)
		_, err := r.CloseThrough(ctx, first, "desk", true)
		wantError(t, err, steps.Invalid, "2000-01-01 is not over; today is 2000-01-01")
		_, err = r.CloseDay(ctx, first-8, "desk", false)
		wantError(t, err, steps.Conflict, "1999-12-23 is open, and days are closed in order; close it first, or close through 1999-12-24")
		_, err = r.CloseThrough(ctx, first-2, "desk", false)
		wantError(t, err, steps.Conflict, "late data of 1999-12-25 count until 2000-01-01")
		r.wantOrder(t)
		d, err := r.CloseDay(ctx, first-9, "desk", false)
		if err != nil || d.Day != first-9 || d.By != "desk" || d.Points != 3 {
			t.Errorf("%+v %v", d, err)
		}
		again, err := r.CloseDay(ctx, first-9, "somebody", true)
		if err != nil || again != d {
			t.Errorf("%+v %v", again, err)
		}
		days, err := r.CloseThrough(ctx, first-2, "desk", true)
		if err != nil || len(days) != 7 {
			t.Errorf("%+v %v", days, err)
		}
		days, err = r.CloseThrough(ctx, first-2, "desk", true)
		if err != nil || len(days) != 0 {
			t.Errorf("again %+v %v", days, err)
		}
		if n := r.metric(t, "days_total"); n != 8 {
			t.Errorf("%v days", n)
		}
	})
}

// A clock that is years ahead closes what has data, and not the years.
func TestWrongClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		b.earn(3, first-2, first)
		time.Sleep(10 * 365 * 24 * time.Hour)
		r := newRig(t, b, plain, 0)
		stop := r.start(t)
		synctest.Wait()
		stop()
		r.wantOrder(t, first-2, first-1, first)
	})
}

func TestWaitingForAnotherClosingIsBounded(t *testing.T) {
	r := newRig(t, newBook(), plain, 0)
	done, err := r.alone(t.Context(), "close day")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.CloseThrough(ctx, steps.DateDay(2000, 1, 1), "desk", false)
	wantError(t, err, steps.Overload, "another closing is under way")
	done()
}

func TestLateDaysAreCounted(t *testing.T) {
	for late, want := range map[int]float64{0: 0, 17: 17, mostLate + 1: mostLate} {
		synctest.Test(t, func(t *testing.T) {
			b := newBook()
			b.late = late
			r := newRig(t, b, plain, 0)
			stop := r.start(t)
			synctest.Wait()
			stop()
			if n := r.metric(t, "late_days"); n != want {
				t.Errorf("%v late days, want %v", n, want)
			}
			if n := r.metric(t, "failures_total"); n != 0 {
				t.Errorf("%v failures", n)
			}
		})
	}
}

// TestPatience starts a gateway that was away for a month, with one closing interrupted. That goes on at
// once; nothing else is closed until devices have had their turn.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		b.earn(3, steps.DateDay(1999, 12, 1), steps.DateDay(1999, 12, 2))
		first := steps.DateDay(1999, 12, 1)
		b.closed[first] = steps.ClosedDay{Day: first, State: steps.DayClosing, Period: "1999"}
		r := newRig(t, b, plain, 0)
		r.cfg.Patience = 6 * time.Hour
		stop := r.start(t)
		defer stop()
		synctest.Wait()
		r.wantOrder(t, first)
		time.Sleep(6*time.Hour - time.Second)
		synctest.Wait()
		r.wantOrder(t, first)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(b.order) < 2 || b.order[1] != first+1 {
			t.Errorf("closed %v", b.order)
		}
	})
}

// TestDaysAreScreenedFirst looks at each day before it is closed, again when data came in meanwhile, and closes
// none that could not be looked at; one that was begun is not looked at again.
func TestDaysAreScreenedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		b.earn(5, first-9, first-8)
		refuse := "screen"
		b.fail = func(method string) error {
			if method == refuse {
				return steps.Errorf("look at day", steps.Internal, "a day cannot be read")
			}
			return nil
		}
		r := newRig(t, b, plain, 0)
		stop := r.start(t)
		defer stop()
		synctest.Wait()
		r.wantOrder(t)
		b.mu.Lock()
		b.screened, refuse = nil, "post"
		b.mu.Unlock()
		time.Sleep(rounds.FirstRetry)
		synctest.Wait() // the first day's pages are fixed, and no more
		b.mu.Lock()
		if len(b.order) != 0 || len(b.screened) != 1 || b.screened[0] != first-9 || b.closed[first-9].State != steps.DayClosing {
			t.Errorf("closed %v of %v", b.order, b.screened)
		}
		refuse = ""
		b.mu.Unlock()
		time.Sleep(2 * rounds.FirstRetry)
		synctest.Wait()
		r.wantOrder(t, first-9, first-8)
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.screened) != 2 || b.screened[1] != first-8 {
			t.Errorf("looked at %v", b.screened)
		}
	})
}
