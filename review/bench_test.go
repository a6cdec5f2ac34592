package review

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/plausibility"
	"ayumi/steps"
)

// BenchmarkLook looks at a day of ten thousand people, without what reading them takes.
func BenchmarkLook(b *testing.B) {
	w := newWard()
	const people = 10_000
	for i := range uint64(people) {
		w.put(steps.ParticipantID(fmt.Sprintf("p%05d", i)), first-1, walkedDay(i))
	}
	tokyo, err := steps.NewCalendar("Asia/Tokyo")
	if err != nil {
		b.Fatal(err)
	}
	r, err := New(Config{Limits: plausibility.DefaultConfig(), CompareDays: 28, Calendar: tokyo,
		Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()}, w, w)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Screen(b.Context(), first-1); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/people, "µs/person")
}
