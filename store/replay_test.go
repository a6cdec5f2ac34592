package store

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/steps"
)

// state is all that the journal is replayed into.
type state struct {
	totals   map[steps.ParticipantDay]uint64
	dirty    map[steps.ParticipantDay]bool
	contacts map[steps.DeviceID]steps.DeviceContact
	sendings map[steps.ParticipantID]string
}

func stateOf(t *testing.T, s *Store) state {
	t.Helper()
	out := state{
		make(map[steps.ParticipantDay]uint64), make(map[steps.ParticipantDay]bool),
		make(map[steps.DeviceID]steps.DeviceContact), make(map[steps.ParticipantID]string),
	}
	err := s.EachDay(t.Context(), steps.DayRange{}, "", func(a steps.Award) error {
		out.totals[a.ParticipantDay] = a.Steps
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pd := range s.dirty {
		out.dirty[pd] = true
	}
	for i := range 4 {
		d, p := steps.DeviceID(fmt.Sprintf("d%d", i)), steps.ParticipantID(fmt.Sprintf("p%d", i))
		contact, found, err := s.Contact(d)
		if err != nil {
			t.Fatal(err)
		}
		if found {
			out.contacts[d] = contact
		}
		sent, err := s.Sendings(p)
		if err != nil {
			t.Fatal(err)
		}
		out.sendings[p] = fmt.Sprint(sent)
	}
	return out
}

// uploadsAtRandom appends uploads of several runs, some without a contact, on several calendar days.
func (r *running) uploadsAtRandom(rng *rand.Rand, n int) {
	r.t.Helper()
	for range n {
		runs := make([]testRun, 1+rng.IntN(4))
		for i := range runs {
			runs[i] = randomRun(rng)
			coarsen(&runs[i], rng)
			if i > 0 && rng.IntN(2) == 0 {
				runs[i].Participant = runs[i-1].Participant
			}
		}
		c := payload(runs...)
		c.Receipt.ReceivedAt += rng.Int64N(3 * secondsPerDay)
		for i := range c.Contacts {
			c.Contacts[i].SentAt = rng.Int64N(1 << 30)
			c.Contacts[i].Status = steps.DeviceStatus{Battery: uint8(rng.IntN(100)), Firmware: "1", Signal: -rng.Int32N(90)}
		}
		c.Contacts = c.Contacts[rng.IntN(len(c.Contacts)+1):]
		if err := r.append(c); err != nil {
			r.t.Fatal(err)
		}
	}
}

// TestReplayInWindows replays a journal over the blocks of a checkpoint, in windows of a group each, of a few
// groups, and of all; and expects what the store had in memory when it stopped.
func TestReplayInWindows(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.StopWithin = 0
	rng := rand.New(rand.NewPCG(1, 5))
	r := start(t, cfg)
	r.uploadsAtRandom(rng, 20)
	r.settle()
	r.uploadsAtRandom(rng, 100)
	var want state
	r.do(func() { want = stateOf(t, r.Store) })
	r.end()
	if len(want.totals) < 15 || len(want.contacts) < 3 {
		t.Fatalf("%d days and %d contacts put nothing to the test", len(want.totals), len(want.contacts))
	}
	for _, full := range []int{1, 4 << 10, windowBytes} {
		t.Run(fmt.Sprint(full), func(t *testing.T) {
			cfg := testConfig(t.TempDir())
			if err := copyAll(t, r.cfg.Dir, cfg.Dir); err != nil {
				t.Fatal(err)
			}
			journal := filepath.Join(t.TempDir(), "journal")
			if err := os.Rename(filepath.Join(cfg.Dir, "journal"), journal); err != nil {
				t.Fatal(err)
			}
			cfg.AcceptLoss = true // of the journal
			s, err := Open(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if got := stateOf(t, s); maps.Equal(got.totals, want.totals) {
				t.Fatal("the journal holds nothing that the blocks do not")
			}
			p := newReplayer(s, 1<<20)
			p.full = full
			_, err = (&segments{dir: journal, auth: s.auth}).replay(s.retired.Load(), p.group)
			if err := errors.Join(err, p.finish()); err != nil {
				t.Fatal(err)
			}
			if got := stateOf(t, s); !reflect.DeepEqual(got, want) {
				t.Errorf("the state after the replay is %v; want %v", got, want)
			}
			if err := s.head.checkBooks(); err != nil {
				t.Error(err)
			}
		})
	}
}
