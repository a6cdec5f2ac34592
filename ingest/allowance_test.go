package ingest_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ayumi/ingest"
	"ayumi/protocol/native"
	"ayumi/steps"
)

// wall is a clock that tests move.
type wall struct{ now time.Time }

func newWall() *wall { return &wall{time.Unix(now, 0)} }

func (w *wall) read() time.Time           { return w.now }
func (w *wall) pass(d time.Duration)      { w.now = w.now.Add(d) }
func identity(name string) steps.Identity { return steps.Identity{Device: steps.DeviceID(name)} }

// TestAllowanceModel spends at random moments and compares with a plain bucket that is filled in
// small steps.
func TestAllowanceModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := ingest.Rate{PerSecond: rapid.IntRange(1, 1000).Draw(t, "rate"), Burst: rapid.IntRange(1, 5000).Draw(t, "burst")}
		w := newWall()
		a := ingest.NewAllowances(ingest.Rates{Device: rate}, w.read).Hold(identity("flood"))
		unit := float64(time.Second / time.Duration(rate.PerSecond)) // whole nanoseconds
		left := float64(rate.Burst)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			pass := time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "pass"))
			w.pass(pass)
			left = min(float64(rate.Burst), left+float64(pass)/unit)
			wait := a.Wait(w.now)
			if want := max(0, (1-left)*unit); float64(wait) > want+2 || float64(wait) < want-2 {
				t.Fatalf("wait %v with %.6f units left at %v a unit", wait, left, time.Duration(unit))
			}
			if wait > 0 && rapid.Bool().Draw(t, "waits") {
				w.pass(wait)
				left += float64(wait) / unit
				if a.Wait(w.now) != 0 {
					t.Fatalf("after %v it has to wait again", wait)
				}
			}
			n := rapid.IntRange(1, 2000).Draw(t, "units")
			a.Spend(n, w.now)
			left = max(left-float64(n), -float64(rate.Burst))
		}
	})
}

// TestDefaultRatesLetABacklogIn delivers 42 days at once, twice over.
func TestDefaultRatesLetABacklogIn(t *testing.T) {
	w := newWall()
	s := ingest.NewAllowances(ingest.DefaultRates(), w.read)
	device, reader := identity("pedometer"), identity("terminal")
	reader.Reader = true
	for _, c := range []struct {
		id      steps.Identity
		uploads int
	}{
		{device, 2 * 42 * 24 * 4},
		{reader, 100 * 42 * 24},
	} {
		a := s.Hold(c.id)
		for i := range c.uploads {
			if wait := a.Wait(w.now); wait > 0 {
				t.Fatalf("%s waits %v after %d of %d uploads", c.id.Device, wait, i, c.uploads)
			}
			a.Spend(1, w.now)
		}
	}
}

func TestNoRateIsNoLimit(t *testing.T) {
	w := newWall()
	for name, a := range map[string]*ingest.Allowance{
		"rate 0": ingest.NewAllowances(ingest.Rates{}, w.read).Hold(identity("d")),
		"nil":    (*ingest.Allowances)(nil).Hold(identity("d")),
	} {
		for range 100 {
			a.Spend(1_000_000, w.now)
		}
		if wait := a.Wait(w.now); wait != 0 {
			t.Errorf("%s: wait %v", name, wait)
		}
	}
}

// TestDebtIsBounded spends far more than there is, as a thousand requests at once would.
func TestDebtIsBounded(t *testing.T) {
	w := newWall()
	a := ingest.NewAllowances(ingest.Rates{Device: ingest.Rate{PerSecond: 10, Burst: 100}}, w.read).Hold(identity("d"))
	for range 1000 {
		a.Spend(1000, w.now)
	}
	if wait := a.Wait(w.now); wait != 10*time.Second+100*time.Millisecond {
		t.Errorf("it has to wait %v, want the 10 s in which a burst comes back and one unit more", wait)
	}
}

// TestAllowanceIsTheDevices shares an allowance among connections, one after the other too, and
// among nobody else.
func TestAllowanceIsTheDevices(t *testing.T) {
	w := newWall()
	s := ingest.NewAllowances(ingest.Rates{Device: ingest.Rate{PerSecond: 10, Burst: 100}}, w.read)
	first, second := s.Hold(identity("d")), s.Hold(identity("d"))
	first.Spend(130, w.now)
	if second.Wait(w.now) == 0 {
		t.Error("a second connection has an allowance of its own")
	}
	if s.Hold(identity("other")).Wait(w.now) != 0 {
		t.Error("another device has to wait too")
	}
	s.Release(first)
	s.Release(second)
	again := s.Hold(identity("d"))
	if wait := again.Wait(w.now); wait != 3100*time.Millisecond {
		t.Errorf("connected again it has to wait %v, want 3.1 s", wait)
	}
	s.Release(again)
	w.pass(14 * time.Second)
	if wait := s.Hold(identity("d")).Wait(w.now); wait != 0 {
		t.Errorf("with all come back it has to wait %v", wait)
	}
}

// TestAllowancesForgetNoDebt lets devices come and go for a long while.
func TestAllowancesForgetNoDebt(t *testing.T) {
	w := newWall()
	s := ingest.NewAllowances(ingest.Rates{Device: ingest.Rate{PerSecond: 1, Burst: 10}}, w.read)
	type debt struct {
		until time.Time
		id    steps.Identity
	}
	var owing []debt
	for i := range 5000 {
		id := identity(fmt.Sprint(i))
		a := s.Hold(id)
		a.Spend(20, w.now)
		s.Release(a)
		owing = append(owing, debt{w.now.Add(a.Wait(w.now)), id})
		w.pass(time.Duration(i%7) * 100 * time.Millisecond)
		if i%3 == 0 {
			at := i / 3 * 2
			a := s.Hold(owing[at].id)
			if got, want := a.Wait(w.now), max(0, owing[at].until.Sub(w.now)); got != want {
				t.Fatalf("device %d of %d has to wait %v, want %v", at, i, got, want)
			}
			s.Release(a)
		}
	}
}

// TestAllowanceConcurrently spends on many goroutines; what gets through is what one would get.
func TestAllowanceConcurrently(t *testing.T) {
	w := newWall()
	s := ingest.NewAllowances(ingest.Rates{Device: ingest.Rate{PerSecond: 1, Burst: 10_000}}, w.read)
	var through atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 4000 {
				a := s.Hold(identity("d"))
				if a.Wait(w.now) == 0 {
					a.Spend(1, w.now)
					through.Add(1)
				}
				s.Release(a)
			}
		})
	}
	wg.Wait()
	if n := through.Load(); n < 10_000 || n > 10_000+7 { // one more each that asked before the others spent
		t.Errorf("%d got through", n)
	}
}

func TestRequestsOfADevice(t *testing.T) {
	a := ingest.NewAllowances(ingest.DefaultRates(), time.Now).Hold(identity("d"))
	for i := range 3 {
		if a.Begin(2) != (i < 2) {
			t.Errorf("request %d of 2 that fit: %t", i+1, i >= 2)
		}
	}
	a.End()
	if !a.Begin(2) {
		t.Error("a place does not become free")
	}
}

// TestPayloadsAreCharged submits payloads and looks at what they took.
func TestPayloadsAreCharged(t *testing.T) {
	r := newRig(t, "Asia/Tokyo", new(memory))
	encoded := func(u *steps.Upload) []byte { return native.AppendUpload(nil, u, steps.Protobuf) }
	strangers := make([]steps.Upload, 30)
	for i := range strangers {
		strangers[i] = *upload(uint64(i+1), minutes("2026-11-23T09:00:00", 1, 2, 3))
		strangers[i].Device = "ghost"
	}
	for _, c := range []struct {
		name string
		env  *ingest.Envelope
		want time.Duration // a unit is a second
	}{
		{"upload", r.envelope("pedo", steps.Protobuf, encoded(upload(1, minutes("2026-11-23T09:00:00", 1, 2, 3)))), 1},
		{"heartbeat", r.envelope("pedo", steps.Protobuf, encoded(upload(2))), 1},
		{"week of minutes", r.envelope("pedo", steps.Protobuf, encoded(upload(3, minutes("2026-11-16T09:00:00", repeat(10080, 100)...)))), 10},
		{"nothing", r.envelope("pedo", steps.Protobuf, nil), 10},
		{"garbage", r.envelope("pedo", steps.Protobuf, slices.Repeat([]byte{0xFF}, 5000)), 5 + 9},
		{"bundle of strangers", r.carry(steps.Protobuf, native.AppendBundle(nil, strangers, steps.Protobuf)), 30 * 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			rate := ingest.Rate{PerSecond: 1, Burst: 1000}
			a := ingest.NewAllowances(ingest.Rates{Device: rate, Reader: rate}, newWall().read).Hold(c.env.Identity)
			a.Spend(1000, c.env.ReceivedAt)
			before := a.Wait(c.env.ReceivedAt)
			c.env.Allowance = a
			r.submit(c.env)
			if got := a.Wait(c.env.ReceivedAt) - before; got != c.want*time.Second {
				t.Errorf("it took %v units, want %d", got.Seconds(), c.want)
			}
		})
	}
}

// BenchmarkAllowance is what the allowance costs a publish.
func BenchmarkAllowance(b *testing.B) {
	rates := ingest.Rates{Device: ingest.Rate{PerSecond: 1_000_000, Burst: 1_000_000_000}}
	a := ingest.NewAllowances(rates, time.Now).Hold(identity("d"))
	arrived := time.Now()
	for b.Loop() {
		if a.Wait(arrived) > 0 {
			b.Fatal("it has to wait")
		}
		a.Spend(1, arrived)
	}
}
