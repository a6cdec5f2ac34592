package ingest_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/ingest"
	"ayumi/protocol/native"
	"ayumi/steps"
)

// nop is a journal that forgets.
type nop struct{ ingest.Journal }

func (nop) Append(_ context.Context, c *steps.Commit, _ func(), done steps.Completion) error {
	done.Complete(&c.Receipt, nil)
	return nil
}

// ignore is a Completion that does nothing.
type ignore struct{}

func (ignore) Complete(*steps.Receipt, error) steps.Flusher { return nil }

// quarterHour is what a pedometer sends for its last fifteen minutes.
func quarterHour(seq uint64) *steps.Upload {
	u := upload(seq, minutes("2026-11-23T09:00:00", 0, 12, 97, 104, 110, 0, 0, 0, 55, 101, 99, 120, 3, 0, 0))
	u.Status = steps.DeviceStatus{Battery: 87, Firmware: "AY-1.4.2", Signal: -71}
	return u
}

func TestSubmitAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector drops pooled memory")
	}
	r := newRig(t, "Asia/Tokyo", nop{})
	for _, tc := range []struct {
		enc  steps.Encoding
		most float64
	}{{steps.Protobuf, 1}, {steps.JSON, 1}} {
		env := r.envelope("pedo", tc.enc, native.AppendUpload(nil, quarterHour(1), tc.enc))
		n := testing.AllocsPerRun(1000, func() {
			if err := r.p.Submit(context.Background(), env, ignore{}); err != nil {
				t.Fatal(err)
			}
		})
		if t.Logf("%v: %v allocations", tc.enc, n); n > tc.most {
			t.Errorf("Submit of %v allocates %v times; want at most %v", tc.enc, n, tc.most)
		}
	}
}

func BenchmarkSubmit(b *testing.B) {
	for _, enc := range encodings {
		b.Run(enc.String(), func(b *testing.B) {
			r := newRig(b, "Asia/Tokyo", nop{})
			body := native.AppendUpload(nil, quarterHour(1), enc)
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			b.RunParallel(func(pb *testing.PB) {
				env := r.envelope("pedo", enc, body)
				for pb.Next() {
					if err := r.p.Submit(context.Background(), env, ignore{}); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// everyone is a registry in which each device counts for a participant of the same name.
type everyone struct{}

func (everyone) Current(steps.Identity) bool { return true }
func (everyone) Active(steps.DeviceID) bool  { return true }
func (everyone) Binding(d steps.DeviceID, _ steps.Day) (steps.ParticipantID, bool) {
	return steps.ParticipantID(d), true
}

// wait is a Completion that counts down.
type wait struct {
	wg     *sync.WaitGroup
	failed *atomic.Int64
}

func (w wait) Complete(_ *steps.Receipt, err error) steps.Flusher {
	if err != nil {
		w.failed.Add(1)
	}
	w.wg.Done()
	return nil
}

// BenchmarkSubmitDurable waits for every acknowledgement on a goroutine a device.
func BenchmarkSubmitDurable(b *testing.B) {
	for _, devices := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("devices=%d", devices), func(b *testing.B) {
			r := newStoreRig(b, "Asia/Tokyo", nil)
			p := ingest.New(ingest.DefaultLimits(), r.cal, everyone{}, r.store, nil, prometheus.NewRegistry())
			var next, failed atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for i := range devices {
				wg.Go(func() {
					var one sync.WaitGroup
					env := r.envelope(steps.DeviceID(fmt.Sprintf("d%d", i)), steps.Protobuf, nil)
					u := quarterHour(0)
					first := at("2026-10-15T00:00:00")
					for next.Add(1) <= int64(b.N) {
						// A new quarter of an hour each time, over five weeks.
						u.Series[0].Start = first + int64(u.Revision.Seq%(35*96))*900
						u.Revision.Seq++
						env.Body = native.AppendUpload(env.Body[:0], u, steps.Protobuf)
						one.Add(1)
						if err := p.Submit(context.Background(), env, wait{&one, &failed}); err != nil {
							failed.Add(1)
							one.Done()
						}
						one.Wait()
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			if failed.Load() > 0 {
				b.Errorf("%d uploads failed", failed.Load())
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "uploads/s")
		})
	}
}
