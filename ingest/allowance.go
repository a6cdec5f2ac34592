package ingest

import (
	"sync"
	"sync/atomic"
	"time"

	"ayumi/steps"
)

// Rate is how much one device may upload: Burst units at once, refilled by PerSecond. A unit is an
// upload; see units. PerSecond 0 is no limit.
type Rate struct {
	PerSecond int
	Burst     int
}

// Rates are those of the two sorts of credentials.
type Rates struct {
	Device Rate
	Reader Rate // of a terminal that carries other devices' uploads
}

// DefaultRates lets a device deliver the 42 days of its flash at once, even a quarter of an hour an
// upload (4,032) and every one twice, and a reader those of a hundred devices, an hour an upload.
func DefaultRates() Rates {
	return Rates{Device: Rate{PerSecond: 20, Burst: 10_000}, Reader: Rate{PerSecond: 1000, Burst: 200_000}}
}

const (
	// unitBytes is how much of a payload counts as one unit: decoding and merging a kilobyte takes
	// about as long as everything else about a small upload.
	unitBytes = 1 << 10
	// quarantineUnits is what an upload that goes into quarantine counts as: hashed, copied and
	// written to a table one by one, it takes ten times as long as one that is merged.
	quarantineUnits = 10
	// ConnectUnits is what a CONNECT counts as; its TLS handshake takes at least as long as so many
	// uploads.
	ConnectUnits = 10
)

// units is what a payload counts as: its uploads, or its kilobytes if those are more, and extra for
// what goes into quarantine.
func units(bytes, uploads, quarantined int) int {
	return max(uploads, (bytes+unitBytes-1)/unitBytes, 1) + (quarantineUnits-1)*quarantined
}

// Allowance is what one device may still upload: a token bucket that all of its connections share.
// Whoever serves the device asks Wait before it takes a payload; the pipeline spends once it knows
// what the payload was. So a payload may take more than is left, and the next one waits for it.
//
// It is one number, the moment at which the bucket will be full again, so it takes no lock. A nil
// Allowance limits nothing.
type Allowance struct {
	of       *bucket
	full     atomic.Int64 // nanoseconds since of.epoch
	requests atomic.Int32 // begun and not ended

	device  steps.DeviceID
	holders int // guarded by Allowances.mu
}

// bucket is what the allowances of one sort have in common. Times are nanoseconds.
type bucket struct {
	epoch    time.Time
	unit     int64 // in which one unit comes back; 0 is no limit
	capacity int64 // in which an empty bucket fills
}

func newBucket(r Rate, epoch time.Time) *bucket {
	b := &bucket{epoch: epoch}
	if r.PerSecond > 0 {
		b.unit = int64(time.Second) / int64(r.PerSecond)
		b.capacity = b.unit * int64(max(r.Burst, 1))
	}
	return b
}

// Wait returns how long the device's next payload has to wait. 0 is not at all.
func (a *Allowance) Wait(now time.Time) time.Duration {
	if a == nil {
		return 0
	}
	owed := a.full.Load() - int64(now.Sub(a.of.epoch))
	return time.Duration(max(0, owed+a.of.unit-a.of.capacity))
}

// Spend takes n units, also those that are not left. It takes none beyond a whole burst of debt, so
// that nobody is shut out for long.
func (a *Allowance) Spend(n int, now time.Time) {
	if a == nil || a.of.unit == 0 {
		return
	}
	at := int64(now.Sub(a.of.epoch))
	for {
		full := a.full.Load()
		next := min(max(full, at)+int64(n)*a.of.unit, at+2*a.of.capacity)
		if next <= full || a.full.CompareAndSwap(full, next) {
			return
		}
	}
}

// Begin counts a request of the device as begun and reports true, unless that many are already.
func (a *Allowance) Begin(most int) bool {
	if a == nil || int(a.requests.Add(1)) <= most {
		return true
	}
	a.requests.Add(-1)
	return false
}

// End takes back a Begin that reported true.
func (a *Allowance) End() {
	if a != nil {
		a.requests.Add(-1)
	}
}

// Allowances keeps the allowance of every device that is being served, and remembers those of
// devices that left owing something until it has come back, so that connecting again gives nobody
// a new burst. Nil Allowances hand out nil.
type Allowances struct {
	device, reader *bucket
	clock          func() time.Time

	mu   sync.Mutex
	held map[steps.DeviceID]*Allowance
	// What devices that left owe, in two generations: by the time a generation is dropped, all in
	// it has come back. Nothing has to be searched, and neither can outgrow maxOwing.
	young, old map[steps.DeviceID]int64
	turned     time.Time // when young was begun
}

// maxOwing is how many devices a generation remembers. Beyond it the oldest are forgiven.
const maxOwing = 1 << 16

// NewAllowances returns allowances that are full.
func NewAllowances(r Rates, clock func() time.Time) *Allowances {
	now := clock()
	return &Allowances{
		device: newBucket(r.Device, now), reader: newBucket(r.Reader, now), clock: clock,
		held: map[steps.DeviceID]*Allowance{}, young: map[steps.DeviceID]int64{}, turned: now,
	}
}

// Hold returns the allowance of a credential's device. Release it when the connection or the request
// ends.
func (s *Allowances) Hold(id steps.Identity) *Allowance {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.held[id.Device]
	if a == nil {
		a = &Allowance{of: s.device, device: id.Device}
		if id.Reader {
			a.of = s.reader
		}
		a.full.Store(max(s.young[id.Device], s.old[id.Device]))
		delete(s.young, id.Device)
		delete(s.old, id.Device)
		s.held[id.Device] = a
	}
	a.holders++
	return a
}

// Release ends a Hold.
func (s *Allowances) Release(a *Allowance) {
	if a == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.holders--; a.holders > 0 {
		return
	}
	delete(s.held, a.device)
	now := s.clock()
	full := a.full.Load()
	if full <= int64(now.Sub(a.of.epoch)) {
		return
	}
	// Debt comes back within twice the capacity.
	if within := 2 * max(s.device.capacity, s.reader.capacity); len(s.young) >= maxOwing || int64(now.Sub(s.turned)) > within {
		s.old, s.young, s.turned = s.young, map[steps.DeviceID]int64{}, now
	}
	s.young[a.device] = full
}
