package store

import (
	"context"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/steps"
)

// TestAppendTellsOfWaiting fills the queue before there is a committer: who has to wait is told so
// once, before it waits, and who has not is not.
func TestAppendTellsOfWaiting(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.QueueLen = 1
	s, err := Open(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	first := waiter{payload(minutes("p", "d", 1, 0, 5)), make(chan error, 1)}
	unasked := func() { t.Error("told of a wait although there is room") }
	if err := s.Append(t.Context(), first.c, unasked, first); err != nil {
		t.Fatal(err)
	}
	second := waiter{payload(minutes("p", "d", 2, 1, 7)), make(chan error, 1)}
	patience, stop := context.WithCancel(t.Context())
	told := 0
	err = s.Append(patience, second.c, func() { told++; stop() }, second)
	if told != 1 || steps.KindOf(err) != steps.Overload {
		t.Errorf("told of the wait %d times, then %v; want once, and Overload", told, err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Store: s, t: t, stop: cancel, ran: make(chan error, 1)}
	go func() { r.ran <- s.Run(ctx) }()
	t.Cleanup(r.end)
	if err := <-first.result; err != nil {
		t.Fatal(err)
	}
	if err := s.Append(t.Context(), second.c, unasked, second); err != nil {
		t.Fatal(err)
	}
	if err := <-second.result; err != nil {
		t.Fatal(err)
	}
	if got := r.totals()[steps.ParticipantDay{Participant: "p", Day: day0}]; got != 12 {
		t.Errorf("%d steps, want 12", got)
	}
}
