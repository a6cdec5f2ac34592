package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"ayumi/merge"
	"ayumi/steps"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(openEnv); dir != "" {
		if err := openAndList(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(retotalEnv); dir != "" {
		if err := retotalIn(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(bookEnv); dir != "" {
		if err := keepBooks(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
		goleak.IgnoreAnyFunction("github.com/dgraph-io/ristretto/v2/z.(*HistogramData).Update"))
}

// running is a store with its committer.
type running struct {
	*Store
	t    testing.TB
	stop context.CancelFunc
	ran  chan error
}

func testConfig(dir string) Config {
	cfg := DefaultConfig(dir)
	cfg.MemTableBytes = 16 << 20
	cfg.GroupBytes = 1 << 20
	cfg.MinFreeBytes = 1 << 20
	return cfg
}

func start(t testing.TB, cfg Config) *running {
	t.Helper()
	return startOn(t, cfg, diskSpace)
}

// startOn is start on a disk of one's own.
func startOn(t testing.TB, cfg Config, space func(string) (free, whole uint64, err error)) *running {
	t.Helper()
	s, err := open(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), space)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{Store: s, t: t, stop: stop, ran: make(chan error, 1)}
	go func() { r.ran <- s.Run(ctx) }()
	t.Cleanup(r.end)
	return r
}

// end stops the store as a clean shutdown does and verifies all that must hold.
func (r *running) end() {
	r.t.Helper()
	if r.stop == nil {
		return
	}
	r.stop()
	r.stop = nil
	if err := <-r.ran; err != nil {
		r.t.Errorf("Run: %v", err)
	}
	report, err := r.Check(context.Background(), nil)
	if err != nil || report.ProblemCount > 0 {
		r.t.Errorf("Check: %v, %v", err, report.Problems)
	}
	if err := r.head.checkBooks(); err != nil {
		r.t.Errorf("the head: %v", err)
	}
	r.checkLists()
	if err := r.Close(); err != nil {
		r.t.Errorf("Close: %v", err)
	}
}

// append commits c and waits for the outcome.
func (r *running) append(c *steps.Commit) error {
	w := waiter{c, make(chan error, 1)}
	if err := r.Append(context.Background(), c, nil, w); err != nil {
		return err
	}
	return <-w.result
}

// waiter keeps the receipt in the commit.
type waiter struct {
	c      *steps.Commit
	result chan error
}

func (w waiter) Complete(r *steps.Receipt, err error) steps.Flusher {
	w.c.Receipt.Record = r.Record
	w.c.Receipt.Uploads = append([]steps.UploadReceipt(nil), r.Uploads...)
	w.result <- err
	return nil
}

// do runs fn on the committer.
func (r *running) do(fn func()) {
	r.t.Helper()
	err := r.change(context.Background(), 0, func(*badger.Txn) error { fn(); return nil }, nil)
	if err != nil {
		r.t.Fatal(err)
	}
}

// settle runs a checkpoint to its end.
func (r *running) settle() {
	r.do(r.beginCheckpoint)
	r.afterCheckpoint()
}

// afterCheckpoint waits until none is under way.
func (r *running) afterCheckpoint() {
	for done := false; !done; {
		r.do(func() { done = r.checkpoint == nil })
	}
}

func (r *running) totals() map[steps.ParticipantDay]uint64 {
	r.t.Helper()
	out := make(map[steps.ParticipantDay]uint64)
	var last steps.ParticipantDay
	err := r.EachDay(context.Background(), steps.DayRange{}, "", func(a steps.Award) error {
		if len(out) > 0 && compareDays(last, a.ParticipantDay) >= 0 {
			r.t.Errorf("%v follows %v", a.ParticipantDay, last)
		}
		last = a.ParticipantDay
		out[a.ParticipantDay] = a.Steps
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

const day0 = steps.Day(20000)

// dirtyDay is a day that waits to be scored, with what the points engine would look up.
type dirtyDay struct {
	steps.DirtyDay
	Steps    uint64
	Reported bool // somebody reported steps; otherwise it is a day on which something was sent, or an activity
}

// award makes an award of the day.
func (d *dirtyDay) award(points steps.Points, ruleSet string) steps.Award {
	return steps.Award{ParticipantDay: d.ParticipantDay, Steps: d.Steps, Points: points, RuleSet: ruleSet,
		Mark: d.Mark, Unreported: !d.Reported}
}

// dirtyDays does what the points engine does to see what is to be scored.
func dirtyDays(s *Store, limit int) ([]dirtyDay, error) {
	s.Redo()
	dirty, err := s.Dirty(limit)
	out := make([]dirtyDay, len(dirty))
	for i, d := range dirty {
		out[i].DirtyDay = d
		if err != nil {
			break
		}
		err = s.EachOf(d.Day, []steps.ParticipantID{d.Participant}, func(_ int, n uint64, reported bool) error {
			out[i].Steps, out[i].Reported = n, reported
			return nil
		})
	}
	return out, err
}

// reportedDays are the dirty days of which somebody reported steps.
func (r *running) reportedDays() []dirtyDay {
	r.t.Helper()
	days, err := dirtyDays(r.Store, 1000)
	if err != nil {
		r.t.Fatal(err)
	}
	return slices.DeleteFunc(days, func(d dirtyDay) bool { return !d.Reported })
}

// testRun is a run with the upload that brings it.
type testRun struct {
	steps.Run
	device   steps.DeviceID
	revision steps.Revision
}

// payload is a bundle with an upload for each run, or an empty upload.
func payload(runs ...testRun) *steps.Commit {
	c := &steps.Commit{Receipt: steps.Receipt{ReceivedAt: 1_800_000_000}}
	for i, r := range runs {
		r.Upload = i
		c.Runs = append(c.Runs, r.Run)
		c.Contacts = append(c.Contacts, steps.Contact{Upload: i, Device: r.device})
		c.Receipt.Uploads = append(c.Receipt.Uploads, steps.UploadReceipt{Device: r.device, Revision: r.revision, Verdict: steps.Stored})
	}
	if len(runs) == 0 {
		c.Receipt.Uploads = []steps.UploadReceipt{{Device: "d", Verdict: steps.Stored}}
	}
	return c
}

func minutes(p, device string, rev uint64, first int, counts ...uint32) testRun {
	return testRun{steps.Run{
		Participant: steps.ParticipantID(p), Day: day0, Interval: 60, First: first,
		Origin: steps.OriginSensor, Counts: counts,
	}, steps.DeviceID(device), steps.Revision{Boot: 1, Seq: rev}}
}

func cellsOf(r *testRun) *cellRun {
	return &cellRun{r.Interval, r.First, r.Counts, source{r.revision, r.Origin}}
}

func TestVerdicts(t *testing.T) {
	for _, tc := range []struct {
		name      string
		runs      []testRun
		verdict   steps.Verdict
		conflicts int
		total     uint64
	}{
		{"first", []testRun{minutes("p", "d", 1, 10, 5, 6)}, steps.Stored, 0, 11},
		{"repeat", []testRun{minutes("p", "d", 1, 10, 5, 6), minutes("p", "d", 1, 10, 5, 6)}, steps.Duplicate, 0, 11},
		{"part of it again", []testRun{minutes("p", "d", 1, 10, 5, 6), minutes("p", "d", 1, 11, 6)}, steps.Duplicate, 0, 11},
		{"older revision", []testRun{minutes("p", "d", 2, 10, 5), minutes("p", "d", 1, 10, 9)}, steps.Duplicate, 0, 5},
		{"newer revision corrects downwards", []testRun{minutes("p", "d", 1, 10, 9), minutes("p", "d", 2, 10, 5)}, steps.Stored, 0, 5},
		{"newer revision repeats", []testRun{minutes("p", "d", 1, 10, 9), minutes("p", "d", 2, 10, 9)}, steps.Stored, 0, 9},
		{"same revision, larger", []testRun{minutes("p", "d", 1, 10, 5), minutes("p", "d", 1, 10, 9)}, steps.Stored, 1, 9},
		{"same revision, smaller", []testRun{minutes("p", "d", 1, 10, 9), minutes("p", "d", 1, 10, 5)}, steps.Stored, 1, 9},
		{"zeros are reported", []testRun{minutes("p", "d", 1, 10, 0, 0)}, steps.Stored, 0, 0},
		{"two devices do not add up", []testRun{minutes("p", "d", 1, 10, 50, 10), minutes("p", "e", 1, 10, 40, 70)}, steps.Stored, 0, 60},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := start(t, testConfig(t.TempDir()))
			var last *steps.Commit
			for _, run := range tc.runs {
				last = payload(run)
				if err := r.append(last); err != nil {
					t.Fatal(err)
				}
			}
			if u := last.Receipt.Uploads[0]; u.Verdict != tc.verdict || u.Conflicts != tc.conflicts {
				t.Errorf("verdict %v with %d conflicts; want %v with %d", u.Verdict, u.Conflicts, tc.verdict, tc.conflicts)
			}
			want := map[steps.ParticipantDay]uint64{{Participant: "p", Day: day0}: tc.total}
			if got := r.totals(); !maps.Equal(got, want) {
				t.Errorf("totals %v; want %v", got, want)
			}
		})
	}
}

// model is the merge law, written as plainly as possible.
type model map[modelCell]modelValue

type modelCell struct {
	p        steps.ParticipantID
	d        steps.DeviceID
	day      steps.Day
	interval uint32
	index    int
}

type modelValue struct {
	boot, seq uint64
	count     uint32
	origin    steps.Origin
}

// add merges a run and returns what its receipt has to say.
func (m model) add(run *testRun) steps.UploadReceipt {
	receipt := steps.UploadReceipt{Device: run.device, Revision: run.revision, Verdict: steps.Duplicate}
	for i, count := range run.Counts {
		cell := modelCell{run.Participant, run.device, run.Day, run.Interval, run.First + i}
		v := modelValue{uint64(run.revision.Boot), run.revision.Seq, count, run.Origin}
		old, known := m[cell]
		same := known && v.boot == old.boot && v.seq == old.seq
		newer := v.boot > old.boot || v.boot == old.boot && v.seq > old.seq ||
			same && v.count > old.count || same && v.count == old.count && v.origin > old.origin
		if same && v.count != old.count {
			receipt.Conflicts++
		}
		if !known || newer {
			m[cell] = v
			receipt.Verdict = steps.Stored
		}
	}
	if receipt.Conflicts > 0 {
		receipt.Verdict = steps.Stored
	}
	return receipt
}

// totals merges every day of the model under a policy, minute by minute, with the room's own explanation.
func (m model) totals(cfg merge.Config, o orders) map[steps.ParticipantDay]uint64 {
	days := make(map[steps.ParticipantDay]map[steps.DeviceID]map[modelCell]modelValue)
	for c, v := range m {
		pd := steps.ParticipantDay{Participant: c.p, Day: c.day}
		if days[pd] == nil {
			days[pd] = make(map[steps.DeviceID]map[modelCell]modelValue)
		}
		if days[pd][c.d] == nil {
			days[pd][c.d] = make(map[modelCell]modelValue)
		}
		days[pd][c.d][c] = v
	}
	merger, err := merge.New(cfg)
	if err != nil {
		panic(err)
	}
	out := make(map[steps.ParticipantDay]uint64)
	for pd, devices := range days {
		d := merge.Day{Length: 1440, Chosen: o[pd.Participant].chosen}
		end, whole := 0, uint32(0)
		for device, cells := range devices {
			s := merge.Source{Device: device, Origins: []steps.Origin{0, 0, 1, 2}} // marks are origins plus one
			for _, interval := range []uint32{60, 900, 3600, 86400} {
				l := merge.Lane{Interval: interval}
				for i := range secondsPerDay / int(interval) {
					v, known := cells[modelCell{pd.Participant, device, pd.Day, interval, i}]
					if !known {
						l.Counts, l.Marks = append(l.Counts, 0), append(l.Marks, 0)
						continue
					}
					l.Counts, l.Marks = append(l.Counts, v.count), append(l.Marks, uint16(v.origin)+1)
					if interval == secondsPerDay {
						whole = max(whole, v.count+1)
					} else {
						end = max(end, (i+1)*int(interval)/60)
					}
				}
				s.Lanes = append(s.Lanes, l)
			}
			d.Sources = append(d.Sources, s)
		}
		if whole > 0 && end > 0 {
			d.Elapsed = max(end, int(whole-1)/60+1)
		}
		merge.Arrange(d.Sources, o[pd.Participant].devices)
		out[pd] = merger.Explain(&d).Steps
	}
	return out
}

func randomRun(rng *rand.Rand) testRun {
	first := rng.IntN(1440)
	counts := make([]uint32, 1+rng.IntN(min(90, 1440-first)))
	for i := range counts {
		if rng.IntN(3) > 0 {
			counts[i] = rng.Uint32N(200)
		}
	}
	return testRun{steps.Run{
		Participant: steps.ParticipantID(fmt.Sprintf("p%d", rng.IntN(4))),
		Day:         day0 + steps.Day(rng.IntN(5)), Interval: 60, First: first, Counts: counts,
		Origin: steps.Origin(rng.IntN(3)),
	}, steps.DeviceID(fmt.Sprintf("d%d", rng.IntN(3))), steps.Revision{Boot: uint32(rng.IntN(3)), Seq: uint64(rng.IntN(20))}}
}

// TestGroupSizes commits payloads whose records end at every distance from a buffer's end.
func TestGroupSizes(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.StopWithin = 0
	r := start(t, cfg)
	want := uint64(0)
	for n := 1; n < 1440; n += 3 {
		counts := make([]uint32, n)
		for i := range counts {
			counts[i] = 20_000 + uint32(n) // three bytes each
		}
		want = uint64(n) * uint64(counts[0])
		if err := r.append(payload(minutes("p", "d", uint64(n), 0, counts...))); err != nil {
			t.Fatal(err)
		}
	}
	r.end()
	r = start(t, cfg)
	if got := r.totals()[steps.ParticipantDay{Participant: "p", Day: day0}]; got != want {
		t.Errorf("%d steps after the replay; want %d", got, want)
	}
}

// TestAgainstModel commits random runs between checkpoints, evictions and restarts, clean ones and
// such that leave everything in the journal, some under another merge policy, and changes of participants'
// orders of sources; and compares every total with the model.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(9) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			cfg := testConfig(t.TempDir())
			cfg.HeadBytes = []int64{1, 10 << 10, 1 << 20}[seed%3]
			m, o := make(model), new(liveOrders)
			cfg.Orders = o.open
			r := start(t, cfg)
			for range 300 {
				switch rng.IntN(40) {
				case 0:
					r.settle()
				case 1:
					r.end()
					cfg.StopWithin = time.Duration(rng.IntN(2)) * 2 * time.Second
					if rng.IntN(2) == 0 {
						cfg.Sources = randomSources(rng)
					}
					r = start(t, cfg)
				case 2:
					p := steps.ParticipantID(fmt.Sprintf("p%d", rng.IntN(4)))
					if err := r.Reorder(context.Background(), p, o.setter(p, randomOrder(rng))); err != nil {
						t.Fatal(err)
					}
				default:
					run := randomRun(rng)
					coarsen(&run, rng)
					want, c := m.add(&run), payload(run)
					if err := r.append(c); err != nil {
						t.Fatal(err)
					}
					if got := c.Receipt.Uploads[0]; !reflect.DeepEqual(got, want) {
						t.Fatalf("the receipt of %+v is %+v; want %+v", run, got, want)
					}
				}
			}
			<-r.retotalled
			if got, want := r.totals(), m.totals(*cfg.Sources, o.all()); !maps.Equal(got, want) {
				t.Errorf("totals %v; want %v", got, want)
			}
			r.checkMinutes()
		})
	}
}

// TestOrderDoesNotMatter merges the same runs in random orders, some repeatedly, and expects equal
// blocks, byte for byte.
func TestOrderDoesNotMatter(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 2))
		runs := make([]testRun, 1+rng.IntN(30))
		for i := range runs {
			runs[i] = randomRun(rng)
			runs[i].Interval = []uint32{60, 900, 3600, 86400}[rng.IntN(4)]
			cells := secondsPerDay / int(runs[i].Interval)
			runs[i].First = rng.IntN(cells)
			runs[i].Counts = runs[i].Counts[:min(len(runs[i].Counts), cells-runs[i].First)]
		}
		var want []byte
		for range 20 {
			rng.Shuffle(len(runs), func(i, j int) { runs[i], runs[j] = runs[j], runs[i] })
			d := new(hotDay)
			for i := range runs {
				d.part([]byte("d")).cells.merge(cellsOf(&runs[i]))
				d.part([]byte("d")).cells.merge(cellsOf(&runs[rng.IntN(i+1)]))
			}
			got := blockOf(d)
			if want == nil {
				want = got
			}
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d: another order gives another block", seed)
			}
			back := new(hotDay)
			if err := back.parse(got); err != nil {
				t.Fatal(err)
			}
			if again := blockOf(back); !slices.Equal(again, got) {
				t.Fatalf("seed %d: a block decodes to another day", seed)
			}
		}
	}
}

func TestCoarseRecords(t *testing.T) {
	coarse := func(interval uint32, first int, rev uint64, counts ...uint32) testRun {
		r := minutes("p", "d", rev, first, counts...)
		r.Interval = interval
		return r
	}
	for _, tc := range []struct {
		name string
		runs []testRun
		want uint64
	}{
		{"an hour alone", []testRun{coarse(3600, 9, 1, 6007)}, 6007},
		{"an hour over some of its minutes", []testRun{coarse(3600, 9, 1, 1000), minutes("p", "d", 2, 540, 90, 110)}, 1000},
		{"minutes beyond the hour", []testRun{coarse(3600, 9, 1, 100), minutes("p", "d", 2, 540, 90, 110)}, 200},
		{"all minutes known", []testRun{coarse(900, 0, 1, 5000), minutes("p", "d", 2, 0, make([]uint32, 15)...)}, 0},
		{"a day that keeps changing", []testRun{coarse(86400, 0, 1, 3000), coarse(86400, 0, 2, 8001)}, 8001},
		{"day, hours and minutes", []testRun{coarse(86400, 0, 1, 8000), coarse(3600, 8, 2, 2000), minutes("p", "d", 3, 480, 100)}, 8000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := new(deviceDay)
			for i := range tc.runs {
				d.merge(cellsOf(&tc.runs[i]))
			}
			if got := defaultTotals.steps("p", &hotDay{parts: []part{{"d", d}}}); got != tc.want {
				t.Errorf("total %d; want %d", got, tc.want)
			}
		})
	}
}

func TestDirtyDaysSurvive(t *testing.T) {
	cfg := testConfig(t.TempDir())
	r := start(t, cfg)
	pd := steps.ParticipantDay{Participant: "p", Day: day0}
	if err := r.append(payload(minutes("p", "d", 1, 0, 70))); err != nil {
		t.Fatal(err)
	}
	for _, restart := range []struct {
		name string
		do   func()
	}{
		{"in the journal", func() { cfg.StopWithin = 0; r.end(); r = start(t, cfg) }},
		{"in the table", func() { r.settle(); r.end(); r = start(t, cfg) }},
	} {
		restart.do()
		days := r.reportedDays()
		if len(days) != 1 || days[0].ParticipantDay != pd || days[0].Steps != 70 {
			t.Fatalf("%s: dirty days %v", restart.name, days)
		}
	}
	days := r.reportedDays()
	award := steps.Award{ParticipantDay: pd, Steps: 70, Points: 3, RuleSet: "x@1", Mark: days[0].Mark}
	if err := r.append(payload(minutes("p", "d", 2, 1, 5))); err != nil {
		t.Fatal(err)
	}
	if err := r.PutAwards(context.Background(), []steps.Award{award}); err != nil {
		t.Fatal(err)
	}
	if days = r.reportedDays(); len(days) != 1 || days[0].Steps != 75 {
		t.Fatalf("the day changed after it was read; dirty days %v", days)
	}
	award.Steps, award.Mark = 75, days[0].Mark
	if err := r.PutAwards(context.Background(), []steps.Award{award}); err != nil {
		t.Fatal(err)
	}
	r.settle()
	r.end()
	r = start(t, cfg)
	if days = r.reportedDays(); len(days) != 0 {
		t.Errorf("scored, but dirty: %v", days)
	}
}

func TestQuarantine(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.QuarantinePerDevice = 2
	r := start(t, cfg)
	bad := func(raw string) *steps.Commit {
		c := payload()
		c.Quarantine = []steps.QuarantineEntry{{
			ID: steps.NewQuarantineID("d", []byte(raw)), Device: "d", Transport: steps.MQTT, Encoding: steps.JSON,
			Raw: []byte(raw), Faults: []steps.Fault{{Series: -1, Reason: steps.ReasonMalformed, Detail: "no"}},
		}}
		return c
	}
	large := string(make([]byte, 3*partBytes+1))
	for _, raw := range []string{"one", large, "one", large} { // repeats are one entry
		if err := r.append(bad(raw)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.append(bad("three")); steps.KindOf(err) != steps.Overload {
		t.Fatalf("beyond the quota: %v", err)
	}
	r.end()
	r = start(t, cfg)
	id := steps.NewQuarantineID("d", []byte(large))
	q, err := r.Quarantined(context.Background(), id)
	if err != nil || string(q.Raw) != large || q.Faults[0].Reason != steps.ReasonMalformed {
		t.Fatalf("entry %v, %v", q, err)
	}
	decision := steps.Resolution{ID: id, Decision: steps.Decision{State: steps.Discarded, By: "me", Reason: "noise"}}
	if err := r.Resolve(context.Background(), decision); err != nil {
		t.Fatal(err)
	}
	if err := r.Resolve(context.Background(), decision); steps.KindOf(err) != steps.Conflict {
		t.Errorf("deciding twice: %v", err)
	}
	if err := r.append(bad(large)); err != nil {
		t.Errorf("a repeat of a discarded payload: %v", err)
	}
	open := steps.Open
	n := 0
	err = r.EachQuarantined(context.Background(), steps.QuarantineFilter{State: &open}, func(q *steps.QuarantineEntry) error {
		n++
		return nil
	})
	if err != nil || n != 1 {
		t.Errorf("%d open entries, %v; want 1", n, err)
	}
}

func TestLostTailIsReported(t *testing.T) {
	cfg := threeGroups(t)
	dropLastRecord(t, cfg.Dir)
	_, err := Open(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	var lost *LostTailError
	if !errors.As(err, &lost) || lost.Found != 2 || lost.Watermark != 3 {
		t.Fatalf("opening a store that lost group 3: %v", err)
	}
	cfg.AcceptLoss = true
	r := start(t, cfg)
	if got := r.totals()[steps.ParticipantDay{Participant: "p", Day: day0}]; got != 20 {
		t.Errorf("%d steps are left; want 20", got)
	}
	r.end()
	cfg.AcceptLoss = false
	start(t, cfg)
}

// threeGroups makes a store with three groups, which are in the journal only.
func threeGroups(t *testing.T) Config {
	t.Helper()
	cfg := testConfig(t.TempDir())
	cfg.StopWithin = 0
	r := start(t, cfg)
	for i := range uint64(3) {
		if err := r.append(payload(minutes("p", "d", i, int(i), 10))); err != nil {
			t.Fatal(err)
		}
	}
	r.end()
	return cfg
}

// journalFiles returns the journal's files, of which there is at least one, oldest first.
func journalFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "journal", "*.log"))
	if err != nil || len(files) == 0 {
		t.Fatalf("journal files %v, %v", files, err)
	}
	return files
}

// dropLastRecord cuts the newest group off the journal.
func dropLastRecord(t *testing.T, dir string) {
	t.Helper()
	files := journalFiles(t, dir)
	name := files[len(files)-1]
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	at, next := 0, 0
	for next < len(b) {
		at, next = next, next+lengthBytes+int(binary.LittleEndian.Uint32(b[next:]))+tagBytes
	}
	if err := os.Truncate(name, int64(at)); err != nil {
		t.Fatal(err)
	}
}

func TestDamageIsReported(t *testing.T) {
	for _, tc := range []struct {
		name       string
		unlisted   bool // nor must a listing
		unscorable bool // the points engine must not take the day for an empty one
		damage     func(s *Store, txn *badger.Txn, pd steps.ParticipantDay) error
	}{
		{"gone before it was scored", false, true, func(_ *Store, txn *badger.Txn, pd steps.ParticipantDay) error {
			return txn.Delete(dayKey(prefixDay, pd))
		}},
		{"gone after it was scored", true, false, func(s *Store, txn *badger.Txn, pd steps.ParticipantDay) error {
			s.mu.Lock()
			delete(s.dirty, pd)
			s.pageDays[pd.Day] = struct{}{}
			s.mu.Unlock()
			return errors.Join(txn.Delete(dayKey(prefixDay, pd)), txn.Delete(listKey(1)),
				s.setSealed(txn, sheetKey(pd.Day, lastSheet), new(sheetCodec).append(nil, []sheetPage{{"p", page{steps: 70}}})))
		}},
		{"total wrong", false, false, func(s *Store, txn *badger.Txn, pd steps.ParticipantDay) error {
			block, err := s.get(txn, dayKey(prefixDay, pd))
			if err != nil {
				return err
			}
			block[1]++
			return s.setSealed(txn, dayKey(prefixDay, pd), block[:len(block)-tagBytes])
		}},
		{"another day's block", true, true, func(s *Store, txn *badger.Txn, pd steps.ParticipantDay) error {
			value, err := s.get(txn, dayKey(prefixDay, steps.ParticipantDay{Participant: "p", Day: day0 + 1}))
			if err != nil {
				return err
			}
			return txn.Set(dayKey(prefixDay, pd), value)
		}},
		{"block cut", false, false, func(s *Store, txn *badger.Txn, pd steps.ParticipantDay) error {
			return s.setSealed(txn, dayKey(prefixDay, pd), []byte{blockVersion, 0, 1, 'd'})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := testConfig(t.TempDir())
			cfg.HeadBytes = 1
			r := start(t, cfg)
			next := minutes("p", "d", 1, 0, 70)
			next.Day++
			if err := r.append(payload(minutes("p", "d", 1, 0, 70), next)); err != nil {
				t.Fatal(err)
			}
			r.settle()
			pd := steps.ParticipantDay{Participant: "p", Day: day0}
			if err := r.db.Update(func(txn *badger.Txn) error { return tc.damage(r.Store, txn, pd) }); err != nil {
				t.Fatal(err)
			}
			if err := r.append(payload(minutes("p", "d", 2, 1, 5))); kindOf(err) != steps.Internal {
				t.Errorf("an upload onto a damaged day: %v", err)
			}
			err := r.EachOf(day0, []steps.ParticipantID{"p"}, func(int, uint64, bool) error { return nil })
			if tc.unscorable && !errors.As(err, new(*CorruptionError)) {
				t.Errorf("what is to be scored: %v", err)
			}
			for _, p := range []steps.ParticipantID{"", "p"} {
				err := r.EachDay(context.Background(), steps.DayRange{From: day0, Until: day0}, p, func(steps.Award) error { return nil })
				if tc.unlisted && !errors.As(err, new(*CorruptionError)) {
					t.Errorf("the days of %q: %v", p, err)
				}
			}
			report, err := r.Check(context.Background(), nil)
			if err != nil || report.ProblemCount == 0 {
				t.Errorf("Check: %+v, %v", report, err)
			}
			r.stop()
			<-r.ran
			r.stop = nil
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRegistryRecordIsAuthenticated puts a record under another's key.
func TestRegistryRecordIsAuthenticated(t *testing.T) {
	r := start(t, testConfig(t.TempDir()))
	value := append(make([]byte, 0, 64), "secret hash of a"...)
	if err := r.Table().Apply(context.Background(), []steps.Change{{Key: "a", Value: value}, {Key: "b", Value: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	load := func() (got string, err error) {
		err = r.Table().Load(func(key string, value []byte) error {
			got += key + "=" + string(value) + ";"
			return nil
		})
		return got, err
	}
	if got, err := load(); got != "a=secret hash of a;b=x;" || err != nil {
		t.Fatalf("the table holds %q, %v", got, err)
	}
	err := r.db.Update(func(txn *badger.Txn) error {
		v, err := r.get(txn, tableKey("a"))
		if err != nil {
			return err
		}
		return txn.Set(tableKey("b"), v)
	})
	if err != nil {
		t.Fatal(err)
	}
	var corruption *CorruptionError
	if got, err := load(); !errors.As(err, &corruption) {
		t.Errorf("a record under another's key is read: %q, %v", got, err)
	}
}

func FuzzParseBlock(f *testing.F) {
	d := new(hotDay)
	run := minutes("p", "d", 1, 10, 0, 0, 5, 300, 0)
	d.part([]byte("d")).cells.merge(cellsOf(&run))
	f.Add(blockOf(d))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := new(hotDay)
		if d.parse(b) != nil {
			return
		}
		for i := range d.parts {
			for _, l := range d.parts[i].cells.lanes {
				if l.base+len(l.counts) > maxDayMinutes {
					t.Fatalf("lane of %d cells from %d on", len(l.counts), l.base)
				}
			}
		}
		again, back := blockOf(d), new(hotDay)
		if err := back.parse(again); err != nil || !slices.Equal(blockOf(back), again) {
			t.Fatalf("what was decoded is encoded to something else: %v", err)
		}
	})
}

func FuzzReplayGroup(f *testing.F) {
	c := payload(minutes("p", "d", 1, 10, 0, 5))
	c.Contacts = []steps.Contact{{Device: "d", SentAt: 7, Status: steps.DeviceStatus{Battery: 9, Firmware: "x", Signal: -70}}}
	b := appendCommit(make([]byte, frameBytes), c)
	putFrame(b, 7, 1)
	f.Add(b)
	s, err := Open(testConfig(f.TempDir()), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := s.Close(); err != nil {
			f.Error(err)
		}
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > frameBytes {
			putFrame(b, 7, int(b[9]))
		}
		p := newReplayer(s, int64(len(b)))
		_ = p.group(7, b) // no panic, and no memory by what b claims
		_ = p.finish()
	})
}
