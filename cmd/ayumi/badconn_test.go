package main

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ayumi/protocol/native"
	"ayumi/registry"
	"ayumi/steps"
)

// rawMQTT is a device that speaks MQTT byte by byte and subscribes to its receipts.
type rawMQTT struct {
	t   *testing.T
	nc  net.Conn
	in  *bufio.Reader
	v5  bool
	id  uint16
	own string // "ayumi/v1/{device}/"
}

func text(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

// packet frames a packet; props says that v5 has an empty property list between head and rest.
func (m *rawMQTT) packet(kind byte, head, rest []byte) []byte {
	if m.v5 {
		head = append(head, 0)
	}
	out := binary.AppendUvarint([]byte{kind}, uint64(len(head)+len(rest)))
	return append(append(out, head...), rest...)
}

// knock opens a TLS connection, sends CONNECT and returns the code of the CONNACK.
func (b *trial) knock(device, secret string) (*rawMQTT, byte) {
	b.t.Helper()
	conf, err := clientTLS(b.g.cert.CAFile)
	if err != nil {
		b.t.Fatal(err)
	}
	nc, err := tls.Dial("tcp", b.g.ports.mqttTLS.Addr().String(), conf)
	if err != nil {
		b.t.Fatal(err)
	}
	m := &rawMQTT{t: b.t, nc: nc, in: bufio.NewReader(nc), v5: b.via == via5, own: "ayumi/v1/" + device + "/"}
	m.patience()
	level := byte(4)
	if m.v5 {
		level = 5
	}
	head := append(text("MQTT"), level, 0xC2, 0, 60) // clean, user name, password; keep alive of a minute
	m.write(m.packet(0x10, head, append(append(text("raw"), text(device)...), text(secret)...)))
	kind, body, err := m.read()
	if err != nil || kind != 0x20 || len(body) < 2 || body[0] != 0 {
		b.t.Fatalf("CONNECT is answered with packet %#x %x, %v", kind, body, err)
	}
	return m, body[1]
}

// connect is a knock that has to be let in, with a subscription.
func (b *trial) connect() *rawMQTT {
	b.t.Helper()
	m, code := b.knock(string(b.w.device), b.w.secret)
	if code != 0 {
		b.t.Fatalf("CONNACK %#x", code)
	}
	m.write(m.packet(0x82, []byte{0, 1}, append(text(m.own+"receipt"), 0)))
	if kind, body, err := m.read(); err != nil || kind != 0x90 || body[len(body)-1] != 0 {
		b.t.Fatalf("SUBSCRIBE is answered with packet %#x %x, %v", kind, body, err)
	}
	return m
}

// patience renews the bound on what is waited for.
func (m *rawMQTT) patience() {
	m.t.Helper()
	if err := m.nc.SetDeadline(time.Now().Add(toolPatience)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *rawMQTT) write(b []byte) {
	m.t.Helper()
	if _, err := m.nc.Write(b); err != nil {
		m.t.Fatal(err)
	}
}

func (m *rawMQTT) read() (kind byte, body []byte, err error) {
	if kind, err = m.in.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(m.in)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(m.in, body)
	return kind, body, err
}

// publish sends one QoS 1 PUBLISH and waits for PUBACK and receipt, or for the end.
func (m *rawMQTT) publish(topic string, body []byte, enc steps.Encoding, foreign bool) answer {
	m.t.Helper()
	m.id++
	m.patience()
	if foreign {
		enc = steps.JSON // a topic that names no encoding is answered readably
	}
	packet := m.packet(0x32, binary.BigEndian.AppendUint16(text(topic), m.id), body)
	sent := make(chan struct{})
	go func() { // the answer may come before the whole packet is taken
		defer close(sent)
		_, _ = m.nc.Write(packet) // the gateway may have hung up; what it answered tells
	}()
	defer func() { <-sent }()
	var a answer
	for !a.acked || a.receipt == nil {
		kind, got, err := m.read()
		switch {
		case err != nil:
			m.close()
			return a
		case kind == 0x40 && len(got) >= 2 && binary.BigEndian.Uint16(got) == m.id:
			a.acked = true
			if len(got) > 2 {
				a.code = int(got[2])
			}
		case kind == 0x30 && strings.HasPrefix(string(got[2:]), m.own+"receipt"):
			got = got[2+len(m.own)+len("receipt"):]
			if m.v5 {
				got = got[1:]
			}
			if a.receipt, err = native.ParseReceipt(got, enc); err != nil {
				m.t.Fatal(err)
			}
		case kind == 0xE0 && m.v5 && len(got) > 0:
			a.code = int(got[0])
		default:
			m.t.Fatalf("packet %#x %x came", kind, got)
		}
	}
	return a
}

func (m *rawMQTT) close() { _ = m.nc.Close() } // nothing is expected of it any more

// Who is not let in learns nothing but that.
func TestBadCredentials(t *testing.T) {
	g := startGateway(t, testConfig(), t.TempDir())
	for i, via := range []string{via311, via5, viaHTTPS} {
		b := &trial{t: t, g: g, via: via, w: enrolWalker(t, g, fmt.Sprintf("cred-%d", i), registry.Pedometer, false)}
		b.friend = enrolWalker(t, g, fmt.Sprintf("cred-friend-%d", i), registry.Pedometer, false)
		old := b.w.secret
		for _, c := range []struct {
			name, device, secret string
			code5                byte
			prepare              func()
		}{
			{"wrong secret", string(b.w.device), "guess", 0x86, nil},
			{"no secret", string(b.w.device), "", 0x86, nil},
			{"another device's secret", string(b.w.device), b.friend.secret, 0x86, nil},
			{"unknown device", "nobody", b.w.secret, 0x86, nil},
			{"no device", "", b.w.secret, 0x86, nil},
			{"impossible device", "../../etc", b.w.secret, 0x86, nil},
			{"rotated secret", string(b.w.device), old, 0x86, func() { b.rotate() }},
			{"revoked device", string(b.friend.device), b.friend.secret, 0x86, func() {
				mustVerb(t, "device", "revoke", "--data-dir", g.dir, string(b.friend.device))
			}},
		} {
			t.Run(c.name+" over "+via, func(t *testing.T) {
				b.t = t
				if c.prepare != nil {
					c.prepare()
				}
				b.refused(c.device, c.secret, c.code5)
				checkReady(t, g)
			})
		}
		b.t = t
		b.mustDeliver(1) // with the rotated secret
		wantSteps(t, g, b.w.participant, map[steps.Day]uint64{b.w.day: 200})
		wantSteps(t, g, b.friend.participant, nil)
	}
}

// rotate gives the device a new secret and keeps it.
func (b *trial) rotate() {
	b.t.Helper()
	_, secret, ok := strings.Cut(mustVerb(b.t, "device", "rotate", "--data-dir", b.g.dir, string(b.w.device)), "secret  ")
	if b.w.secret = strings.TrimSpace(secret); !ok || b.w.secret == "" {
		b.t.Fatal("device rotate printed no secret")
	}
}

func (b *trial) refused(device, secret string, code5 byte) {
	b.t.Helper()
	if b.via == viaHTTPS {
		impostor := walker{device: steps.DeviceID(device), secret: secret}
		header := http.Header{"Content-Type": {"application/x-protobuf"}}
		status, kind, text := request(b.t, b.g, &impostor, header, b.good(steps.Protobuf))
		if status != 401 || kind != "application/problem+json" || !strings.Contains(string(text), "/problems/unauthorized") {
			b.t.Errorf("%d %s %s", status, kind, text)
		}
		return
	}
	m, code := b.knock(device, secret)
	defer m.close()
	if b.via == via5 && code != code5 || b.via == via311 && code != 4 && code != 5 {
		b.t.Errorf("CONNACK %#x", code)
	}
	if kind, body, err := m.read(); !errors.Is(err, io.EOF) {
		b.t.Errorf("after the refusal came %#x %x, %v", kind, body, err)
	}
}

// A credential that ends while its device is connected ends the connection with the next publish.
func TestCredentialEndsWhileConnected(t *testing.T) {
	g := startGateway(t, testConfig(), t.TempDir())
	for i, c := range []struct {
		verb, via string
		code      int
	}{{"revoke", via311, 0}, {"revoke", via5, 0x87}, {"rotate", via311, 0}, {"rotate", via5, 0x87}} {
		t.Run(c.verb+" over "+c.via, func(t *testing.T) {
			b := &trial{t: t, g: g, via: c.via, w: enrolWalker(t, g, fmt.Sprintf("ends-%d", i), registry.Pedometer, false)}
			m := b.connect()
			defer m.close()
			if a := m.publish(b.w.topic(steps.JSON), b.w.upload(1, steps.JSON, 90, 110), steps.JSON, false); !a.acked || a.code != 0 {
				t.Fatalf("before: %+v", a)
			}
			mustVerb(t, "device", c.verb, "--data-dir", g.dir, string(b.w.device))
			a := m.publish(b.w.topic(steps.JSON), b.w.upload(2, steps.JSON, 1, 1), steps.JSON, false)
			if a.acked || a.receipt != nil || a.code != c.code {
				t.Errorf("after: %+v, want the end with %#x", a, c.code)
			}
			wantSteps(t, g, b.w.participant, map[steps.Day]uint64{b.w.day: 200})
			checkReady(t, g)
		})
	}
}

// A number used twice for different counts: the larger ones stay, and somebody is told.
func TestSequenceRepeatedWithOtherCounts(t *testing.T) {
	g := startGateway(t, testConfig(), t.TempDir())
	for i, via := range []string{via311, via5, viaHTTPS} {
		t.Run(via, func(t *testing.T) {
			b := &trial{t: t, g: g, via: via, w: enrolWalker(t, g, fmt.Sprintf("again-%d", i), registry.Pedometer, false)}
			before := metric(t, g, "ayumi_store_conflicts_total")
			for _, step := range []struct {
				counts    []uint32
				conflicts int
				total     uint64
			}{
				{[]uint32{100, 100, 100, 100}, 0, 400},
				{[]uint32{120, 80, 100, 90}, 3, 420},
				{[]uint32{120, 100, 100, 100}, 0, 420},
			} {
				a := b.send(&badInput{enc: steps.JSON}, b.w.upload(5, steps.JSON, step.counts...))
				if !a.acked || a.receipt == nil || len(a.receipt.Uploads) != 1 || a.receipt.Uploads[0].Conflicts != step.conflicts {
					t.Errorf("%v: %+v, want %d conflicts", step.counts, a.receipt, step.conflicts)
				}
				wantSteps(t, g, b.w.participant, map[steps.Day]uint64{b.w.day: step.total})
			}
			if rise := metric(t, g, "ayumi_store_conflicts_total") - before; rise != 3 {
				t.Errorf("ayumi_store_conflicts_total rose by %v", rise)
			}
			checkReady(t, g)
		})
	}
}

// What came before its binding counts once staff release it.
func TestBoundAfterwards(t *testing.T) {
	g := startGateway(t, testConfig(), t.TempDir())
	for i, via := range []string{via311, via5, viaHTTPS} {
		t.Run(via, func(t *testing.T) {
			b := &trial{t: t, g: g, via: via, w: enrolWalker(t, g, fmt.Sprintf("late-%d", i), registry.Pedometer, true)}
			body := b.good(steps.Protobuf)
			if a := b.send(&badInput{enc: steps.Protobuf}, body); !a.acked {
				t.Fatalf("%+v", a)
			}
			release := []string{"quarantine", "release", "--data-dir", g.dir,
				string(steps.NewQuarantineID(b.w.device, body)), "--by", "desk", "--reason", "form 114"}
			if _, errs, status := verb(t, release...); status != 1 || !strings.Contains(errs, "unbound") {
				t.Errorf("release before the binding: status %d, %s", status, errs)
			}
			wantSteps(t, g, b.w.participant, nil)
			b.w.bind(t, g, b.w.day)
			mustVerb(t, release...)
			wantSteps(t, g, b.w.participant, map[steps.Day]uint64{b.w.day: 200})
			if _, _, status := verb(t, release...); status != 1 {
				t.Error("it was released twice")
			}
			b.mustDeliver(1) // the device sends the same again
			wantSteps(t, g, b.w.participant, map[steps.Day]uint64{b.w.day: 200})
			checkReady(t, g)
		})
	}
}

// Thousands of strangers who connect and say nothing hold up nobody and cost little.
func TestHalfOpenConnections(t *testing.T) {
	const places = 300
	count := min(10_000, raiseFiles(t)-1500) // the gateway's ends of them are few: the cap
	if count < 2000 {
		t.Fatalf("the limit of open files allows %d half-open connections; raise it to 3500", count)
	}
	cfg := testConfig()
	cfg.MQTT.MaxConnections, cfg.MQTT.ConnectTimeout = places, 2*time.Second
	g := startGateway(t, cfg, t.TempDir())
	b := &trial{t: t, g: g, via: via5, w: enrolWalker(t, g, "patient", registry.Pedometer, false)}
	early := b.connect() // it is inside before they come
	defer early.close()
	before := resident(t)
	strangers := make([]net.Conn, 0, count)
	defer func() {
		for _, nc := range strangers {
			_ = nc.Close() // the gateway closed them already
		}
	}()
	for i := range count {
		l, hello := g.ports.mqtt, []byte{0x10, 0x20, 0x00} // the beginning of a CONNECT
		if i%2 == 0 {
			l, hello = g.ports.mqttTLS, []byte{0x16, 0x03} // the beginning of a handshake
		}
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatalf("after %d connections: %v", i, err)
		}
		strangers = append(strangers, nc)
		_, _ = nc.Write(hello) // beyond the cap it is closed already
	}
	if n := metric(t, g, "ayumi_mqtt_connections"); n > places {
		t.Errorf("%v connections are open, %d are allowed", n, places)
	}
	if a := early.publish(b.w.topic(steps.JSON), b.w.upload(1, steps.JSON, 90, 110), steps.JSON, false); !a.acked {
		t.Error("a device that was connected before is not acknowledged")
	}
	if cost := int64(resident(t)) - int64(before); cost > 128<<20 {
		t.Errorf("%d half-open connections cost %d MiB", count, cost>>20)
	}
	for i, nc := range strangers { // all are cut, but not closed on this side
		if err := nc.SetReadDeadline(time.Now().Add(toolPatience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, nc); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("half-open connection %d of %d is not cut", i, count)
		}
	}
	awaitPlaces(t, g, places/2)
	b.mustDeliver(2)
	wantSteps(t, g, b.w.participant, map[steps.Day]uint64{b.w.day: 200})
	if metric(t, g, `ayumi_mqtt_connects_total{result="full"}`) == 0 {
		t.Error("no connection was closed for want of a place")
	}
	checkReady(t, g)
}

// awaitPlaces waits until no more than so many connections are open: one that was cut keeps its place
// until the peer closes too or a second is over.
func awaitPlaces(t *testing.T, g *testGateway, most float64) {
	t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(toolPatience); metric(t, g, "ayumi_mqtt_connections") > most; <-look.C {
		if time.Now().After(end) {
			t.Fatal("the places of connections that were cut do not become free")
		}
	}
}

// raiseFiles raises the limit of open files as far as it goes and returns it.
func raiseFiles(t *testing.T) int {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	return int(min(limit.Cur, 1<<20))
}

// resident is the memory that the process holds, in bytes.
func resident(t *testing.T) uint64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("there is no /proc/self/statm")
	}
	pages, err := strconv.ParseUint(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * uint64(os.Getpagesize())
}
