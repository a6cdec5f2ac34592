package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"ayumi/admin"
	"ayumi/closing"
	"ayumi/ingest"
	"ayumi/ingest/https"
	"ayumi/ingest/mqtt"
	"ayumi/pki"
	"ayumi/points"
	"ayumi/protocol/native"
	"ayumi/registry"
	"ayumi/review"
	"ayumi/steps"
	"ayumi/store"
)

// gateway is the production assembly. Tests run the same one, on port 0.
type gateway struct {
	cfg      config
	dir      string
	log      *slog.Logger
	clock    func() time.Time
	calendar steps.Calendar

	metrics    *prometheus.Registry
	store      *store.Store
	registry   *registry.Registry
	pipeline   *ingest.Pipeline
	allowances *ingest.Allowances
	engine     *points.Engine
	reviewer   *review.Reviewer
	closer     *closing.Closer
	mqtt       *mqtt.Server
	https      *https.Server
	admin      *admin.Server
	monitor    *monitor
	cert       *pki.Bundle

	ports ports
}

// ports are the open listeners. A nil one is not configured.
type ports struct {
	mqtt, mqttTLS, https, metrics net.Listener
}

// newGateway opens the store, brings everything up to what it holds and binds the ports, but
// serves nobody yet. Close it, or Run it and then Close it. The clock tells which day it is, and what is late.
func newGateway(cfg config, dir string, clock func() time.Time, log *slog.Logger) (g *gateway, err error) {
	g = &gateway{cfg: cfg, dir: dir, log: log, clock: clock, metrics: prometheus.NewRegistry()}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Close())
			g = nil
		}
	}()
	for _, step := range []func() error{g.openStore, g.fitFiles, g.assemble, g.listen, g.openAdmin} {
		if err := step(); err != nil {
			return g, err
		}
	}
	return g, nil
}

func (g *gateway) openStore() (err error) {
	if g.calendar, err = steps.NewCalendar(g.cfg.Programme.TimeZone); err != nil {
		return err
	}
	if err := makeDataDir(g.dir); err != nil {
		return err
	}
	g.metrics.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	cfg := g.cfg.store(filepath.Join(g.dir, "store"))
	cfg.Calendar, cfg.Clock = g.calendar, g.clock
	cfg.Orders = func(t store.Table) (store.Orders, error) {
		g.registry, err = registry.Open(t, registry.Config{Clock: g.clock, Calendar: g.calendar, Registerer: g.metrics})
		return g.registry, err
	}
	g.store, err = store.Open(cfg, g.log, g.metrics)
	return err
}

// fitFiles comes after the store has opened its files.
func (g *gateway) fitFiles() error {
	limit, open, err := files()
	if err != nil {
		return steps.E("count open files", steps.Internal, err)
	}
	if g.cfg.fitFiles(limit, open) {
		g.log.Warn("the limit of open files is too low for all connections; fewer are accepted. Raise it (LimitNOFILE, ulimit -n)",
			"limit", limit, "mqtt.max_connections", g.cfg.MQTT.MaxConnections, "https.max_connections", g.cfg.HTTPS.MaxConnections)
	}
	return nil
}

func (g *gateway) assemble() error {
	rules, err := g.cfg.rules()
	if err != nil {
		return err
	}
	g.engine, err = points.NewEngine(points.EngineConfig{Rules: rules, Calendar: g.calendar, Clock: g.clock},
		g.store, people{g.registry, new(sync.Map)}, g.log, g.metrics)
	if err != nil {
		return err
	}
	g.reviewer, err = review.New(review.Config{
		Limits: g.cfg.Plausibility.Limits, HoldSevere: g.cfg.Plausibility.HoldSevere, HoldKinds: g.cfg.Plausibility.HoldKinds, CompareDays: g.cfg.Plausibility.CompareDays,
		Calendar: g.calendar, Clock: g.clock, Logger: g.log, Metrics: g.metrics,
	}, g.store, g.store)
	if err != nil {
		return err
	}
	if err := g.openClosing(); err != nil {
		return err
	}
	g.pipeline = ingest.New(g.cfg.ingestLimits(), g.calendar, g.registry, g.store, g.clock, g.metrics)
	g.allowances = ingest.NewAllowances(g.cfg.rates(), g.clock)
	if g.mqtt, err = mqtt.New(g.mqttConfig(), listenerGateway{g}, g.log, g.metrics); err != nil {
		return err
	}
	if g.https, err = https.New(g.httpsConfig(), listenerGateway{g}, ownDays{g}, g.log, g.metrics); err != nil {
		return err
	}
	g.monitor = newMonitor(g.metrics, g.store.Ready)
	return nil
}

func (g *gateway) openClosing() error {
	periods, err := closing.NewPeriods(g.engine.Rules, g.cfg.Points.FinalAfterDays)
	if err != nil {
		return err
	}
	g.closer, err = closing.New(closing.Config{
		Periods: periods, Calendar: g.calendar, Clock: g.clock, Logger: g.log, Metrics: g.metrics,
		Patience: g.cfg.Points.CloseAfterStart,
	}, g.store, g.store, g.engine, g.reviewer)
	return err
}

// pays reports whether the rules of a day pay for an activity.
func (g *gateway) pays(day steps.Day, kind steps.ActivityKind) bool {
	set, ok := g.engine.Rules().On(day)
	return ok && slices.Contains(set.Activities(), string(kind))
}

func (g *gateway) mqttConfig() mqtt.Config {
	c := mqtt.DefaultConfig()
	c.MaxConnections = g.cfg.MQTT.MaxConnections
	c.ConnectionsPerDevice = g.cfg.MQTT.ConnectionsPerDevice
	c.ConnectTimeout = g.cfg.MQTT.ConnectTimeout
	c.KeepAliveMax = g.cfg.MQTT.KeepAliveMax
	c.KeepAliveDefault = min(c.KeepAliveDefault, c.KeepAliveMax)
	c.ReceiveMaximum = g.cfg.MQTT.ReceiveMaximum
	c.MaxPacketBytes = g.cfg.Limits.UploadBytes + packetOverhead
	c.EncodeReceipt = native.AppendReceipt
	c.Allowances = g.allowances
	return c
}

// packetOverhead is room for a PUBLISH packet's header, topic and properties.
const packetOverhead = 1 << 10

func (g *gateway) httpsConfig() https.Config {
	return https.Config{
		MaxBodyBytes:      int64(g.cfg.Limits.UploadBytes),
		CommitTimeout:     g.cfg.HTTPS.CommitTimeout,
		MaxInFlight:       g.cfg.HTTPS.MaxInFlight,
		MaxConns:          g.cfg.HTTPS.MaxConnections,
		RequestsPerDevice: g.cfg.HTTPS.RequestsPerDevice,
		Allowances:        g.allowances,
		EncodeReceipt:     native.AppendReceipt,
		Calendar:          g.calendar,
		Now:               g.clock,
	}
}

// listen binds the ports and makes the certificate that two of them need.
func (g *gateway) listen() (err error) {
	if g.cert, err = g.certificate(); err != nil {
		return err
	}
	for _, p := range []struct {
		key, addr string
		to        *net.Listener
		tls       *tls.Config
	}{
		{"mqtt.listen", g.cfg.MQTT.Listen, &g.ports.mqtt, nil},
		{"mqtt.listen_tls", g.cfg.MQTT.ListenTLS, &g.ports.mqttTLS, g.cert.TLS},
		{"https.listen", g.cfg.HTTPS.Listen, &g.ports.https, nil},
		{"metrics.listen", g.cfg.Metrics.Listen, &g.ports.metrics, nil},
	} {
		if p.addr == "" {
			continue
		}
		l, err := net.Listen("tcp", p.addr)
		if err != nil {
			return steps.Errorf("listen", steps.Unavailable, "%s: %w; choose another address, or port 0 for a free one", p.key, err)
		}
		if p.tls != nil {
			l = tls.NewListener(l, p.tls)
		}
		*p.to = l
	}
	if g.ports.https != nil {
		g.ports.https = https.NewTLSListener(g.ports.https, g.cert.TLS)
	}
	return nil
}

func (g *gateway) certificate() (*pki.Bundle, error) {
	if g.cfg.TLS.CertFile != "" {
		return pki.LoadFiles(g.cfg.TLS.CertFile, g.cfg.TLS.KeyFile)
	}
	return pki.Load(filepath.Join(g.dir, "tls"), g.cfg.TLS.Hosts, g.clock, rand.Reader)
}

// renewEvery is how often the certificate is looked at.
const renewEvery = 12 * time.Hour

// renewCertificate takes up a certificate that was renewed, by us or on disk, without a restart.
func (g *gateway) renewCertificate(ctx context.Context) error {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := g.cert.Reload(); err != nil {
				g.log.Error("cannot renew the certificate; the old one stays", "until", g.cert.NotAfter(), "err", err)
			}
		}
	}
}

// listenerStop bounds how long the listeners may take to say goodbye. Together with the store's own
// bound it stays within the five seconds after which a service manager loses patience.
const listenerStop = 2 * time.Second

// openAdmin opens admin.sock. It comes last, because whoever finds the socket expects answers.
func (g *gateway) openAdmin() (err error) {
	g.admin, err = admin.New(admin.Config{
		DataDir: g.dir, Version: version(), Addresses: g.addresses(), CAFile: g.cert.CAFile,
		Calendar: g.calendar, Clock: g.clock, Logger: g.log,
		DeviceRate: g.cfg.Limits.DeviceRate, ReaderRate: g.cfg.Limits.ReaderRate,
	}, admin.Deps{
		Registry: g.registry, Days: adminDays{g}, Quarantine: adminQuarantine{g}, Devices: g.store,
		Ledger: g.store, Closing: g.closer, Closed: g.store, Prizes: g.store, Exchanges: g.store, Activities: g.store,
		Reviews: g.store, Reviewer: g.reviewer,
		Pays: g.pays, Explain: explainer{g}, Rules: adminRules{g}, Rescore: g.store.RescoreParticipant, Reorder: g.store.Reorder,
	})
	return err
}

// Run serves until ctx ends or something fails that must not be served over, such as a commit.
// It stops in the order listeners, closer, reviewer, engine, committer; everything acknowledged is on disk.
func (g *gateway) Run(ctx context.Context) error {
	committer := newStage(g.store.Run)
	engine := newStage(g.engine.Run)
	reviewer := newStage(g.reviewer.Run)
	closer := newStage(g.closer.Run)
	serving, failed := errgroup.WithContext(ctx)
	for _, s := range []struct {
		l     net.Listener
		serve func(net.Listener) error
	}{
		{g.ports.mqtt, g.mqtt.Serve}, {g.ports.mqttTLS, g.mqtt.Serve},
		{g.ports.https, g.https.Serve}, {g.ports.metrics, g.monitor.Serve},
	} {
		if s.l != nil {
			serving.Go(func() error { return s.serve(s.l) })
		}
	}
	administration := newStage(g.admin.Run)
	renewal := newStage(g.renewCertificate)
	rules := newStage(g.reloadOnHangup)
	g.monitor.ready.Store(true)

	var cause error
	select {
	case <-failed.Done():
	case cause = <-committer.ended:
	case cause = <-engine.ended:
	case cause = <-reviewer.ended:
	case cause = <-closer.ended:
	case cause = <-administration.ended:
	}
	g.monitor.ready.Store(false)
	g.log.Info("stopping")
	err := errors.Join(cause, g.stopListeners(), administration.stop(), renewal.stop(), rules.stop(),
		closer.stop(), reviewer.stop(), engine.stop(), committer.stop())
	return errors.Join(err, serving.Wait())
}

// stopListeners ends the listeners together, each within its bound.
func (g *gateway) stopListeners() error {
	ctx, cancel := context.WithTimeout(context.Background(), listenerStop)
	defer cancel()
	var both errgroup.Group
	both.Go(func() error { return g.mqtt.Shutdown(ctx) })
	both.Go(func() error { return g.https.Shutdown(ctx) })
	err := both.Wait()
	if errors.Is(err, context.DeadlineExceeded) {
		g.log.Warn("some connections were cut without a goodbye", "err", err)
		err = nil
	}
	return errors.Join(err, g.monitor.Close())
}

// Close releases what newGateway took. Run must have returned or never been called.
func (g *gateway) Close() error {
	var err error
	for _, l := range []net.Listener{g.ports.mqtt, g.ports.mqttTLS, g.ports.https, g.ports.metrics} {
		if l != nil {
			if cerr := l.Close(); !errors.Is(cerr, net.ErrClosed) {
				err = errors.Join(err, cerr)
			}
		}
	}
	if g.admin != nil {
		err = errors.Join(err, g.admin.Close())
	}
	if g.store != nil {
		err = errors.Join(err, g.store.Close())
	}
	return err
}

// stage is a goroutine with its own end.
type stage struct {
	cancel context.CancelFunc
	ended  chan error
}

func newStage(run func(context.Context) error) *stage {
	ctx, cancel := context.WithCancel(context.Background())
	s := &stage{cancel, make(chan error, 1)}
	go func() {
		s.ended <- run(ctx)
		close(s.ended)
	}()
	return s
}

// stop ends the goroutine and returns its error unless that was taken before.
func (s *stage) stop() error {
	s.cancel()
	return <-s.ended
}

// addresses lists the open ports by name, for the status page and for people.
func (g *gateway) addresses() map[string]string {
	out := map[string]string{}
	for name, l := range map[string]net.Listener{
		"mqtt": g.ports.mqtt, "mqtts": g.ports.mqttTLS, "https": g.ports.https, "metrics": g.ports.metrics,
	} {
		if l != nil {
			out[name] = l.Addr().String()
		}
	}
	return out
}

// banner tells an operator where everything is.
func (g *gateway) banner() string {
	a := g.addresses()
	line := func(label, scheme, addr, path string) string {
		if addr == "" {
			return fmt.Sprintf("  %-12s off\n", label)
		}
		return fmt.Sprintf("  %-12s %s%s%s\n", label, scheme, addr, path)
	}
	return "ayumi is ready\n" +
		line("MQTT", "mqtt://", a["mqtt"], "") +
		line("MQTT + TLS", "mqtts://", a["mqtts"], "") +
		line("HTTPS", "https://", a["https"], "") +
		line("metrics", "http://", a["metrics"], "/metrics") +
		fmt.Sprintf("  %-12s %s\n", "CA", g.cert.CAFile) +
		fmt.Sprintf("  %-12s %s\n", "data", g.dir)
}
