package store

import (
	"context"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/steps"
)

// TestDayIsReadOnce queues uploads of a day that is on disk before there is a committer: the first one reads the
// day for all of them.
func TestDayIsReadOnce(t *testing.T) {
	cfg := testConfig(t.TempDir())
	r := start(t, cfg)
	if err := r.append(payload(minutes("p", "d", 1, 0, 5))); err != nil {
		t.Fatal(err)
	}
	r.settle()
	r.end()

	s, err := Open(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	waits := make([]waiter, 3)
	for i := range waits {
		waits[i] = waiter{payload(minutes("p", "d", uint64(2+i), 1+i, 7)), make(chan error, 1)}
		if err := s.Append(t.Context(), waits[i].c, nil, waits[i]); err != nil {
			t.Fatal(err)
		}
	}
	first := s.open.days[0].loaded
	if first == nil || first.block == nil {
		t.Fatalf("the first upload did not read the day: %+v", first)
	}
	for _, ref := range s.open.days[1:] {
		if ref.loaded != first {
			t.Error("the day was read again")
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	r = &running{Store: s, t: t, stop: cancel, ran: make(chan error, 1)}
	go func() { r.ran <- s.Run(ctx) }()
	t.Cleanup(r.end)
	for _, w := range waits {
		if err := <-w.result; err != nil {
			t.Fatal(err)
		}
	}
	pd := steps.ParticipantDay{Participant: "p", Day: day0}
	if got := r.totals()[pd]; got != 5+3*7 {
		t.Errorf("%d steps; want 26", got)
	}
	if left, _ := s.head.lookup(pd); s.head.readBefore(pd, left) != nil {
		t.Error("the day is kept although the head has it")
	}
}

// TestReadDayGoesStale has a day leave the head after it was read: what was read is of no use then.
func TestReadDayGoesStale(t *testing.T) {
	h := newHead(0, new(totals)) // has room for nothing
	pd := steps.ParticipantDay{Participant: "p", Day: day0}
	left, _ := h.lookup(pd)
	day := &headDay{ParticipantDay: pd}
	h.keepRead(day, left)
	if h.readBefore(pd, left) != day {
		t.Error("a day that was read is not there")
	}
	if h.readBefore(steps.ParticipantDay{Participant: "q", Day: day0}, left) != nil {
		t.Error("another day is taken for it")
	}
	h.add(&headDay{ParticipantDay: pd})
	sh := h.shardOf("p")
	h.evict(sh, 2)
	if left, found := h.lookup(pd); found || h.readBefore(pd, left) != nil {
		t.Errorf("in the head: %t; a day is found that was read before it was there", found)
	}
}
