package points

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ayumi/steps"
)

// TestSettleDuringABatch calls Settle after a day was read and changed again: the batch that is
// under way must not count for it.
func TestSettleDuringABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		key := dayOf("p", someDay)
		m.set(key, 2000)
		r := newRig(t, m, bornMap{}, EngineConfig{Rules: mustRules(t, "yokohama")})
		result := make(chan steps.Award, 1)
		m.beforePut = sync.OnceFunc(func() {
			m.set(key, 8000)
			<-m.changed // leave waking the engine to Settle alone
			go func() {
				if err := r.Settle(context.Background()); err != nil {
					t.Error(err)
				}
				result <- m.award(key)
			}()
			synctest.Wait() // Settle waits now, this batch is still to be stored
		})
		r.start()
		if got := <-result; got.Points != 4 {
			t.Errorf("settled with %+v, want 4 points", got)
		}
		r.stop(t)
	})
}

// TestSettleUnderSteadyChange keeps the store from ever being clean.
func TestSettleUnderSteadyChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		key := dayOf("p", someDay)
		m.set(key, 10000)
		next := someDay
		m.beforePut = func() {
			next++
			time.Sleep(time.Millisecond) // the bubble's clock: a commit takes a while
			m.set(dayOf("other", next), 2000)
		}
		r := newRig(t, m, bornMap{}, EngineConfig{Rules: mustRules(t, "yokohama"), Batch: 5}).start()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		for range 10 {
			if err := r.Settle(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if got := m.award(key).Points; got != 5 {
			t.Errorf("the day earned %d, want 5", got)
		}
		r.stop(t)
	})
}

func TestSettleMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		r := newRig(t, m, bornMap{}, EngineConfig{Rules: mustRules(t, "yokohama"), Batch: 10}).start()
		var callers sync.WaitGroup
		for i := range 200 {
			callers.Go(func() {
				key := dayOf("p", someDay+steps.Day(i))
				m.set(key, 6000)
				if err := r.Settle(context.Background()); err != nil {
					t.Error(err)
				}
				if got := m.award(key).Points; got != 3 {
					t.Errorf("settled with %d points, want 3", got)
				}
			})
		}
		callers.Wait()
		r.stop(t)
	})
}

func TestSettleErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		r := newRig(t, m, bornMap{}, EngineConfig{Rules: mustRules(t, "yokohama")})

		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err := r.Settle(ctx) // nothing runs yet
		if steps.KindOf(err) != steps.Overload || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("before it runs: error is %v, want overload by deadline", err)
		}

		waiting := make(chan error, 1)
		go func() { waiting <- r.Settle(context.Background()) }()
		synctest.Wait()
		r.start() // serves who came before it
		if err := <-waiting; err != nil {
			t.Errorf("waiting for the start: %v", err)
		}

		r.stop(t)
		if err := r.Settle(context.Background()); steps.KindOf(err) != steps.Unavailable || err == nil {
			t.Errorf("after it stopped: error is %v, want unavailable", err)
		}
	})
}
