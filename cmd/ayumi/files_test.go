package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"ayumi/steps"
	"ayumi/uplink"
)

func TestFitFiles(t *testing.T) {
	for _, c := range []struct {
		mqtt, https int
		limit, open uint64
		wantMQTT    int
		wantHTTPS   int
	}{
		{25_000, 16_384, 1 << 20, 40, 25_000, 16_384},
		{25_000, 16_384, 25_000 + 16_384 + 256 + 80, 40, 25_000, 16_384},
		{25_000, 16_384, 25_000 + 16_384 + 256 + 79, 40, 24_999, 16_383},
		{20_000, 10_000, 10_336, 40, 6_666, 3_333},
		{19_000, 100, 20_000, 40, 19_000, 100},
		{25_000, 16_384, 100, 40, 1, 1},
		{1 << 24, 1 << 62, 10_336, 40, 1, 9_999},
	} {
		cfg := defaultConfig()
		cfg.MQTT.MaxConnections, cfg.HTTPS.MaxConnections = c.mqtt, c.https
		lowered := cfg.fitFiles(c.limit, c.open)
		if m, h := cfg.MQTT.MaxConnections, cfg.HTTPS.MaxConnections; m != c.wantMQTT || h != c.wantHTTPS || lowered != (m < c.mqtt || h < c.https) {
			t.Errorf("%+v: %d and %d, lowered %t", c, m, h, lowered)
		}
	}
}

func TestFitFilesToOpenListeners(t *testing.T) {
	cfg := defaultConfig()
	cfg.HTTPS.Listen = ""
	if cfg.fitFiles(25_000+256+80, 40) {
		t.Error("connections of a listener that is off are counted")
	}
}

// TestStrangersTakeNoFiles has more strangers than the gateway may open files: it says at the start
// that it accepts fewer connections, and goes on committing and writing its files.
func TestStrangersTakeNoFiles(t *testing.T) {
	const limit = 400
	dir := filepath.Join(t.TempDir(), "data")
	config := writeConfig(t, nil, "  checkpoint_every: 100ms\n  checkpoint_bytes: 1\n")
	p := serve(t, dir, config, "sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$@"`, limit), "sh")
	if !strings.Contains(p.errs.String(), "limit of open files is too low") {
		t.Errorf("it does not say that the limit is low: %s", p.errs)
	}
	c := p.dial()
	w := &town{t: t}
	w.enrol(p, 1)
	id := w.people[0].device
	conn, err := uplink.DialMQTT(t.Context(), uplink.MQTTConfig{Addr: w.addr["mqtt"], Device: id, Secret: w.secrets[id]})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // nothing is under way
	for i := range 2 * limit {
		nc, err := net.Dial("tcp", w.addr[[]string{"mqtt", "mqtts", "https", "metrics"}[i%4]])
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
	}
	for round := range 30 { // each goes through a checkpoint
		end := make(chan error, 1)
		err := conn.Publish(t.Context(), uplink.UploadTopic(id, steps.Protobuf), w.upload(0, round%outageDays),
			func(_ byte, err error) { end <- err })
		if err == nil {
			err = <-end
		}
		if err != nil {
			t.Fatalf("upload %d: %v\n%s", round, err, p.errs)
		}
	}
	today(t, c)
	p.signal()
	p.stopsWithin(stopLimit())
	soundStore(t, dir)
}
