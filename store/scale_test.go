package store

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/dgraph-io/badger/v4"
	"github.com/prometheus/client_golang/prometheus"

	"ayumi/points"
	"ayumi/steps"
)

// The tests of this file measure what docs/performance.md says of large programmes, for scaleEnv
// participants (`make scale`), and log it. In the ordinary tests they are small, and hold what a
// participant takes against the same bounds.
const (
	scaleEnv   = "AYUMI_SCALE"
	scaleLarge = 1_000_000 // from here on the bounds of a whole process hold
)

func participants(t *testing.T, small int) int {
	v := os.Getenv(scaleEnv)
	if v == "" {
		return small
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q; give a number of participants", scaleEnv, v)
	}
	return n
}

// feeder appends single uploads, as the pipeline does, and waits for their acknowledgements.
type feeder struct {
	t       testing.TB
	s       *Store
	commit  steps.Commit
	sent    int64
	got     atomic.Int64
	refused atomic.Int64
}

// Complete implements steps.Completion.
func (f *feeder) Complete(_ *steps.Receipt, err error) steps.Flusher {
	if err != nil {
		f.refused.Add(1)
	}
	f.got.Add(1)
	return nil
}

// IDs as long as a programme's.
func walker(i int) steps.ParticipantID { return steps.ParticipantID(fmt.Sprintf("sj-%07d", i)) }
func pedometer(i int) steps.DeviceID   { return steps.DeviceID(fmt.Sprintf("ped-203-%08d", i)) }

// upload appends an upload of a walker's pedometer.
func (f *feeder) upload(who int, day steps.Day, seq uint64, first int, counts []uint32) {
	c, device := &f.commit, pedometer(who)
	c.Receipt.ReceivedAt = int64(day)*86400 + 86000
	c.Receipt.Uploads = append(c.Receipt.Uploads[:0], steps.UploadReceipt{
		Device: device, Revision: steps.Revision{Boot: 1, Seq: seq}, Verdict: steps.Stored,
	})
	c.Contacts = append(c.Contacts[:0], steps.Contact{
		Device: device, SentAt: 1_800_000_000, Status: steps.DeviceStatus{Battery: 80, Firmware: "1.4.2", Signal: -70},
	})
	c.Runs = append(c.Runs[:0], steps.Run{
		Participant: walker(who), Day: day, Interval: 60, First: first, Origin: steps.OriginSensor, Counts: counts,
	})
	if err := f.s.Append(context.Background(), c, nil, f); err != nil {
		f.t.Fatal(err)
	}
	f.sent++
}

// wait returns when all is acknowledged: what is queued after the uploads is committed after them.
func (f *feeder) wait() {
	for f.got.Load() < f.sent {
		if err := f.s.change(context.Background(), 0, func(*badger.Txn) error { return nil }, nil); err != nil {
			f.t.Fatal(err)
		}
	}
	if n := f.refused.Load(); n > 0 {
		f.t.Fatalf("%d uploads were refused", n)
	}
}

// shuffled returns 0 to n-1 in an order of its own for each seed.
func shuffled(n int, seed uint64) []int { return rand.New(rand.NewPCG(seed, 9)).Perm(n) }

// madeUpDay is a day of some 8,600 steps: nights, walks, and a few steps here and there.
func madeUpDay(rng *rand.Rand) []uint32 {
	day := make([]uint32, 1440)
	for range 4 + rng.IntN(5) {
		at, n := 420+rng.IntN(840), 4+rng.IntN(18)
		for i := at; i < at+n; i++ {
			day[i] = uint32(85 + rng.IntN(35))
		}
	}
	for range 25 + rng.IntN(25) {
		at := 400 + rng.IntN(960)
		for i := at; i < at+1+rng.IntN(3); i++ {
			day[i] = max(day[i], uint32(4+rng.IntN(30)))
		}
	}
	return day
}

// realMinutes is the minute export of the Fitbit Fitness Tracker Data (Zenodo 53894, CC0), which is
// not part of the tree.
const realMinutes = "../../shared/data/fitbit-53894/minuteStepsWide_merged.csv"

// realDays reads the export's whole days, of which there are 888.
func realDays(t *testing.T) (days [][]uint32) {
	f, err := os.Open(realMinutes)
	if errors.Is(err, os.ErrNotExist) && os.Getenv("CI") == "" {
		t.Skip("the Fitbit export is not there")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	hours := make(map[string][]uint32) // by person and date; each row is an hour
	for r := csv.NewReader(f); ; {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		date, _, _ := strings.Cut(row[1], " ")
		for _, minute := range row[2:] {
			n, err := strconv.ParseUint(minute, 10, 32)
			if err != nil {
				continue // the heading
			}
			hours[row[0]+date] = append(hours[row[0]+date], uint32(n))
		}
		if day := hours[row[0]+date]; len(day) == 1440 {
			days = append(days, day)
		}
	}
	if len(days) != 888 {
		t.Fatalf("%d whole days; want 888", len(days))
	}
	return days
}

// meter measures a stretch of a test.
type meter struct {
	t     *testing.T
	began time.Time
	cpu   time.Duration
}

func begin(t *testing.T) meter { return meter{t, time.Now(), processorTime()} }

// end logs the time since begin, and returns the time and the processor time.
func (m meter) end(what string, each int) (wall, cpu time.Duration) {
	wall, cpu = time.Since(m.began), processorTime()-m.cpu
	m.t.Logf("%s: %.2f s, %.2f s of processor time, %.2f µs each", what, wall.Seconds(), cpu.Seconds(),
		float64(cpu.Microseconds())/float64(each))
	return wall, cpu
}

func processorTime() time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return 0
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// status reads a size from /proc/self/status, in bytes.
func status(t *testing.T, name string) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); f[0] == name+":" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Skipf("/proc/self/status has no %s", name)
	return 0
}

// forgetPeak makes VmHWM start anew.
func forgetPeak(t *testing.T) {
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Skip(err)
	}
}

// live returns the bytes of reachable memory.
func live() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// beyondQueue returns the bytes of reachable memory but for what the queue keeps for groups to come,
// which is as much as the largest group took, whoever sent it.
func (r *running) beyondQueue() int64 {
	r.afterCheckpoint() // which holds on to what it writes
	r.queue.Lock()
	defer r.queue.Unlock()
	n := live()
	for _, g := range []*group{r.open, r.spare} {
		if g != nil {
			n -= int64(cap(g.journal) + cap(g.entries)*int(unsafe.Sizeof(entry{})) + cap(g.days)*int(unsafe.Sizeof(dayRef{})))
		}
	}
	return n
}

// scaleConfig is the default one, with a smaller head for fewer participants, so that not all of their
// days can be decoded.
func scaleConfig(dir string, n int) Config {
	cfg := DefaultConfig(dir)
	cfg.MinFreeBytes = 1 << 20
	cfg.HeadBytes = min(cfg.HeadBytes, 2<<10*int64(n))
	return cfg
}

// A participant with a day in the head may take so much: live, with the device's contact and what waits
// to be scored, and a million of them at the peak of the whole process.
const (
	liveBytes = 1000 // a few hundred of them Badger's memtables, which do not grow for ever
	peakBytes = 2 << 30
)

// TestScaleMemory has everybody upload in a random order: the last quarter of an hour, twice; a whole
// day; a day in eight parts. What half of the participants add to the memory is held against the bound,
// so that what a store takes at any size does not count.
func TestScaleMemory(t *testing.T) {
	n := participants(t, 8000)
	// As GOMEMLIMIT would: otherwise Go collects only when as much again is garbage.
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(peakBytes - peakBytes/6))
	rng := rand.New(rand.NewPCG(1, 2))
	counts := madeUpDay(rng)
	for _, tc := range []struct {
		name    string
		uploads int // of each
		upload  func(f *feeder, who, i int)
	}{
		{"quarters", 2, func(f *feeder, who, i int) { f.upload(who, day0, uint64(i), 1425-15*i, counts[700:715]) }},
		{"days", 1, func(f *feeder, who, i int) { f.upload(who, day0, uint64(i), 0, madeUpDay(rng)) }},
		{"parts", 8, func(f *feeder, who, i int) { f.upload(who, day0, uint64(i), 180*i, counts[180*i:180*i+180]) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			forgetPeak(t)
			r := start(t, scaleConfig(t.TempDir(), n))
			m, f := begin(t), &feeder{t: t, s: r.Store}
			before, half := int64(0), n/2
			for from := 0; from < n; from += half {
				before = r.beyondQueue()
				for i := range tc.uploads {
					for _, who := range shuffled(half, uint64(i)) {
						tc.upload(f, from+who, i)
					}
				}
				f.wait()
			}
			m.end("uploads", n*tc.uploads)
			each, peak := (r.beyondQueue()-before)/int64(half), status(t, "VmHWM")
			t.Logf("%d bytes live a participant; %d MiB live, %d MiB at the peak, %d MiB of them anonymous now",
				each, live()>>20, peak>>20, status(t, "RssAnon")>>20)
			if n < scaleLarge && each > liveBytes { // beyond it the halves differ in Badger's memtables
				t.Errorf("%d bytes live a participant; want at most %d", each, liveBytes)
			}
			if n >= scaleLarge && peak > peakBytes*int64(n)/scaleLarge {
				t.Errorf("%d MiB at the peak; want at most %d", peak>>20, peakBytes*int64(n)/scaleLarge>>20)
			}
			if all, _ := r.head.memory(); int64(all) > r.cfg.HeadBytes+r.cfg.HeadBytes/8 {
				t.Errorf("the head takes %d bytes; want at most %d and an eighth", all, r.cfg.HeadBytes)
			}
		})
	}
}

// uploadsOf is how many uploads of a quarter of an hour a test of reopening leaves in the journal, for
// each participant of scaleEnv.
const uploadsOf = 5

// reopenDirEnv, reopenPeopleEnv and reopenUploadsEnv tell a child process what to leave in a journal.
const (
	reopenDirEnv     = "AYUMI_REOPEN_DIR"
	reopenPeopleEnv  = "AYUMI_REOPEN_PEOPLE"
	reopenUploadsEnv = "AYUMI_REOPEN_UPLOADS"
	reopenBlocksEnv  = "AYUMI_REOPEN_BLOCKS"
)

// TestReopenChild is the process that TestScaleReopen kills: it does so itself, when all is acknowledged.
func TestReopenChild(t *testing.T) {
	dir := os.Getenv(reopenDirEnv)
	if dir == "" {
		t.Skip("runs as a child of TestScaleReopen")
	}
	people, err := strconv.Atoi(os.Getenv(reopenPeopleEnv))
	uploads, err2 := strconv.Atoi(os.Getenv(reopenUploadsEnv))
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig(dir)
	cfg.MinFreeBytes, cfg.CheckpointBytes, cfg.CheckpointEvery, cfg.HeadBytes = 1<<20, 8<<30, 24*time.Hour, 8<<30
	r := start(t, cfg)
	f := &feeder{t: t, s: r.Store}
	rng := rand.New(rand.NewPCG(1, 2))
	counts := madeUpDay(rng)
	if os.Getenv(reopenBlocksEnv) != "" { // a day before, and this one's morning, are on disk
		for who := range people {
			f.upload(who, day0-1, 1, 0, madeUpDay(rng))
			f.upload(who, day0, 2, 0, counts[:360])
		}
		f.wait()
		r.settle()
	}
	for sent := 0; sent < uploads; {
		round := sent / people
		first := 360 + round*15%1080
		for _, who := range shuffled(people, uint64(round))[:min(people, uploads-sent)] {
			f.upload(who, day0, uint64(round+3), first, counts[first:first+15])
			sent++
		}
	}
	f.wait()
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {}
}

// TestScaleReopen kills a store with a long journal and opens it again.
func TestScaleReopen(t *testing.T) {
	n := participants(t, 3000)
	for _, tc := range []struct {
		name   string
		people int
		blocks string
	}{
		{"many uploads of a tenth", n / 10, ""},
		{"few uploads of all", n, ""},
		{"few uploads of all onto blocks", n, "yes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			child := exec.Command(os.Args[0], "-test.run", "^TestReopenChild$", "-test.timeout", "0")
			child.Env = append(os.Environ(), reopenDirEnv+"="+dir, reopenPeopleEnv+"="+strconv.Itoa(tc.people),
				reopenUploadsEnv+"="+strconv.Itoa(uploadsOf*n), reopenBlocksEnv+"="+tc.blocks)
			out, err := child.CombinedOutput()
			if err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("the child: %v\n%s", err, out)
			}
			if tc.blocks != "" { // without it Badger's merging beside the replay makes it 2.2 GiB
				defer debug.SetMemoryLimit(debug.SetMemoryLimit(peakBytes - peakBytes/6))
			}
			forgetPeak(t)
			cfg := DefaultConfig(dir)
			cfg.MinFreeBytes = 1 << 20
			m := begin(t)
			s, err := Open(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			wall, _ := m.end("opened", uploadsOf*n)
			peak := status(t, "VmHWM")
			t.Logf("%d days in the head, %d MiB at the peak", s.head.len(), peak>>20)
			if n >= scaleLarge && peak > peakBytes*int64(n)/scaleLarge {
				t.Errorf("%d MiB at the peak; want at most %d", peak>>20, peakBytes*int64(n)/scaleLarge>>20)
			}
			if s.head.len() != tc.people || s.contacts.len() != tc.people {
				t.Errorf("%d days and %d contacts; want %d of both", s.head.len(), s.contacts.len(), tc.people)
			}
			if n >= scaleLarge && tc.blocks == "" && wall > 10*time.Second*time.Duration(n)/scaleLarge {
				t.Errorf("opened after %s; want 10 s", wall)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// diskBytes returns the blocks that a directory's files take.
func diskBytes(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Stat(path, &st); err != nil {
			return err
		}
		n += st.Blocks * 512
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// share returns what the rows of one table take, alone in a database.
func share(t *testing.T, s *Store, prefix byte) int64 {
	t.Helper()
	cfg := s.cfg
	cfg.Dir = t.TempDir()
	db, err := badger.Open(cfg.badgerOptions(badgerLog{slog.New(slog.DiscardHandler)}))
	if err != nil {
		t.Fatal(err)
	}
	batch := db.NewWriteBatch()
	err = s.db.View(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefix}, nil, true, func(key, value []byte) error {
			return batch.Set(append([]byte(nil), key...), append([]byte(nil), value...))
		})
	})
	if err := errors.Join(err, batch.Flush(), db.Close()); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(cfg.Dir, "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		n += info.Size()
	}
	return n
}

// TestScaleDisk measures what whole days take when they are scored and all blocks are written, and how
// it is divided among the tables.
func TestScaleDisk(t *testing.T) {
	n := participants(t, 200) * 28
	days := realDays(t)
	rng := rand.New(rand.NewPCG(1, 2))
	real := func(i int) []uint32 { return days[i%len(days)] }
	for _, tc := range []struct {
		name    string
		day     func(i int) []uint32
		uploads int
		block   float64 // most bytes a day that its block and Badger's share of it may take
	}{
		{"made up", func(int) []uint32 { return madeUpDay(rng) }, 1, 0.16 * 1440},
		{"real", real, 1, 0.20 * 1440},
		{"real, in 96 uploads", real, 96, 0.20*1440 + 6},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := scaleConfig(t.TempDir(), scaleLarge)
			cfg.StopWithin = time.Hour
			r := start(t, cfg)
			f := &feeder{t: t, s: r.Store}
			minutes := 1440 / tc.uploads
			for i := range n {
				day := tc.day(i)
				for at := 0; at < 1440; at += minutes {
					f.upload(i/28, day0+steps.Day(i%28), uint64(i%28*tc.uploads+at/minutes), at, day[at:at+minutes])
				}
			}
			f.wait()
			score(t, r.Store, "yokohama")
			r.end()
			whole := float64(diskBytes(t, cfg.Dir)) / float64(n)
			db, err := Open(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			block := float64(share(t, db, prefixDay)) / float64(n)
			t.Logf("%d days: %.1f bytes a day, %.4f a sample; day blocks %.1f (%.4f), awards %.1f, contacts %.1f", n, whole,
				whole/1440, block, block/1440, float64(share(t, db, prefixSheet))/float64(n),
				float64(share(t, db, prefixContact))/float64(n))
			if block > tc.block {
				t.Errorf("%.1f bytes a day block; want at most %.1f", block, tc.block)
			}
		})
	}
}

// nobody has told a birthday.
type nobody struct{}

func (nobody) Person(steps.ParticipantID) points.Person { return points.Person{} }

// score runs the points engine until nothing waits for it.
func score(t *testing.T, s *Store, preset string) {
	t.Helper()
	rules, err := points.Preset(preset)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := points.NewEngine(points.EngineConfig{Rules: rules}, s, nobody{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- engine.Run(ctx) }()
	if err := engine.Settle(ctx); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

// TestScaleScore scores a day of everybody: for the first time, and again when everybody has walked on.
func TestScaleScore(t *testing.T) {
	n := participants(t, 3000)
	r := start(t, scaleConfig(t.TempDir(), n))
	score(t, r.Store, "yokohama") // nothing; from now on the rules are known
	f := &feeder{t: t, s: r.Store}
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 2 {
		for _, who := range shuffled(n, uint64(round)) {
			f.upload(who, day0, uint64(round), 0, madeUpDay(rng))
		}
		f.wait()
		for range 2 { // writing the days is the uploads' work; the first ends what is under way
			r.settle()
		}
		m := begin(t)
		score(t, r.Store, "yokohama")
		wall, _ := m.end("scored", n)
		if n >= scaleLarge && wall > 3*time.Second*time.Duration(n)/scaleLarge {
			t.Errorf("scored in %s; want 3 s", wall)
		}
	}
}

// TestScaleRescore changes the rules of a month that everybody walked in: to others that look at a day by
// itself, and to others with a cap of a week.
func TestScaleRescore(t *testing.T) {
	n, days := participants(t, 500), 5
	if n >= scaleLarge/10 {
		days = 30
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(peakBytes - peakBytes/6))
	cfg := scaleConfig(t.TempDir(), n)
	cfg.HeadBytes = min(cfg.HeadBytes, peakBytes/8) // as a machine of that size has it
	r := start(t, cfg)
	score(t, r.Store, "yokohama") // nothing; from now on the rules are known
	f := &feeder{t: t, s: r.Store}
	counts := make([]uint32, 120)
	for day := range days {
		for who := range n {
			for i := range counts {
				counts[i] = uint32(who*7919+day*104729) % 130
			}
			f.upload(who, day0+steps.Day(day), uint64(day), 600, counts)
		}
		f.wait()
		score(t, r.Store, "yokohama")
	}
	for range 2 {
		r.settle()
	}
	for _, preset := range []string{"yamagata", "vitality-uk"} {
		forgetPeak(t)
		m := begin(t)
		score(t, r.Store, preset)
		wall, _ := m.end(fmt.Sprintf("%d days of each scored by %s", days, preset), n*days)
		peak := status(t, "VmHWM")
		t.Logf("%d MiB at the peak", peak>>20)
		rescored := 0
		err := r.EachDay(context.Background(), steps.DayRange{}, "", func(a steps.Award) error {
			if strings.HasPrefix(a.RuleSet, preset+"@") {
				rescored++
			}
			return nil
		})
		if err != nil || rescored != n*days {
			t.Errorf("%d days were scored by %s (%v), want %d", rescored, preset, err, n*days)
		}
		if n >= scaleLarge && (wall > 3*time.Minute || peak > peakBytes) {
			t.Errorf("scored in %s with %d MiB; want 3 min and 2,048 MiB", wall, peak>>20)
		}
	}
}
