package ingest_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"ayumi/ingest"
	"ayumi/merge"
	"ayumi/protocol/native"
	"ayumi/steps"
	"ayumi/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
		goleak.IgnoreAnyFunction("github.com/dgraph-io/ristretto/v2/z.(*HistogramData).Update"))
}

// now is noon of 2026-11-23 in Tokyo, whose programme day began twelve hours before.
var now = at("2026-11-23T12:00:00")

// at reads a time of day in Tokyo as UTC seconds.
func at(s string) int64 { return in("Asia/Tokyo", s) }

// in reads a local time as UTC seconds.
func in(zone, s string) int64 {
	t, err := time.ParseInLocation("2006-01-02T15:04:05", s, calendar(zone).Location())
	if err != nil {
		panic(err)
	}
	return t.Unix()
}

func calendar(zone string) steps.Calendar {
	c, err := steps.NewCalendar(zone)
	if err != nil {
		panic(err)
	}
	return c
}

func day(s string) steps.Day {
	d, err := steps.ParseDay(s)
	if err != nil {
		panic(err)
	}
	return d
}

// directory is a registry whose records tests change as they go.
type directory struct {
	mu       sync.RWMutex
	revoked  map[steps.DeviceID]bool
	unknown  map[steps.DeviceID]bool
	bindings []steps.Binding
}

// newDirectory knows every device that a test names, and binds some:
//
//	pedo   to ann, always
//	pedo2  to ann, always
//	swap   to ann until 2026-11-20, to ben from 2026-11-21
//	part   to ben from 2026-11-21
//	loose  to nobody
func newDirectory() *directory {
	return &directory{
		revoked: make(map[steps.DeviceID]bool), unknown: map[steps.DeviceID]bool{"ghost": true},
		bindings: []steps.Binding{
			{Device: "pedo", Participant: "ann"},
			{Device: "pedo2", Participant: "ann"},
			{Device: "swap", Participant: "ann", Days: steps.DayRange{Until: day("2026-11-20")}},
			{Device: "swap", Participant: "ben", Days: steps.DayRange{From: day("2026-11-21")}},
			{Device: "part", Participant: "ben", Days: steps.DayRange{From: day("2026-11-21")}},
		},
	}
}

func (d *directory) Current(id steps.Identity) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return !d.revoked[id.Device]
}

func (d *directory) Active(device steps.DeviceID) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return !d.unknown[device] && !d.revoked[device]
}

func (d *directory) Binding(device steps.DeviceID, day steps.Day) (steps.ParticipantID, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for i := range d.bindings {
		if b := &d.bindings[i]; b.Device == device && b.Days.Contains(day) {
			return b.Participant, true
		}
	}
	return "", false
}

func (d *directory) bind(device steps.DeviceID, p steps.ParticipantID, r steps.DayRange) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bindings = append(d.bindings, steps.Binding{Device: device, Participant: p, Days: r})
}

// memory is a journal that keeps what it was given and answers at once.
type memory struct {
	ingest.Journal // no other method is called
	refuse         error
	fail           error
	commits        []steps.Commit
}

func (m *memory) Append(_ context.Context, c *steps.Commit, _ func(), done steps.Completion) error {
	if m.refuse != nil {
		return m.refuse
	}
	kept := steps.Commit{
		Runs: slices.Clone(c.Runs), Contacts: slices.Clone(c.Contacts), Quarantine: slices.Clone(c.Quarantine),
		Resolve: c.Resolve,
	}
	for i := range kept.Runs {
		kept.Runs[i].Counts = slices.Clone(kept.Runs[i].Counts)
	}
	m.commits = append(m.commits, kept)
	c.Receipt.Record = steps.RecordID{Group: 1, Index: uint32(len(m.commits))}
	done.Complete(&c.Receipt, m.fail)
	return nil
}

func (m *memory) last(t *testing.T) *steps.Commit {
	t.Helper()
	if len(m.commits) == 0 {
		t.Fatal("nothing was appended")
	}
	return &m.commits[len(m.commits)-1]
}

// rig is a pipeline with all that it works on.
type rig struct {
	t     testing.TB
	p     *ingest.Pipeline
	dir   *directory
	cal   steps.Calendar
	store *store.Store // nil with another journal
	reg   *prometheus.Registry
	now   int64
	stop  func()
}

func newRig(t testing.TB, zone string, j ingest.Journal) *rig {
	r := &rig{t: t, dir: newDirectory(), cal: calendar(zone), reg: prometheus.NewRegistry(), now: now}
	r.p = ingest.New(ingest.DefaultLimits(), r.cal, r.dir, j, func() time.Time { return time.Unix(r.now, 0) }, r.reg)
	return r
}

// sources is a merge policy under which totals show whatever was stored.
func sources() merge.Config {
	cfg := merge.DefaultConfig()
	cfg.Manual.Treatment = merge.Accept
	return cfg
}

// storeConfig is one for small stores.
func storeConfig(dir string) store.Config {
	cfg := store.DefaultConfig(dir)
	*cfg.Sources = sources()
	cfg.MemTableBytes, cfg.GroupBytes, cfg.MinFreeBytes = 16<<20, 1<<20, 1
	return cfg
}

// newStoreRig puts the pipeline on the real store, which is verified when the test ends.
func newStoreRig(t testing.TB, zone string, change func(*store.Config)) *rig {
	t.Helper()
	cfg := storeConfig(t.TempDir())
	if change != nil {
		change(&cfg)
	}
	s, err := store.Open(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	r := newRig(t, zone, s)
	r.store = s
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() {
		r.stop()
		if report, err := s.Check(context.Background(), nil); err != nil || report.ProblemCount > 0 {
			t.Errorf("Check: %v, %v", err, report.Problems)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return r
}

// outcome is what Complete was told, copied as the contract asks.
type outcome struct {
	receipt steps.Receipt
	err     error
}

// answers is a Completion with room for many outcomes.
type answers chan outcome

func (a answers) Complete(r *steps.Receipt, err error) steps.Flusher {
	own := *r
	own.Uploads = slices.Clone(r.Uploads)
	for i := range own.Uploads {
		own.Uploads[i].Faults = slices.Clone(own.Uploads[i].Faults)
	}
	a <- outcome{own, err}
	return nil
}

// envelope is a single upload of a device over MQTT.
func (r *rig) envelope(device steps.DeviceID, enc steps.Encoding, body []byte) *ingest.Envelope {
	return &ingest.Envelope{
		Identity: steps.Identity{Device: device}, Transport: steps.MQTT, Encoding: enc,
		ReceivedAt: time.Unix(r.now, 0), Body: body,
	}
}

// carry is a bundle of the reader "desk".
func (r *rig) carry(enc steps.Encoding, body []byte) *ingest.Envelope {
	env := r.envelope("desk", enc, body)
	env.Identity.Reader, env.Bundle = true, true
	return env
}

// try submits and waits for the answer; err is that of Submit or of Complete.
func (r *rig) try(env *ingest.Envelope) (steps.Receipt, error) {
	done := make(answers, 1)
	if err := r.p.Submit(context.Background(), env, done); err != nil {
		return steps.Receipt{}, err
	}
	out := <-done
	return out.receipt, out.err
}

func (r *rig) submit(env *ingest.Envelope) steps.Receipt {
	r.t.Helper()
	receipt, err := r.try(env)
	if err != nil {
		r.t.Fatalf("submit: %v", err)
	}
	return receipt
}

// send submits an upload as protobuf and returns its part of the receipt.
func (r *rig) send(device steps.DeviceID, u *steps.Upload) steps.UploadReceipt {
	r.t.Helper()
	receipt := r.submit(r.envelope(device, steps.Protobuf, native.AppendUpload(nil, u, steps.Protobuf)))
	if len(receipt.Uploads) != 1 {
		r.t.Fatalf("%d answers to one upload", len(receipt.Uploads))
	}
	return receipt.Uploads[0]
}

// totals returns every day total in the store as "participant day steps".
func (r *rig) totals() []string {
	r.t.Helper()
	var out []string
	err := r.store.EachDay(context.Background(), steps.DayRange{}, "", func(a steps.Award) error {
		out = append(out, fmt.Sprintf("%s %s %d", a.Participant, a.Day, a.Steps))
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

func (r *rig) wantTotals(want ...string) {
	r.t.Helper()
	slices.Sort(want)
	if got := r.totals(); !slices.Equal(got, want) {
		r.t.Errorf("day totals %q; want %q", got, want)
	}
}

// quarantined returns every entry, newest first.
func (r *rig) quarantined() []*steps.QuarantineEntry {
	r.t.Helper()
	var out []*steps.QuarantineEntry
	err := r.store.EachQuarantined(context.Background(), steps.QuarantineFilter{}, func(q *steps.QuarantineEntry) error {
		out = append(out, q)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// upload is one of boot 1.
func upload(seq uint64, series ...steps.Series) *steps.Upload {
	return &steps.Upload{Revision: steps.Revision{Boot: 1, Seq: seq}, SentAt: now, UTCOffset: 32400, Series: series}
}

// minutes is a series of a minute's interval, its start in Tokyo's time.
func minutes(start string, counts ...uint32) steps.Series {
	return steps.Series{Start: at(start), Interval: 60, Origin: steps.OriginSensor, Counts: counts}
}

// every is a series of another interval.
func every(interval uint32, start string, counts ...uint32) steps.Series {
	s := minutes(start, counts...)
	s.Interval = interval
	return s
}

// until adds a window_end.
func until(end string, s steps.Series) steps.Series {
	s.WindowEnd = at(end)
	return s
}

// counter makes a series cumulative.
func counter(s steps.Series) steps.Series {
	s.Cumulative = true
	return s
}

// repeat is n times the same count.
func repeat(n int, count uint32) []uint32 { return slices.Repeat([]uint32{count}, n) }

// faults writes an upload's faults as "series:reason", separated by blanks.
func faults(u *steps.UploadReceipt) string {
	var out []string
	for _, f := range u.Faults {
		out = append(out, fmt.Sprintf("%d:%s", f.Series, f.Reason))
	}
	return strings.Join(out, " ")
}

// runs writes a commit's runs as "participant day interval@first counts=sum".
func runs(c *steps.Commit) []string {
	var out []string
	for _, r := range c.Runs {
		sum := 0
		for _, n := range r.Counts {
			sum += int(n)
		}
		out = append(out, fmt.Sprintf("%s %s %d@%d %d=%d", r.Participant, r.Day, r.Interval, r.First, len(r.Counts), sum))
	}
	return out
}

func wantKind(t testing.TB, err error, want steps.Kind) {
	t.Helper()
	if err == nil || steps.KindOf(err) != want {
		t.Errorf("error %v of kind %v; want kind %v", err, steps.KindOf(err), want)
	}
}
