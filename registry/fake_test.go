package registry

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ayumi/steps"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is Records in a map.
type memory struct {
	mu      sync.Mutex
	m       map[string][]byte
	err     error // what Apply fails with
	applies int
	largest int // changes of the largest Apply
}

func newMemory() *memory { return &memory{m: map[string][]byte{}} }

func (m *memory) Load(fn func(string, []byte) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(m.m)) {
		if err := fn(k, m.m[k]); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Apply(ctx context.Context, changes []steps.Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	m.applies++
	m.largest = max(m.largest, len(changes))
	for _, c := range changes {
		if c.Value == nil {
			delete(m.m, c.Key)
			continue
		}
		m.m[c.Key] = bytes.Clone(c.Value)
	}
	return nil
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	m.err = err
	m.mu.Unlock()
}

// today is the day of every test's clock.
var today = steps.DateDay(2026, 11, 23)

func testConfig(t testing.TB) Config {
	t.Helper()
	cal, err := steps.NewCalendar("Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	start, _ := cal.Bounds(today)
	return Config{Clock: func() time.Time { return time.Unix(start+3600, 0) }, Calendar: cal}
}

// open opens a registry over rec and, when the test ends, verifies that a second one that is
// opened over the same records says the same.
func open(t testing.TB, rec *memory) *Registry {
	t.Helper()
	r, err := Open(rec, testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		again, err := Open(rec, testConfig(t))
		if err != nil {
			t.Errorf("reopen: %v", err)
			return
		}
		sameRegistry(t, r, again)
	})
	return r
}

type errorer interface{ Errorf(string, ...any) }

// sameRegistry compares all that two registries know.
func sameRegistry(t errorer, a, b *Registry) {
	if a.devices.len() != b.devices.len() || a.participants.len() != b.participants.len() {
		t.Errorf("%d devices and %d participants, reopened %d and %d", a.devices.len(), a.participants.len(), b.devices.len(), b.participants.len())
	}
	for _, id := range a.devices.order.page("", a.devices.len()) {
		x, y := a.devices.get(id), b.devices.get(id)
		if y == nil || x.hash != y.hash || x.generation != y.generation || x.kind != y.kind ||
			x.revoked != y.revoked || x.since != y.since || !slices.Equal(x.bindings, y.bindings) {
			t.Errorf("device %q is %+v, reopened %+v", id, x, y)
		}
	}
	for _, id := range a.participants.order.page("", a.participants.len()) {
		x, y := a.participants.get(id), b.participants.get(id)
		if y == nil || x.born != y.born || x.since != y.since || !slices.Equal(a.BindingsOf(id), b.BindingsOf(id)) {
			t.Errorf("participant %q is %+v, reopened %+v", id, x, y)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t testing.TB, err error, kind steps.Kind) {
	t.Helper()
	if err == nil || steps.KindOf(err) != kind {
		t.Fatalf("error %v, want kind %s", err, kind)
	}
}
