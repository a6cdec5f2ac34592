package points

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/steps"
)

// rig is an engine that runs on a store in memory until the test ends it.
type rig struct {
	*Engine
	m      *memory
	reg    *prometheus.Registry
	log    bytes.Buffer
	cancel context.CancelFunc
	done   chan error
}

func newRig(t *testing.T, m *memory, people People, cfg EngineConfig) *rig {
	t.Helper()
	r := &rig{m: m, reg: prometheus.NewRegistry(), done: make(chan error, 1)}
	var err error
	r.Engine, err = NewEngine(cfg, m, people, slog.New(slog.NewTextHandler(&r.log, nil)), r.reg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) start() *rig {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.done <- r.Run(ctx) }()
	return r
}

// stop ends the engine and expects an orderly end.
func (r *rig) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	if err := <-r.done; err != nil {
		t.Errorf("run: %v", err)
	}
}

// runOnce runs the engine until all is scored.
func (r *rig) runOnce(t *testing.T) {
	t.Helper()
	r.start()
	if err := r.Settle(context.Background()); err != nil {
		t.Error(err)
	}
	r.stop(t)
}

// metric returns the value of a counter or gauge, or the count of a histogram.
func (r *rig) metric(t *testing.T, name string) float64 {
	t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		v := f.GetMetric()[0]
		if len(f.GetMetric()) != 1 || len(v.GetLabel()) != 0 {
			t.Errorf("%s has labels", name)
		}
		return v.GetCounter().GetValue() + v.GetGauge().GetValue() + float64(v.GetHistogram().GetSampleCount())
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func dayOf(p string, day steps.Day) steps.ParticipantDay {
	return steps.ParticipantDay{Participant: steps.ParticipantID(p), Day: day}
}

// bubbleDay is the day on which a bubble's clock begins.
var bubbleDay = steps.DateDay(2000, time.January, 1)

var someDay = steps.DateDay(2026, time.November, 23)

// TestEngineRandomChanges changes days from several goroutines while the engine scores, settles
// now and then, restarts it with other rules, and compares all awards with the model.
func TestEngineRandomChanges(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomChanges(t, seed) })
		})
	}
}

func randomChanges(t *testing.T, seed uint64) {
	m := newMemory(t)
	people := bornMap{}
	for i := range 10 {
		people[steps.ParticipantID(fmt.Sprint("p", i))] = steps.DateDay(1950+i*3, time.November, 23)
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	var failures sync.Mutex
	m.fail = func(method string) error {
		failures.Lock()
		defer failures.Unlock()
		if rng.IntN(10) == 0 {
			return steps.Errorf(method, steps.Overload, "the queue is full")
		}
		return nil
	}
	for round, rules := range []string{"kamaishi", "switch.yaml", "kamaishi", "yamagata", "yamagata"} {
		cfg := EngineConfig{Rules: mustRules(t, rules), Batch: 1 + int(seed%7)}
		r := newRig(t, m, people, cfg).start()
		var writers sync.WaitGroup
		for w := range 4 {
			writers.Go(func() {
				rng := rand.New(rand.NewPCG(seed, uint64(round*10+w+1)))
				for range 100 {
					// p10 and p11 are of unknown age; the first days lie before every rule set of switch
					key := dayOf(fmt.Sprint("p", rng.IntN(12)), steps.DateDay(2025, time.March, 30)+steps.Day(rng.IntN(5)*120))
					m.set(key, rng.Uint64N(25000))
					if rng.IntN(20) == 0 {
						settled(t, r, m, key)
					}
				}
			})
		}
		writers.Wait()
		if err := r.Settle(context.Background()); err != nil {
			t.Error(err)
		}
		m.check(cfg.Rules, people, bubbleDay)
		r.stop(t)
	}
	if m.sweeps != 4 {
		t.Errorf("%d sweeps, want 4: the last rules are those before", m.sweeps)
	}
}

// settled settles and sees to it that the day's award is no older than the day was.
func settled(t *testing.T, r *rig, m *memory, key steps.ParticipantDay) {
	m.mu.Lock()
	total, mark := m.totals[key], m.marks[key]
	m.mu.Unlock()
	if err := r.Settle(context.Background()); err != nil {
		t.Error(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.marks[key] == mark && m.awards[key].Steps != total {
		t.Errorf("%v was settled with %d steps, want %d", key, m.awards[key].Steps, total)
	}
}

func TestEngineScoresWhatWasDirtyBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		cfg := EngineConfig{Rules: mustRules(t, "yokohama"), Batch: 3}
		for i := range 10 {
			m.set(dayOf("p", someDay+steps.Day(i)), uint64(i*1000))
		}
		<-m.changed // as after a restart: the days are dirty and nothing says so
		m.scoring = steps.Scoring{Rules: cfg.Rules.Fingerprint(), Through: bubbleDay}
		r := newRig(t, m, bornMap{}, cfg).start()
		synctest.Wait()
		m.check(cfg.Rules, bornMap{}, bubbleDay)
		if m.puts != 4 || m.sweeps != 0 {
			t.Errorf("%d batches and %d sweeps, want 4 and 0", m.puts, m.sweeps)
		}
		for name, want := range map[string]float64{
			"ayumi_points_scored_days_total": 10, "ayumi_points_dirty_days": 0, "ayumi_points_pass_seconds": 1,
			"ayumi_points_rescores_total": 0, "ayumi_points_store_retries_total": 0,
		} {
			if got := r.metric(t, name); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		r.stop(t)
	})
}

// nextPass lets the bubble's clock reach the engine's next pass.
func nextPass() {
	time.Sleep(DefaultEvery)
	synctest.Wait()
}

// TestEnginePausesBetweenPasses changes a day a thousand times a second for a second.
func TestEnginePausesBetweenPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		r := newRig(t, m, bornMap{}, EngineConfig{Rules: mustRules(t, "yokohama")}).start()
		for i := range uint64(1000) {
			m.set(dayOf("p", someDay), i)
			time.Sleep(time.Millisecond)
		}
		nextPass()
		if got := r.metric(t, "ayumi_points_scored_days_total"); got < 4 || got > 6 {
			t.Errorf("the day was scored %v times in a second, want about one in %s", got, DefaultEvery)
		}
		if got := m.award(dayOf("p", someDay)); got.Steps != 999 {
			t.Errorf("award is %+v, want that of the last change", got)
		}
		r.stop(t)
	})
}

func TestEngineWakesOnChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		r := newRig(t, m, bornMap{}, EngineConfig{Rules: mustRules(t, "yokohama")}).start()
		synctest.Wait()
		for i, want := range []steps.Points{2, 5, 1} { // a correction can lower an award
			m.set(dayOf("p", someDay), []uint64{4000, 12000, 2500}[i])
			nextPass()
			if got := m.award(dayOf("p", someDay)); got.Points != want {
				t.Errorf("award is %+v, want %d points", got, want)
			}
		}
		r.stop(t)
	})
}

func TestEngineNoRuleSetInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		key := dayOf("p", steps.DateDay(1999, time.December, 31))
		m.set(key, 12000)
		r := newRig(t, m, bornMap{}, EngineConfig{Rules: mustRules(t, "yokohama")}).start()
		synctest.Wait()
		want := steps.Award{ParticipantDay: key, Steps: 12000}
		if got := m.award(key); got != want {
			t.Errorf("award is %+v, want %+v", got, want)
		}
		r.stop(t)
	})
}

// TestEngineChangeWhileScoring changes a day between reading and storing it.
func TestEngineChangeWhileScoring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		m.set(dayOf("p", someDay), 2000)
		m.beforePut = sync.OnceFunc(func() { m.set(dayOf("p", someDay), 8000) })
		book := mustRules(t, "yokohama")
		r := newRig(t, m, bornMap{}, EngineConfig{Rules: book}).start()
		nextPass()
		m.check(book, bornMap{}, bubbleDay)
		if got := m.award(dayOf("p", someDay)).Points; got != 4 {
			t.Errorf("the day earned %d, want the 4 of its last total", got)
		}
		r.stop(t)
	})
}

// TestEngineRetries lets each method fail for a while and measures the waits.
func TestEngineRetries(t *testing.T) {
	for _, method := range []string{"Scoring", "SetScoring", "Dirty", "PutAwards"} {
		for _, kind := range []steps.Kind{steps.Unavailable, steps.Overload} {
			t.Run(method+" "+kind.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := newMemory(t)
					m.set(dayOf("p1", someDay), 8000)
					failed := 0
					m.fail = func(called string) error {
						if called != method || failed == 9 {
							return nil
						}
						failed++
						return fmt.Errorf("layer between: %w", steps.Errorf("write", kind, "no room"))
					}
					begin := time.Now()
					book := mustRules(t, "yokohama")
					r := newRig(t, m, bornMap{}, EngineConfig{Rules: book}).start()
					if err := r.Settle(context.Background()); err != nil {
						t.Fatal(err)
					}
					// 0.1 + 0.2 + … + 6.4 s, then 10 s twice
					if waited, want := time.Since(begin), 12700*time.Millisecond+2*lastRetry; waited != want {
						t.Errorf("waited %v, want %v", waited, want)
					}
					m.check(book, bornMap{}, bubbleDay)
					if got := r.metric(t, "ayumi_points_store_retries_total"); got != 9 {
						t.Errorf("%v retries are counted, want 9", got)
					}
					r.stop(t)
					if text := r.log.String(); !strings.Contains(text, "no room") || strings.Contains(text, "p1") {
						t.Errorf("the log says %q, want the cause and no participant", text)
					}
				})
			})
		}
	}
}

// TestEngineRescoreRepeated has days that are clean, so that only a sweep brings them back, and a store
// that at first does not take that it was done.
func TestEngineRescoreRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		m.set(dayOf("p", someDay), 8000)
		newRig(t, m, bornMap{}, EngineConfig{Rules: mustRules(t, "yokohama")}).runOnce(t)
		attempts := 0
		m.fail = func(called string) error {
			if called != "SetScoring" {
				return nil
			}
			if attempts++; attempts <= 2 {
				return steps.Errorf("store scoring", steps.Unavailable, "no room")
			}
			return nil
		}
		book := mustRules(t, "yamagata")
		newRig(t, m, bornMap{}, EngineConfig{Rules: book}).runOnce(t)
		m.check(book, bornMap{}, bubbleDay)
	})
}

func TestEngineStopsWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		m.fail = func(string) error { return steps.Errorf("write", steps.Unavailable, "no room") }
		r := newRig(t, m, bornMap{}, EngineConfig{Rules: mustRules(t, "yokohama")}).start()
		time.Sleep(time.Minute) // the bubble's clock
		synctest.Wait()
		begin := time.Now()
		r.stop(t)
		if time.Since(begin) != 0 {
			t.Errorf("stopping took %v", time.Since(begin))
		}
	})
}

// TestEngineStopsInBacklog ends the engine between two batches of a store that never refuses.
func TestEngineStopsInBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		for i := range 10 {
			m.set(dayOf("p", someDay+steps.Day(i)), 5000)
		}
		r := newRig(t, m, bornMap{}, EngineConfig{Rules: mustRules(t, "yokohama"), Batch: 1})
		m.scoring = steps.Scoring{Rules: r.Rules().Fingerprint(), Through: bubbleDay}
		m.beforePut = func() {
			if m.puts == 4 {
				r.cancel()
			}
		}
		r.start()
		if err := <-r.done; err != nil {
			t.Error(err)
		}
		if m.puts != 5 || len(m.dirty) != 5 {
			t.Errorf("%d batches stored, %d days dirty, want 5 and 5", m.puts, len(m.dirty))
		}
	})
}

// TestEngineStandsByForOtherRules has a condition fail on a day: the engine goes on, and scores the day when
// the rules are mended.
func TestEngineStandsByForOtherRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		bad := rulesOf(t, `{name: odd, when: "100 % (steps - 12345) == 0", steps: {tiers: [{steps: 1, points: 1}]}}`)
		good := rulesOf(t, `{name: even, steps: {tiers: [{steps: 1, points: 7}]}}`)
		r := newRig(t, m, bornMap{}, EngineConfig{Rules: bad}).start()
		key := dayOf("p", someDay)
		m.set(key, 12345)
		time.Sleep(3 * lastRetry)
		synctest.Wait()
		if _, scored := m.awards[key]; scored || !strings.Contains(r.log.String(), "rule odd") {
			t.Errorf("awards %v; log %q", m.awards, r.log.String())
		}
		r.SetRules(good)
		synctest.Wait()
		m.check(good, bornMap{}, bubbleDay)
		if got := m.award(key).Points; got != 7 {
			t.Errorf("%d points after the rules were mended, want 7", got)
		}
		r.stop(t)
	})
}

func TestEngineReturnsOtherErrors(t *testing.T) {
	for _, method := range []string{"Scoring", "SetScoring", "Dirty", "PutAwards"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory(t)
				m.set(dayOf("p", someDay), 8000)
				broken := errors.New("checksum differs")
				m.fail = func(called string) error {
					if called == method {
						return steps.E("read", steps.Internal, broken)
					}
					return nil
				}
				r := newRig(t, m, bornMap{}, EngineConfig{Rules: mustRules(t, "yokohama")}).start()
				err := r.Settle(context.Background())
				if steps.KindOf(err) != steps.Unavailable {
					t.Errorf("settle: error is %v, want unavailable", err)
				}
				if err := <-r.done; !errors.Is(err, broken) {
					t.Errorf("run: error is %v, want the store's", err)
				}
				r.cancel()
			})
		})
	}
}

func TestNewEngineRefuses(t *testing.T) {
	m, log, reg := newMemory(t), slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	book := mustRules(t, "yokohama")
	for _, cfg := range []EngineConfig{{}, {Rules: book, Batch: -1}, {Rules: book, Every: -1}, {Rules: book, Checkpoints: -1}} {
		if _, err := NewEngine(cfg, m, bornMap{}, log, reg); steps.KindOf(err) != steps.Invalid || err == nil {
			t.Errorf("%+v: error is %v, want invalid", cfg, err)
		}
	}
	e, err := NewEngine(EngineConfig{Rules: book}, m, bornMap{}, log, reg)
	if err != nil || e.cfg.Batch != DefaultBatch {
		t.Fatalf("error %v, batch %d", err, e.cfg.Batch)
	}
	if _, err := NewEngine(EngineConfig{Rules: book}, m, bornMap{}, log, reg); err == nil {
		t.Error("metrics were registered twice")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := e.Run(ctx); err != nil {
		t.Errorf("run: %v", err)
	}
	if err := e.Run(ctx); steps.KindOf(err) != steps.Internal || err == nil {
		t.Errorf("run again: error is %v, want internal", err)
	}
}
