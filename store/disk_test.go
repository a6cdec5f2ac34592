package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"

	"ayumi/steps"
)

// fakeDisk says how much is free on a disk of a tebibyte.
type fakeDisk struct{ free atomic.Uint64 }

func newFakeDisk() *fakeDisk {
	d := new(fakeDisk)
	d.free.Store(1 << 39)
	return d
}

func (d *fakeDisk) space(string) (free, whole uint64, err error) { return d.free.Load(), 1 << 40, nil }

// register writes a registry record.
func (r *running) register(key string) error {
	return r.Table().Apply(context.Background(), []steps.Change{{Key: key, Value: []byte("v")}})
}

// turnedAway reports whether err is what a full disk answers; any other error fails the test.
func turnedAway(t *testing.T, err error) bool {
	t.Helper()
	if err != nil && (steps.KindOf(err) != steps.Unavailable || !strings.Contains(err.Error(), "free some space")) {
		t.Errorf("%v; want nothing, or a refusal that says what to do", err)
	}
	return err != nil
}

// TestFullDisk fills a disk in steps and empties it again. On the way down it is the commit that
// has to notice, with the payload in its hands; on the way up it is the watch.
func TestFullDisk(t *testing.T) {
	cfg := testConfig(t.TempDir())
	disk := newFakeDisk()
	r := startOn(t, cfg, disk.space)
	uploads, changes := cfg.Reserve()
	want := uint64(0)
	for i, step := range []struct {
		name                 string
		free                 uint64
		uploadsFull, allFull bool
		gauge                float64
	}{
		{"room", uploads, false, false, 0},
		{"none for uploads", uploads - 1, true, false, 1},
		{"hardly room for uploads", uploads + 1, true, false, 1},
		{"room again", 2 * uploads, false, false, 0},
		{"nothing left at once", 0, true, true, 2},
		{"hardly room for changes", changes + 1, true, true, 2},
		{"room for changes", changes + changes/8, true, false, 1},
		{"somebody tidied up", 1 << 39, false, false, 0},
	} {
		disk.free.Store(step.free)
		if r.full.Load() {
			r.full.Store(r.diskFull())
		}
		if got := turnedAway(t, r.append(payload(minutes("p", "d", 1, i, 10)))); got != step.uploadsFull {
			t.Errorf("%s: an upload was refused: %t", step.name, got)
		}
		if !step.uploadsFull {
			want += 10
		}
		if got := turnedAway(t, r.register("k")); got != step.allFull {
			t.Errorf("%s: a change was refused: %t", step.name, got)
		}
		if n, _, err := r.Total(steps.ParticipantDay{Participant: "p", Day: day0}); n != want || err != nil {
			t.Errorf("%s: a read: %d, %v; want %d", step.name, n, err, want)
		}
		if err := r.Ready(); turnedAway(t, err) != step.uploadsFull {
			t.Errorf("%s: ready: %v", step.name, err)
		}
		if got := testutil.ToFloat64(r.metrics.diskFull); got != step.gauge {
			t.Errorf("%s: ayumi_store_disk_full is %v; want %v", step.name, got, step.gauge)
		}
	}
}

// TestMinFreeBytes wants more room than the store itself.
func TestMinFreeBytes(t *testing.T) {
	cfg := testConfig(t.TempDir())
	disk := newFakeDisk()
	cfg.MinFreeBytes = 1 << 38 // more than 15 % of the disk
	r := startOn(t, cfg, disk.space)
	for _, step := range []struct {
		free uint64
		full bool
	}{{1 << 40 / 100 * 15, false}, {1<<40/100*15 - 1, true}} {
		disk.free.Store(step.free)
		if got := turnedAway(t, r.append(payload(minutes("p", "d", 1, 0, 10)))); got != step.full {
			t.Errorf("%d bytes free: refused: %t", step.free, got)
		}
	}
}

// TestFullDiskPausesCheckpoint takes the last room away during a checkpoint.
func TestFullDiskPausesCheckpoint(t *testing.T) {
	cfg := testConfig(t.TempDir())
	disk := newFakeDisk()
	r := startOn(t, cfg, disk.space)
	if err := r.append(payload(minutes("p", "d", 1, 0, 10))); err != nil {
		t.Fatal(err)
	}
	r.do(func() { r.beginCheckpoint(); disk.free.Store(0) }) // the next piece finds no room
	if !turnedAway(t, r.register("k")) {
		t.Fatal("a change goes onto a full disk")
	}
	if names := journalFiles(t, cfg.Dir); len(names) == 0 {
		t.Error("the journal was retired without a checkpoint")
	}
	disk.free.Store(1 << 39)
	r.full.Store(r.diskFull())
	for paused := true; paused; {
		r.do(func() { paused = r.checkpoint != nil })
	}
	if names, _ := filepath.Glob(filepath.Join(cfg.Dir, "journal", "*.log")); len(names) > 0 {
		t.Errorf("%v are left after the checkpoint", names)
	}
}

// TestStopOnFullDisk stops a store whose disk has no room even for closing Badger, and starts it
// again from what a kill would leave.
func TestStopOnFullDisk(t *testing.T) {
	cfg := testConfig(t.TempDir())
	disk := newFakeDisk()
	r := startOn(t, cfg, disk.space)
	if err := errors.Join(r.append(payload(minutes("p", "d", 1, 0, 10))), r.register("k")); err != nil {
		t.Fatal(err)
	}
	disk.free.Store(0)
	r.end()
	if r.db.IsClosed() {
		t.Error("the database was closed, which writes")
	}
	left := image(t, cfg.Dir)
	_, err := open(testConfig(left), slog.New(slog.DiscardHandler), prometheus.NewRegistry(), disk.space)
	if !turnedAway(t, err) {
		t.Error("a store opens on a full disk")
	}
	again := start(t, testConfig(left))
	if got := again.totals()[steps.ParticipantDay{Participant: "p", Day: day0}]; got != 10 {
		t.Errorf("%d steps after the restart; want 10", got)
	}
	disk.free.Store(1 << 39)
	if err := r.Close(); err != nil || !r.db.IsClosed() {
		t.Errorf("closed when there is room: %t, %v", r.db.IsClosed(), err)
	}
}

// TestPreallocation looks at the blocks of Badger's log.
func TestPreallocation(t *testing.T) {
	cfg := testConfig(t.TempDir())
	r := start(t, cfg)
	value := make([]byte, 512<<10)
	for i := range 2 * int(cfg.MemTableBytes) / len(value) { // two logs and a bit
		if err := r.Table().Apply(context.Background(), []steps.Change{{Key: fmt.Sprint(i % 4), Value: value}}); err != nil {
			t.Fatal(err)
		}
		ids, err := logs(cfg.Dir)
		if err != nil {
			t.Fatal(err)
		}
		name := logName(cfg.Dir, ids[len(ids)-1])
		if got := allocated(t, name); got < cfg.logBytes() {
			t.Fatalf("%s has blocks for %d bytes; want %d", name, got, cfg.logBytes())
		}
	}
	if r.logs.next < 3 {
		t.Errorf("the next log is %d: there was only one", r.logs.next)
	}
}

// allocated returns what a file takes up on its disk.
func allocated(t *testing.T, name string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}
