package points

import (
	"context"
	"maps"
	"sync"
	"testing"

	"ayumi/steps"
)

type bornMap map[steps.ParticipantID]steps.Day

func (m bornMap) Born(p steps.ParticipantID) (steps.Day, bool) {
	d, ok := m[p]
	return d, ok
}

// memory is a plain Days: totals, marks and awards in maps.
type memory struct {
	t       testing.TB
	changed chan struct{}

	mu          sync.Mutex
	totals      map[steps.ParticipantDay]uint64
	marks       map[steps.ParticipantDay]uint64
	dirty       map[steps.ParticipantDay]bool
	awards      map[steps.ParticipantDay]steps.Award
	fingerprint string
	rescores    int
	puts        int

	// fail, when set, may refuse a call. It and beforePut run on the engine's goroutine, without
	// the lock.
	fail      func(method string) error
	beforePut func()
}

func newMemory(t testing.TB) *memory {
	return &memory{
		t: t, changed: make(chan struct{}, 1),
		totals: map[steps.ParticipantDay]uint64{}, marks: map[steps.ParticipantDay]uint64{},
		dirty: map[steps.ParticipantDay]bool{}, awards: map[steps.ParticipantDay]steps.Award{},
		fail: func(string) error { return nil }, beforePut: func() {},
	}
}

// set changes a day's total.
func (m *memory) set(key steps.ParticipantDay, total uint64) {
	m.mu.Lock()
	m.totals[key] = total
	m.marks[key]++
	m.dirty[key] = true
	m.mu.Unlock()
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

func (m *memory) Changed() <-chan struct{} { return m.changed }

func (m *memory) Dirty(max int) ([]steps.DirtyDay, error) {
	if err := m.fail("Dirty"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []steps.DirtyDay
	for key := range m.dirty { // in whatever order: the engine must not depend on it
		if len(out) == max {
			break
		}
		out = append(out, steps.DirtyDay{
			DayTotal: steps.DayTotal{ParticipantDay: key, Steps: m.totals[key]}, Mark: m.marks[key],
		})
	}
	return out, nil
}

func (m *memory) PutAwards(_ context.Context, awards []steps.Award) error {
	m.beforePut()
	if err := m.fail("PutAwards"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.puts++
	for _, a := range awards {
		if a.Mark == 0 || a.Mark > m.marks[a.ParticipantDay] {
			m.t.Errorf("award %+v has a mark that was never given", a)
		}
		if a.Mark == m.marks[a.ParticipantDay] {
			if a.Steps != m.totals[a.ParticipantDay] {
				m.t.Errorf("award %+v is not for the total of its mark", a)
			}
			delete(m.dirty, a.ParticipantDay)
		}
		a.Mark = 0
		m.awards[a.ParticipantDay] = a
	}
	return nil
}

func (m *memory) RulesFingerprint() (string, error) {
	if err := m.fail("RulesFingerprint"); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fingerprint, nil
}

func (m *memory) Rescore(_ context.Context, fingerprint string) error {
	err := m.fail("Rescore")
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.fingerprint = fingerprint // the worst place to fail: stored, and no day marked
		return err
	}
	for key := range m.totals {
		m.marks[key]++
		m.dirty[key] = true
	}
	m.fingerprint = fingerprint
	m.rescores++
	return nil
}

// award returns what is stored for a day.
func (m *memory) award(key steps.ParticipantDay) steps.Award {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.awards[key]
}

// check compares all awards with what the totals earn.
func (m *memory) check(book *RuleBook, people bornMap) {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	want := map[steps.ParticipantDay]steps.Award{}
	for key, total := range m.totals {
		a := steps.Award{ParticipantDay: key, Steps: total}
		if set, ok := book.On(key.Day); ok {
			age := UnknownAge
			if born, known := people[key.Participant]; known {
				age = Age(born, key.Day)
			}
			a.RuleSet, a.Points = set.ID(), set.Score(total, age).Points
		}
		want[key] = a
	}
	if len(m.dirty) > 0 {
		m.t.Errorf("%d days are still dirty", len(m.dirty))
	}
	if !maps.Equal(m.awards, want) {
		m.t.Errorf("awards differ from the model:\n got %v\nwant %v", m.awards, want)
	}
}
