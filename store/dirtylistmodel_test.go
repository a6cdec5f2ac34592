package store

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"ayumi/steps"
)

// marker does the same to the store and to a model of what waits to be scored.
type marker struct {
	t     testing.TB
	rng   *rand.Rand
	cfg   Config
	r     *running
	seq   uint64
	steps map[steps.ParticipantDay]bool // days with steps
	dirty map[steps.ParticipantDay]bool
}

// TestDirtyListsAgainstModel marks days in every way there is, writes some of them or all to disk, scores some, and
// takes the store up again from what a clean stop or a kill leaves. What the model says is dirty is dirty
// then, and while nothing is reopened nothing else is.
func TestDirtyListsAgainstModel(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := &marker{
				t: t, rng: newRand(seed), cfg: testConfig(t.TempDir()),
				steps: map[steps.ParticipantDay]bool{}, dirty: map[steps.ParticipantDay]bool{},
			}
			m.cfg.HeadBytes = []int64{1, 1 << 20}[seed%2]
			m.r = start(t, m.cfg)
			for i := range 200 {
				m.step()
				if got := m.r.dirtySet(); !maps.Equal(got, m.dirty) {
					t.Fatalf("step %d: %v are dirty; want %v", i, got, m.dirty)
				}
			}
			m.r.settle()
			m.reopen(m.r.image())
			m.r.scoreAll()
			m.r.noLists()
		})
	}
}

func (m *marker) day() steps.ParticipantDay {
	return steps.ParticipantDay{Participant: many(m.rng.IntN(5)), Day: day0 + steps.Day(m.rng.IntN(4))}
}

func (m *marker) step() {
	pd := m.day()
	switch n := m.rng.IntN(40); {
	case n < 10:
		m.upload(pd)
	case n < 13:
		m.activity(pd)
	case n < 19:
		m.score()
	case n < 22:
		m.scoreBeside(pd, m.upload)
	case n < 25:
		m.scoreBeside(pd, m.activity)
	case n < 27:
		m.scoreBeside(pd, func(steps.ParticipantDay) { m.persist() })
	case n < 29:
		if err := m.r.RescoreParticipant(context.Background(), pd.Participant); err != nil {
			m.t.Fatal(err)
		}
		m.markAll(pd.Participant)
	case n < 35:
		m.persist()
	case n < 38:
		m.r.settle()
	case n < 39:
		m.reopen(m.r.image())
	default:
		m.r.end()
		m.cfg.StopWithin = time.Duration(m.rng.IntN(2)) * 2 * time.Second
		m.reopen(m.r.cfg.Dir)
	}
}

// upload adds steps to a day, and something that was sent to the one on which they arrive.
func (m *marker) upload(pd steps.ParticipantDay) {
	m.seq++
	run := minutes(string(pd.Participant), string(pd.Participant), m.seq, m.rng.IntN(1440), 30)
	run.Day = pd.Day
	c := payload(run)
	c.Receipt.ReceivedAt = 86400 * int64(day0+steps.Day(m.rng.IntN(4))) //nolint:gosec // small
	on := steps.ParticipantDay{Participant: pd.Participant, Day: m.r.cfg.Calendar.Day(c.Receipt.ReceivedAt)}
	if err := m.r.append(c); err != nil {
		m.t.Error(err)
	}
	m.dirty[pd], m.steps[pd] = true, true
	if m.r.dirtySet()[on] { // the first sending since a checkpoint marks it
		m.dirty[on] = true
	}
}

func (m *marker) activity(pd steps.ParticipantDay) {
	m.seq++
	a := steps.Activity{ParticipantDay: pd, Kind: "class", RecordedAt: 1, By: "me", Times: uint8(2 + m.seq%200)}
	if err := m.r.PutActivity(context.Background(), a); err != nil {
		m.t.Error(err)
	}
	m.dirty[pd] = true
}

func (m *marker) markAll(p steps.ParticipantID) {
	for pd := range m.steps {
		if pd.Participant == p {
			m.dirty[pd] = true
		}
	}
}

// award makes an award of a day as it is, nil if it does not wait for one.
func (m *marker) award(pd steps.ParticipantDay) []steps.Award {
	m.r.mu.RLock()
	state, waits := m.r.dirty[pd]
	m.r.mu.RUnlock()
	if !waits {
		return nil
	}
	d := dirtyDay{DirtyDay: steps.DirtyDay{ParticipantDay: pd, Mark: state.mark}}
	err := m.r.EachOf(pd.Day, []steps.ParticipantID{pd.Participant}, func(_ int, n uint64, reported bool) error {
		d.Steps, d.Reported = n, reported
		return nil
	})
	if err != nil {
		m.t.Error(err)
	}
	return []steps.Award{d.award(0, "x@1")}
}

// score scores some of what waits.
func (m *marker) score() {
	days := slices.SortedFunc(maps.Keys(m.dirty), compareDays)
	m.rng.Shuffle(len(days), func(i, j int) { days[i], days[j] = days[j], days[i] })
	var awards []steps.Award
	for _, pd := range days[:m.rng.IntN(len(days)+1)] {
		awards = append(awards, m.award(pd)...)
		delete(m.dirty, pd)
	}
	if err := m.r.PutAwards(context.Background(), awards); err != nil {
		m.t.Error(err)
	}
}

// scoreBeside scores a day by what it was before something else that is done at the same time.
func (m *marker) scoreBeside(pd steps.ParticipantDay, other func(steps.ParticipantDay)) {
	awards := m.award(pd)
	delete(m.dirty, pd)
	var beside sync.WaitGroup
	beside.Go(func() {
		if err := m.r.PutAwards(context.Background(), awards); err != nil {
			m.t.Error(err)
		}
	})
	other(pd)
	beside.Wait()
}

// persist writes some of what is not on disk, and retires nothing: a checkpoint that was cut off.
func (m *marker) persist() {
	m.r.do(func() {
		s := m.r.Store
		if s.checkpoint != nil {
			return
		}
		c := &checkpoint{upTo: s.retired.Load()}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, day := range s.head.takeUnflushed() {
			if m.rng.IntN(2) == 0 {
				c.days = append(c.days, day)
			} else {
				sh := s.head.of(day)
				sh.unflushed = append(sh.unflushed, day)
			}
		}
		senders := s.head.senders()
		s.head.sorting.Wait()
		for _, p := range senders {
			if m.rng.IntN(2) == 0 {
				c.sent = append(c.sent, p)
			}
		}
		s.checkpoint = c
	})
}

// reopen goes on in a directory.
func (m *marker) reopen(dir string) {
	m.r.end()
	m.cfg.Dir = dir
	m.r = start(m.t, m.cfg)
	m.cfg.StopWithin = testConfig(dir).StopWithin
	got := m.r.dirtySet()
	for pd := range m.dirty {
		if !got[pd] {
			m.t.Fatalf("%s waited to be scored, and does no more", nameOf(pd))
		}
	}
	m.dirty = got
}
