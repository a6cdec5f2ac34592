package store

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/merge"
	"ayumi/steps"
)

// retotalEnv, set in the environment, names a directory in which this binary totals days anew instead of
// running tests.
const retotalEnv = "AYUMI_STORE_RETOTAL"

// typedCounts is the policy that it does so under.
func typedCounts() *merge.Config {
	cfg := merge.DefaultConfig()
	cfg.Manual.Treatment = merge.Accept
	return &cfg
}

func retotalIn(dir string) error {
	cfg := testConfig(dir)
	cfg.Sources = typedCounts()
	s, err := Open(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	fmt.Println("open")
	<-s.retotalled
	fmt.Println("done")
	stop()
	return <-ran
}

// TestRetotallingIsKilled changes the policy of a store and kills it over and over until all days are
// totalled anew. Every day that has another total then is dirty, none was done twice from the start, and
// the store can be looked at in between.
func TestRetotallingIsKilled(t *testing.T) {
	cfg := testConfig(t.TempDir())
	r := start(t, cfg)
	days := r.twoSources(1500)
	r.scoreAll()
	r.end()
	cut, furthest := 0, ""
	for round, done := 0, false; !done; round++ {
		if round == 100 {
			t.Fatal("it does not come to an end")
		}
		patience := 10 * (1 + round)                                                            // a slow machine takes long to get anywhere
		done = killRetotalling(t, cfg.Dir, time.Duration(rand.IntN(patience))*time.Millisecond) //nolint:gosec // a test
		after := lookAt(t, cfg.Dir, cut < 2)
		if after != "" {
			if after < furthest {
				t.Errorf("it began again at %x after %x", after, furthest)
			}
			cut, furthest = cut+1, after
		}
	}
	if cut == 0 {
		t.Error("no kill came in the middle")
	}
	cfg.Sources = typedCounts()
	r = start(t, cfg)
	if got := r.scoreAll(); r.restaled.Load() || !slices.Equal(got, days[1:]) {
		t.Errorf("%d days are dirty; want %d", len(got), len(days)-1)
	}
	if got := r.totals(); got[days[0]] != 3000 || got[days[1]] != 3500 || got[days[1499]] != 3500 {
		t.Errorf("totals %d, %d, %d; want 3000 and then 3500", got[days[0]], got[days[1]], got[days[1499]])
	}
}

// killRetotalling kills a process some time after it began to total days, and reports whether it was done.
func killRetotalling(t *testing.T, dir string, after time.Duration) (done bool) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self) //nolint:gosec // a test
	cmd.Env = append(os.Environ(), retotalEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "open" {
		t.Errorf("the process printed %q, %v", lines.Text(), lines.Err())
	}
	kill := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	for lines.Scan() {
		done = done || lines.Text() == "done"
	}
	_ = cmd.Wait()
	return done
}

// lookAt checks a store as check-store does, if it is to, and returns behind which day totalling anew goes on, "" when
// it has not begun or is done.
func lookAt(t *testing.T, dir string, check bool) (after string) {
	t.Helper()
	cfg := testConfig(dir)
	cfg.Sources = nil
	s, err := Open(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if check {
		report, err := s.Check(context.Background(), nil)
		if err != nil || report.ProblemCount > 0 {
			t.Fatalf("%v, %v", err, report.Problems)
		}
		if report.Retotalling != (s.retotal != nil) {
			t.Errorf("totalling anew is reported: %v", report.Retotalling)
		}
	}
	if s.retotal == nil {
		return ""
	}
	return string(s.retotal.After)
}

// TestPolicyRefused opens a store under a policy that makes no sense.
func TestPolicyRefused(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.Sources.NotCarriedMinutes = 1
	_, err := Open(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if steps.KindOf(err) != steps.Invalid {
		t.Errorf("%v; want Invalid", err)
	}
}

// TestReplayedDaysAwaitTheirTotals opens a store under another policy whose days are both on disk and in the
// journal: in memory they have the new total at once, and no award of it yet.
func TestReplayedDaysAwaitTheirTotals(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.StopWithin = 0
	r := start(t, cfg)
	days := r.twoSources(20)
	r.scoreAll()
	r.settle()
	r.twoSources(20) // what is there already
	r.end()
	cfg.Sources = typedCounts()
	s, err := Open(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if n, _, err := s.Total(days[1]); err != nil || n != 3500 {
		t.Errorf("%d steps, %v; want 3500", n, err)
	}
	report, err := s.Check(context.Background(), nil)
	if err != nil || report.ProblemCount > 0 || !report.Retotalling {
		t.Errorf("%v, %v", err, report)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r = start(t, cfg)
	<-r.retotalled
	if got := r.scoreAll(); !slices.Equal(got, days[1:]) {
		t.Errorf("%d days are dirty; want %d", len(got), len(days)-1)
	}
}
