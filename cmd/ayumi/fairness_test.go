package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ayumi/protocol/native"
	"ayumi/registry"
	"ayumi/steps"
	"ayumi/uplink"
)

// The honest devices' bound: with everybody below beside them, half of their uploads are acknowledged
// within fairFactor times what half of them take without, plus fairSlack, and half of the rounds in
// which they deliver fairEach uploads each, one after the other, are over in fairFactor times the
// time, plus as much. In the first rounds the rogues use up what they may upload at once, which on an
// idle machine takes half a second.
const (
	fairFactor = 3
	fairSlack  = 5 * time.Millisecond
	fairRounds = 9 // of each sort, turn about
	fairEach   = 40
	// Another program can spoil one comparison, but an unfair gateway is fair in none.
	fairAttempts = 3
)

// rogues are those who do all they can to hold others up, while they are let.
type rogues struct {
	g     *testGateway
	ctx   context.Context
	group sync.WaitGroup
	tls   *tls.Config

	mu    sync.Mutex
	loose chan struct{} // closed while they may

	flooded atomic.Int64 // uploads of the flooding device that were acknowledged
	ends    atomic.Int64 // connections of theirs that ended
}

func (r *rogues) unleash(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if on {
		close(r.loose)
	} else {
		r.loose = make(chan struct{})
	}
}

// may waits until they are let loose and reports whether it goes on.
func (r *rogues) may() bool {
	r.mu.Lock()
	loose := r.loose
	r.mu.Unlock()
	select {
	case <-loose:
	case <-r.ctx.Done():
	}
	return r.ctx.Err() == nil
}

// connect opens a connection over plain MQTT 3.1.1.
func (r *rogues) connect(w *walker) (net.Conn, *bufio.Reader, error) {
	nc, err := net.Dial("tcp", r.g.ports.mqtt.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	context.AfterFunc(r.ctx, func() { _ = nc.Close() }) // the test is over
	body := append(append(text("MQTT"), 4, 0xC2, 1, 0), text("rogue")...)
	body = append(append(body, text(string(w.device))...), text(w.secret)...)
	if _, err = nc.Write(append(binary.AppendUvarint([]byte{0x10}, uint64(len(body))), body...)); err != nil {
		return nil, nil, err
	}
	br := bufio.NewReader(nc)
	_, err = br.Discard(4)
	return nc, br, err
}

// persist runs one life of a rogue's connection after the other.
func (r *rogues) persist(w *walker, live func(net.Conn, *bufio.Reader)) {
	r.group.Go(func() {
		for r.may() {
			nc, br, err := r.connect(w)
			if err == nil {
				live(nc, br)
				_ = nc.Close() // the gateway ended it, or the test did
				r.ends.Add(1)
			}
		}
	})
}

func publishOf(topic string, id uint16, body []byte) []byte {
	rest := append(binary.BigEndian.AppendUint16(text(topic), max(id, 1)), body...)
	return append(binary.AppendUvarint([]byte{0x32}, uint64(len(rest))), rest...)
}

// write sends packets as fast as they are taken.
func (r *rogues) write(nc net.Conn, next func(id uint16) []byte) {
	for id := uint16(0); r.may(); id++ {
		if _, err := nc.Write(next(id)); err != nil {
			return
		}
	}
}

// slow subscribes to its receipts, publishes, and never reads.
func (r *rogues) slow(w *walker) {
	filter := append(binary.BigEndian.AppendUint16(nil, 1), text("ayumi/v1/"+string(w.device)+"/receipt")...)
	filter = append(filter, 0)
	r.persist(w, func(nc net.Conn, _ *bufio.Reader) {
		if _, err := nc.Write(append([]byte{0x82, byte(len(filter))}, filter...)); err != nil {
			return
		}
		r.write(nc, func(id uint16) []byte {
			return publishOf(w.topic(steps.JSON), id, w.upload(uint64(id), steps.JSON, 1, 2, 3))
		})
	})
}

// flood publishes good uploads without end and takes the acknowledgements.
func (r *rogues) flood(w *walker) {
	r.persist(w, func(nc net.Conn, br *bufio.Reader) {
		go func() {
			for {
				if _, err := br.Discard(4); err != nil {
					return
				}
				r.flooded.Add(1)
			}
		}()
		r.write(nc, func(id uint16) []byte {
			return publishOf(w.topic(steps.Protobuf), id, w.upload(uint64(id), steps.Protobuf, 1, 2, 3))
		})
	})
}

// garble is a terminal that carries garbage: bundles of uploads of devices that do not exist, and
// bundles that are none.
func (r *rogues) garble(w *walker) {
	random := rand.New(rand.NewPCG(1, 2))
	r.persist(w, func(nc net.Conn, br *bufio.Reader) {
		go func() { _, _ = io.Copy(io.Discard, br) }() // whatever it says
		topic := "ayumi/v1/" + string(w.device) + "/bundle/pb"
		r.write(nc, func(id uint16) []byte {
			us := make([]steps.Upload, 200)
			for i := range us {
				us[i] = steps.Upload{Device: steps.DeviceID(fmt.Sprintf("ghost-%x", random.Uint64())), Revision: steps.Revision{Boot: 1, Seq: 1}}
			}
			body := native.AppendBundle(nil, us, steps.Protobuf)
			if id%2 == 1 {
				body = body[:random.IntN(len(body))]
			}
			return publishOf(topic, id, body)
		})
	})
}

// hammer posts again and again, whatever Retry-After says.
func (r *rogues) hammer(w *walker, connections int) {
	for range connections {
		client := uplink.NewClient(r.tls.Clone(), 1)
		r.group.Go(func() {
			defer client.CloseIdleConnections()
			h, err := uplink.NewHTTPS(uplink.HTTPSConfig{
				BaseURL: "https://" + r.g.ports.https.Addr().String(), Device: w.device, Secret: w.secret, Client: client,
			})
			for seq := uint64(1); err == nil && r.may(); seq++ {
				_, _ = h.Post(r.ctx, w.upload(seq, steps.Protobuf, 1, 2, 3), steps.Protobuf, false) // refused mostly
			}
		})
	}
}

// honest is a device that sends an upload when the one before was acknowledged.
type honest struct {
	*walker
	mqtt  *uplink.MQTT
	https *uplink.HTTPS
	seq   uint64
	acked uint64
}

// deliver sends the next upload and waits for its acknowledgement.
func (h *honest) deliver(ctx context.Context) error {
	return h.send(ctx, stepsOf(int(h.seq+1))) //nolint:gosec // small
}

// send is deliver with the counts of that upload.
func (h *honest) send(ctx context.Context, counts ...uint32) error {
	h.seq++
	body := h.walker.upload(h.seq, steps.Protobuf, counts...)
	if h.https != nil {
		_, err := h.https.Post(ctx, body, steps.Protobuf, false)
		if err == nil {
			h.acked = h.seq
		}
		return err
	}
	end := make(chan error, 1)
	err := h.mqtt.Publish(ctx, h.topic(steps.Protobuf), body, func(reason byte, err error) {
		if err == nil && reason != 0 {
			err = fmt.Errorf("PUBACK %#x", reason)
		}
		end <- err
	})
	if err == nil {
		err = <-end
	}
	if err == nil {
		h.acked = h.seq
	}
	return err
}

// round has every honest device deliver so many uploads, and returns how long each took.
func round(t *testing.T, all []*honest, each int) []time.Duration {
	t.Helper()
	took := make([][]time.Duration, len(all))
	var group sync.WaitGroup
	for i, h := range all {
		group.Go(func() {
			for range each {
				began := time.Now()
				if err := h.deliver(t.Context()); err != nil {
					t.Errorf("%s: %v", h.device, err)
					return
				}
				took[i] = append(took[i], time.Since(began))
			}
		})
	}
	group.Wait()
	return slices.Concat(took...)
}

func enrolHonest(t *testing.T, g *testGateway, conf *tls.Config, n int) []*honest {
	t.Helper()
	all := make([]*honest, n)
	for i := range all {
		h := &honest{walker: enrolWalker(t, g, fmt.Sprintf("honest-%d", i), registry.Pedometer, false)}
		all[i] = h
		var err error
		if i%4 == 3 {
			client := uplink.NewClient(conf.Clone(), 1)
			t.Cleanup(client.CloseIdleConnections)
			h.https, err = uplink.NewHTTPS(uplink.HTTPSConfig{
				BaseURL: "https://" + g.ports.https.Addr().String(), Device: h.device, Secret: h.secret, Client: client,
			})
		} else {
			h.mqtt, err = uplink.DialMQTT(t.Context(), uplink.MQTTConfig{
				Addr: g.ports.mqttTLS.Addr().String(), TLS: conf, Device: h.device, Secret: h.secret, Version: byte(4 + i%2), //nolint:gosec // 4 or 5
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.mqtt != nil {
			t.Cleanup(func() { _ = h.mqtt.Close() }) // nothing is under way
		}
	}
	return all
}

// TestFairness runs honest devices alone and, turn about, beside a device that never reads, a device
// that floods by MQTT, one that floods by HTTPS, and a terminal that sends garbage.
func TestFairness(t *testing.T) {
	for attempt := 1; ; attempt++ {
		unfair := fairness(t)
		if unfair == "" {
			return
		}
		if attempt == fairAttempts {
			t.Fatal(unfair)
		}
		t.Logf("once more, since another program may have been in the way: %s", unfair)
	}
}

// fairness compares both on a gateway of their own, and says what is unfair.
func fairness(t *testing.T) (unfair string) {
	t.Helper()
	cfg := testConfig()
	cfg.Limits.DeviceRate, cfg.Limits.DeviceBurst = 20, 1000
	cfg.Limits.ReaderRate, cfg.Limits.ReaderBurst = 100, 5000
	g := startGateway(t, cfg, t.TempDir())
	defer g.stop()
	conf, err := clientTLS(g.cert.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	crew := enrolHonest(t, g, conf, 8)
	ctx, cancel := context.WithCancel(t.Context())
	r := &rogues{g: g, ctx: ctx, tls: conf, loose: make(chan struct{})}
	defer r.group.Wait()
	defer cancel()
	r.slow(enrolWalker(t, g, "slow", registry.Pedometer, false))
	flooder := enrolWalker(t, g, "flood", registry.Pedometer, false)
	r.flood(flooder)
	r.garble(enrolWalker(t, g, "terminal", registry.Reader, true))
	r.hammer(enrolWalker(t, g, "hammer", registry.App, false), 8)

	round(t, crew, fairEach) // everything is warm, and the allowances are whole
	var alone, beside stretch
	began := time.Now()
	for range fairRounds {
		alone.add(t, crew)
		r.unleash(true)
		beside.add(t, crew)
		r.unleash(false)
	}
	flooded, loose := r.flooded.Load(), time.Since(began)
	t.Logf("honest uploads alone: %v; beside rogues: %v; %d uploads of the flood in %v; %d rogue connections ended",
		&alone, &beside, flooded, loose, r.ends.Load())
	if is, was := quantile(beside.uploads, 0.5), quantile(alone.uploads, 0.5); is > fairFactor*was+fairSlack {
		unfair = fmt.Sprintf("half of the honest uploads take more than %v beside rogues, and %v alone", is, was)
	}
	if is, was := quantile(beside.rounds, 0.5), quantile(alone.rounds, 0.5); is > fairFactor*was+fairEach*fairSlack {
		unfair = fmt.Sprintf("half of the rounds take more than %v beside rogues, and %v alone", is, was)
	}
	if most := 1000 + 20*loose.Seconds() + 64; float64(flooded) > most {
		t.Errorf("%d uploads of the flooding device were acknowledged in %v, %.0f are its allowance", flooded, loose, most)
	}
	for _, h := range crew { // and nothing of theirs is missing
		if h.acked != h.seq || h.seq != fairEach*(2*fairRounds+1) {
			t.Errorf("%s: %d of %d uploads were acknowledged", h.device, h.acked, h.seq)
		}
		wantSteps(t, g, h.participant, map[steps.Day]uint64{h.day: uint64(stepsOf(int(h.seq)))}) //nolint:gosec // small
	}
	r.unleash(true)
	awaitThrottled(t, g)
	r.unleash(false)
	checkReady(t, g)
	return unfair
}

// awaitThrottled waits until rogues are held up on both transports.
func awaitThrottled(t *testing.T, g *testGateway) {
	t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	end := time.Now().Add(toolPatience)
	for _, name := range []string{"ayumi_mqtt_throttled_total", "ayumi_https_throttled_total"} {
		for ; metric(t, g, name) == 0; <-look.C {
			if time.Now().After(end) {
				t.Fatalf("%s stays 0", name)
			}
		}
	}
}

// stretch is what rounds of the same sort took.
type stretch struct{ uploads, rounds []time.Duration }

func (s *stretch) add(t *testing.T, crew []*honest) {
	t.Helper()
	began := time.Now()
	s.uploads = append(s.uploads, round(t, crew, fairEach)...)
	s.rounds = append(s.rounds, time.Since(began))
}

// String tells what an upload took, and a round.
func (s *stretch) String() string {
	return fmt.Sprintf("p50 %v, p99 %v, rounds %v to %v, half of them %v", quantile(s.uploads, 0.5), quantile(s.uploads, 0.99),
		quantile(s.rounds, 0), quantile(s.rounds, 1), quantile(s.rounds, 0.5))
}

func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[int(q*float64(len(all)-1))]
}
