package store

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"ayumi/steps"
)

// benchPeople is what one machine must hold.
const benchPeople = 1_000_000

// cpu returns the processor time of this process so far, of all its threads, in user and system mode.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// million is a store with a million participants, whose days are scored without any data.
type million struct {
	*Store
	ids []steps.ParticipantID
}

func openMillion(b *testing.B) *million {
	b.Helper()
	s, err := Open(DefaultConfig(b.TempDir()), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-ran; err != nil {
			b.Error(err)
		}
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	m := &million{Store: s}
	for i := range benchPeople {
		m.ids = append(m.ids, steps.ParticipantID(fmt.Sprintf("p%08d", i)))
	}
	return m
}

// award scores a day of everybody in batches.
func (m *million) award(b *testing.B, day steps.Day, batch int, points steps.Points) {
	b.Helper()
	awards := make([]steps.Award, 0, batch)
	for i, p := range m.ids {
		awards = append(awards, steps.Award{ParticipantDay: steps.ParticipantDay{Participant: p, Day: day},
			Steps: 8000, Points: points, RuleSet: "example-ward@2026-04-01"})
		if len(awards) == batch || i == len(m.ids)-1 {
			if err := m.PutAwards(context.Background(), awards); err != nil {
				b.Fatal(err)
			}
			awards = awards[:0]
		}
	}
}

// BenchmarkPutAwards stores a million awards of one day: their first, and then other points.
func BenchmarkPutAwards(b *testing.B) {
	for _, batch := range []int{4096, 1 << 16} {
		for _, again := range []bool{false, true} {
			b.Run(fmt.Sprintf("batch=%d/again=%t", batch, again), func(b *testing.B) {
				m := openMillion(b)
				day := day0
				for b.Loop() {
					day++
					if again {
						b.StopTimer()
						m.award(b, day, batch, 3)
						b.StartTimer()
					}
					before := cpu(b)
					m.award(b, day, batch, 5)
					b.ReportMetric((cpu(b) - before).Seconds(), "cpu-s/op")
				}
			})
		}
	}
}

// BenchmarkCloseDay closes a day of a million participants, the first of them and later ones.
func BenchmarkCloseDay(b *testing.B) {
	m := openMillion(b)
	day := day0
	for b.Loop() {
		day++
		b.StopTimer()
		m.award(b, day, 1<<16, 5)
		b.StartTimer()
		before := cpu(b)
		closed, err := m.CloseDay(context.Background(), steps.CloseRequest{Day: day, Period: "2026", By: "bench"})
		if err != nil || closed.Participants != benchPeople {
			b.Fatalf("%+v, %v", closed, err)
		}
		b.ReportMetric((cpu(b) - before).Seconds(), "cpu-s/op")
	}
}
