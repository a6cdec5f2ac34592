package store

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"ayumi/steps"
)

// checkBooks compares what each shard of the head has counted with what is there.
func (h *head) checkBooks() error {
	for i := range h.shards {
		if err := h.shards[i].checkBooks(); err != nil {
			return fmt.Errorf("shard %d: %w", i, err)
		}
	}
	return nil
}

func (sh *headShard) checkBooks() error {
	var bytes, idleBytes, hotBytes int
	idle, hot := make(map[*headDay]bool), make(map[*headDay]bool)
	for pd, day := range sh.days {
		if pd != day.ParticipantDay {
			return fmt.Errorf("%v stands in the place of %v", day.ParticipantDay, pd)
		}
		bytes += day.memory()
		switch {
		case day.hot != nil:
			hot[day], hotBytes = true, hotBytes+day.hot.bytes
		case day.unflushed && day.block == nil:
			return fmt.Errorf("%v is not on disk, and not in memory either", pd)
		case !day.unflushed:
			idle[day], idleBytes = true, idleBytes+day.memory()
		}
		if day.pins != 0 {
			return fmt.Errorf("%v has %d pins left", pd, day.pins)
		}
	}
	if bytes != sh.bytes || idleBytes != sh.idleBytes || hotBytes != sh.hotBytes {
		return fmt.Errorf("bytes, idle and hot ones are counted as %d, %d, %d; they are %d, %d, %d",
			sh.bytes, sh.idleBytes, sh.hotBytes, bytes, idleBytes, hotBytes)
	}
	if listed := sh.hot.set(); !maps.Equal(listed, hot) {
		return fmt.Errorf("%d days are listed as hot; %d are", len(listed), len(hot))
	}
	if listed := sh.idle.set(); !maps.Equal(listed, idle) || sh.idle.n != len(idle) {
		return fmt.Errorf("%d days are listed as idle, %d counted; %d are", len(listed), sh.idle.n, len(idle))
	}
	return nil
}

func (l *dayList) set() map[*headDay]bool {
	out := make(map[*headDay]bool)
	for day := l.first; day != nil; day = day.next {
		out[day] = true
	}
	return out
}

// TestHeadIsBounded uploads far more days than the head has room for, some again and again, without
// any other reason for a checkpoint than the memory.
func TestHeadIsBounded(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.HeadBytes = 256 << 10
	r := start(t, cfg)
	rng := rand.New(rand.NewPCG(1, 8))
	want := make(map[steps.ParticipantDay]uint64)
	f := &feeder{t: t, s: r.Store}
	most := 0
	for i := range 3000 {
		who := i
		if i%3 == 0 {
			who = rng.IntN(i + 1)
		}
		day := madeUpDay(rng)
		f.upload(who, day0, uint64(i), 0, day)
		want[steps.ParticipantDay{Participant: walker(who), Day: day0}] = sum(day)
		if i%100 == 99 {
			f.wait()
			r.do(func() {
				all, _ := r.head.memory()
				most = max(most, all)
			})
		}
	}
	if bound := int(cfg.HeadBytes + cfg.HeadBytes/2); most > bound { // a group comes on top
		t.Errorf("the head took %d bytes; want at most %d", most, bound)
	}
	if got := r.totals(); !maps.Equal(got, want) {
		t.Errorf("%d days, or their totals, are not those of the %d that were uploaded", len(got), len(want))
	}
	if r.head.len() >= len(want) {
		t.Errorf("all %d days are in the head: nothing was put to the test", r.head.len())
	}
}

// TestColdDaysAreFrozen looks at which days stay decoded: those that were merged into last.
func TestColdDaysAreFrozen(t *testing.T) {
	h := newHead(hotShare*headShards*30_000, defaultTotals) // three full days a shard
	sh := &h.shards[0]
	run := cellRun{60, 0, make([]uint32, 1440), source{steps.Revision{Seq: 1}, steps.OriginSensor}}
	days := make([]*headDay, 9)
	for i := range days {
		days[i] = &headDay{ParticipantDay: steps.ParticipantDay{Participant: walker(i)}}
		sh.days[days[i].ParticipantDay] = days[i]
		sh.bytes += days[i].memory()
		sh.setIdle(days[i])
		sh.merge(days[i], []byte("d"), &run)
		sh.merge(days[0], []byte("d"), &run) // over and over
	}
	if err := sh.checkBooks(); err != nil {
		t.Error(err)
	}
	var hot []int
	for i, day := range days {
		if day.hot != nil {
			hot = append(hot, i)
		}
	}
	if !slices.Contains(hot, 0) || !slices.Contains(hot, 8) || len(hot) > 4 {
		t.Errorf("days %v are hot; want the first, the last and few others", hot)
	}
	sh.cool(0)
	for i, day := range days {
		if day.hot != nil || day.block == nil {
			t.Errorf("day %d is not encoded", i)
		}
	}
	if err := sh.checkBooks(); err != nil || sh.hotBytes != 0 {
		t.Errorf("%d bytes hot, %v", sh.hotBytes, err)
	}
}

// TestDirtyDaysComeInOrder marks days in a random order and takes them a few at a time, of which one is
// not scored.
func TestDirtyDaysComeInOrder(t *testing.T) {
	r := start(t, testConfig(t.TempDir()))
	f := &feeder{t: t, s: r.Store}
	const n, few = 42, 7
	for _, who := range shuffled(n, 3) {
		f.upload(who, day0+steps.Day(who%3), 1, 0, []uint32{uint32(who)})
	}
	f.wait()
	take := func(limit, skip int) (all, skipped []steps.ParticipantDay) {
		t.Helper()
		days, err := dirtyDays(r.Store, limit)
		if err != nil {
			t.Fatal(err)
		}
		var awards []steps.Award
		for i, d := range days {
			all = append(all, d.ParticipantDay)
			if i < skip {
				skipped = append(skipped, d.ParticipantDay)
				continue
			}
			awards = append(awards, d.award(0, ""))
		}
		if err := r.PutAwards(t.Context(), awards); err != nil {
			t.Fatal(err)
		}
		return all, skipped
	}
	var all, skipped []steps.ParticipantDay
	for range n / few {
		days, left := take(few, 1)
		all, skipped = append(all, days...), append(skipped, left...)
	}
	if len(slices.Compact(slices.Clone(all))) != n || !slices.IsSortedFunc(all, compareDays) {
		t.Errorf("the days came as %v", all)
	}
	if again, _ := take(n, 0); !slices.Equal(again, skipped) {
		t.Errorf("%v came again; want %v, which were not scored", again, skipped)
	}
	if left, _ := take(n, 0); len(left) > 0 {
		t.Errorf("%v are dirty after all were scored", left)
	}
}
