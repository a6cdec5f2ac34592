package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ayumi/protocol/native"
	"ayumi/steps"
	"ayumi/uplink"
)

const (
	outageDays = 7
	// outagePatience is how long a device waits for anything: all of them share two processes and, on
	// this side, the processors too.
	outagePatience = 10 * time.Minute
)

// outageDevices is how many devices were cut off.
func outageDevices(t *testing.T) int {
	t.Helper()
	n := 400
	if s := os.Getenv("AYUMI_OUTAGE_DEVICES"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 1 {
			t.Fatalf("AYUMI_OUTAGE_DEVICES is %q; use a number from 1 on", s)
		}
	} else if testing.Short() || raceDetector() {
		n = 100
	}
	if files := raiseFiles(t); n > files-500 { // the gateway keeps some for its store
		t.Fatalf("%d devices need as many open files in each of two processes, and 500 more; the limit is %d: raise it or set AYUMI_OUTAGE_DEVICES", n, files)
	}
	return n
}

// town is a set of devices that walked for a week while the network was away.
type town struct {
	t       *testing.T
	zone    steps.Calendar
	first   steps.Day
	addr    map[string]string
	people  []enrolment
	secrets map[steps.DeviceID]string

	connected sync.WaitGroup // down to zero when everybody is
	over      chan struct{}  // closed when everybody has delivered
	acked     atomic.Int64
	failed    atomic.Int64
}

// minute is what device i counted in a minute of a day: a third of the minutes are walked.
func (w *town) minute(i, day, m int) uint32 {
	if k := i*31 + day*17 + m; k/20%3 == 0 {
		return uint32(1 + k%140) //nolint:gosec // small
	}
	return 0
}

// total is what minute adds up to.
func (w *town) total(i, day int) (sum uint64) {
	for m := range 1440 {
		sum += uint64(w.minute(i, day, m))
	}
	return sum
}

// upload is what device i keeps of a day: all of its minutes.
func (w *town) upload(i, day int) []byte {
	start, _ := w.zone.Bounds(w.first + steps.Day(day)) //nolint:gosec // small
	counts := make([]uint32, 1440)
	for m := range counts {
		counts[m] = w.minute(i, day, m)
	}
	return native.AppendUpload(nil, &steps.Upload{
		Revision: steps.Revision{Boot: 1, Seq: uint64(day) + 1}, UTCOffset: 9 * 3600, //nolint:gosec // not negative
		Series: []steps.Series{{Start: start, Interval: steps.DefaultInterval, Counts: counts, Origin: steps.OriginSensor}},
	}, steps.Protobuf)
}

// device connects, delivers its week and stays until everybody has delivered theirs. Nothing may go
// wrong: it neither connects nor sends twice.
func (w *town) device(ctx context.Context, i int) error {
	waits := sync.OnceFunc(w.connected.Done)
	defer waits()
	id := w.people[i].device
	conn, err := uplink.DialMQTT(ctx, uplink.MQTTConfig{
		Addr: w.addr["mqtt"], Device: id, Secret: w.secrets[id], Version: byte(4 + i%2),
		Timeout: outagePatience, KeepAlive: outagePatience, //nolint:gosec // 4 or 5
	})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // nothing is under way
	waits()
	w.connected.Wait()
	topic := uplink.UploadTopic(id, steps.Protobuf)
	for day := range outageDays {
		err := conn.Publish(ctx, topic, w.upload(i, day), func(reason byte, err error) {
			if err == nil && reason == 0 {
				if w.acked.Add(1) == int64(len(w.people))*outageDays {
					close(w.over)
				}
			} else if w.failed.Add(1) == 1 {
				w.t.Errorf("%s: PUBACK %#x, %v", id, reason, err)
			}
		})
		if err != nil {
			return err
		}
	}
	if err := conn.Drain(ctx); err != nil {
		return err
	}
	select {
	case <-w.over:
	case <-conn.Done():
	case <-ctx.Done():
	}
	return conn.Err()
}

// TestOutage has a town's devices come back at once after a week without network, each with seven days
// of minutes: everything is acknowledged on the first connection, and is there to the step.
func TestOutage(t *testing.T) {
	n := outageDevices(t)
	dir := filepath.Join(t.TempDir(), "data")
	p := serve(t, dir, writeConfig(t, map[string]string{"https": `""`, "mqtts": `""`}, ""))
	w := &town{t: t, over: make(chan struct{})}
	w.enrol(p, n)
	ctx, cancel := context.WithTimeout(t.Context(), outagePatience)
	defer cancel()
	before, began := memoryOf(t, p.cmd.Process.Pid), time.Now()
	var group sync.WaitGroup
	w.connected.Add(n)
	for i := range n {
		group.Go(func() {
			if err := w.device(ctx, i); err != nil {
				if w.failed.Add(1) == 1 {
					t.Errorf("device %d: %v", i, err)
				}
				cancel() // the others would wait for it
			}
		})
	}
	w.connected.Wait()
	connected := time.Since(began)
	group.Wait()
	took, after := time.Since(began)-connected, memoryOf(t, p.cmd.Process.Pid)
	t.Logf("%d devices connected in %v; %d uploads of 1,440 samples acknowledged in %v more, %.0f/s; memory %d MiB before, %d MiB at most, %d MiB then",
		n, connected.Round(time.Millisecond), w.acked.Load(), took.Round(time.Millisecond), float64(w.acked.Load())/took.Seconds(),
		before.now>>20, after.peak>>20, after.now>>20)
	if w.acked.Load() != int64(n)*outageDays || w.failed.Load() > 0 {
		t.Fatalf("%d of %d uploads were acknowledged, %d devices or uploads failed", w.acked.Load(), n*outageDays, w.failed.Load())
	}
	// What a device may cost: its connection, the uploads that it has under way, and seven days in the
	// store's head. The rest is what the gateway takes at any load.
	if grown := after.peak - before.now; !raceDetector() && grown > 256<<20+uint64(n)*(128<<10) {
		t.Errorf("%d devices took %d MiB", n, grown>>20)
	}
	w.awaitPoints()
	w.verify(readDays(t, dir))
	p.signal()
	p.stopsWithin(startWithin) // with that many days in memory, on a busy machine
	soundStore(t, dir)
}

func (w *town) enrol(p *process, n int) {
	w.t.Helper()
	c := p.dial()
	w.first = today(w.t, c) - outageDays
	for i := range n {
		name := fmt.Sprintf("home-%05d", i)
		w.people = append(w.people, enrolment{steps.ParticipantID(name), steps.DeviceID(name), "pedometer", w.first})
	}
	var err error
	if w.secrets, err = enrolAll(w.t.Context(), c, w.people); err != nil {
		w.t.Fatal(err)
	}
	status, err := c.Status(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.addr = status.Addresses
	if w.zone, err = steps.NewCalendar("Asia/Tokyo"); err != nil {
		w.t.Fatal(err)
	}
}

// awaitPoints waits until every day is scored.
func (w *town) awaitPoints() {
	w.t.Helper()
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(outagePatience); metricAt(w.t, w.addr["metrics"], "ayumi_store_dirty_days") > 0; <-look.C {
		if time.Now().After(end) {
			w.t.Fatal("the days are never all scored")
		}
	}
}

// verify compares every day of everybody.
func (w *town) verify(held map[personDay]walked) {
	w.t.Helper()
	wrong := 0
	for i := range w.people {
		for day := range outageDays {
			key := personDay{string(w.people[i].participant), (w.first + steps.Day(day)).String()} //nolint:gosec // small
			if got, want := held[key].steps, w.total(i, day); got != want {
				if wrong++; wrong < 10 {
					w.t.Errorf("%v: the gateway holds %d steps, %d were walked", key, got, want)
				}
			}
		}
	}
	if len(held) != len(w.people)*outageDays {
		w.t.Errorf("the gateway holds %d days, %d were walked; %d are wrong", len(held), len(w.people)*outageDays, wrong)
	}
}

// memory is what a process holds, and what it held at most, in bytes.
type memory struct{ now, peak uint64 }

func memoryOf(t *testing.T, pid int) (m memory) {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("there is no /proc")
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		kib, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch name {
		case "VmRSS":
			m.now = kib << 10
		case "VmHWM":
			m.peak = kib << 10
		}
	}
	return m
}
