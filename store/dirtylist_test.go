package store

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/prometheus/client_golang/prometheus"

	"ayumi/steps"
)

// dirtyLists reads the dirty lists that are on disk.
func (r *running) dirtyLists() map[uint64][]markedDay {
	r.t.Helper()
	out := make(map[uint64][]markedDay)
	err := r.db.View(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixDirtyList}, nil, true, func(key, value []byte) error {
			l, err := r.openList(key, value)
			if err == nil {
				out[l.number] = l.days
			}
			return err
		})
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// checkLists compares the lists on disk with what is known of them. Run must have returned.
func (r *running) checkLists() {
	r.t.Helper()
	disk, counted := r.dirtyLists(), make(map[uint64]int)
	for pd, d := range r.dirty {
		if d.list == 0 {
			continue
		}
		counted[d.list]++
		if !slices.ContainsFunc(disk[d.list], func(m markedDay) bool { return m.ParticipantDay == pd }) {
			r.t.Errorf("%s counts in dirty list %d, which does not name it", nameOf(pd), d.list)
		}
	}
	if !maps.Equal(counted, r.lists.waiting) {
		r.t.Errorf("days that wait, by list: %v; noted are %v", counted, r.lists.waiting)
	}
	known := slices.Sorted(maps.Keys(counted))
	known = append(known, r.lists.spent...)
	slices.Sort(known)
	if got := slices.Sorted(maps.Keys(disk)); !slices.Equal(got, known) {
		r.t.Errorf("dirty lists on disk: %v; known are %v", got, known)
	}
}

// dirtySet returns the days that wait to be scored.
func (r *running) dirtySet() map[steps.ParticipantDay]bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make(map[steps.ParticipantDay]bool, len(r.dirty))
	for pd := range r.dirty {
		out[pd] = true
	}
	return out
}

// noLists makes sure that nothing waits and no list is left.
func (r *running) noLists() {
	r.t.Helper()
	r.do(func() {}) // a transaction, which takes along what nothing waits for
	if lists, dirty := r.dirtyLists(), r.dirtySet(); len(lists)+len(dirty) > 0 {
		r.t.Errorf("all is scored, but there are lists %v, and days that wait: %v", lists, dirty)
	}
}

// naming returns the numbers of the lists that name a participant's day0, rising.
func (r *running) naming(p steps.ParticipantID) (numbers []uint64) {
	r.t.Helper()
	for number, days := range r.dirtyLists() {
		if slices.ContainsFunc(days, func(m markedDay) bool { return m.Participant == p && m.Day == day0 }) {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	return numbers
}

// scoreDay0 scores day0 of a participant alone.
func (r *running) scoreDay0(p steps.ParticipantID) {
	r.t.Helper()
	m := marker{t: r.t, r: r}
	awards := m.award(steps.ParticipantDay{Participant: p, Day: day0})
	if err := r.PutAwards(context.Background(), awards); err != nil || len(awards) == 0 {
		r.t.Fatal(len(awards), err)
	}
}

// attend records an activity on day0 of a participant.
func (r *running) attend(p steps.ParticipantID, kind steps.ActivityKind) {
	r.t.Helper()
	a := steps.Activity{ParticipantDay: steps.ParticipantDay{Participant: p, Day: day0}, Kind: kind, RecordedAt: 1}
	if err := r.PutActivity(context.Background(), a); err != nil {
		r.t.Fatal(err)
	}
}

// TestOverlappingLists has days in several lists: each counts in the newest, after a restart too, and each list
// goes when no day counts in it.
func TestOverlappingLists(t *testing.T) {
	cfg := testConfig(t.TempDir())
	r := start(t, cfg)
	r.upload("p", day0, 1, 1000)
	r.upload("q", day0, 1, 1000)
	r.settle()
	r.attend("p", "class")
	both, newest := r.naming("q"), r.naming("p")
	if len(both) != 1 || len(newest) != 2 || newest[0] != both[0] {
		t.Fatalf("p is in lists %v, q in %v; want q's and a newer one, and one", newest, both)
	}
	cfg.Dir = r.image()
	r.end()
	r = start(t, cfg)
	if n := r.dirty[steps.ParticipantDay{Participant: "p", Day: day0}].list; n != newest[1] {
		t.Errorf("p counts in list %d; want %d", n, newest[1])
	}
	r.scoreDay0("p")
	r.do(func() {}) // the transaction after the award's takes the list along
	if got := r.naming("p"); !slices.Equal(got, both) {
		t.Errorf("p is scored, and in lists %v; want that of q, which waits: %v", got, both)
	}
	r.attend("q", "class")
	r.attend("q", "talk")
	r.do(func() {})
	if p, q := r.naming("p"), r.naming("q"); len(p) != 0 || len(q) != 1 || q[0] <= newest[1] {
		t.Errorf("q counts in a new list; p is in lists %v, q in %v", p, q)
	}
	r.scoreAll()
	r.noLists()
}

// together has one change written in a group, and the other in the group behind it, before what follows a
// change that is durable is done for the first.
func (r *running) together(first, second func()) {
	r.t.Helper()
	var work sync.WaitGroup
	defer work.Wait()
	hold := func() (held chan struct{}, release func()) {
		held, released := make(chan struct{}), make(chan struct{})
		work.Go(func() { r.do(func() { close(held); <-released }) })
		return held, func() { close(released) }
	}
	queue := func(n int, change func()) { // as the n-th of the open group
		work.Go(change)
		for queued := 0; queued < n; runtime.Gosched() {
			r.queue.Lock()
			queued = len(r.open.entries)
			r.queue.Unlock()
		}
	}
	taken, release := hold()
	<-taken
	queue(1, first)
	begun, goOn := hold() // behind first, in its group
	release()
	<-begun
	queue(1, second)
	goOn()
}

// TestActivityBesideAward records an activity, and in the group behind it stores an award that knows nothing of
// it yet. The day waits to be scored again, after a kill too.
func TestActivityBesideAward(t *testing.T) {
	cfg := testConfig(t.TempDir())
	r := start(t, cfg)
	r.upload("p", day0, 1, 1000)
	r.settle()
	pd := steps.ParticipantDay{Participant: "p", Day: day0}
	m := marker{t: t, r: r}
	awards := m.award(pd)
	r.together(func() { r.attend("p", "class") }, func() {
		if err := r.PutAwards(context.Background(), awards); err != nil {
			t.Error(err)
		}
	})
	cfg.Dir = r.image()
	r.end()
	r = start(t, cfg)
	if !r.dirtySet()[pd] {
		t.Error("the activity is stored, and its day does not wait to be scored")
	}
}

// TestListsAskForBlocks has a block written for a day that waits without steps: from then on its lists say that
// the block must be there, whichever of the two is noted first.
func TestListsAskForBlocks(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(r *running)
	}{
		{"a block after an activity", func(r *running) {
			r.attend("p", "class")
			r.upload("p", day0, 1, 70)
			r.settle()
		}},
		{"a block beside an activity", func(r *running) {
			r.upload("p", day0, 1, 70)
			r.together(func() { r.attend("p", "class") }, func() { r.do(r.beginCheckpoint) })
			r.settle()
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := testConfig(t.TempDir())
			r := start(t, cfg)
			tc.do(r)
			cfg.Dir = r.image()
			r.scoreAll()
			r.noLists()
			r.end()
			r = start(t, cfg) // with nothing in the head
			err := r.db.Update(func(txn *badger.Txn) error {
				return txn.Delete(dayKey(prefixDay, steps.ParticipantDay{Participant: "p", Day: day0}))
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.append(payload(minutes("p", "d", 2, 1, 5))); kindOf(err) != steps.Internal {
				t.Errorf("an upload onto a day whose block is gone: %v; want Internal", err)
			}
			r.discard()
		})
	}
}

// TestManyDaysAreFewLists has more days wait than a piece of a checkpoint writes.
func TestManyDaysAreFewLists(t *testing.T) {
	const n = 2*pieceKeys + 100
	r := start(t, testConfig(t.TempDir()))
	r.uploadMany(n, day0, 70)
	r.settle()
	named := 0
	lists := r.dirtyLists()
	for number, days := range lists {
		if len(days) > pieceKeys {
			t.Errorf("list %d names %d days; want at most %d", number, len(days), pieceKeys)
		}
		named += len(days)
	}
	if waiting := len(r.dirtySet()); named != waiting || waiting < n || len(lists) > 12 {
		t.Errorf("%d lists name %d days, and %d wait; want a few lists of the %d days and what was sent", len(lists), named, waiting, n)
	}
	r.scoreAll()
	r.noLists()
}

// TestDamagedDirtyList changes a list on disk. The store does not open, unless the loss is accepted: then the
// list is gone for good, and with it that all other days are scored.
func TestDamagedDirtyList(t *testing.T) {
	for _, tc := range []struct {
		name   string
		damage func(s *Store, txn *badger.Txn, key, value []byte) error
	}{
		{"bit", func(_ *Store, txn *badger.Txn, key, value []byte) error {
			value[len(value)/2] ^= 4
			return txn.Set(key, value)
		}},
		{"another list's number", func(_ *Store, txn *badger.Txn, _, value []byte) error {
			return txn.Set(listKey(99), value)
		}},
		{"no list's key", func(_ *Store, txn *badger.Txn, key, value []byte) error {
			return txn.Set(append(bytes.Clone(key), 0), value)
		}},
		{"a later version", func(s *Store, txn *badger.Txn, key, value []byte) error {
			return s.setSealed(txn, key, append([]byte{dirtyListVersion + 1}, value[1:len(value)-tagBytes]...))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := testConfig(t.TempDir())
			r := start(t, cfg)
			r.upload("p", day0, 1, 1000)
			r.settle()
			if err := r.SetScoring(context.Background(), steps.Scoring{Rules: "x@1", Through: day0}); err != nil {
				t.Fatal(err)
			}
			pristine := r.naming("p")[0]
			err := r.db.Update(func(txn *badger.Txn) error {
				value, err := r.get(txn, listKey(pristine))
				return errors.Join(err, tc.damage(r.Store, txn, listKey(pristine), value))
			})
			if err != nil {
				t.Fatal(err)
			}
			report, err := r.Check(context.Background(), nil)
			if err != nil || report.ProblemCount != 1 {
				t.Errorf("Check: %v, %v; want the list", report.Problems, err)
			}
			cfg.Dir = r.image()
			r.discard()
			var damage *CorruptionError
			_, err = Open(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
			if !errors.As(err, &damage) || damage.Table != "dirty list" {
				t.Errorf("opening it: %v; want a damaged dirty list", err)
			}
			cfg.AcceptLoss = true
			start(t, cfg).end()
			cfg.AcceptLoss = false
			r = start(t, cfg)
			if sc, err := r.Scoring(); err != nil || sc.Rules != rulesLost {
				t.Errorf("all is scored under %q, %v, and the days of the list are not known", sc.Rules, err)
			}
			report, err = r.Check(context.Background(), nil)
			if err != nil || !report.Rescoring {
				t.Errorf("Check: %+v, %v; want to hear that all is scored anew", report, err)
			}
			award := steps.Award{ParticipantDay: steps.ParticipantDay{Participant: "p", Day: day0}, Steps: 1000, RuleSet: "x@1"}
			if err := r.PutAwards(context.Background(), []steps.Award{award}); err != nil {
				t.Fatal(err)
			}
			if err := r.SetScoring(context.Background(), steps.Scoring{Rules: "x@1", Through: day0}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// discard ends a store that is damaged.
func (r *running) discard() {
	r.t.Helper()
	r.stop()
	r.stop = nil
	if err := errors.Join(<-r.ran, r.Close()); err != nil {
		r.t.Error(err)
	}
}

func FuzzParseDirtyList(f *testing.F) {
	for _, days := range [][]markedDay{
		{{steps.ParticipantDay{Participant: "p", Day: day0}, false}},
		{
			{steps.ParticipantDay{Participant: many(1), Day: day0}, true},
			{steps.ParticipantDay{Participant: many(2), Day: -3}, false},
			{steps.ParticipantDay{Participant: "", Day: 1<<31 - 1}, false},
			{steps.ParticipantDay{Participant: many(2), Day: -1 << 31}, true},
		},
	} {
		b := appendDirtyList(nil, days)
		if got, err := parseDirtyList(b); err != nil || !slices.Equal(got, days) {
			f.Errorf("%v decodes to %v, %v", days, got, err)
		}
		f.Add(b)
	}
	f.Add([]byte{dirtyListVersion, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		days, err := parseDirtyList(b)
		if err != nil {
			return
		}
		again, err := parseDirtyList(appendDirtyList(nil, days))
		if err != nil || len(days) == 0 || !slices.Equal(again, days) {
			t.Fatalf("%v is encoded to what decodes to %v, %v", days, again, err)
		}
	})
}
