package replay

import (
	"reflect"
	"testing"
	"time"

	"ayumi/steps"
)

func TestWalkers(t *testing.T) {
	first := steps.DateDay(2026, time.November, 2) // a Monday
	o := WalkerOptions{People: 40, First: first, Last: first + 13, Seed: 3}
	walkers := Walkers(o)
	apps, sum := 0, uint64(0)
	for i, w := range walkers {
		if w.App {
			apps++
		}
		if len(w.Hours) != 14*24 {
			t.Fatalf("%s has %d hours", w.ID, len(w.Hours))
		}
		total := uint64(0)
		for j := range w.Hours {
			h := &w.Hours[j]
			total += h.Steps()
			if h.Hour >= 2 && h.Hour < 5 && h.Steps() > 0 {
				t.Errorf("%s walks %d steps at %02d:00", w.ID, h.Steps(), h.Hour)
			}
			for _, c := range h.Counts {
				if c > 160 {
					t.Errorf("%s walks %d steps in a minute", w.ID, c)
				}
			}
		}
		sum += total
		if avg := total / 14; avg < 1500 || avg > 20_000 {
			t.Errorf("walker %d walks %d steps a day", i, avg)
		}
	}
	if apps < 8 || apps > 28 {
		t.Errorf("%d of 40 use the app", apps)
	}
	t.Logf("%d steps a day on average, %d apps", sum/40/14, apps)

	if !reflect.DeepEqual(walkers, Walkers(o)) {
		t.Error("the same seed gave other people")
	}
	o.People, o.Last = 41, o.Last+1
	if longer := Walkers(o); !reflect.DeepEqual(longer[0].Hours[:14*24], walkers[0].Hours) {
		t.Error("a longer range changed earlier days")
	}
}

func TestWalkersPlan(t *testing.T) {
	cal := tokyo(t)
	for _, w := range Walkers(WalkerOptions{People: 10, First: 20_000, Last: 20_006, Seed: 9}) {
		checkPlan(t, w.Person, cal, Plan(w.Person, w.PlanOptions(cal, 4)))
	}
}

func TestUntil(t *testing.T) {
	cal := tokyo(t)
	w := Walkers(WalkerOptions{People: 1, First: 20_000, Last: 20_000})[0]
	start, _ := cal.Bounds(20_000)
	if got := len(w.Until(cal, start+9*3600+1800).Hours); got != 9 {
		t.Errorf("%d hours have ended by half past nine, want 9", got)
	}
}
