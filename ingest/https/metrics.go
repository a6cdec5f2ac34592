package https

import (
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// codeGone stands in metrics and logs for a client that left before its answer.
const codeGone = 499

// The routes as metric labels.
const (
	routeUploads = "uploads"
	routeDays    = "days"
	routeOther   = "other"
)

type metrics struct {
	requests     *prometheus.CounterVec
	seconds      *prometheus.HistogramVec
	inFlight     prometheus.Gauge
	shed         prometheus.Counter
	throttled    prometheus.Counter
	body         prometheus.Counter
	decompressed *prometheus.CounterVec
	timeouts     prometheus.Counter
	late         prometheus.Counter
	panics       prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, conns func() float64) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "ayumi_https_" + name, Help: help})
	}
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ayumi_https_requests_total",
			Help: "Requests answered, by route and status code; 499 is a client that left before its answer.",
		}, []string{"route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "ayumi_https_request_seconds",
			Help:    "Time from a request's header to its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ayumi_https_in_flight_requests",
			Help: "Requests that hold one of the MaxInFlight places.",
		}),
		shed:      counter("shed_total", "Requests refused because no place became free within MaxWait."),
		throttled: counter("throttled_total", "Requests refused because their device had used up its allowance or had too many under way."),
		body:      counter("body_bytes_total", "Bytes of request bodies as received."),
		decompressed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ayumi_https_decompressed_bytes_total",
			Help: "Bytes of request bodies after decompression, by content coding.",
		}, []string{"coding"}),
		timeouts: counter("commit_timeouts_total", "Uploads not committed within CommitTimeout; the client was told to send again."),
		late:     counter("late_commits_total", "Outcomes that came after their request had been answered or left."),
		panics:   counter("panics_total", "Requests that ended in a panic of ours."),
	}
	open := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ayumi_https_connections",
		Help: "Open connections, each listener's next one included.",
	}, conns)
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.inFlight, m.shed, m.throttled, m.body,
		m.decompressed, m.timeouts, m.late, m.panics, open} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("cannot register the https metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) observe(route string, code int, d time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(code)).Inc()
	m.seconds.WithLabelValues(route).Observe(d.Seconds())
}
