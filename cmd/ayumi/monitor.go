package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// monitor is the port that Prometheus and a service manager look at: /metrics, /healthz (the
// process lives) and /readyz (it accepts uploads).
type monitor struct {
	server http.Server
	ready  atomic.Bool // the listeners are being served
}

// newMonitor returns a monitor; accepts reports why uploads would be refused, or nil.
func newMonitor(reg *prometheus.Registry, accepts func() error) *monitor {
	m := new(monitor)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !m.ready.Load() {
			http.Error(w, "not ready: starting or stopping", http.StatusServiceUnavailable)
			return
		}
		if err := accepts(); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	m.server = http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10,
	}
	return m
}

// monitorConnections is more than a few Prometheus servers need, and few enough to leave the open
// files to those for whom they are.
const monitorConnections = 64

// Serve answers on l until Close.
func (m *monitor) Serve(l net.Listener) error {
	if err := m.server.Serve(netutil.LimitListener(l, monitorConnections)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close ends Serve.
func (m *monitor) Close() error { return m.server.Close() }
