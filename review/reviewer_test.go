package review

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ayumi/plausibility"
	"ayumi/rounds"
	"ayumi/steps"
)

// first is the day on which a synctest bubble begins.
var first = steps.DateDay(2000, 1, 1)

// walkedDay draws a day as people walk: short walks at uneven pace, and a few steps in between.
func walkedDay(seed uint64) []uint32 {
	rng := rand.New(rand.NewPCG(seed, 5))
	m := make([]uint32, 1440)
	for at := 420 + rng.IntN(60); at < 1260; at += 30 + rng.IntN(60) {
		pace := 70 + rng.IntN(40)
		for i := range 8 + rng.IntN(14) {
			m[at+i] = uint32(pace + rng.IntN(31) - 15) //nolint:gosec // 55 and more
		}
		for range 12 {
			m[at+rng.IntN(30)+1] = rng.Uint32N(35)
		}
	}
	return m
}

// pendulum is a day of a device on one.
func pendulum(count uint32) []uint32 {
	m := make([]uint32, 1440)
	for i := range m {
		m[i] = count
	}
	return m
}

func midnight() {
	now := time.Now()
	day := 24 * time.Hour
	time.Sleep(now.Add(9 * time.Hour).Truncate(day).Add(15*time.Hour + time.Second).Sub(now))
}

// TestEveryNightWhatChanged looks at days that are over, once, and again only at what changed.
func TestEveryNightWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
		for i := range uint64(300) { // more than are read at once
			w.put(steps.ParticipantID(fmt.Sprintf("p%03d", i)), first-1, walkedDay(i))
		}
		swing, today := w.put("p500", first-2, pendulum(67)), w.put("p500", first, pendulum(67))
		old := w.put("p500", first-29, pendulum(67)) // looked at when it is closed
		r := newRig(t, w)
		stop := r.start(t)
		defer stop()
		synctest.Wait()
		if w.state(swing) != Held || w.state(today) != 0 || len(w.reviews) != 1 {
			t.Fatalf("reviews %+v", w.reviews)
		}
		if n := r.metric(t, "participant_days_total", ""); n != 301 {
			t.Errorf("%v days scored", n)
		}
		if n := r.metric(t, "waiting_days", "held"); n != 1 {
			t.Errorf("%v wait", n)
		}
		before := r.metric(t, "flags_total", "flat_cadence")
		time.Sleep(2 * time.Hour)
		changed := w.put("p007", first-1, pendulum(67)) // late data: looked at by the next night
		midnight()
		synctest.Wait()
		if w.state(changed) != Held || w.state(today) != Held || len(w.reviews) != 3 {
			t.Errorf("reviews %+v", w.reviews)
		}
		if n := r.metric(t, "participant_days_total", ""); n != 301+3 { // what changed, today, and what has a review
			t.Errorf("%v days scored", n)
		}
		if n := r.metric(t, "flags_total", "flat_cadence"); before != 1 || n != 3 {
			t.Errorf("%v, then %v flags", before, n)
		}
		if err := r.Screen(t.Context(), first-29); err != nil || w.state(old) != Held {
			t.Errorf("before it is closed: %s, %v", w.state(old), err)
		}
	})
}

// TestCopiesAreFound has one walk for two, and one send an old day again.
func TestCopiesAreFound(t *testing.T) {
	w := newWard()
	mine := walkedDay(1)
	a, b := w.put("a", first-1, mine), w.put("b", first-1, mine)
	again := w.put("b", first-9, mine)
	for i := range uint64(40) {
		w.put(steps.ParticipantID(fmt.Sprintf("p%02d", i)), first-1, walkedDay(100+i))
	}
	r := newRig(t, w)
	for _, day := range []steps.Day{first - 9, first - 1} {
		if err := r.Screen(t.Context(), day); err != nil {
			t.Fatal(err)
		}
	}
	if w.state(a) != Held || w.state(b) != Held || w.state(again) != 0 || len(w.reviews) != 2 {
		t.Fatalf("reviews %+v", w.reviews)
	}
	var kinds []plausibility.Kind
	others := map[steps.ParticipantDay]bool{}
	for _, f := range w.reviews[b].Flags {
		kinds = append(kinds, f.Kind)
		others[f.Other] = f.Exact
	}
	if !slices.Equal(kinds, []plausibility.Kind{plausibility.SharedPattern, plausibility.RepeatedPattern}) || !others[a] || !others[again] {
		t.Errorf("flags %+v", w.reviews[b].Flags)
	}
	w.put("a", first-1, walkedDay(2)) // was another's by mistake
	if _, err := r.look(t.Context(), first-1, false, nil); err != nil {
		t.Fatal(err)
	}
	if w.state(a) != 0 || len(w.reviews[b].Flags) != 1 {
		t.Errorf("without the copy: %+v", w.reviews)
	}
}

// TestUnchangedCopiesAreComparedOnce reads the minutes of days that are near to others, or to none, once.
func TestUnchangedCopiesAreComparedOnce(t *testing.T) {
	w := newWard()
	for i := range uint64(20) {
		w.put(steps.ParticipantID(fmt.Sprintf("p%02d", i)), first-1, walkedDay(i/2)) // ten pairs of copies
	}
	r := newRig(t, w)
	w.read = 0
	for range 2 {
		if _, err := r.look(t.Context(), first-1, false, nil); err != nil {
			t.Fatal(err)
		}
	}
	once := w.read
	for pd := range w.reviews {
		delete(w.reviews, pd) // what has a review is looked at again
	}
	if _, err := r.look(t.Context(), first-1, false, nil); err != nil || w.read != once {
		t.Errorf("%d days read, then %d: %v", once, w.read-once, err)
	}
	w.put("p19", first-1, walkedDay(4)) // now a copy of another pair
	if _, err := r.look(t.Context(), first-1, false, nil); err != nil || len(w.reviews) != 3 {
		t.Errorf("%d reviews, %v", len(w.reviews), err)
	}
}

// TestHeldKinds holds what is only to be reviewed by its score.
func TestHeldKinds(t *testing.T) {
	long := walkedDay(3)
	for i := 600; i < 800; i++ {
		long[i] = 80 + uint32(i*7%50) //nolint:gosec // small
	}
	for _, c := range []struct {
		hold []plausibility.Kind
		want State
	}{{nil, Open}, {[]plausibility.Kind{plausibility.Unbroken}, Held}, {[]plausibility.Kind{plausibility.BusyDay}, Open}} {
		w := newWard()
		pd := w.put("p", first-1, long)
		if err := newRig(t, w, c.hold...).Screen(t.Context(), first-1); err != nil {
			t.Fatal(err)
		}
		if got := w.state(pd); got != c.want || !w.reviews[pd].Has(plausibility.Unbroken) {
			t.Errorf("%v: %s; want %s", c.hold, got, c.want)
		}
	}
}

// TestHoursAreNotTakenForAMachine knows which minutes are shares of hours.
func TestHoursAreNotTakenForAMachine(t *testing.T) {
	w := newWard()
	m := make([]uint32, 1440)
	for i := 480; i < 960; i++ {
		m[i] = 30
	}
	hourly, minutely := w.put("hourly", first-1, m), w.put("minutely", first-1, m)
	w.hourly[hourly] = true
	if err := newRig(t, w).Screen(t.Context(), first-1); err != nil {
		t.Fatal(err)
	}
	if w.state(hourly) != 0 || w.state(minutely) == 0 {
		t.Errorf("hourly %s, minutely %s", w.state(hourly), w.state(minutely))
	}
}

// TestLookTellsHowFarItHasCome looks on demand, at closed days too.
func TestLookTellsHowFarItHasCome(t *testing.T) {
	w := newWard()
	for i := range 600 {
		w.put(steps.ParticipantID(fmt.Sprintf("p%03d", i)), first-3, walkedDay(uint64(i%500))) //nolint:gosec // small
	}
	w.put("p000", first-2, pendulum(67))
	w.closed[first-3] = true
	r := newRig(t, w)
	told := map[steps.Day][]int{}
	outcomes := map[steps.Day]Outcome{}
	tell := func(p Progress) error {
		told[p.Day] = append(told[p.Day], p.Done)
		if p.Outcome != nil {
			outcomes[p.Day] = *p.Outcome
		}
		return nil
	}
	if err := r.Look(t.Context(), steps.DayRange{}, tell); err != nil || len(told) != 1 || outcomes[first-2].Held != 1 {
		t.Fatalf("open days: %v %+v", err, outcomes)
	}
	if err := r.Look(t.Context(), steps.DayRange{From: first - 3, Until: first - 3}, tell); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(told[first-3], []int{256, 512, 600, 600}) {
		t.Errorf("told %v", told[first-3])
	}
	if o := outcomes[first-3]; o.Participants != 600 || o.Scored != 600 || o.Flagged != 200 || o.Held != 0 { // copies, of a closed day
		t.Errorf("outcome %+v", o)
	}
	stop := fmt.Errorf("seen enough")
	if err := r.Look(t.Context(), steps.DayRange{}, func(Progress) error { return stop }); err != stop {
		t.Errorf("ended with %v", err)
	}
}

// TestFailuresAreTriedAgain fails in each call once: the nightly look comes to the same end.
func TestFailuresAreTriedAgain(t *testing.T) {
	for _, method := range []string{"each day", "minutes", "prints", "put prints", "reviews", "note"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWard()
				pd := w.put("p", first-1, pendulum(67))
				failed := 0
				w.fail = func(m string) error {
					if m == method && failed == 0 {
						failed++
						return steps.Errorf("read", steps.Unavailable, "the disk is full")
					}
					return nil
				}
				r := newRig(t, w)
				stop := r.start(t)
				defer stop()
				time.Sleep(rounds.FirstRetry + time.Millisecond)
				synctest.Wait()
				if failed != 1 || w.state(pd) != Held || r.metric(t, "failures_total", "") != 1 {
					t.Errorf("%d failures, %s", failed, w.state(pd))
				}
			})
		})
	}
}

// TestOneLookAtATime makes whoever comes second wait, and give up when they may.
func TestOneLookAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
		w.put("p", first-1, walkedDay(1))
		r := newRig(t, w)
		inside, leave := make(chan struct{}), make(chan struct{})
		w.fail = func(m string) error {
			if m == "each day" {
				w.fail = func(string) error { return nil }
				close(inside)
				<-leave
			}
			return nil
		}
		done := make(chan error, 1)
		go func() { done <- r.Screen(context.Background(), first-1) }()
		<-inside
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		wantKind(t, r.Screen(ctx, first-1), steps.Overload, "another look is under way")
		close(leave)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestNearIsTheSameByBands compares what the bands find with all pairs.
func TestNearIsTheSameByBands(t *testing.T) {
	s, err := plausibility.New(plausibility.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	marks := make([]mark, mostCompared+1)
	for i := range marks {
		marks[i] = mark{i, plausibility.Fingerprint{rng.Uint64(), rng.Uint64()}}
	}
	for i := range 100 { // pairs that differ in five bits, so share a band
		p := marks[i].pattern
		for range 5 {
			p[rng.IntN(2)] ^= 1 << rng.IntN(64)
		}
		marks[5_000+i].pattern = p
	}
	check := func(n neighbours) {
		t.Helper()
		for i := range 100 {
			if len(n[i]) != 1 || int(n[i][0].who) != 5_000+i || len(n[5_000+i]) != 1 || int(n[5_000+i][0].who) != i {
				t.Errorf("%d: %v and %v", i, n[i], n[5_000+i])
			}
		}
	}
	check(near(s, marks))
	check(near(s, marks[:mostCompared]))
	for i := range marks { // everybody is alike: bounded
		marks[i].pattern = plausibility.Fingerprint{1, 2}
	}
	if n := near(s, marks); len(n) != len(marks) || len(n[5]) != mostPeers {
		t.Errorf("%d with neighbours, %d of one", len(n), len(n[5]))
	}
}
