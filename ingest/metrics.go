package ingest

import (
	"github.com/prometheus/client_golang/prometheus"

	"ayumi/steps"
)

// metrics counts by transport, verdict and reason only; all three are short enumerations.
type metrics struct {
	uploads     *prometheus.CounterVec
	verdicts    [steps.Staff + 1][steps.Quarantined + 1]prometheus.Counter
	samples     [steps.Staff + 1]prometheus.Counter
	bytes       [steps.Staff + 1]prometheus.Counter
	failures    [steps.Staff + 1]prometheus.Counter
	quarantined *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ayumi_ingest_" + name, Help: help}, labels)
		reg.MustRegister(v)
		return v
	}
	m := &metrics{
		uploads:     vec("uploads_total", "Uploads that became durable.", "transport", "verdict"),
		quarantined: vec("quarantined_total", "Faults that sent a series or an upload to quarantine, repeats included.", "reason"),
	}
	samples := vec("samples_total", "Counts accepted, repeats included.", "transport")
	bytes := vec("payload_bytes_total", "Payload bytes received, decompressed.", "transport")
	failures := vec("failures_total", "Payloads that were not made durable and not acknowledged.", "transport")
	for t := steps.MQTT; t <= steps.Staff; t++ {
		for v := steps.Stored; v <= steps.Quarantined; v++ {
			m.verdicts[t][v] = m.uploads.WithLabelValues(t.String(), v.String())
		}
		m.samples[t] = samples.WithLabelValues(t.String())
		m.bytes[t] = bytes.WithLabelValues(t.String())
		m.failures[t] = failures.WithLabelValues(t.String())
	}
	for _, r := range steps.Reasons() {
		m.quarantined.WithLabelValues(r.String())
	}
	return m
}

func (m *metrics) count(t steps.Transport, samples int, r *steps.Receipt, err error) {
	if err != nil {
		m.failures[t].Inc()
		return
	}
	m.samples[t].Add(float64(samples))
	for i := range r.Uploads {
		u := &r.Uploads[i]
		m.verdicts[t][u.Verdict].Inc()
		for _, f := range u.Faults {
			m.quarantined.WithLabelValues(f.Reason.String()).Inc()
		}
	}
}
