package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"ayumi/protocol/native"
	"ayumi/steps"
	"ayumi/uplink"
)

const (
	stallMQTT  = 60  // devices that publish
	stallEach  = 400 // uploads of each, more than all queues hold together
	stallHTTPS = 40  // devices that post, again and again
)

// stalledGateway is the production assembly whose disk hangs: everything serves but the committer.
type stalledGateway struct {
	*gateway
	committer *stage
	serving   errgroup.Group
}

// stall opens the directory of a gateway that has ended and serves it.
func stall(t *testing.T, cfg config, dir string) *stalledGateway {
	t.Helper()
	g, err := newGateway(cfg, dir, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := &stalledGateway{gateway: g}
	s.serving.Go(func() error { return g.mqtt.Serve(g.ports.mqtt) })
	s.serving.Go(func() error { return g.https.Serve(g.ports.https) })
	s.serving.Go(func() error { return g.monitor.Serve(g.ports.metrics) })
	t.Cleanup(func() {
		if s.committer == nil {
			s.resume()
		}
		if err := errors.Join(g.stopListeners(), s.committer.stop(), s.serving.Wait(), g.Close()); err != nil {
			t.Error(err)
		}
		soundStore(t, dir)
	})
	return s
}

// resume ends the stall.
func (s *stalledGateway) resume() { s.committer = newStage(s.store.Run) }

// stallUpload is upload k of a device: a quarter of an hour of its own, so that every one counts.
func stallUpload(zone steps.Calendar, day steps.Day, k int) []byte {
	start, _ := zone.Bounds(day - steps.Day(k/96)) //nolint:gosec // small
	counts := bytes.Repeat([]byte{1}, 15)
	u := steps.Upload{Revision: steps.Revision{Boot: 1, Seq: uint64(k) + 1}, Series: []steps.Series{ //nolint:gosec // not negative
		{Start: start + int64(k%96)*900, Interval: steps.DefaultInterval, Origin: steps.OriginSensor}}}
	for _, n := range counts {
		u.Series[0].Counts = append(u.Series[0].Counts, uint32(n))
	}
	return native.AppendUpload(nil, &u, steps.Protobuf)
}

// heap is what is in use after a collection.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // small
}

// TestStalledCommit hangs the disk under load. HTTPS answers 503 or 429 with Retry-After, MQTT is not
// read from, PINGREQ is answered, and however long it lasts memory does not grow. When the disk comes
// back everything that was published is acknowledged and is there.
func TestStalledCommit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	cfg := testConfig()
	cfg.HTTPS.CommitTimeout, cfg.HTTPS.MaxInFlight = 200*time.Millisecond, 16
	cfg.Store.QueueLen = 1000
	secrets, day := enrolStalled(t, cfg, dir)
	g := stall(t, cfg, dir)
	zone, addr := g.calendar, g.addresses()
	before := heap()

	var acked atomic.Int64
	var senders sync.WaitGroup
	for i := range stallMQTT {
		id := stallDevice(i)
		conn, err := uplink.DialMQTT(t.Context(), uplink.MQTTConfig{
			Addr: addr["mqtt"], Device: id, Secret: secrets[id], Version: byte(4 + i%2), Timeout: outagePatience, //nolint:gosec // 4 or 5
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() }) // nothing is under way
		senders.Go(func() {
			for k := range stallEach {
				err := conn.Publish(context.Background(), uplink.UploadTopic(id, steps.Protobuf), stallUpload(zone, day, k),
					func(reason byte, err error) {
						if err == nil && reason == 0 {
							acked.Add(1)
						}
					})
				if err != nil {
					t.Errorf("%s: %v", id, err)
					return
				}
			}
			if err := conn.Drain(context.Background()); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		})
	}
	awaitMetric(t, addr["metrics"], "ayumi_store_queue_waits_total", stallMQTT/4) // the others have a full window in the queue
	refuse(t, g, secrets, 2)                                                      // everything that grows once has grown
	full := heap()
	refuse(t, g, secrets, 10)
	after := heap()
	t.Logf("heap %d KiB before, %d KiB with the queues full, %d KiB after %d more requests", before>>10, full>>10, after>>10, 10*stallHTTPS)
	if full-before > 64<<20 || after-full > 4<<20 {
		t.Errorf("the heap grew by %d KiB until the queues were full, and by %d KiB after that", (full-before)>>10, (after-full)>>10)
	}
	awaitMetric(t, addr["metrics"], "ayumi_mqtt_readers_handed_over_total", 1)
	if n := acked.Load(); n > 0 {
		t.Errorf("%d uploads were acknowledged while nothing was committed", n)
	}

	g.resume()
	senders.Wait()
	if n := acked.Load(); n != stallMQTT*stallEach {
		t.Errorf("%d of %d uploads were acknowledged in the end", n, stallMQTT*stallEach)
	}
	for i := range stallMQTT {
		total := uint64(0)
		for k := range (stallEach + 95) / 96 {
			n, _, err := g.store.Total(steps.ParticipantDay{Participant: steps.ParticipantID(stallDevice(i)), Day: day - steps.Day(k)}) //nolint:gosec // small
			if err != nil {
				t.Fatal(err)
			}
			total += n
		}
		if total != stallEach*15 {
			t.Errorf("%s has %d steps, %d were acknowledged", stallDevice(i), total, stallEach*15)
		}
	}
}

func stallDevice(i int) steps.DeviceID { return steps.DeviceID(fmt.Sprintf("stall-%03d", i)) }

// enrolStalled registers the devices while the disk still works.
func enrolStalled(t *testing.T, cfg config, dir string) (map[steps.DeviceID]string, steps.Day) {
	t.Helper()
	g := startGateway(t, cfg, dir)
	day := today(t, g.client) - 1
	var people []enrolment
	for i := range stallMQTT + stallHTTPS {
		people = append(people, enrolment{steps.ParticipantID(stallDevice(i)), stallDevice(i), "app", day - 40})
	}
	secrets, err := enrolAll(t.Context(), g.client, people)
	if err != nil {
		t.Fatal(err)
	}
	g.stop()
	return secrets, day
}

// refuse has every HTTPS device post so many times, all at once, and checks that it is told to come
// back.
func refuse(t *testing.T, g *stalledGateway, secrets map[steps.DeviceID]string, times int) {
	t.Helper()
	conf, err := clientTLS(g.cert.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: conf, MaxIdleConnsPerHost: stallHTTPS}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: toolPatience}
	var posters sync.WaitGroup
	for i := range stallHTTPS {
		id := stallDevice(stallMQTT + i)
		posters.Go(func() {
			for k := range times {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+g.addresses()["https"]+"/v1/uploads",
					bytes.NewReader(stallUpload(g.calendar, steps.DateDay(2026, 1, 1), k)))
				if err != nil {
					t.Error(err)
					return
				}
				r.SetBasicAuth(string(id), secrets[id])
				r.Header.Set("Content-Type", "application/x-protobuf")
				w, err := client.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, w.Body) // the status says it all
				_ = w.Body.Close()
				after, err := strconv.Atoi(w.Header.Get("Retry-After"))
				if w.StatusCode != http.StatusServiceUnavailable && w.StatusCode != http.StatusTooManyRequests || err != nil || after < 1 {
					t.Errorf("status %d, Retry-After %q", w.StatusCode, w.Header.Get("Retry-After"))
				}
			}
		})
	}
	posters.Wait()
}

// awaitMetric waits until a metric is at least so much.
func awaitMetric(t *testing.T, addr, name string, least float64) {
	t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(toolPatience); metricAt(t, addr, name) < least; <-look.C {
		if time.Now().After(end) {
			t.Fatalf("%s stays below %v", name, least)
		}
	}
}
