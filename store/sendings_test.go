package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// sender is an ID among so many: some begin with another, and between two may lie none or many.
func sender(i int) steps.ParticipantID {
	return steps.ParticipantID(fmt.Sprintf("s%d", i*i%9973) + "-phone"[:i%7])
}

// TestSendingsAsOneByOne has checkpoints write what was sent for few and for many participants, some of them
// without a set as yet, and wants the sets that looking each of them up gives, byte by byte.
func TestSendingsAsOneByOne(t *testing.T) {
	r := start(t, testConfig(t.TempDir()))
	rng := rand.New(rand.NewPCG(3, 8)) //nolint:gosec // a test
	want := map[steps.ParticipantID][]byte{}
	for round, oneIn := range []int{40, 1, 2, 1, 400, 12, 5, 1, 1000} { // one of so many sends; with all, it is several pieces
		r.do(func() {
			for i := range 6000 {
				if rng.IntN(oneIn) > 0 || round == 0 && i%3 == 0 {
					continue
				}
				for range 1 + rng.IntN(3) {
					r.sendOn(sender(i), day0+steps.Day(rng.IntN(50)-20))
				}
			}
		})
		r.sendOneByOne(want)
		r.settle()
		n := 0
		err := r.db.View(func(txn *badger.Txn) error {
			return scan(txn, []byte{prefixSendings}, nil, true, func(key, value []byte) error {
				n++
				body, err := r.auth.open(key, value)
				if p := steps.ParticipantID(key[1:]); err != nil || !bytes.Equal(body, want[p]) {
					t.Fatalf("round %d: %s has %x (%v), want %x", round, p, body, err, want[p])
				}
				return nil
			})
		})
		if err != nil || n != len(want) {
			t.Fatalf("round %d: %d sets (%v), want %d", round, n, err, len(want))
		}
	}
}

// sendOn notes a sending without an upload. It is for the committer.
func (r *running) sendOn(p steps.ParticipantID, day steps.Day) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.head.shardOf(p).send(p, day) {
		r.markDirty(steps.ParticipantDay{Participant: p, Day: day})
	}
}

// sendOneByOne brings sets up to what a checkpoint has to write.
func (r *running) sendOneByOne(sets map[steps.ParticipantID][]byte) {
	r.t.Helper()
	for _, recent := range r.recentSendings() {
		var set steps.DaySet
		err := r.db.View(func(txn *badger.Txn) (err error) {
			set, _, err = r.storedSendings(txn, recent.participant)
			return err
		})
		if err != nil {
			r.t.Fatal(err)
		}
		for _, day := range recent.days {
			set.Add(day)
		}
		if sets[recent.participant], err = set.AppendBinary(nil); err != nil {
			r.t.Fatal(err)
		}
	}
}

// BenchmarkSendings writes what was sent on a new day for all of 200,000 participants for whom something was
// sent before, and for one in twenty of them. It counts the checkpoint's processor time.
func BenchmarkSendings(b *testing.B) {
	const people = 200_000
	for _, oneIn := range []int{1, 20} {
		b.Run(fmt.Sprintf("one-in=%d", oneIn), func(b *testing.B) {
			cfg, day, spent := DefaultConfig(b.TempDir()), day0, time.Duration(0)
			sendAndSettle(b, cfg, day, people, 1)
			for b.Loop() {
				day++
				spent += sendAndSettle(b, cfg, day, people, oneIn)
			}
			b.ReportMetric(float64(spent.Microseconds())/float64(b.N)/float64(people/oneIn), "cpu-µs/participant")
		})
	}
}

// sendAndSettle opens a store, so that what is there is in Badger's tables, has one in so many of the participants
// send on a day, and returns the processor time of the checkpoint.
func sendAndSettle(b *testing.B, cfg Config, day steps.Day, people, oneIn int) time.Duration {
	b.Helper()
	r := start(b, cfg)
	defer r.end()
	r.do(func() {
		for i := 0; i < people; i += oneIn {
			r.sendOn(walker(i), day)
		}
	})
	before := cpu(b)
	r.settle()
	return cpu(b) - before
}
