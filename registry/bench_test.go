package registry

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"ayumi/steps"
)

// benchRegistry holds n participants with a device each and returns one device's secret.
func benchRegistry(b *testing.B, n int) (*Registry, []steps.DeviceID, []byte) {
	b.Helper()
	r, err := Open(newMemory(), testConfig(b))
	must(b, err)
	var file strings.Builder
	file.WriteString("participant,device\n")
	ids := make([]steps.DeviceID, n)
	for i := range n {
		ids[i] = steps.DeviceID(fmt.Sprintf("ped-%07d", i))
		fmt.Fprintf(&file, "walker-%07d,%s\n", i, ids[i])
	}
	var secret []byte
	_, err = r.Provision(context.Background(), strings.NewReader(file.String()), ProvisionOptions{}, func(ps []Provisioned) error {
		if secret == nil {
			secret = []byte(ps[0].Secret.Reveal())
		}
		return nil
	})
	must(b, err)
	return r, ids, secret
}

const benchDevices = 100_000

func BenchmarkAuthenticate(b *testing.B) {
	r, ids, secret := benchRegistry(b, benchDevices)
	b.Run("right", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.Authenticate(ids[0], secret); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("wrong", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = r.Authenticate(ids[1], secret)
		}
	})
	b.Run("unknown", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = r.Authenticate("nobody", secret)
		}
	})
}

func BenchmarkBinding(b *testing.B) {
	r, ids, _ := benchRegistry(b, benchDevices)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, ok := r.Binding(ids[i*7919%benchDevices], today); !ok {
				b.Error("unbound")
			}
		}
	})
}

func BenchmarkCurrent(b *testing.B) {
	r, ids, _ := benchRegistry(b, benchDevices)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if !r.Current(steps.Identity{Device: ids[i*7919%benchDevices], Generation: 1}) {
				b.Error("not current")
			}
		}
	})
}

// TestHotPathDoesNotAllocate holds the hot path to what the benchmarks show.
func TestHotPathDoesNotAllocate(t *testing.T) {
	ctx := context.Background()
	r := open(t, newMemory())
	must(t, r.AddParticipant(ctx, Participant{ID: "p"}))
	secret, err := r.AddDevice(ctx, Device{ID: "d", Kind: Pedometer})
	must(t, err)
	must(t, r.Bind(ctx, "d", "p", today))
	text, wrong := []byte(secret.Reveal()), make([]byte, SecretLen)
	id, err := r.Authenticate("d", text)
	must(t, err)
	for name, f := range map[string]func(){
		"authenticate": func() { _, _ = r.Authenticate("d", text) },
		"denied":       func() { _, _ = r.Authenticate("d", wrong) },
		"unknown":      func() { _, _ = r.Authenticate("x", text) },
		"current":      func() { r.Current(id) },
		"active":       func() { r.Active("d") },
		"binding":      func() { r.Binding("d", today) },
		"device":       func() { r.Device("d") },
		"born":         func() { r.Scored("p") },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %g times", name, n)
		}
	}
}

// BenchmarkMemory reports the bytes that a participant with one device takes.
func BenchmarkMemory(b *testing.B) {
	const n = 200_000
	for b.Loop() {
		rec := newMemory()
		r, err := Open(rec, testConfig(b))
		must(b, err)
		var file strings.Builder
		file.WriteString("participant,device\n")
		for i := range n {
			fmt.Fprintf(&file, "walker-%07d,ped-%07d\n", i, i)
		}
		_, err = r.Provision(context.Background(), strings.NewReader(file.String()), ProvisionOptions{}, func([]Provisioned) error { return nil })
		must(b, err)
		file.Reset()
		rec.m = nil
		var with, without runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&with)
		runtime.KeepAlive(r)
		r = nil
		runtime.GC()
		runtime.ReadMemStats(&without)
		b.ReportMetric(float64(with.HeapAlloc-without.HeapAlloc)/n, "B/participant")
	}
}

// BenchmarkCity provisions a file of the largest city and opens the registry again; records are in
// memory, so the figures leave out the disk.
func BenchmarkCity(b *testing.B) {
	const n = 300_000
	var file strings.Builder
	file.WriteString("participant,device,kind,from,born\n")
	for i := range n {
		fmt.Fprintf(&file, "walker-%07d,ped-%07d,pedometer,2026-10-01,1951-04-02\n", i, i*7919%n)
	}
	cfg := testConfig(b)
	var rec *memory
	b.Run("provision", func(b *testing.B) {
		for b.Loop() {
			rec = newMemory()
			r, err := Open(rec, cfg)
			must(b, err)
			sum, err := r.Provision(context.Background(), strings.NewReader(file.String()), ProvisionOptions{}, func([]Provisioned) error { return nil })
			must(b, err)
			if sum != (ProvisionSummary{Participants: n, Devices: n}) || rec.largest > 2*chunkRows {
				b.Fatalf("%+v, largest change %d", sum, rec.largest)
			}
		}
		b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			r, err := Open(rec, cfg)
			must(b, err)
			if r.devices.len() != n {
				b.Fatalf("%d devices", r.devices.len())
			}
		}
	})
}
