package points

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/steps"
)

// BenchmarkEngine drains a backlog of 100,000 days through a store in memory: a day of as many people,
// under rules that look at a day by itself and under others.
func BenchmarkEngine(b *testing.B) {
	const backlog = 100_000
	for _, preset := range []string{"yokohama", "vitality-uk"} {
		b.Run(preset, func(b *testing.B) {
			m := newMemory(b)
			e, err := NewEngine(EngineConfig{Rules: mustRules(b, preset)}, m, bornMap{},
				slog.New(slog.DiscardHandler), prometheus.NewRegistry())
			if err != nil {
				b.Fatal(err)
			}
			if err := e.begin(context.Background()); err != nil {
				b.Fatal(err)
			}
			for round := uint64(0); b.Loop(); round++ {
				b.StopTimer()
				for i := range backlog {
					m.set(steps.ParticipantDay{Participant: steps.ParticipantID(fmt.Sprint(i)), Day: 20000}, uint64(i%20011)+round)
				}
				b.StartTimer()
				if err := e.drain(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(backlog*float64(b.N)/b.Elapsed().Seconds(), "days/s")
		})
	}
}

// BenchmarkStep folds days one after the other, as many people's as there are iterations.
func BenchmarkStep(b *testing.B) {
	for _, name := range append(Presets(), "full.yaml") {
		b.Run(name, func(b *testing.B) {
			book := mustRules(b, name)
			first := mustDay(b, "2026-05-01")
			minutes := make(minuteCounts, maxMinutes)
			for i := range minutes {
				minutes[i] = uint32(i * 7919 % 130)
			}
			p := Person{
				Born: first - 25_000, BornKnown: true, Enrolled: []steps.DayRange{{From: first}}, Resident: []steps.DayRange{{From: first}},
				Baseline: PersonalBaseline{Known: true, Steps: 5000, From: first},
			}
			st := book.Begin()
			f := Facts{Minutes: minutes}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%200 == 0 {
					st = book.Begin()
				}
				f.Day, f.Steps, f.Sent = first+steps.Day(i%200), uint64(i*7919%20011), i%2 == 0
				if _, err := book.Step(&st, &f, &p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
