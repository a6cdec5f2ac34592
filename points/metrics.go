package points

import (
	"github.com/prometheus/client_golang/prometheus"

	"ayumi/steps"
)

// metrics are what an operator sees of the engine. None has a label.
type metrics struct {
	scored   prometheus.Counter
	dirty    prometheus.Gauge
	pass     prometheus.Histogram
	rescores prometheus.Counter
	retries  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		scored: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ayumi_points_scored_days_total",
			Help: "Participant-days scored and stored; a day scored again counts again.",
		}),
		dirty: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ayumi_points_dirty_days",
			Help: "Dirty days in the batch at hand, 0 when none wait. A value that stays at the batch size means a backlog of at least that many.",
		}),
		pass: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "ayumi_points_pass_seconds",
			Help:    "Time from waking up until no full batch of dirty days was left, retries included.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 10), // 1 ms to 262 s
		}),
		rescores: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ayumi_points_rescores_total",
			Help: "Times that every stored day was marked dirty because the rules had changed.",
		}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ayumi_points_store_retries_total",
			Help: "Times that the store was overloaded or unavailable and the engine waited to try again.",
		}),
	}
	for _, c := range []prometheus.Collector{m.scored, m.dirty, m.pass, m.rescores, m.retries} {
		if err := reg.Register(c); err != nil {
			return nil, steps.E("register points metrics", steps.Internal, err)
		}
	}
	return m, nil
}
