package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ayumi/admin"
	"ayumi/protocol/native"
	"ayumi/steps"
	"ayumi/uplink"
)

// stopLimit is how long a service manager has patience. A gateway under the race detector, which
// does everything several times slower, gets twice that.
func stopLimit() time.Duration {
	if raceDetector() {
		return 10 * time.Second
	}
	return 5 * time.Second
}

// signal sends SIGTERM.
func (p *process) signal() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatalf("SIGTERM: %v", err)
	}
}

// stopsWithin waits for the end that SIGTERM asked for: status 0, in time.
func (p *process) stopsWithin(limit time.Duration) {
	p.t.Helper()
	began := time.Now()
	select {
	case <-p.exited:
		if p.waitErr != nil {
			p.t.Fatalf("after SIGTERM the gateway ended with %v\n%s", p.waitErr, p.errs)
		}
		p.t.Logf("stopped %s after SIGTERM", time.Since(began).Round(time.Millisecond))
	case <-time.After(limit):
		p.t.Fatalf("the gateway runs %s after SIGTERM:\n%s", limit, p.errs)
	}
}

// dial connects to the gateway's administration until the test ends.
func (p *process) dial() *admin.Client {
	p.t.Helper()
	c, err := admin.Dial(p.dir)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.Close() }) // frees idle connections only
	return c
}

// writeConfig writes a config that listens on the given addresses, on free ports where none is
// given. more is further YAML.
func writeConfig(t *testing.T, addresses map[string]string, more string) string {
	t.Helper()
	at := func(name string) string {
		if a := addresses[name]; a != "" {
			return a
		}
		return "127.0.0.1:0"
	}
	if !strings.Contains(more, "points:\n") {
		more += "points:\n  final_after_days: 400\n" // whatever comes late counts
	}
	text := fmt.Sprintf("mqtt:\n  listen: %s\n  listen_tls: %s\nhttps:\n  listen: %s\nmetrics:\n  listen: %s\n"+
		"store:\n  min_free_bytes: 1048576\n%s", at("mqtt"), at("mqtts"), at("https"), at("metrics"), more)
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// noAllowances ends a config for devices that do the work of many.
const noAllowances = "limits:\n  device_rate: 0\n  reader_rate: 0\n"

// crowd is a programme's worth of connections to a gateway that is told to stop.
type crowd struct {
	t       *testing.T
	today   steps.Day
	zone    steps.Calendar
	addr    map[string]string
	tls     *tls.Config
	secrets map[steps.DeviceID]string
	acks    *fuse
	sources []*source
	quiet   []*uplink.MQTT
	raw     []net.Conn
	senders sync.WaitGroup
	refused atomic.Int64 // acknowledgements that refused
}

// source is a device that sends as much as the gateway takes: its upload k is one minute of the day
// k days before yesterday, so every upload can be told from the totals.
type source struct {
	device      steps.DeviceID
	participant steps.ParticipantID
	conn        *uplink.MQTT // nil by HTTPS
	sent        int
	acked       []int // by one goroutine at a time; complete when the connection is done
}

const (
	crowdMQTT  = 200 // connections: each version half, each half of them silent
	crowdHTTPS = 20  // half of them silent
	crowdLoad  = 1500
)

func crowdDevice(i int) steps.DeviceID { return steps.DeviceID(fmt.Sprintf("crowd-%03d", i)) }

// stepsOf is what upload k says.
func stepsOf(k int) uint32 { return uint32(1 + k%250) } //nolint:gosec // small

// gather registers the crowd's devices.
func gather(t *testing.T, c *admin.Client) *crowd {
	t.Helper()
	w := &crowd{t: t, today: today(t, c), acks: newFuse(crowdLoad)}
	var people []enrolment
	for i := range crowdMQTT + crowdHTTPS {
		people = append(people, enrolment{steps.ParticipantID(fmt.Sprintf("person-%03d", i)), crowdDevice(i), "pedometer", w.today - 5000})
	}
	var err error
	if w.secrets, err = enrolAll(t.Context(), c, people); err != nil {
		t.Fatal(err)
	}
	status, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.addr = status.Addresses
	if w.tls, err = clientTLS(status.CAFile); err != nil {
		t.Fatal(err)
	}
	if w.zone, err = steps.NewCalendar("Asia/Tokyo"); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *crowd) source(i int) *source {
	s := &source{device: crowdDevice(i), participant: steps.ParticipantID(fmt.Sprintf("person-%03d", i))}
	w.sources = append(w.sources, s)
	return s
}

// dayOf is the day of a source's upload k.
func (w *crowd) dayOf(k int) steps.Day { return w.today - 1 - steps.Day(k) } //nolint:gosec // small

// upload encodes upload k.
func (w *crowd) upload(dst []byte, k int) []byte {
	start, _ := w.zone.Bounds(w.dayOf(k))
	return native.AppendUpload(dst, &steps.Upload{
		Revision: steps.Revision{Boot: 1, Seq: uint64(k) + 1}, //nolint:gosec // not negative
		Series: []steps.Series{{
			Start: start + 12*3600, Interval: steps.DefaultInterval, Counts: []uint32{stepsOf(k)}, Origin: steps.OriginSensor,
		}},
	}, steps.Protobuf)
}

// connect opens MQTT connection i: versions and transports alternate.
func (w *crowd) connect(i int) *uplink.MQTT {
	w.t.Helper()
	cfg := uplink.MQTTConfig{
		Addr: w.addr["mqtt"], Device: crowdDevice(i), Secret: w.secrets[crowdDevice(i)], Version: byte(4 + i%2), //nolint:gosec // 4 or 5
	}
	if i%10 >= 8 {
		cfg.Addr, cfg.TLS = w.addr["mqtts"], w.tls
	}
	conn, err := uplink.DialMQTT(w.t.Context(), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() }) // ended by the gateway before
	return conn
}

// publish sends until the gateway ends the connection.
func (w *crowd) publish(s *source) {
	topic := uplink.UploadTopic(s.device, steps.Protobuf)
	for {
		k := s.sent
		s.sent++
		err := s.conn.Publish(context.Background(), topic, w.upload(nil, k), func(reason byte, err error) {
			switch {
			case err != nil:
			case reason >= 0x80:
				w.refused.Add(1)
			default:
				s.acked = append(s.acked, k)
				w.acks.acked("", 0)
			}
		})
		if err != nil {
			<-s.conn.Done()
			return
		}
	}
}

// post sends until the gateway answers no more.
func (w *crowd) post(s *source, h *uplink.HTTPS) {
	for {
		k := s.sent
		s.sent++
		if _, err := h.Post(context.Background(), w.upload(nil, k), steps.Protobuf, false); err != nil {
			return
		}
		s.acked = append(s.acked, k)
		w.acks.acked("", 0)
	}
}

// poster returns device i's way by HTTPS, with a connection of its own.
func (w *crowd) poster(i int) *uplink.HTTPS {
	w.t.Helper()
	client := uplink.NewClient(w.tls.Clone(), 1) // a transport with HTTP/2 changes its configuration
	if tr, ok := client.Transport.(*http.Transport); ok {
		tr.ForceAttemptHTTP2 = i%4 >= 2
	}
	w.t.Cleanup(client.CloseIdleConnections)
	h, err := uplink.NewHTTPS(uplink.HTTPSConfig{
		BaseURL: "https://" + w.addr["https"], Device: crowdDevice(i), Secret: w.secrets[crowdDevice(i)], Client: client,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

// start brings everybody in. From here on uploads come as fast as the gateway takes them.
func (w *crowd) start() {
	w.t.Helper()
	for i := range crowdHTTPS {
		i += crowdMQTT
		h, s := w.poster(i), w.source(i)
		if _, err := h.Post(w.t.Context(), w.upload(nil, 0), steps.Protobuf, false); err != nil {
			w.t.Fatal(err)
		}
		s.sent, s.acked = 1, []int{0}
		if i%2 == 0 {
			w.senders.Go(func() { w.post(s, h) })
		}
	}
	w.silent("mqtt", "")
	w.silent("mqtt", "\x10\x40\x00\x04MQTT") // a CONNECT that breaks off
	w.silent("mqtts", "")
	w.silent("mqtts", "\x16\x03\x01\x02") // a TLS hello that breaks off
	w.silent("https", "")
	w.halfRequest()
	for i := range crowdMQTT {
		conn := w.connect(i)
		if i%4 < 2 {
			w.quiet = append(w.quiet, conn)
			continue
		}
		s := w.source(i)
		s.conn = conn
		w.senders.Go(func() { w.publish(s) })
	}
}

// silent opens a TCP connection that says something and then nothing more.
func (w *crowd) silent(listener, text string) {
	w.t.Helper()
	c, err := net.Dial("tcp", w.addr[listener])
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		w.t.Fatal(err)
	}
	w.raw = append(w.raw, c)
}

// halfRequest opens an HTTPS connection that never sends the rest of its body.
func (w *crowd) halfRequest() {
	w.t.Helper()
	c, err := tls.Dial("tcp", w.addr["https"], w.tls)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	r, err := http.NewRequest(http.MethodPost, "https://"+w.addr["https"]+"/v1/uploads", http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	r.SetBasicAuth(string(crowdDevice(0)), w.secrets[crowdDevice(0)])
	_, err = fmt.Fprintf(c, "POST /v1/uploads HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", r.Header.Get("Authorization"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.raw = append(w.raw, c)
}

// left waits until the gateway has let go of everybody, and checks how it said goodbye.
func (w *crowd) left() {
	w.t.Helper()
	w.senders.Wait()
	goodbyes := 0
	for _, conn := range w.quiet {
		<-conn.Done()
		var refusal *uplink.Refusal
		if errors.As(conn.Err(), &refusal) && refusal.Code == 0x8B {
			goodbyes++
		}
	}
	if goodbyes != len(w.quiet)/2 {
		w.t.Errorf("%d of %d silent MQTT 5 connections got DISCONNECT 0x8B", goodbyes, len(w.quiet)/2)
	}
	for i, c := range w.raw {
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			w.t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			w.t.Errorf("socket %d is still open", i)
		}
	}
	if n := w.refused.Load(); n > 0 {
		w.t.Errorf("%d uploads were refused", n)
	}
}

// verify looks for every upload that was acknowledged.
func (w *crowd) verify(held map[personDay]walked) {
	w.t.Helper()
	acked, sent, found := 0, 0, 0
	for _, s := range w.sources {
		was := make([]bool, s.sent)
		for _, k := range s.acked {
			was[k] = true
		}
		for k := range s.sent {
			got, ok := held[personDay{string(s.participant), w.dayOf(k).String()}]
			if ok {
				found++
			}
			if (was[k] || ok) && got.steps != uint64(stepsOf(k)) {
				w.t.Errorf("upload %d of %s (acknowledged: %t): the gateway holds %d steps (%t), expected %d",
					k, s.device, was[k], got.steps, ok, stepsOf(k))
			}
		}
		acked, sent = acked+len(s.acked), sent+s.sent
	}
	if found != len(held) {
		w.t.Errorf("the gateway holds %d days, %d were sent", len(held), found)
	}
	w.t.Logf("%d uploads sent, %d acknowledged, %d held", sent, acked, len(held))
}

func TestStopUnderLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	config := writeConfig(t, nil, "limits:\n  max_age_days: 0\n")
	p := serve(t, dir, config)
	w := gather(t, p.dial())
	w.start()
	select {
	case <-w.acks.fired:
	case <-p.exited:
		t.Fatalf("the gateway ended by itself: %v", p.waitErr)
	case <-time.After(startWithin):
		t.Fatalf("%d acknowledgements are missing after %s", w.acks.left.Load(), startWithin)
	}
	p.signal()
	p.stopsWithin(stopLimit())
	w.left()
	soundStore(t, dir)

	p = serve(t, dir, config)
	w.verify(readDays(t, dir))
	p.signal()
	p.stopsWithin(stopLimit())
	soundStore(t, dir)
}

// TestStopDuringStart stops a gateway before it serves, twice on the same directory and each time
// with two signals in a row. It ends as if it had served, and the next one starts.
func TestStopDuringStart(t *testing.T) {
	for _, c := range []struct {
		name string
		when func(*process) <-chan struct{}
	}{
		{"store opens", func(p *process) <-chan struct{} { return p.errs.seen }},
		{"banner is printed", func(p *process) <-chan struct{} { return p.out.seen }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			config := writeConfig(t, nil, "log:\n  level: debug\n")
			for range 2 {
				p := spawn(t, dir, config)
				select {
				case <-c.when(p):
				case <-p.exited:
					t.Fatalf("the gateway did not start: %v\n%s", p.waitErr, p.errs)
				}
				p.signal()
				p.signal()
				p.stopsWithin(startWithin)
				if _, err := os.Lstat(filepath.Join(dir, admin.SocketName)); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is left behind: %v", admin.SocketName, err)
				}
			}
			soundStore(t, dir)
			p := serve(t, dir, config)
			today(t, p.dial())
			p.signal()
			p.stopsWithin(stopLimit())
		})
	}
}

// TestRunAfterStop runs a gateway whose end was asked for while it was built.
func TestRunAfterStop(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	dir := t.TempDir()
	for range 3 {
		g, err := newGateway(testConfig(), dir, time.Now, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(g.Run(ended), g.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDirectoryInUse tries whatever opens a data directory on one that a gateway serves from.
func TestDirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	g := startGateway(t, testConfig(), dir)
	taken := regexp.MustCompile(`(?i)another (process|gateway)|in use|still running`)
	config := writeConfig(t, nil, "")
	for _, c := range []struct {
		name string
		args []string
	}{
		{"serve", []string{"serve", "--data-dir", dir, "--config", config}},
		{"check-store", []string{"check-store", "--data-dir", dir}},
		{"check-store accepting loss", []string{"check-store", "--data-dir", dir, "--accept-loss"}},
		{"demo", []string{"demo", "--once", "--data-dir", dir}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, errs, status := verb(t, c.args...)
			if status != 1 || out != "" {
				t.Errorf("status %d, stdout %q", status, out)
			}
			if !strings.Contains(errs, dir) || !taken.MatchString(errs) || strings.Count(errs, "\n") != 1 {
				t.Errorf("the error does not say in one line that %s is in use: %q", dir, errs)
			}
			today(t, g.client)
		})
	}
	t.Run("another process", func(t *testing.T) {
		p := spawn(t, dir, config)
		select {
		case <-p.exited:
		case <-time.After(startWithin):
			t.Fatal("a second gateway runs on the directory")
		}
		var exit *exec.ExitError
		if !errors.As(p.waitErr, &exit) || exit.ExitCode() != 1 || !taken.MatchString(p.errs.String()) {
			t.Errorf("%v, %s", p.waitErr, p.errs)
		}
		today(t, g.client)
	})
	if got := readDays(t, dir); len(got) != 0 {
		t.Errorf("the gateway holds %v", got)
	}
}
