package review

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/plausibility"
	"ayumi/steps"
)

// metrics are what an operator sees of the reviewer. Labels are names of states and kinds.
type metrics struct {
	waiting                *prometheus.GaugeVec
	flags                  *prometheus.CounterVec
	days, scored, failures prometheus.Counter
	seconds                prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "ayumi_review_" + name, Help: help})
	}
	m := &metrics{
		waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "ayumi_review_waiting_days",
			Help: "Flagged participant-days on which staff have not decided, by state, counted hourly."}, []string{"state"}),
		flags: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ayumi_review_flags_total",
			Help: "Flags of participant-days whose review is new or changed, by kind."}, []string{"flag"}),
		days:     counter("days_total", "Looks at a day of everybody."),
		scored:   counter("participant_days_total", "Participant-days scored, because they changed or before they were closed."),
		failures: counter("failures_total", "Passes that failed and were tried again."),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ayumi_review_day_seconds", Help: "Time that a look at a day of everybody took.",
			Buckets: prometheus.ExponentialBuckets(0.01, 4, 8), // 10 ms to 164 s
		}),
	}
	for _, k := range plausibility.Kinds() {
		m.flags.WithLabelValues(k.String())
	}
	for _, s := range []State{Open, Held} {
		m.waiting.WithLabelValues(s.String())
	}
	for _, c := range []prometheus.Collector{m.waiting, m.flags, m.days, m.scored, m.failures, m.seconds} {
		if err := reg.Register(c); err != nil {
			return nil, steps.E("register review metrics", steps.Internal, err)
		}
	}
	return m, nil
}

// looked counts a look at a day.
func (m *metrics) looked(o *Outcome, took time.Duration) {
	m.days.Inc()
	m.scored.Add(float64(o.Scored))
	m.seconds.Observe(took.Seconds())
}

// found counts the flags of a review that is new or changed.
func (m *metrics) found(r *Review) {
	for i := range r.Flags {
		m.flags.WithLabelValues(r.Flags[i].Kind.String()).Inc()
	}
}
