package admin

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ayumi/registry"
	"ayumi/steps"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	today = steps.DateDay(2026, 11, 23)
	now   = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
)

// records is registry.Records in a map.
type records map[string][]byte

func (m records) Load(fn func(string, []byte) error) error {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if err := fn(k, m[k]); err != nil {
			return err
		}
	}
	return nil
}

func (m records) Apply(_ context.Context, changes []steps.Change) error {
	for _, c := range changes {
		m[c.Key] = bytes.Clone(c.Value)
	}
	return nil
}

// house is everything behind the server but the registry, in memory.
type house struct {
	mu       sync.Mutex
	days     []steps.Award
	daysErr  error // after the days
	settle   func(context.Context) error
	entries  []*steps.QuarantineEntry
	contacts map[steps.DeviceID]steps.DeviceContact
	rescored []steps.ParticipantID
	reorders []steps.ParticipantID
	scoreErr error
}

func (h *house) Settle(ctx context.Context) error { return h.settle(ctx) }

func (h *house) EachDay(_ context.Context, r steps.DayRange, p steps.ParticipantID, fn func(steps.Award) error) error {
	for _, a := range h.days {
		if r.Contains(a.Day) && (p == "" || a.Participant == p) {
			if err := fn(a); err != nil {
				return err
			}
		}
	}
	return h.daysErr
}

func (h *house) EachQuarantined(_ context.Context, f steps.QuarantineFilter, fn func(*steps.QuarantineEntry) error) error {
	n := 0
	for _, e := range h.entries {
		if f.Device != "" && e.Device != f.Device || f.State != nil && *f.State != e.Decision.State ||
			f.Reason != 0 && e.Faults[0].Reason != f.Reason || f.Limit > 0 && n == f.Limit {
			continue
		}
		n++
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

func (h *house) Quarantined(_ context.Context, id steps.QuarantineID) (*steps.QuarantineEntry, error) {
	for _, e := range h.entries {
		if e.ID == id {
			return e, nil
		}
	}
	return nil, steps.Errorf("find quarantined payload", steps.NotFound, "there is no %q", id)
}

func (h *house) decide(id steps.QuarantineID, d steps.Decision) (*steps.QuarantineEntry, error) {
	e, err := h.Quarantined(context.Background(), id)
	if err != nil {
		return nil, err
	}
	if e.Decision.State != steps.Open {
		return nil, steps.Errorf("decide", steps.Conflict, "%q is %s already", id, e.Decision.State)
	}
	e.Decision = d
	return e, nil
}

func (h *house) Release(_ context.Context, id steps.QuarantineID, by, reason string) (*steps.Receipt, error) {
	e, err := h.decide(id, steps.Decision{State: steps.Released, At: now.Unix(), By: by, Reason: reason})
	if err != nil {
		return nil, err
	}
	return &steps.Receipt{Record: steps.RecordID{Group: 7, Index: 1}, ReceivedAt: now.Unix(),
		Uploads: []steps.UploadReceipt{{Device: e.Device, Revision: steps.Revision{Boot: 2, Seq: 9}, Verdict: steps.Stored, Conflicts: 3}}}, nil
}

func (h *house) Discard(_ context.Context, id steps.QuarantineID, by, reason string) error {
	_, err := h.decide(id, steps.Decision{State: steps.Discarded, At: now.Unix(), By: by, Reason: reason})
	return err
}

func (h *house) Contact(id steps.DeviceID) (steps.DeviceContact, bool, error) {
	c, ok := h.contacts[id]
	return c, ok, nil
}

func (h *house) Rescore(_ context.Context, p steps.ParticipantID) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rescored = append(h.rescored, p)
	return h.scoreErr
}

func (h *house) Reorder(ctx context.Context, p steps.ParticipantID, update func(context.Context) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reorders = append(h.reorders, p)
	return update(ctx)
}

// bench is a running server with its client.
type bench struct {
	*house
	*books
	c    *Client
	dir  string
	reg  *registry.Registry
	logs *lockedBuffer
	stop func() // ends the server and waits for it
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func tokyo(t testing.TB) steps.Calendar {
	t.Helper()
	cal, err := steps.NewCalendar("Asia/Tokyo")
	must(t, err)
	return cal
}

func start(t *testing.T, dir string, edit func(*Config, *Deps)) *bench {
	t.Helper()
	clock := func() time.Time { return now }
	reg, err := registry.Open(records{}, registry.Config{Clock: clock, Calendar: tokyo(t)})
	must(t, err)
	h := &house{settle: func(context.Context) error { return nil }, contacts: map[steps.DeviceID]steps.DeviceContact{}}
	led := &books{}
	b := &bench{house: h, books: led, dir: dir, reg: reg, logs: &lockedBuffer{}}
	cfg := Config{DataDir: dir, Version: "v1.2.3", Addresses: map[string]string{"mqtt": "127.0.0.1:1883"}, Calendar: tokyo(t),
		Clock: clock, Logger: slog.New(slog.NewTextHandler(b.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	deps := Deps{Registry: reg, Days: h, Quarantine: h, Devices: h, Rescore: h.Rescore, Reorder: h.Reorder,
		Ledger: led, Closing: led, Closed: led, Prizes: led, Exchanges: led, Activities: led, Reviews: led, Reviewer: led,
		Pays: func(_ steps.Day, kind steps.ActivityKind) bool { return kind == "checkup" }}
	if edit != nil {
		edit(&cfg, &deps)
	}
	s, err := New(cfg, deps)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close again: %v", err)
		}
	})
	t.Cleanup(b.stop)
	b.c, err = Dial(dir)
	must(t, err)
	t.Cleanup(func() { must(t, b.c.Close()) })
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError checks an error's kind and that its text holds what it should.
func wantError(t testing.TB, err error, kind steps.Kind, text string) {
	t.Helper()
	var e *steps.Error
	if !errors.As(err, &e) || e.Kind != kind || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v (%s), want %s: %q", err, steps.KindOf(err), kind, text)
	}
}
