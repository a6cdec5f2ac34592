package store

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	groupSize, commitSeconds          prometheus.Histogram
	conflicts, waits, checkpoints     prometheus.Counter
	headDays, dirtyDays               prometheus.Gauge
	queueDepth, lsmBytes, vlogBytes   prometheus.GaugeFunc
	journalBytes, freeBytes, diskFull prometheus.GaugeFunc
}

func newMetrics(reg prometheus.Registerer, s *Store) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "ayumi_store_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "ayumi_store_" + name, Help: help})
	}
	value := func(name, help string, fn func() float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "ayumi_store_" + name, Help: help}, fn)
	}
	m := &metrics{
		groupSize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ayumi_store_group_payloads", Help: "Payloads and other changes committed with one fsync.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 8),
		}),
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ayumi_store_commit_seconds", Help: "Time from taking a group to its being durable and merged.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 16),
		}),
		conflicts:   counter("conflicts_total", "Minutes that an equal revision had given another count."),
		waits:       counter("queue_waits_total", "Payloads that found the commit queue full."),
		checkpoints: counter("checkpoints_total", "Checkpoints completed."),
		headDays:    gauge("head_days", "Participant-days in memory."),
		dirtyDays:   gauge("dirty_days", "Participant-days that wait to be scored."),
		queueDepth: value("queue_depth", "Payloads that wait for the committer.",
			func() float64 {
				s.queue.Lock()
				defer s.queue.Unlock()
				return float64(len(s.open.entries))
			}),
		lsmBytes: value("badger_lsm_bytes", "Size of Badger's LSM tree on disk.",
			func() float64 { lsm, _ := s.db.Size(); return float64(lsm) }),
		vlogBytes: value("badger_vlog_bytes", "Size of Badger's value log on disk; it stays empty.",
			func() float64 { _, vlog := s.db.Size(); return float64(vlog) }),
		journalBytes: value("journal_bytes", "Journal since the last checkpoint.",
			func() float64 { return float64(s.journalBytes.Load()) }),
		freeBytes: value("disk_free_bytes", "Free space on the data directory's disk.",
			func() float64 { free, _, _ := diskSpace(s.cfg.Dir); return float64(free) }),
		diskFull: value("disk_full", "1 while uploads are refused for want of disk space, 2 while every change is.", func() float64 {
			switch {
			case s.short.Load():
				return 2
			case s.full.Load():
				return 1
			}
			return 0
		}),
	}
	reg.MustRegister(m.all()...)
	return m
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{
		m.groupSize, m.commitSeconds, m.conflicts, m.waits, m.checkpoints, m.headDays, m.dirtyDays,
		m.queueDepth, m.lsmBytes, m.vlogBytes, m.journalBytes, m.freeBytes, m.diskFull,
	}
}

func (m *metrics) unregister(reg prometheus.Registerer) {
	for _, c := range m.all() {
		reg.Unregister(c)
	}
}

func (m *metrics) observe(payloads int, took time.Duration) {
	if payloads == 0 {
		return
	}
	m.groupSize.Observe(float64(payloads))
	m.commitSeconds.Observe(took.Seconds())
}
