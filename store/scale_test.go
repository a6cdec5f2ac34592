package store_test

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
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/points"
	"ayumi/steps"
	"ayumi/store"
)

func scaleOf(t *testing.T, small int) int {
	if v := os.Getenv("AYUMI_SCALE"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return small
}

const today = steps.Day(20780)

func participantID(i int) steps.ParticipantID { return steps.ParticipantID(fmt.Sprintf("sj-%07d", i)) }
func deviceID(i int) steps.DeviceID           { return steps.DeviceID(fmt.Sprintf("ped-203-%08d", i)) }

type up struct {
	who    int
	day    steps.Day
	first  int
	seq    uint64
	counts []uint32
}

// feeder appends uploads and counts what is acknowledged.
type feeder struct {
	t    *testing.T
	s    *store.Store
	c    steps.Commit
	sent int64
	got  atomic.Int64
	bad  atomic.Int64
}

func (f *feeder) Complete(r *steps.Receipt, err error) {
	if err != nil {
		f.bad.Add(1)
	}
	f.got.Add(1)
}

func (f *feeder) add(u *up) {
	c := &f.c
	d := deviceID(u.who)
	c.Receipt.ReceivedAt = 1_800_000_000
	c.Receipt.Uploads = append(c.Receipt.Uploads[:0], steps.UploadReceipt{Device: d, Revision: steps.Revision{Boot: 1, Seq: u.seq}, Verdict: steps.Stored})
	c.Contacts = append(c.Contacts[:0], steps.Contact{Device: d, SentAt: 1_800_000_000, Status: steps.DeviceStatus{Battery: 80, Firmware: "1.4.2", Signal: -70}})
	c.Runs = append(c.Runs[:0], steps.Run{Participant: participantID(u.who), Day: u.day, Interval: 60, First: u.first, Origin: steps.OriginSensor, Counts: u.counts})
	if err := f.s.Append(context.Background(), c, f); err != nil {
		f.t.Fatal(err)
	}
	f.sent++
}

func (f *feeder) wait() {
	for f.got.Load() < f.sent {
		time.Sleep(time.Millisecond)
	}
	if f.bad.Load() > 0 {
		f.t.Fatalf("%d refused", f.bad.Load())
	}
}

func cpu() time.Duration {
	var ru syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

func rss() string {
	b, _ := os.ReadFile("/proc/self/status")
	out := ""
	for l := range strings.Lines(string(b)) {
		for _, k := range []string{"VmHWM", "VmRSS", "RssAnon", "RssFile"} {
			if strings.HasPrefix(l, k+":") {
				f := strings.Fields(l)
				kb, _ := strconv.Atoi(f[1])
				out += fmt.Sprintf("%s %d MiB ", k, kb/1024)
			}
		}
	}
	return out
}

func mem() string {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return fmt.Sprintf("heap live %d MiB; %s", m.HeapAlloc>>20, rss())
}

func openScale(t *testing.T, cfg store.Config) (*store.Store, func()) {
	s, err := store.Open(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	return s, func() {
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func scaleConfig(dir string) store.Config {
	cfg := store.DefaultConfig(dir)
	cfg.MinFreeBytes = 1 << 20
	return cfg
}

func order(n int, seed uint64) []int { return rand.New(rand.NewPCG(seed, 9)).Perm(n) }

// synthetic is a day as in facts: sleep, some walks, some fidgeting.
func synthetic(rng *rand.Rand) []uint32 {
	day := make([]uint32, 1440)
	for range 4 + rng.IntN(5) { // walks
		at, n := 420+rng.IntN(840), 4+rng.IntN(18)
		for i := at; i < min(at+n, 1440); i++ {
			day[i] = uint32(85 + rng.IntN(35))
		}
	}
	for range 25 + rng.IntN(25) { // a few steps here and there
		at := 400 + rng.IntN(960)
		for i := at; i < min(at+1+rng.IntN(3), 1440); i++ {
			day[i] = max(day[i], uint32(4+rng.IntN(30)))
		}
	}
	return day
}

func realDays(t *testing.T) [][]uint32 {
	f, err := os.Open("../../shared/data/fitbit-53894/minuteStepsWide_merged.csv")
	if err != nil {
		t.Skip("the Fitbit export is not there")
	}
	defer f.Close()
	r := csv.NewReader(f)
	_, _ = r.Read()
	type k struct{ p, d string }
	days := map[k][]uint32{}
	hours := map[k]int{}
	var keys []k
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		date, clock, _ := strings.Cut(row[1], " ")
		hs, _, _ := strings.Cut(clock, ":")
		h, _ := strconv.Atoi(hs)
		key := k{row[0], date}
		if days[key] == nil {
			days[key] = make([]uint32, 1440)
			keys = append(keys, key)
		}
		hours[key]++
		for i, m := range row[2:] {
			n, _ := strconv.Atoi(m)
			days[key][h*60+i] = uint32(n)
		}
	}
	var out [][]uint32
	for _, key := range keys {
		if hours[key] == 24 {
			out = append(out, days[key])
		}
	}
	return out
}

func report(t *testing.T, what string, n int64, began time.Time, c0 time.Duration) {
	wall, c := time.Since(began), cpu()-c0
	t.Logf("%-34s %8.2f s wall %8.2f s cpu (%.2f µs each); %s", what, wall.Seconds(), c.Seconds(), float64(c.Microseconds())/float64(n), mem())
}

func TestScaleMemory(t *testing.T) {
	n := scaleOf(t, 2000)
	for _, mode := range []string{"quarter", "full", "hours"} {
		t.Run(mode, func(t *testing.T) {
			s, stop := openScale(t, scaleConfig(t.TempDir()))
			defer stop()
			t.Log("empty", mem())
			f := &feeder{t: t, s: s}
			rng := rand.New(rand.NewPCG(1, 2))
			began, c0 := time.Now(), cpu()
			counts := synthetic(rng)
			switch mode {
			case "quarter":
				for _, i := range order(n, 1) {
					f.add(&up{i, today, 1425, 1, counts[700:715]})
				}
				f.wait()
				report(t, "first", int64(n), began, c0)
				began, c0 = time.Now(), cpu()
				for _, i := range order(n, 2) {
					f.add(&up{i, today, 1410, 2, counts[715:730]})
				}
				f.wait()
				report(t, "second", int64(n), began, c0)
			case "full":
				for _, i := range order(n, 1) {
					f.add(&up{i, today, 0, 1, synthetic(rng)})
				}
				f.wait()
				report(t, "full days", int64(n), began, c0)
			case "hours":
				for h := range 24 {
					for _, i := range order(n, uint64(h)) {
						f.add(&up{i, today, 60 * h, uint64(h + 1), counts[60*h : 60*h+60]})
					}
				}
				f.wait()
				report(t, "24 hours each", 24*int64(n), began, c0)
			}
		})
	}
}

func TestScaleChild(t *testing.T) {
	dir := os.Getenv("AYUMI_SCALE_DIR")
	if dir == "" {
		t.Skip()
	}
	people, _ := strconv.Atoi(os.Getenv("AYUMI_SCALE_PEOPLE"))
	uploads, _ := strconv.Atoi(os.Getenv("AYUMI_SCALE_UPLOADS"))
	cfg := scaleConfig(dir)
	cfg.CheckpointBytes, cfg.CheckpointEvery = 1<<40, time.Hour
	s, _ := openScale(t, cfg)
	f := &feeder{t: t, s: s}
	rng := rand.New(rand.NewPCG(1, 2))
	counts := synthetic(rng)
	for sent := 0; sent < uploads; {
		round := sent / people
		for _, i := range order(people, uint64(round)) {
			at := round * 15 % 1440
			f.add(&up{i, today, at, uint64(round + 1), counts[at : at+15]})
			if sent++; sent == uploads {
				break
			}
		}
	}
	f.wait()
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func TestScaleReopen(t *testing.T) {
	n := scaleOf(t, 2000)
	for _, people := range []int{n / 10, n} {
		t.Run(fmt.Sprint(people), func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.Command(os.Args[0], "-test.run", "^TestScaleChild$")
			cmd.Env = append(os.Environ(), "AYUMI_SCALE_DIR="+dir, fmt.Sprintf("AYUMI_SCALE_PEOPLE=%d", people), fmt.Sprintf("AYUMI_SCALE_UPLOADS=%d", 5*n))
			out, err := cmd.CombinedOutput()
			if !strings.Contains(err.Error(), "killed") {
				t.Fatalf("%v %s", err, out)
			}
			t.Log("maxrss of the writer", cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss/1024, "MiB; cpu", cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
			began, c0 := time.Now(), cpu()
			s, stop := openScale(t, scaleConfig(dir))
			report(t, "open", int64(5*n), began, c0)
			_ = s
			stop()
		})
	}
}

func diskUsage(t *testing.T, dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			var st syscall.Stat_t
			if syscall.Stat(p, &st) == nil {
				n += st.Blocks * 512
			}
		}
		return nil
	})
	return n
}

func TestScaleDisk(t *testing.T) {
	n := scaleOf(t, 20000)
	for _, mode := range []string{"synthetic", "real", "real96", "realdays"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			cfg := scaleConfig(dir)
			cfg.StopWithin = time.Hour
			s, stop := openScale(t, cfg)
			f := &feeder{t: t, s: s}
			rng := rand.New(rand.NewPCG(1, 2))
			real := realDays(t)
			days := 0
			for i := range n {
				day := real[i%len(real)]
				switch mode {
				case "synthetic":
					f.add(&up{i, today, 0, uint64(i%3000 + 1), synthetic(rng)})
				case "real":
					f.add(&up{i, today, 0, uint64(i%3000 + 1), day})
				case "real96":
					for q := range 96 {
						f.add(&up{i, today, 15 * q, uint64(i%3000 + 1 + q), day[15*q : 15*q+15]})
					}
				case "realdays": // 28 days each
					f.add(&up{i / 28, today + steps.Day(i%28), 0, uint64(i%28 + 1), day})
				}
				days++
			}
			f.wait()
			_ = s
			stop()
			got := diskUsage(t, dir)
			t.Logf("%d days, %d bytes: %.1f B a day, %.4f B a sample", days, got, float64(got)/float64(days), float64(got)/float64(days)/1440)
		})
	}
}

type nobody struct{}

func (nobody) Born(steps.ParticipantID) (steps.Day, bool) { return 0, false }

func TestScaleScore(t *testing.T) {
	n := scaleOf(t, 2000)
	s, stop := openScale(t, scaleConfig(t.TempDir()))
	defer stop()
	f := &feeder{t: t, s: s}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, i := range order(n, 1) {
		f.add(&up{i, today, 0, 1, synthetic(rng)})
	}
	f.wait()
	rules, err := points.Preset("yokohama")
	if err != nil {
		t.Fatal(err)
	}
	for _, round := range []string{"first", "again"} {
		e, err := points.NewEngine(points.EngineConfig{Rules: rules}, s, nobody{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		began, c0 := time.Now(), cpu()
		go func() { done <- e.Run(ctx) }()
		if err := e.Settle(ctx); err != nil {
			t.Fatal(err)
		}
		report(t, "scored "+round, int64(n), began, c0)
		cancel()
		<-done
		if round == "first" {
			if err := s.Rescore(context.Background(), "x"); err != nil {
				t.Fatal(err)
			}
		}
	}
}
