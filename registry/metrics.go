package registry

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	devices      prometheus.Gauge
	participants prometheus.Gauge
	failures     *prometheus.CounterVec
	// The children of failures, looked up once.
	unknown, wrong, revoked prometheus.Counter
}

func newMetrics() *metrics {
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ayumi_registry_auth_failures_total",
		Help: "Refused credentials by cause: unknown device, wrong secret, right secret of a revoked device.",
	}, []string{"cause"})
	return &metrics{
		devices: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ayumi_registry_devices", Help: "Registered devices, revoked ones included.",
		}),
		participants: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ayumi_registry_participants", Help: "Registered participants.",
		}),
		failures: failures,
		unknown:  failures.WithLabelValues("unknown"),
		wrong:    failures.WithLabelValues("wrong"),
		revoked:  failures.WithLabelValues("revoked"),
	}
}

func (m *metrics) register(reg prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{m.devices, m.participants, m.failures} {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}
