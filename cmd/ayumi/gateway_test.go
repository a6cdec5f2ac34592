package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ayumi/admin"
)

// testGateway is the production assembly on free ports of the loopback.
type testGateway struct {
	*gateway
	t      *testing.T
	run    *stage
	client *admin.Client
}

// testConfig is the default on free ports.
func testConfig() config {
	cfg := demoConfig()
	cfg.Store.MinFreeBytes = 1 << 20
	return cfg
}

// startGateway serves from dir until stop or the end of the test.
func startGateway(t *testing.T, cfg config, dir string) *testGateway {
	t.Helper()
	return startGatewayAt(t, cfg, dir, time.Now)
}

// startGatewayAt is startGateway by another clock. MQTT stamps what it receives by the real one.
func startGatewayAt(t *testing.T, cfg config, dir string, clock func() time.Time) *testGateway {
	t.Helper()
	g, err := newGateway(cfg, dir, clock, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	tg := &testGateway{gateway: g, t: t, run: newStage(g.Run)}
	t.Cleanup(tg.stop)
	if tg.client, err = admin.Dial(dir); err != nil {
		t.Fatal(err)
	}
	return tg
}

// stop shuts down as SIGTERM does and verifies the store.
func (g *testGateway) stop() {
	g.t.Helper()
	if g.run == nil {
		return
	}
	if g.client != nil {
		_ = g.client.Close() // frees idle connections only
	}
	if err := g.run.stop(); err != nil {
		g.t.Errorf("Run: %v", err)
	}
	g.run = nil
	report, err := g.store.Check(context.Background(), nil)
	if err != nil || report.ProblemCount > 0 {
		g.t.Errorf("check-store: %v, %v", err, report.Problems)
	}
	if err := g.Close(); err != nil {
		g.t.Errorf("Close: %v", err)
	}
}

// verb runs a command line and returns what it printed.
func verb(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(args, &out, &errs)
	return out.String(), errs.String(), status
}

// mustVerb runs a command line that has to succeed.
func mustVerb(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, status := verb(t, args...)
	if status != 0 {
		t.Fatalf("ayumi %q: status %d, %s", args, status, errs)
	}
	return out
}

// sharedFile returns the path of a data set that lies beside the project, and skips the test where
// there is none. CI must have it.
func sharedFile(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join("..", "..", "..", "shared", name)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("the data set is missing: %v", err)
		}
		t.Skipf("the data set is not there: %v", err)
	}
	return path
}
