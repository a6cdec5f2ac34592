package replay

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ayumi/protocol/native"
	"ayumi/steps"
	"ayumi/uplink"
)

// Transport is the way devices take to the gateway.
type Transport uint8

// The transports.
const (
	ByMQTT  Transport = 1
	ByHTTPS Transport = 2
	ByBoth  Transport = 3 // every other device by HTTPS, the first by MQTT
)

// ParseTransport reads mqtt, https or both.
func ParseTransport(s string) (Transport, error) {
	switch s {
	case "mqtt":
		return ByMQTT, nil
	case "https":
		return ByHTTPS, nil
	case "both":
		return ByBoth, nil
	}
	return 0, steps.Errorf("parse transport", steps.Invalid, "%q; use mqtt, https or both", s)
}

// Device is a credential and what it sends, in order.
type Device struct {
	ID        steps.DeviceID
	Secret    string
	Transport Transport // ByMQTT or ByHTTPS; 0 leaves it to RunOptions
	Sendings  []Sending
}

// RunOptions says where devices send to and how patiently.
type RunOptions struct {
	Transport   Transport // ByMQTT when 0
	Connections int       // devices that send at the same time; 50 when 0

	MQTTAddr    string      // host:port
	MQTTTLS     *tls.Config // nil sends in the clear
	MQTTVersion byte        // 4 or 5; 5 when 0, whose reasons tell what was quarantined
	Window      int         // unacknowledged publishes a connection; 32 when 0

	HTTPSURL string      // base URL
	HTTPSTLS *tls.Config // nil trusts the system's roots
	Compress uplink.Compression

	Timeout time.Duration // of one exchange; 30 s when 0
	Retry   uplink.Retry  // its Patience bounds how long a server may be down; Jitter is filled in from Seed
	Seed    uint64

	ProgressEvery time.Duration // 1 s when 0

	// OnAck is told of every acknowledged sending as it is acknowledged: by device serially, for
	// several devices at once. It must not block.
	OnAck func(device steps.DeviceID, index int)
}

// Counts is what a run did so far.
type Counts struct {
	Devices      int // all
	DevicesDone  int
	Sendings     int // all
	Sent         int // transmissions begun, those again included
	Acknowledged int // sendings; the sum of the next four
	Stored       int
	Duplicate    int
	Quarantined  int
	Unknown      int // acknowledged without a verdict: MQTT says only what it refuses
	Failed       int // sendings that the server found invalid, or that were given up
	Resent       int // transmissions of a sending that had been sent before
	Reconnects   int // connections lost or refused, and posts without an answer
}

// Progress is a snapshot of a run.
type Progress struct {
	Counts
	Elapsed time.Duration
}

// PerSecond is the rate of acknowledged sendings.
func (p Progress) PerSecond() float64 {
	if p.Elapsed <= 0 {
		return 0
	}
	return float64(p.Acknowledged) / p.Elapsed.Seconds()
}

// DeviceResult says which of a device's sendings are durable at the gateway.
type DeviceResult struct {
	ID    steps.DeviceID
	Acked []bool // by index into Sendings
	Err   error  // why the device gave up, nil when it did not
}

// Result is the end of a run.
type Result struct {
	Progress
	Devices []DeviceResult // in the order given
}

// Run sends what all devices have to send, each in its order, and returns when every sending was
// acknowledged or failed. Devices outlast a server that is killed and comes back within the retry's
// patience. progress, which may be nil, is called now and then and once at the end.
//
// The result is complete even with an error. The error says that ctx ended, that the options are
// wrong, or how many devices gave up, with the first one's reason.
func Run(ctx context.Context, o RunOptions, devices []Device, progress func(Progress)) (Result, error) {
	r := &runner{o: o, began: time.Now(), results: make([]DeviceResult, len(devices))}
	if err := r.prepare(devices); err != nil {
		return Result{}, err
	}
	defer r.client.CloseIdleConnections()
	stop := r.report(progress)
	var g errgroup.Group
	g.SetLimit(r.o.Connections)
	for i := range devices {
		g.Go(func() error {
			r.results[i].Err = r.deliver(ctx, i, &devices[i])
			r.add(func(c *Counts) { c.DevicesDone++ })
			return nil // every device's error is in its result; none stops the others
		})
	}
	_ = g.Wait()
	stop()
	res := Result{Progress: r.snapshot(), Devices: r.results}
	return res, r.verdict(ctx)
}

type runner struct {
	o       RunOptions
	began   time.Time
	client  *http.Client
	results []DeviceResult // each its device's own until the end

	mu     sync.Mutex
	counts Counts
}

func (r *runner) prepare(devices []Device) error {
	if r.o.Transport == 0 {
		r.o.Transport = ByMQTT
	}
	if r.o.Connections <= 0 {
		r.o.Connections = 50
	}
	if r.o.MQTTVersion == 0 {
		r.o.MQTTVersion = 5
	}
	if r.o.ProgressEvery <= 0 {
		r.o.ProgressEvery = time.Second
	}
	r.client = uplink.NewClient(r.o.HTTPSTLS, r.o.Connections)
	r.counts.Devices = len(devices)
	for i := range devices {
		r.results[i] = DeviceResult{ID: devices[i].ID, Acked: make([]bool, len(devices[i].Sendings))}
		r.counts.Sendings += len(devices[i].Sendings)
		switch way := r.way(i, &devices[i]); {
		case way == ByMQTT && r.o.MQTTAddr == "":
			return steps.Errorf("replay", steps.Invalid, "device %s sends by MQTT and no MQTT address is given", devices[i].ID)
		case way == ByHTTPS && r.o.HTTPSURL == "":
			return steps.Errorf("replay", steps.Invalid, "device %s sends by HTTPS and no base URL is given", devices[i].ID)
		}
	}
	return nil
}

func (r *runner) way(i int, d *Device) Transport {
	way := d.Transport
	if way == 0 {
		way = r.o.Transport
	}
	if way == ByBoth {
		way = ByMQTT + Transport(i%2) //nolint:gosec // 0 or 1
	}
	return way
}

func (r *runner) deliver(ctx context.Context, i int, d *Device) error {
	cfg := uplink.DeliverConfig{Retry: r.o.Retry}
	if cfg.Retry.Jitter == nil {
		cfg.Retry.Jitter = rand.New(rand.NewPCG(r.o.Seed, uint64(i))).Float64 //nolint:gosec // not negative
	}
	if r.way(i, d) == ByHTTPS {
		h, err := uplink.NewHTTPS(uplink.HTTPSConfig{
			BaseURL: r.o.HTTPSURL, Device: d.ID, Secret: d.Secret, Compress: r.o.Compress, Timeout: r.o.Timeout, Client: r.client,
		})
		if err != nil {
			r.add(func(c *Counts) { c.Failed += len(d.Sendings) })
			return err
		}
		defer func() { _ = h.Close() }() // the client is shared, so this frees nothing that could fail
		cfg.HTTPS = h
	} else {
		cfg.MQTT = &uplink.MQTTConfig{
			Addr: r.o.MQTTAddr, TLS: r.o.MQTTTLS, Device: d.ID, Secret: d.Secret,
			Version: r.o.MQTTVersion, Window: r.o.Window, Timeout: r.o.Timeout,
		}
	}
	var body []byte
	payload := func(k int) uplink.Payload {
		s := &d.Sendings[k]
		body = native.AppendUpload(body[:0], &s.Upload, s.Encoding)
		r.add(func(c *Counts) { c.Sent++ })
		return uplink.Payload{Body: body, Encoding: s.Encoding}
	}
	stats, err := uplink.Deliver(ctx, cfg, len(d.Sendings), payload, func(a uplink.Ack) { r.acked(i, a) })
	r.add(func(c *Counts) { c.Resent += stats.Resent; c.Reconnects += stats.Failures })
	return err
}

// acked takes what Deliver reports of device i. It is called serially for each device.
func (r *runner) acked(i int, a uplink.Ack) {
	if a.Err != nil {
		r.add(func(c *Counts) { c.Failed++ })
		return
	}
	res := &r.results[i]
	res.Acked[a.Index] = true
	r.add(func(c *Counts) {
		c.Acknowledged++
		switch verdictOf(a) {
		case steps.Stored:
			c.Stored++
		case steps.Duplicate:
			c.Duplicate++
		case steps.Quarantined:
			c.Quarantined++
		default:
			c.Unknown++
		}
	})
	if r.o.OnAck != nil {
		r.o.OnAck(res.ID, a.Index)
	}
}

// verdictOf returns 0 where the acknowledgement does not say.
func verdictOf(a uplink.Ack) steps.Verdict {
	if a.Receipt != nil && len(a.Receipt.Uploads) == 1 {
		return a.Receipt.Uploads[0].Verdict
	}
	if a.Reason >= 0x80 {
		return steps.Quarantined
	}
	return 0
}

func (r *runner) add(f func(*Counts)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.counts)
}

func (r *runner) snapshot() Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Progress{Counts: r.counts, Elapsed: time.Since(r.began)}
}

// report calls progress until the returned function is called, which calls it for the last time.
func (r *runner) report(progress func(Progress)) (stop func()) {
	if progress == nil {
		return func() {}
	}
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(r.o.ProgressEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				progress(r.snapshot())
			case <-quit:
				return
			}
		}
	})
	return func() {
		close(quit)
		wg.Wait()
		progress(r.snapshot())
	}
}

// verdict sums up the devices' errors.
func (r *runner) verdict(ctx context.Context) error {
	if ctx.Err() != nil {
		return steps.E("replay", steps.Unavailable, context.Cause(ctx))
	}
	n := 0
	var first *DeviceResult
	for i := range r.results {
		if r.results[i].Err != nil {
			if n++; first == nil {
				first = &r.results[i]
			}
		}
	}
	if first == nil {
		return nil
	}
	return steps.E("replay", steps.KindOf(first.Err), fmt.Errorf("%d of %d devices gave up, %s first: %w", n, len(r.results), first.ID, first.Err))
}
