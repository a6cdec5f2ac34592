package rounds

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"ayumi/steps"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a job in a synctest bubble, which begins on 2000-01-01 at 00:00 UTC.
type rig struct {
	Job
	t      *testing.T
	passes []time.Duration // when each began, since the bubble did
	log    bytes.Buffer
}

func newRig(t *testing.T, zone string, pass func(n int) error) *rig {
	t.Helper()
	calendar, err := steps.NewCalendar(zone)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t}
	began := time.Now()
	r.Job = Job{
		Pass: func(context.Context) error {
			r.passes = append(r.passes, time.Since(began))
			return pass(len(r.passes))
		},
		Calendar: calendar, Clock: time.Now, Logger: slog.New(slog.NewTextHandler(&r.log, nil)), Failure: "not yet",
		Failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "failures"}),
	}
	return r
}

// runFor runs the job so long, and compares when the passes began.
func (r *rig) runFor(long time.Duration, want ...time.Duration) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	time.Sleep(long)
	synctest.Wait()
	cancel()
	if err := <-done; err != nil {
		r.t.Errorf("run: %v", err)
	}
	if !slices.Equal(r.passes, want) {
		r.t.Errorf("passes at %v, want %v", r.passes, want)
	}
}

func (r *rig) wantFailures(want float64) {
	r.t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(r.Failures)
	families, err := reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	if n := families[0].GetMetric()[0].GetCounter().GetValue(); n != want {
		r.t.Errorf("%v failures, want %v", n, want)
	}
}

func good(int) error { return nil }

// A pass begins at midnight of the programme's zone, and an hour after the one before at the latest.
func TestPassesBeginAtMidnight(t *testing.T) {
	for zone, want := range map[string][]time.Duration{
		"UTC":          {0, time.Hour, 2 * time.Hour},
		"Asia/Kolkata": {0, time.Hour, 2 * time.Hour}, // its midnight is at 18:30
	} {
		synctest.Test(t, func(t *testing.T) {
			newRig(t, zone, good).runFor(2*time.Hour+time.Minute, want...)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(17*time.Hour + 15*time.Minute)
		newRig(t, "Asia/Kolkata", good).runFor(3*time.Hour, 0, time.Hour, 75*time.Minute, 135*time.Minute)
	})
}

// In the night of a change of the clocks midnight is where the zone puts it: 2000-03-26 had 23 hours in London.
func TestMidnightAfterAShortDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2000, 3, 26, 22, 50, 0, 0, time.UTC)))
		newRig(t, "Europe/London", good).runFor(30*time.Minute, 0, 10*time.Minute)
	})
}

func TestPassesWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "UTC", good)
		r.Within = func() time.Duration { return 20*time.Minute - r.passes[len(r.passes)-1] }
		r.runFor(90*time.Minute, 0, 20*time.Minute, 80*time.Minute)
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "UTC", good)
		r.Within = func() time.Duration { return time.Nanosecond }
		r.runFor(2500*time.Millisecond, 0, time.Second, 2*time.Second)
	})
}

// Failures are tried again after waits that double up to the last, and begin anew after a success.
func TestFailuresAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
		r := newRig(t, "UTC", func(n int) error {
			switch {
			case n == 3:
				return nil
			case n == 1:
				return steps.Errorf("pass", steps.Overload, "the queue is full")
			}
			return errors.New("a page is damaged")
		})
		r.runFor(time.Hour+22*time.Minute, at(0), at(1), at(3), // 1 s, 2 s; then an hour
			at(3603), at(3604), at(3606), at(3610), at(3618), at(3634), at(3666), at(3730), at(3858), at(4114), at(4414), at(4714))
		r.wantFailures(14)
		log := r.log.String()
		if strings.Count(log, "level=WARN msg=\"not yet\" wait=1s") != 1 || strings.Count(log, "level=ERROR") != 13 ||
			strings.Count(log, "wait=5m0s") != 3 {
			t.Errorf("log: %s", log)
		}
	})
}

// Midnight does not wait for a retry that is far off.
func TestRetriesEndAtMidnight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(24*time.Hour - 10*time.Second)
		r := newRig(t, "UTC", func(int) error { return errors.New("no") })
		r.runFor(12*time.Second, 0, time.Second, 3*time.Second, 7*time.Second, 10*time.Second)
	})
}

// A pass that the end of the context interrupts has not failed.
func TestEndIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "UTC", good)
		r.Pass = func(ctx context.Context) error {
			r.passes = append(r.passes, 0)
			<-ctx.Done()
			return ctx.Err()
		}
		r.runFor(time.Minute, 0)
		r.wantFailures(0)
		if r.log.Len() > 0 {
			t.Errorf("log: %s", &r.log)
		}
	})
}
