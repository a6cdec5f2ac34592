package main

import (
	"encoding/json"
	"strings"
	"testing"

	"ayumi/bench"
	"ayumi/steps"
)

// The store must hold exactly what the generator says was acknowledged: every upload, and of every
// minute the count of its highest revision.
func TestBenchConservesSteps(t *testing.T) {
	for _, tc := range []struct {
		name string
		args string
	}{
		{"MQTT", "--connections 5 --window 8"},
		{"MQTT 5 over TLS", "--connections 3 --tls --mqtt 5"},
		{"bundles over MQTT", "--connections 2 --window 4 --bundle 5"},
		{"HTTPS", "--connections 3 --https"},
		{"bundles over HTTPS at a rate", "--connections 2 --https --bundle 7 --samples 60 --rate 2000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			cfg := testConfig()
			cfg.Limits.DeviceRate, cfg.Limits.ReaderRate = 0, 0
			g := startGateway(t, cfg, dir)
			args := append([]string{"bench", "--data-dir", dir, "--duration", "250ms", "--warmup", "50ms", "--output", "json"},
				strings.Fields(tc.args)...)
			var r bench.Result
			if err := json.Unmarshal([]byte(mustVerb(t, args...)), &r); err != nil {
				t.Fatal(err)
			}
			sums, err := balances(t.Context(), g.client, steps.DayRange{}, "")
			if err != nil {
				t.Fatal(err)
			}
			var held uint64
			for _, b := range sums {
				held += b.steps
			}
			if held != r.Steps || r.Steps == 0 || r.Acknowledged == 0 || !r.Clean() {
				t.Errorf("the store holds %d steps; the generator says %d of %d uploads: %+v", held, r.Steps, r.Acknowledged, r)
			}
		})
	}
}

func TestBenchIdle(t *testing.T) {
	dir := t.TempDir()
	startGateway(t, testConfig(), dir)
	for _, args := range []string{"", "--tls", "--mqtt 5"} {
		var r bench.IdleResult
		args := append([]string{"bench", "--idle", "--data-dir", dir, "--connections", "12", "--duration", "20ms", "--output", "json"},
			strings.Fields(args)...)
		if err := json.Unmarshal([]byte(mustVerb(t, args...)), &r); err != nil {
			t.Fatal(err)
		}
		if r.Connections != 12 || r.Lost != 0 || r.ConnectsPerSecond == 0 {
			t.Errorf("%q: %+v", args, r)
		}
	}
}

func TestBenchUsage(t *testing.T) {
	for _, args := range [][]string{
		{"--self", "--data-dir", "x"}, {"--target", "a:1", "--data-dir", "x"}, {"--payload", "10"}, {"--connections", "0"},
		{"--bundle", "1001"}, {"--mqtt", "4"}, {"--output", "xml"}, {"--duration", "0"}, {"--idle", "--https"},
	} {
		if _, errs, status := verb(t, append([]string{"bench"}, args...)...); status != 2 || errs == "" {
			t.Errorf("%q: status %d, %s", args, status, errs)
		}
	}
}

func TestBenchTable(t *testing.T) {
	var b strings.Builder
	r := bench.Result{Connections: 50, Window: 32, Seconds: 2, Server: &bench.Usage{CPUSeconds: 3, RSSBytes: 64 << 20},
		UploadsPerSecond: 1000, Series: []float64{900, 1100}}
	if err := printBench(&b, formatTable, &r, benchLines(&r)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"50 × 32", "1000\n", "900 1100", "1.50 cores, 64 MiB"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
