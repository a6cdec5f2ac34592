package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"ayumi/merge"
	"ayumi/steps"
)

// TestFailedCommit takes the files away under the store, as a disk does that stops working.
func TestFailedCommit(t *testing.T) {
	for _, tc := range []struct {
		name string
		take func(r *running) error
		fail func(r *running) error
	}{
		{
			"journal",
			func(r *running) (err error) {
				r.do(func() {
					name := r.segments.f.Name()
					err = r.segments.f.Close()
					r.segments.f, _ = os.Open(name) // cannot be written
				})
				return err
			},
			func(r *running) error { return r.append(payload(minutes("p", "d", 2, 1, 30))) },
		},
		{
			"database",
			func(r *running) error { return r.db.Close() },
			func(r *running) error {
				return r.Table().Apply(context.Background(), []steps.Change{{Key: "k", Value: []byte("v")}})
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := testConfig(t.TempDir())
			r := start(t, cfg)
			if err := r.append(payload(minutes("p", "d", 1, 0, 70))); err != nil {
				t.Fatal(err)
			}
			if err := tc.take(r); err != nil {
				t.Fatal(err)
			}
			if err := tc.fail(r); steps.KindOf(err) != steps.Unavailable {
				t.Errorf("what could not be committed: %v; want Unavailable", err)
			}
			if err := <-r.ran; err == nil {
				t.Error("Run goes on after a failed commit")
			}
			if err := r.append(payload(minutes("p", "d", 3, 2, 30))); steps.KindOf(err) != steps.Unavailable {
				t.Errorf("an upload after a failed commit: %v; want Unavailable", err)
			}
			if err := r.Ready(); err == nil {
				t.Error("ready after a failed commit")
			}
			r.stop()
			r.stop = nil
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			again := start(t, cfg)
			if got := again.totals()[steps.ParticipantDay{Participant: "p", Day: day0}]; got != 70 {
				t.Errorf("%d steps after the restart; want the 70 that were acknowledged", got)
			}
		})
	}
}

// image copies the files of a store that nobody is committing to: what a kill would leave. Badger may
// still be merging its tables, so it copies again until nothing changed meanwhile.
func image(t testing.TB, from string) string {
	t.Helper()
	for range 100 {
		before := listing(from)
		to := t.TempDir()
		err := copyAll(t, from, to)
		if err == nil && slices.Equal(before, listing(from)) {
			return to
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	t.Fatal("the files of the store change all the time")
	return ""
}

// image is image of a store that runs: its committer waits meanwhile.
func (r *running) image() string {
	r.t.Helper()
	stopped, done := make(chan struct{}), make(chan struct{})
	var waits sync.WaitGroup
	waits.Go(func() { r.do(func() { close(stopped); <-done }) })
	<-stopped
	defer waits.Wait()
	defer close(done)
	return image(r.t, r.cfg.Dir)
}

// listing names the files of a directory with their sizes and times.
func listing(dir string) (files []string) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // it is gone, which the next listing shows
		}
		if info, err := e.Info(); err == nil && !e.IsDir() {
			files = append(files, fmt.Sprint(path, info.Size(), info.ModTime()))
		}
		return nil
	})
	return files
}

func copyAll(t testing.TB, from, to string) error {
	t.Helper()
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() == "LOCK" {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		if e.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		return copySparse(path, target)
	})
}

// copySparse copies a file that is large and mostly holes.
func copySparse(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	size, err := in.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if err := out.Truncate(size); err != nil {
		return err
	}
	for at := int64(0); at < size; {
		data, err := in.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		if at, err = in.Seek(data, unix.SEEK_HOLE); err != nil {
			return err
		}
		if _, err := in.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, data), io.LimitReader(in, at-data)); err != nil {
			return err
		}
	}
	return nil
}

// flip changes one bit of a file, within its used part, and returns where.
func flip(t *testing.T, rng *rand.Rand, path string) int64 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	used := len(strings.TrimRight(string(b), "\x00"))
	at := int64(rng.IntN(used))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{b[at] ^ 1<<rng.IntN(8)}, at); err != nil {
		t.Fatal(err)
	}
	return at
}

// damages is how often something is damaged: a little in passing, and a lot when asked for.
func damages(t *testing.T) int {
	t.Helper()
	const few = 12
	s := os.Getenv("AYUMI_CRASH_ROUNDS")
	if s == "" {
		return few
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("AYUMI_CRASH_ROUNDS is %q; use a number from 1 on", s)
	}
	return max(few, 4*n)
}

// dice returns randomness that a failing test tells how to repeat.
func dice(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // its bits only
	if s := os.Getenv("AYUMI_CRASH_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("AYUMI_CRASH_SEED: %v", err)
		}
	}
	t.Logf("AYUMI_CRASH_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// TestFlippedBitIsNeverSilent damages one bit of the write-ahead log or of a table, many times
// over, and opens the store. It must report the damage, or not be affected by it.
func TestFlippedBitIsNeverSilent(t *testing.T) {
	for _, where := range []struct {
		name, glob string
		flushed    bool
	}{
		{"journal", "journal/*.log", false},
		{"log", "*.mem", false},
		{"log with blocks", "*.mem", true},
		{"table", "*.sst", true},
	} {
		t.Run(where.name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t.TempDir())
			r := start(t, cfg)
			rng := dice(t)
			m := make(model)
			for i := range lastRecord + 1 {
				run := randomRun(rng)
				m.add(&run)
				if err := r.append(payload(run)); err != nil {
					t.Fatal(err)
				}
				if err := r.Table().Apply(context.Background(), []steps.Change{{Key: "k", Value: []byte{byte(i)}}}); err != nil {
					t.Fatal(err)
				}
			}
			if where.flushed {
				r.settle()
			}
			pristine := image(t, cfg.Dir)
			if where.glob == "*.sst" { // a clean close turns the log into tables
				r.end()
				pristine = image(t, cfg.Dir)
			}
			reported, rounds := 0, damages(t)
			for round := range rounds {
				dir := image(t, pristine)
				files, err := filepath.Glob(filepath.Join(dir, where.glob))
				if err != nil || len(files) == 0 {
					t.Fatalf("no %s: %v", where.glob, err)
				}
				file := files[rng.IntN(len(files))]
				at := flip(t, rng, file)
				if !holds(t, dir, m.totals(merge.DefaultConfig(), nil), fmt.Sprintf("%s at %d", filepath.Base(file), at)) {
					reported++
				}
				if (round+1)%100 == 0 || round+1 == rounds {
					t.Logf("%s: %d of %d flipped bits were reported, the others did not matter", where.name, reported, round+1)
				}
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// holds opens the store in another process, since some damages end it, and reports whether it is
// whole. A store that opens and checks without a complaint must hold exactly want.
func holds(t *testing.T, dir string, want map[steps.ParticipantDay]uint64, what string) (whole bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), openEnv+"="+dir)
	out, err := cmd.Output()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		report, _, _ := strings.Cut(string(ended.Stderr), "\n")
		if testing.Verbose() {
			t.Logf("%s: %s", what, report)
		}
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[steps.ParticipantDay]uint64)
	for line := range strings.Lines(string(out)) {
		var pd steps.ParticipantDay
		var n uint64
		if _, err := fmt.Sscan(line, &pd.Participant, &pd.Day, &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got[pd] = n
	}
	if !maps.Equal(got, want) {
		t.Errorf("%s: the store opens and checks without a complaint, but holds %v; want %v", what, got, want)
	}
	return true
}

// lastRecord is how every record begins in a table that openAndList is to find whole.
const lastRecord = 39

// openEnv names a directory that this binary opens, checks and lists instead of running tests.
const openEnv = "AYUMI_STORE_OPEN"

func openAndList(dir string) error {
	s, err := Open(testConfig(dir), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		return err
	}
	report, err := s.Check(context.Background(), nil)
	if err != nil || report.ProblemCount > 0 {
		return fmt.Errorf("%v %w", report.Problems, err)
	}
	err = s.Table().Load(func(key string, value []byte) error {
		if value[0] != lastRecord {
			return fmt.Errorf("the table holds an old record: %d", value[0])
		}
		return nil
	})
	if err != nil { // silently old is what must not be
		fmt.Println("old", 0, 0)
		return nil
	}
	return s.EachDay(context.Background(), steps.DayRange{}, "", func(a steps.Award) error {
		_, err := fmt.Println(a.Participant, int(a.Day), a.Steps)
		return err
	})
}

// TestTornTail tears the journal at random places, or leaves zeros from there on, as file systems do
// that had made room but written nothing. All of it was acknowledged, so every tear must be reported,
// in the newest file and in those before it.
func TestTornTail(t *testing.T) {
	rng := dice(t)
	cfg := testConfig(t.TempDir())
	cfg.StopWithin = 0
	for file := range 3 { // each start begins a file of its own
		r := start(t, cfg)
		for i := range 5 {
			rev := uint64(5*file + i) //nolint:gosec // small
			if err := r.append(payload(minutes("p", "d", rev, int(rev), 10, 20, 30))); err != nil {
				t.Fatal(err)
			}
		}
		r.end()
	}
	rounds := damages(t)
	for range rounds {
		dir := image(t, cfg.Dir)
		files := journalFiles(t, dir)
		file := files[rng.IntN(len(files))]
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		at, zeros := rng.Int64N(info.Size()), rng.IntN(2) == 0
		err = os.Truncate(file, at)
		if zeros {
			err = errors.Join(err, os.Truncate(file, info.Size()))
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(testConfig(dir), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		var lost *LostTailError
		if !errors.As(err, &lost) && !errors.Is(err, errJournal) {
			t.Errorf("%s torn at %d of %d, zeros: %t: %v; want a report of what is lost", filepath.Base(file), at, info.Size(), zeros, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d tears were reported", rounds)
}

// TestUnacknowledgedTail leaves half a record at the journal's end, as a kill in the middle of a
// write does. It was never acknowledged, so the store opens, and goes on where the record stood.
func TestUnacknowledgedTail(t *testing.T) {
	cfg := threeGroups(t)
	files := journalFiles(t, cfg.Dir)
	f, err := os.OpenFile(files[len(files)-1], os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write([]byte{200, 0, 0, 0, journalVersion, 4})
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	for round := range uint64(3) { // each start begins a file of its own
		r := start(t, cfg)
		if err := r.append(payload(minutes("p", "d", 9+round, int(3+round), 10))); err != nil {
			t.Fatal(err)
		}
		r.end()
	}
	r := start(t, cfg)
	if got := r.totals()[steps.ParticipantDay{Participant: "p", Day: day0}]; got != 60 {
		t.Errorf("%d steps; want 60", got)
	}
	r.settle()
	if left, _ := filepath.Glob(filepath.Join(cfg.Dir, "journal", "*.log")); len(left) > 1 {
		t.Errorf("journal files after a checkpoint: %v", left)
	}
}

// TestTornChange fails the commit when a change was set in part.
func TestTornChange(t *testing.T) {
	cfg := testConfig(t.TempDir())
	r := start(t, cfg)
	r.post("p", "b", steps.EntryBonus, 5)
	err := r.change(context.Background(), 0, func(txn *badger.Txn) error {
		w := &writes{s: r.Store}
		w.set(balanceKey("p"), appendBalance(nil, &steps.Balance{Entries: 9}))
		w.pairs = append(w.pairs, keyValue{nil, []byte("a key that Badger refuses")})
		return w.apply(txn)
	}, nil)
	refused(t, "a change that was set in part", err, steps.Unavailable, "write ledger")
	if err := <-r.ran; err == nil {
		t.Error("Run goes on")
	}
	r.stop()
	r.stop = nil
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	start(t, cfg).wants("p", 0, 0, 5)
}
