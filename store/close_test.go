package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"ayumi/steps"
)

func TestCloseDay(t *testing.T) {
	cfg := testConfig(t.TempDir())
	r := start(t, cfg)
	for i, p := range []steps.ParticipantID{"p", "q", "r"} {
		r.upload(p, day0, 1, uint32(3000*i+500))
		r.upload(p, day0+1, 1, 1000)
	}
	r.score("x@1", perThousand)
	r.wants("q", 4, 0, 0)
	closed := r.closeDay(day0, "r")
	if closed.State != steps.DayClosed || closed.Participants != 2 || closed.Points != 3 || closed.Held != 6 {
		t.Errorf("closed %+v", closed)
	}
	for range 2 {
		r.wants("p", 1, 0, 0)
		r.wants("q", 1, 0, 3)
		r.wants("r", 1, 6, 0)
		if again := r.closeDay(day0, "q"); again != closed {
			t.Errorf("closing again: %+v; it was %+v", again, closed)
		}
		r.end()
		r = start(t, cfg)
	}
	_, err := r.CloseDay(context.Background(), steps.CloseRequest{Day: day0, Period: "2027", By: "test"})
	refused(t, "into another period", err, steps.Conflict, "into the period 2026, not 2027")
	_, err = r.CloseDay(context.Background(), steps.CloseRequest{Day: day0 + 1, By: "test"})
	refused(t, "into no period", err, steps.Invalid, "period")
	if empty := r.closeDay(day0 + 9); empty.State != steps.DayClosed || empty.Participants != 0 {
		t.Errorf("a day without data: %+v", empty)
	}
	var days []steps.Day
	err = r.EachClosedDay(context.Background(), steps.DayRange{From: day0, Until: day0 + 5}, func(c steps.ClosedDay) error {
		days = append(days, c.Day)
		return nil
	})
	if err != nil || !slices.Equal(days, []steps.Day{day0}) {
		t.Errorf("closed days %v, %v", days, err)
	}
	kinds := []steps.EntryKind{}
	for _, e := range r.lines("q") {
		kinds = append(kinds, e.Kind)
	}
	if want := []steps.EntryKind{steps.EntryAward, steps.EntryAward, steps.EntryFinal}; !slices.Equal(kinds, want) {
		t.Errorf("lines %v; want %v", kinds, want)
	}
}

// TestCloseWaitsForScores refuses to close over data that is not scored, but not because of a device
// that never stops sending.
func TestCloseWaitsForScores(t *testing.T) {
	cfg := testConfig(t.TempDir())
	r := start(t, cfg)
	request := steps.CloseRequest{Day: day0, Period: "2026", By: "test"}
	r.upload("p", day0, 1, 3000)
	r.upload("p", day0+1, 1, 3000) // another day's does not matter
	for range 2 {
		_, err := r.CloseDay(context.Background(), request)
		refused(t, "before it is scored", err, steps.Unavailable, "1 participant-days")
	}
	for revision := range uint64(2) { // changes again between being read and being scored
		days := r.reportedDays()
		r.upload("p", day0, 2+revision, 4000)
		awards := make([]steps.Award, len(days))
		for i, d := range days {
			awards[i] = d.award(perThousand(d.Steps), "x@1")
		}
		if err := r.PutAwards(context.Background(), awards); err != nil {
			t.Fatal(err)
		}
	}
	r.upload("q", day0, 1, 400) // for the first time, after the closing was asked for
	if days := r.reportedDays(); len(days) != 2 {
		t.Fatalf("dirty days %v", days)
	}
	if closed := r.closeDay(day0); closed.Points != 4 {
		t.Errorf("closed %+v", closed)
	}
	r.upload("p", day0, 9, 3000)
	r.score("x@1", perThousand)
	r.wants("p", 3, 0, 4)
	if late := r.lateDays(steps.LateFilter{}); len(late) != 1 || late[0].Points != 3 || late[0].Final != 4 {
		t.Errorf("late days %+v", late)
	}
	r.upload("p", day0+1, 2, 1000)
	r.end()
	r = start(t, cfg) // what waited before is asked for anew
	request.Day++
	_, err := r.CloseDay(context.Background(), request)
	refused(t, "after a restart", err, steps.Unavailable, "1 participant-days")
	r.score("x@1", perThousand)
	r.closeDay(day0 + 1)
	r.wants("p", 0, 0, 5)
}

func TestLateData(t *testing.T) {
	cfg := testConfig(t.TempDir())
	r := start(t, cfg)
	ctx := context.Background()
	one := func(want steps.LateDay) {
		t.Helper()
		late := r.lateDays(steps.LateFilter{})
		if len(late) != 1 {
			t.Fatalf("late days %+v; want %+v", late, want)
		}
		got := late[0]
		got.At, got.Decision.At = 0, 0
		if got != want {
			t.Errorf("late day %+v; want %+v", got, want)
		}
	}
	pd := steps.ParticipantDay{Participant: "p", Day: day0}
	r.upload("p", day0, 1, 3000)
	r.score("x@1", perThousand)
	r.closeDay(day0)
	r.upload("p", day0, 2, 3500) // changes no point
	r.score("x@1", perThousand)
	if late := r.lateDays(steps.LateFilter{}); len(late) != 0 {
		t.Errorf("late days %+v", late)
	}
	r.upload("p", day0, 3, 5000)
	r.score("x@1", perThousand)
	one(steps.LateDay{ParticipantDay: pd, Steps: 5000, Points: 5, Final: 3, RuleSet: "x@1"})
	r.upload("p", day0, 4, 6100)
	r.score("x@1", perThousand)
	one(steps.LateDay{ParticipantDay: pd, Steps: 6100, Points: 6, Final: 3, RuleSet: "x@1"})
	r.end()
	r = start(t, cfg)
	decision := steps.Decision{By: "me", Reason: "pedometer in the laundry"}
	if err := r.DiscardLate(ctx, pd, decision); err != nil {
		t.Fatal(err)
	}
	refused(t, "deciding twice", r.DiscardLate(ctx, pd, decision), steps.Conflict, "was discarded by me already")
	decision.State = steps.Discarded
	r.upload("p", day0, 5, 6200) // the same question
	r.score("x@1", perThousand)
	one(steps.LateDay{ParticipantDay: pd, Steps: 6200, Points: 6, Final: 3, RuleSet: "x@1", Decision: decision})
	if open := r.lateDays(steps.LateFilter{Undecided: true}); len(open) != 0 {
		t.Errorf("undecided: %+v", open)
	}
	r.upload("p", day0, 6, 7000) // another one
	r.score("x@1", perThousand)
	one(steps.LateDay{ParticipantDay: pd, Steps: 7000, Points: 7, Final: 3, RuleSet: "x@1"})
	r.upload("p", day0, 7, 3999) // back to what it earned
	r.score("x@1", perThousand)
	if late := r.lateDays(steps.LateFilter{}); len(late) != 0 {
		t.Errorf("late days %+v", late)
	}
	refused(t, "deciding on nothing", r.DiscardLate(ctx, pd, decision), steps.NotFound, "has no late data")
	refused(t, "deciding without a reason", r.DiscardLate(ctx, pd, steps.Decision{By: "me"}), steps.Invalid, "reason")
	r.wants("p", 0, 0, 3)
}

// TestWhollyLate reports a day for the first time when it is closed.
func TestWhollyLate(t *testing.T) {
	r := start(t, testConfig(t.TempDir()))
	r.closeDay(day0)
	r.upload("p", day0, 1, 4000)
	r.upload("q", day0, 1, 400)
	r.score("x@1", perThousand)
	late := r.lateDays(steps.LateFilter{Participant: "p", Days: steps.DayRange{From: day0, Until: day0}})
	if len(late) != 1 || late[0].Points != 4 || late[0].Final != 0 {
		t.Errorf("late days %+v", late)
	}
	if late := r.lateDays(steps.LateFilter{Participant: "q"}); len(late) != 0 {
		t.Errorf("late days %+v", late)
	}
	r.wants("p", 0, 0, 0)
	if lines := r.lines("p"); len(lines) != 0 {
		t.Errorf("lines %v", lines)
	}
}

func TestCorrectDay(t *testing.T) {
	r := start(t, testConfig(t.TempDir()))
	ctx := context.Background()
	correct := steps.EntryRequest{Participant: "p", Key: "c1", Kind: steps.EntryCorrection, Account: steps.AccountAvailable,
		Period: "2026", Points: 2, Day: day0, Reason: "sent late", By: "me"}
	r.upload("p", day0, 1, 3000)
	r.score("x@1", perThousand)
	_, err := r.Post(ctx, correct)
	refused(t, "a day that is open", err, steps.Conflict, "is not closed")
	r.closeDay(day0)
	r.upload("p", day0, 2, 5000)
	r.score("x@1", perThousand)
	for range 2 {
		if _, err := r.Post(ctx, correct); err != nil {
			t.Fatal(err)
		}
		r.wants("p", 0, 0, 5)
	}
	if late := r.lateDays(steps.LateFilter{}); len(late) != 0 {
		t.Errorf("corrected, but late: %+v", late)
	}
	r.upload("p", day0, 3, 4000)
	r.score("x@1", perThousand)
	if late := r.lateDays(steps.LateFilter{}); len(late) != 1 || late[0].Points != 4 || late[0].Final != 5 {
		t.Errorf("late days %+v", late)
	}
	correct.Key, correct.Points = "c2", -6
	r.post("p", "b", steps.EntryBonus, 10)
	_, err = r.Post(ctx, correct)
	refused(t, "more than the day earned", err, steps.Conflict, "earned 5 points; 6 cannot be taken")
	correct.Period = "2027"
	_, err = r.Post(ctx, correct)
	refused(t, "another period", err, steps.Conflict, "0 available points of the period 2027")
	correct.Period, correct.Participant, correct.Points = "2026", "q", 1
	_, err = r.Post(ctx, correct)
	refused(t, "who has no page", err, steps.NotFound, "was not scored")
	r.wants("p", 0, 0, 15)
}

// TestEntriesBesideClosing posts entries for participants whose final points are being prepared, so that
// the balance in the snapshot is not the one to add to.
func TestEntriesBesideClosing(t *testing.T) {
	r := start(t, testConfig(t.TempDir()))
	const n = 2*pieceKeys + 10
	r.uploadMany(n, day0, 5000)
	r.score("x@1", perThousand)
	uploads := 0
	closed, err := r.CloseDay(context.Background(), steps.CloseRequest{Day: day0, Period: "2026", By: "test",
		Held: func(p steps.ParticipantID) bool {
			if p[len(p)-3:] != "500" {
				return false
			}
			for _, other := range []steps.ParticipantID{p, many(3), many(n - 3)} { // at hand, posted, and to come
				r.post(other, steps.RequestKey("b"+p), steps.EntryBonus, 7)
			}
			r.upload(many(1), day0+1, uint64(uploads+1), 2000) // uploads are acknowledged meanwhile
			uploads++
			return true
		}})
	if err != nil || closed.Participants != n || uploads != 8 {
		t.Fatalf("%+v, %v, %d uploads", closed, err, uploads)
	}
	r.wants(many(3), 0, 0, 5+7*8)
	r.wants(many(n-3), 0, 0, 5+7*8)
	r.wants(many(500), 0, 5, 7)
	r.wants(many(8), 0, 0, 5)
}

// TestClosingIsResumed interrupts a closing between its transactions, by its context and by taking the
// files as a kill would leave them.
func TestClosingIsResumed(t *testing.T) {
	cfg := testConfig(t.TempDir())
	r := start(t, cfg)
	const n = 3 * pieceKeys
	r.uploadMany(n, day0, 5000)
	r.score("x@1", perThousand)
	ctx, cancel := context.WithCancel(context.Background())
	asked := 0
	_, err := r.CloseDay(ctx, steps.CloseRequest{Day: day0, Period: "2026", By: "test", Held: func(steps.ParticipantID) bool {
		if asked++; asked == 2*pieceKeys-5 {
			cancel()
		}
		return false
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("a closing whose context ended: %v", err)
	}
	dir := r.image()
	check := func(r *running) {
		t.Helper()
		r.wants(many(1), 0, 0, 5)
		r.wants(many(n-1), 5, 0, 0)
		sum := steps.Points(0)
		balances := 0
		err := r.EachBalance(context.Background(), func(b *steps.Balance) error {
			balances++
			sum += b.Provisional + b.Available()
			return nil
		})
		if err != nil || balances != n || sum != 5*n {
			t.Errorf("%d balances of %d points together, %v", balances, sum, err)
		}
		report, err := r.Check(context.Background(), nil)
		if err != nil || report.ProblemCount > 0 {
			t.Errorf("half closed: %v, %v", err, report.Problems)
		}
		r.upload(many(n-1), day0, 2, 9000) // late, though nothing of it is posted yet
		r.score("x@1", perThousand)
		if closed := r.closeDay(day0); closed.Participants != n || closed.Points != 5*n {
			t.Errorf("closed %+v", closed)
		}
		r.wants(many(n-1), 0, 0, 5)
		r.end()
	}
	check(r)
	cfg.Dir = dir
	check(start(t, cfg))
}

// TestOrderOfClosing scores and closes days in random orders, each day after all its data came. The
// balances are always the same.
func TestOrderOfClosing(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := newRand(seed)
			r := start(t, testConfig(t.TempDir()))
			const people, days, versions = 5, 6, 4
			type arrival struct {
				p        int
				day      steps.Day
				revision uint64
			}
			var arrivals []arrival
			waiting := make(map[steps.Day]int)
			for p := range people {
				for d := range days {
					for v := range versions {
						arrivals = append(arrivals, arrival{p, day0 + steps.Day(d), uint64(v + 1)})
						waiting[day0+steps.Day(d)]++
					}
				}
			}
			rng.Shuffle(len(arrivals), func(i, j int) { arrivals[i], arrivals[j] = arrivals[j], arrivals[i] })
			want := make(map[int]steps.Points)
			for _, a := range arrivals {
				n := uint32(a.p*1000 + int(a.day-day0)*2000 + int(a.revision)*500)
				r.upload(many(a.p), a.day, a.revision, n)
				if a.revision == versions {
					want[a.p] += perThousand(uint64(n))
				}
				if waiting[a.day]--; waiting[a.day] == 0 {
					r.score("x@1", perThousand)
					r.closeDay(a.day)
				} else if rng.IntN(3) == 0 {
					r.score("x@1", perThousand)
				}
			}
			for p, n := range want {
				r.wants(many(p), 0, 0, n)
			}
			if late := r.lateDays(steps.LateFilter{}); len(late) != 0 {
				t.Errorf("late days %v", late)
			}
		})
	}
}

// TestCloseOneAtATime calls CloseDay from several goroutines.
func TestCloseOneAtATime(t *testing.T) {
	r := start(t, testConfig(t.TempDir()))
	r.uploadMany(2*pieceKeys, day0, 5000)
	r.uploadMany(2*pieceKeys, day0+1, 5000)
	r.score("x@1", perThousand)
	var failed atomic.Int32
	done := make(chan struct{})
	for i := range 6 {
		go func() {
			defer func() { done <- struct{}{} }()
			_, err := r.CloseDay(context.Background(), steps.CloseRequest{Day: day0 + steps.Day(i%2), Period: "2026", By: "test"})
			if err != nil {
				failed.Add(1)
			}
		}()
	}
	for range 6 {
		<-done
	}
	if n := failed.Load(); n > 0 {
		t.Errorf("%d closings failed", n)
	}
	r.wants(many(5), 0, 0, 10)
}
