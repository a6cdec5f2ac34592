package closing

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/steps"
)

// metrics are what an operator sees of the closer. None has a label.
type metrics struct {
	last, due, late, available, pending prometheus.Gauge
	days, participants, points, held    prometheus.Counter
	expired, failures                   prometheus.Counter
	seconds                             prometheus.Histogram
	lastDay                             steps.Day // whoever holds busy may use it
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "ayumi_closing_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "ayumi_closing_" + name, Help: help})
	}
	m := &metrics{
		last:         gauge("last_closed_day_seconds", "The date of the last closed day, as UTC seconds of its midnight; 0 before the first."),
		due:          gauge("due_days", "Days that late data no longer change and that are not closed yet."),
		late:         gauge("late_days", "Participant-days with late data that staff have not decided on, counted hourly up to 100,000."),
		available:    gauge("available_points", "Points that can be exchanged, of everybody, added up hourly."),
		pending:      gauge("pending_points", "Points that are held for review, of everybody, added up hourly."),
		days:         counter("days_total", "Days closed."),
		participants: counter("participants_total", "Participants who got points when days were closed."),
		points:       counter("points_total", "Points made available when days were closed."),
		held:         counter("held_points_total", "Points held for review when days were closed."),
		expired:      counter("expired_points_total", "Points that expired."),
		failures:     counter("failures_total", "Passes that failed and were tried again."),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ayumi_closing_day_seconds", Help: "Time that closing a day took.",
			Buckets: prometheus.ExponentialBuckets(0.01, 4, 8), // 10 ms to 164 s
		}),
	}
	for _, c := range []prometheus.Collector{
		m.last, m.due, m.late, m.available, m.pending, m.days, m.participants, m.points, m.held, m.expired, m.failures, m.seconds,
	} {
		if err := reg.Register(c); err != nil {
			return nil, steps.E("register closing metrics", steps.Internal, err)
		}
	}
	return m, nil
}

// closed counts a day that was closed.
func (m *metrics) closed(d *steps.ClosedDay, took time.Duration) {
	m.days.Inc()
	m.participants.Add(float64(d.Participants))
	m.points.Add(float64(d.Points))
	m.held.Add(float64(d.Held))
	m.seconds.Observe(took.Seconds())
	m.reached(d.Day)
}

// reached notes that a day is closed.
func (m *metrics) reached(d steps.Day) {
	if d > m.lastDay {
		m.lastDay = d
		m.last.Set(float64(d) * 86400)
	}
}

// outstanding shows what everybody together has.
func (m *metrics) outstanding(all []steps.PeriodBalance) {
	var available, pending steps.Points
	for i := range all {
		available += all[i].Available
		pending += all[i].Pending
	}
	m.available.Set(float64(available))
	m.pending.Set(float64(pending))
}
