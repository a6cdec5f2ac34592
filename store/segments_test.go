package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"ayumi/steps"
)

// journal is a model of segments: the bodies of the groups that must be replayed.
type journal struct {
	*segments
	t       *testing.T
	dir     string
	key     *auth
	rng     *rand.Rand
	alike   bool // the records have one size
	bodies  map[uint64][]byte
	next    uint64
	retired uint64
}

func newJournal(t *testing.T, rng *rand.Rand) *journal {
	j := &journal{t: t, dir: t.TempDir(), key: newAuth(make([]byte, keyBytes)), rng: rng, bodies: map[uint64][]byte{}, next: 1}
	j.open()
	return j
}

// testSpareBytes makes files small enough to be gone through often.
const testSpareBytes = 4 << 10

// open opens the journal, and wants it to hold what the model holds, and nothing else.
func (j *journal) open() {
	j.t.Helper()
	var err error
	if j.segments, err = openSegments(j.dir, j.key, testSpareBytes, 4*testSpareBytes); err != nil {
		j.t.Fatal(err)
	}
	want := j.retired
	last, err := j.replay(j.retired, func(group uint64, body []byte) error {
		if want++; group != want || !bytes.Equal(body, j.bodies[group]) {
			j.t.Fatalf("group %d is replayed as %x; want group %d, %x", group, body, want, j.bodies[want])
		}
		return nil
	})
	if err != nil || last != j.next-1 || want != last {
		j.t.Fatalf("the journal ends at %d, %d groups from %d on, %v; want an end at %d", last, want-j.retired, j.retired+1, err, j.next-1)
	}
}

// record makes the record of the next group. In half of the journals they are alike in size, so that those of
// a spare stand where newer ones would.
func (j *journal) record() (body, record []byte) {
	body = make([]byte, 50)
	if !j.alike && j.rng.IntN(4) == 0 {
		body = make([]byte, j.rng.IntN(2*testSpareBytes))
	}
	for i := range body {
		body[i] = byte(j.rng.Uint32())
	}
	return body, j.seal(j.next, append(make([]byte, lengthBytes), body...))
}

func (j *journal) add() {
	body, record := j.record()
	if err := j.append(j.next, record); err != nil {
		j.t.Fatal(err)
	}
	j.bodies[j.next] = body
	j.next++
}

// tear writes a part of a record that nobody will hear of, as a kill in the middle of a write leaves it.
func (j *journal) tear() {
	if j.f == nil {
		return
	}
	_, record := j.record()
	if _, err := j.f.Write(record[:j.rng.IntN(len(record))]); err != nil {
		j.t.Fatal(err)
	}
}

// TestSegmentsOverSpares writes a journal over files that hold older ones, with checkpoints, kills and torn
// records in between. Each start must find every group that was acknowledged and is not covered.
func TestSegmentsOverSpares(t *testing.T) {
	rng := dice(t)
	over := 0
	for round := range 12 {
		j := newJournal(t, rng)
		j.alike = round%2 == 0
		for range 60 {
			switch rng.IntN(8) {
			case 0: // a checkpoint
				j.retired = j.next - 1 - min(j.next-1-j.retired, uint64(rng.IntN(10)))
				if err := errors.Join(j.rotate(), j.retire(j.retired)); err != nil {
					t.Fatal(err)
				}
			case 1: // a kill
				j.tear()
				j.open()
			case 2:
				if err := j.spares.make(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			for range rng.IntN(20) {
				j.add()
			}
			if n := len(j.spares.ready); n > 5 {
				t.Fatalf("%d spares are kept; want at most 5", n)
			}
			if j.f != nil && j.laid > j.at {
				over++
			}
		}
		j.open()
	}
	if over < 50 {
		t.Errorf("only %d times a spare was being written over", over)
	}
}

// TestSparesAreRecycled has the journal run in the same files after a while.
func TestSparesAreRecycled(t *testing.T) {
	j := newJournal(t, rand.New(rand.NewPCG(1, 2)))
	if err := j.spares.make(t.Context()); err != nil {
		t.Fatal(err)
	}
	inode := func() uint64 {
		var st unix.Stat_t
		if err := unix.Fstat(int(j.f.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		return st.Ino
	}
	j.add()
	first := inode()
	for range 3 {
		j.retired = j.next - 1
		if err := errors.Join(j.rotate(), j.retire(j.retired)); err != nil {
			t.Fatal(err)
		}
		if left, _ := filepath.Glob(filepath.Join(j.dir, "*"+segmentSuffix)); len(left) > 0 {
			t.Fatalf("%v are left of a journal that is covered", left)
		}
		j.add()
		if inode() != first {
			t.Error("a covered file is not written over")
		}
	}
	if err := errors.Join(j.spares.make(t.Context()), j.close()); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(j.dir, "*"+spareSuffix)); len(left) > 0 {
		t.Errorf("%v are left of a journal that is closed", left)
	}
	// A loss was accepted: what follows the damage must never be a spare.
	j.open()
	j.retired = j.next - 1
	if err := j.retire(j.retired); err != nil {
		t.Fatal(err)
	}
	if n := len(j.spares.ready); n != 0 {
		t.Errorf("%d spares of files that somebody else wrote", n)
	}
}

// TestSparesAreMade has a file that grows ask for a spare, on a disk that is full at first.
func TestSparesAreMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t, rand.New(rand.NewPCG(3, 4)))
		var full atomic.Bool
		full.Store(true)
		go j.spares.run(t.Context(), full.Load, slog.New(slog.DiscardHandler))
		grow := func() {
			for j.at < testSpareBytes/growShare {
				j.add()
			}
			j.add()
			synctest.Wait()
		}
		j.add()
		synctest.Wait()
		if len(j.spares.want) > 0 || len(j.spares.ready) > 0 {
			t.Error("a spare is made for a journal that is small")
		}
		for range 2 { // the second finds the maker pausing
			grow()
			if len(j.spares.ready) > 0 {
				t.Fatal("a spare is made on a disk that is full")
			}
		}
		full.Store(false)
		time.Sleep(spareRetry) // of the bubble's clock
		grow()
		if len(j.spares.ready) != 1 {
			t.Fatalf("%d spares; want 1", len(j.spares.ready))
		}
		j.add()
		if synctest.Wait(); j.laid != testSpareBytes || len(j.spares.ready) != 1 {
			t.Errorf("%d bytes are laid out, and %d spares are ready; want %d and 1", j.laid, len(j.spares.ready), testSpareBytes)
		}
	})
}

// TestHalfASpare removes what was being made when the process ended.
func TestHalfASpare(t *testing.T) {
	j := newJournal(t, rand.New(rand.NewPCG(5, 6)))
	half := filepath.Join(j.dir, "1"+spareSuffix)
	if err := os.WriteFile(half, make([]byte, testSpareBytes-1), 0o600); err != nil {
		t.Fatal(err)
	}
	j.open()
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) || len(j.spares.ready) > 0 {
		t.Errorf("half a spare: %v, %d are ready", err, len(j.spares.ready))
	}
}

// TestDamageOverSpares flips bits of a journal that stands in a spare, whose rest holds the same uploads under
// older numbers.
func TestDamageOverSpares(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.StopWithin = 0
	r := start(t, cfg)
	add := func(n, seq uint64, each uint32) {
		for i := range n {
			if err := r.append(payload(minutes("p", "d", seq+i, int(i), each))); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(40, 0, 10)
	r.settle()
	older := filepath.Join(cfg.Dir, "journal", "older"+spareSuffix)
	add(20, 100, 20)
	files := journalFiles(t, cfg.Dir)
	b, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		t.Fatal(err)
	}
	r.settle()
	if err := os.WriteFile(older, append(b, make([]byte, segmentBytes)...), 0o600); err != nil {
		t.Fatal(err)
	}
	r.end()
	r = start(t, cfg)
	add(10, 200, 30)
	image := r.image()
	want := r.totals()[steps.ParticipantDay{Participant: "p", Day: day0}]
	name := journalFiles(t, image)[0]
	if b, err = os.ReadFile(name); err != nil || len(b) < segmentBytes {
		t.Fatalf("%d bytes, %v; want a journal in a spare", len(b), err)
	}
	s := start(t, testConfig(image))
	if got := s.totals()[steps.ParticipantDay{Participant: "p", Day: day0}]; got != want || want != 10*30+10*20+20*10 {
		t.Errorf("%d steps after a kill, %d before; want 700", got, want)
	}
	s.end()
	used, records := 0, 0
	for ; records < 10; records++ {
		used += lengthBytes + int(binary.LittleEndian.Uint32(b[used:])) + tagBytes
	}
	rng := dice(t)
	for range damages(t) {
		dir := t.TempDir()
		if err := copyAll(t, cfg.Dir, dir); err != nil {
			t.Fatal(err)
		}
		at := rng.IntN(used)
		damaged := slices.Clone(b)
		damaged[at] ^= 1 << rng.IntN(8)
		name := filepath.Join(dir, "journal", filepath.Base(name))
		if err := os.WriteFile(name, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(testConfig(dir), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		var lost *LostTailError
		if !errors.As(err, &lost) && !errors.Is(err, errJournal) {
			t.Errorf("byte %d of %d is damaged: %v; want a report", at, used, err)
		}
	}
}
