package ingest_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"ayumi/protocol/native"
	"ayumi/steps"
	"ayumi/store"
)

// once verifies that its payload is completed exactly once, after its predecessor of the same
// goroutine, and with its own receipt.
type once struct {
	t      *testing.T
	device steps.DeviceID
	seq    uint64
	last   *atomic.Uint64 // seq that was completed last on this goroutine
	all    *sync.WaitGroup
	calls  atomic.Int32
}

func (o *once) Complete(r *steps.Receipt, err error) steps.Flusher {
	defer o.all.Done()
	if n := o.calls.Add(1); n != 1 {
		o.t.Errorf("%s %d was completed %d times", o.device, o.seq, n)
	}
	if err != nil {
		o.t.Errorf("%s %d: %v", o.device, o.seq, err)
	}
	if before := o.last.Swap(o.seq); before != o.seq-1 {
		o.t.Errorf("%s %d was completed after %d", o.device, o.seq, before)
	}
	bad := o.seq%10 == 0
	u := &r.Uploads[0]
	if len(r.Uploads) != 1 || u.Device != o.device || u.Verdict != stored || u.Revision.Seq != o.seq || (len(u.Faults) > 0) != bad {
		o.t.Errorf("%s %d got the receipt %+v", o.device, o.seq, r)
	}
	return nil
}

// TestManyDevices submits from many goroutines through a queue that is too short for them.
func TestManyDevices(t *testing.T) {
	const devices, uploads = 32, 60
	r := newStoreRig(t, "Asia/Tokyo", func(c *store.Config) { c.QueueLen = 8 })
	var want []string
	var wg, all sync.WaitGroup
	for d := range devices {
		device := steps.DeviceID(fmt.Sprintf("d%02d", d))
		r.dir.bind(device, steps.ParticipantID("p-"+device), steps.DayRange{})
		want = append(want, fmt.Sprintf("p-%s 2026-11-23 %d", device, 2*uploads*(d+1)))
		wg.Go(func() {
			last := new(atomic.Uint64)
			for seq := uint64(1); seq <= uploads; seq++ {
				s := minutes("2026-11-23T09:00:00", uint32(d+1), uint32(d+1))
				s.Start += 120 * int64(seq)
				u := upload(seq, s)
				if seq%10 == 0 {
					u.Series = append(u.Series, every(45, "2026-11-23T09:00:00", uint32(seq)))
				}
				enc := encodings[seq%2]
				body := native.AppendUpload(nil, u, enc)
				all.Add(1)
				if err := r.p.Submit(context.Background(), r.envelope(device, enc, body),
					&once{t: t, device: device, seq: seq, last: last, all: &all}); err != nil {
					t.Errorf("%s %d: %v", device, seq, err)
					all.Done()
				}
				for i := range body {
					body[i] = 0xff // the body may be used again once Submit returned
				}
			}
		})
	}
	wg.Wait()
	all.Wait()
	r.wantTotals(want...)
	if n := len(r.quarantined()); n != devices*uploads/10 {
		t.Errorf("%d quarantined payloads; want %d", n, devices*uploads/10)
	}
}

// TestSubmitWhileStopping: what was taken before the end is completed, the rest is refused.
func TestSubmitWhileStopping(t *testing.T) {
	r := newStoreRig(t, "Asia/Tokyo", nil)
	var taken, completed, lost atomic.Int64
	var wg sync.WaitGroup
	started := make(chan struct{}, 8)
	for d := range cap(started) {
		wg.Go(func() {
			done := make(answers, 1)
			for seq := uint64(1); ; seq++ {
				u := upload(seq, minutes("2026-11-23T09:00:00", uint32(d)))
				if err := r.p.Submit(context.Background(), r.envelope("pedo", steps.Protobuf, native.AppendUpload(nil, u, steps.Protobuf)), done); err != nil {
					wantKind(t, err, steps.Unavailable)
					return
				}
				taken.Add(1)
				if out := <-done; out.err != nil {
					lost.Add(1)
				}
				completed.Add(1)
				if seq == 3 {
					started <- struct{}{}
				}
			}
		})
	}
	for range cap(started) {
		<-started
	}
	r.stop()
	wg.Wait()
	if taken.Load() != completed.Load() || lost.Load() > 0 {
		t.Errorf("%d taken, %d completed, %d of them with an error", taken.Load(), completed.Load(), lost.Load())
	}
}

// TestOverload: a caller whose patience ends while the queue is full learns that it was refused, and
// before it waits that it will.
func TestOverload(t *testing.T) {
	j := new(blocked)
	r := newRig(t, "Asia/Tokyo", j)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	body := native.AppendUpload(nil, upload(1, minutes("2026-11-23T09:00:00", 5)), steps.Protobuf)
	env, told := r.envelope("pedo", steps.Protobuf, body), 0
	env.BeforeWait = func() { told++ }
	wantKind(t, r.p.Submit(ctx, env, never{t}), steps.Overload)
	if told != 1 {
		t.Errorf("the listener was told of the wait %d times, want once", told)
	}
}

// blocked is a journal whose queue is full for ever.
type blocked struct{ memory }

func (*blocked) Append(ctx context.Context, _ *steps.Commit, beforeWait func(), _ steps.Completion) error {
	beforeWait()
	<-ctx.Done()
	return steps.E("queue", steps.Overload, ctx.Err())
}
