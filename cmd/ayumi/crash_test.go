package main

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ayumi/admin"
	"ayumi/replay"
	"ayumi/steps"
)

// asCommand, set in the environment, makes the test binary the ayumi command.
const asCommand = "AYUMI_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	go func() { // the test holds the other end: nothing outlives it
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// startWithin bounds the start of a process, on a busy machine and with the race detector.
const startWithin = time.Minute

// process is a gateway that can be killed.
type process struct {
	t       *testing.T
	dir     string
	cmd     *exec.Cmd
	out     *output // stdout
	errs    *output // stderr
	exited  chan struct{}
	waitErr error // when exited is closed
}

// output collects what a process writes and tells when a text has appeared in it.
type output struct {
	want string
	seen chan struct{}

	mu   sync.Mutex
	buf  bytes.Buffer
	once sync.Once
}

func watchFor(text string) *output { return &output{want: text, seen: make(chan struct{})} }

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.buf.Write(b)
	if strings.Contains(o.buf.String(), o.want) {
		o.once.Do(func() { close(o.seen) })
	}
	return n, err
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// spawn starts `ayumi serve` as a process of its own, by way of another command if one is given.
func spawn(t *testing.T, dir, config string, by ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, dir: dir, out: watchFor("ayumi is ready\n"), errs: watchFor("\n"), exited: make(chan struct{})}
	command := append(slices.Clone(by), self, "serve", "--data-dir", dir, "--config", config)
	p.cmd = exec.Command(command[0], command[1:]...)
	// The race detector would sleep for a second before the exit.
	p.cmd.Env = append(os.Environ(), asCommand+"=1", "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.errs
	if _, err := p.cmd.StdinPipe(); err != nil { // Wait closes it
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.waitErr = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		if log := p.errs.String(); t.Failed() || strings.Contains(log, "DATA RACE") {
			t.Errorf("the gateway's log:\n%s", log[max(0, len(log)-8<<10):])
		}
	})
	return p
}

// serve starts a gateway and waits until it serves. Where a port of the config was taken by
// somebody's outgoing connection meanwhile, it tries again.
func serve(t *testing.T, dir, config string, by ...string) *process {
	t.Helper()
	began := time.Now()
	for {
		p := spawn(t, dir, config, by...)
		select {
		case <-p.out.seen:
			return p
		case <-p.exited:
			if !strings.Contains(p.errs.String(), "address already in use") || time.Since(began) > startWithin {
				t.Fatalf("the gateway did not start: %v\n%s", p.waitErr, p.errs)
			}
		case <-time.After(startWithin):
			t.Fatalf("the gateway is not ready after %s:\n%s", startWithin, p.errs)
		}
	}
}

// kill ends the process as a power cut would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails when it has ended
	<-p.exited
}

// crashes is how often the gateway gets killed.
func crashes(t *testing.T) int {
	t.Helper()
	s := os.Getenv("AYUMI_CRASH_ROUNDS")
	if s == "" {
		return 3
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("AYUMI_CRASH_ROUNDS is %q; use a number from 1 on", s)
	}
	return n
}

// dice returns randomness that a failing test tells how to repeat: the moments of the kills.
func dice(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // its bits only
	if s := os.Getenv("AYUMI_CRASH_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("AYUMI_CRASH_SEED: %v", err)
		}
	}
	t.Logf("AYUMI_CRASH_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test
}

// fuse burns with every acknowledgement and then fires once.
type fuse struct {
	left  atomic.Int64
	fired chan struct{}
}

func newFuse(acks int) *fuse {
	f := &fuse{fired: make(chan struct{})}
	f.left.Store(int64(acks))
	return f
}

func (f *fuse) acked(steps.DeviceID, int) {
	if f.left.Add(-1) == 0 {
		close(f.fired)
	}
}

// crashFleet registers people of every kind, half of them by MQTT and half by HTTPS.
func crashFleet(t *testing.T, c *admin.Client, people, days int, faults replay.Faults) *fleet {
	t.Helper()
	now := today(t, c)
	zone, err := steps.NewCalendar("Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	walkers := replay.Walkers(replay.WalkerOptions{
		People: people, First: now - steps.Day(days), Last: now - 1, Seed: 7, //nolint:gosec // small
	})
	f := new(fleet)
	for i := range walkers {
		o := replay.PlanOptions{Calendar: zone, Seed: 7, Faults: faults, Status: true}
		device := steps.DeviceID("device-of-" + walkers[i].ID)
		if err := f.add(walkers[i].Person, device, "pedometer", replay.ByMQTT+replay.Transport(i%2), o); err != nil { //nolint:gosec // 0 or 1
			t.Fatal(err)
		}
	}
	if err := f.enrol(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return f
}

// sending says how to reach a gateway, and the addresses to serve on the next time.
func sending(t *testing.T, c *admin.Client, f *fleet) (replay.RunOptions, map[string]string) {
	t.Helper()
	status, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o, err := f.options(&status, len(f.devices))
	if err != nil {
		t.Fatal(err)
	}
	o.Retry.Max = 500 * time.Millisecond
	o.Timeout = 10 * time.Second
	return o, status.Addresses
}

// expected is what the fleet's people walked.
func expected(f *fleet) map[personDay]walked {
	days := make(map[personDay]walked, len(f.want.Days))
	for _, d := range f.want.Days {
		days[personDay{d.Person, d.Day.String()}] = walked{d.Steps, yokohama(d.Steps)}
	}
	return days
}

// soundStore runs check-store on the directory of a gateway that has ended.
func soundStore(t *testing.T, dir string) {
	t.Helper()
	out, errs, status := verb(t, "check-store", "--data-dir", dir)
	if status != 0 {
		t.Fatalf("check-store: status %d, %s\n%s", status, errs, out)
	}
}

// replayed is the end of a replay.Run.
type replayed struct {
	result replay.Result
	err    error
}

func startReplay(ctx context.Context, o replay.RunOptions, devices []replay.Device) <-chan replayed {
	end := make(chan replayed, 1)
	go func() {
		r, err := replay.Run(ctx, o, devices, nil)
		end <- replayed{r, err}
	}()
	return end
}

// TestKillDuringReplay kills the gateway again and again while devices with all the faults of the
// field upload. They reconnect by themselves; in the end every total is exact.
func TestKillDuringReplay(t *testing.T) {
	t.Parallel()
	dir, rng := filepath.Join(t.TempDir(), "data"), dice(t)
	p := serve(t, dir, writeConfig(t, nil, ""))
	f := crashFleet(t, p.dial(), 12, 14, replay.AllFaults)
	o, addresses := sending(t, p.dial(), f)
	again := writeConfig(t, addresses, "")

	var trigger atomic.Pointer[fuse]
	o.OnAck = func(d steps.DeviceID, i int) { trigger.Load().acked(d, i) }
	rounds := crashes(t)
	arm := func() *fuse {
		next := newFuse(1 + rng.IntN(f.want.Sendings/(rounds+1)))
		trigger.Store(next)
		return next
	}
	reconnects := 0
	lit := arm()
	end := startReplay(t.Context(), o, f.devices)
	for round := 0; round < rounds; {
		select {
		case <-lit.fired:
			p.kill()
			round++
			p = serve(t, dir, again)
			lit = arm()
		case done := <-end: // everything got through before the next kill: once more
			reconnects += wholeReplay(t, f, done)
			end = startReplay(t.Context(), o, f.devices)
		}
	}
	reconnects += wholeReplay(t, f, <-end)
	if reconnects == 0 {
		t.Error("no device noticed that the gateway was killed")
	}
	sameDays(t, readDays(t, dir), expected(f))

	wholeReplay(t, f, <-startReplay(t.Context(), o, f.devices)) // and all over again
	sameDays(t, readDays(t, dir), expected(f))
	clockFaults(t, p.dial(), f.want.BrokenClock)
	p.signal()
	p.stopsWithin(stopLimit())
	soundStore(t, dir)
}

// wholeReplay checks that a replay got everything through, and returns how often devices lost the
// gateway.
func wholeReplay(t *testing.T, f *fleet, end replayed) int {
	t.Helper()
	if end.err != nil {
		t.Fatal(end.err)
	}
	if end.result.Acknowledged != f.want.Sendings || end.result.Failed != 0 {
		t.Fatalf("%d of %d sendings were acknowledged, %d failed", end.result.Acknowledged, f.want.Sendings, end.result.Failed)
	}
	return end.result.Reconnects
}

// TestKillKeepsAcknowledged kills the gateway while devices upload, starts it again and, before
// anything is sent again, looks for every upload that was acknowledged. Each minute is in one
// upload only, so a day holds at least the steps of its acknowledged uploads and at most its own,
// and exactly its own when all of its uploads were acknowledged.
func TestKillKeepsAcknowledged(t *testing.T) {
	t.Parallel()
	dir, rng := filepath.Join(t.TempDir(), "data"), dice(t)
	p := serve(t, dir, writeConfig(t, nil, ""))
	f := crashFleet(t, p.dial(), 24, 28, 0)
	o, addresses := sending(t, p.dial(), f)
	again := writeConfig(t, addresses, "")
	acked := newLedger(f)
	rounds := crashes(t)
	for range rounds {
		rest, index := acked.rest()
		left := 0
		for i := range rest {
			left += len(rest[i].Sendings)
		}
		lit := newFuse(1 + rng.IntN(max(1, f.want.Sendings/(rounds+1))))
		o.OnAck, o.MQTTVersion = lit.acked, byte(4+rng.IntN(2)) //nolint:gosec // 4 or 5
		ctx, cancel := context.WithCancel(t.Context())
		end := startReplay(ctx, o, rest)
		var done replayed
		select {
		case <-lit.fired:
			p.kill()
			cancel()
			done = <-end
		case done = <-end:
			p.kill()
			cancel()
		}
		acked.note(&done.result, index)
		t.Logf("killed after %d of %d acknowledgements that were left", done.result.Acknowledged, left)
		soundStore(t, dir)
		p = serve(t, dir, again)
		acked.verify(t, readDays(t, dir))
	}
	o.OnAck = nil
	wholeReplay(t, f, <-startReplay(t.Context(), o, f.devices))
	sameDays(t, readDays(t, dir), expected(f))
	p.signal()
	p.stopsWithin(stopLimit())
	soundStore(t, dir)
}

// ledger is which of a fleet's sendings were acknowledged.
type ledger struct {
	f     *fleet
	acked [][]bool // by device, by sending
	zone  steps.Calendar
}

func newLedger(f *fleet) *ledger {
	l := &ledger{f: f, acked: make([][]bool, len(f.devices))}
	l.zone, _ = steps.NewCalendar("Asia/Tokyo") // loaded before
	for i := range f.devices {
		l.acked[i] = make([]bool, len(f.devices[i].Sendings))
	}
	return l
}

// rest are the devices with what was not acknowledged yet, and the places of that in the plans.
func (l *ledger) rest() (devices []replay.Device, index [][]int) {
	for i, d := range l.f.devices {
		all := d.Sendings
		d.Sendings = nil
		var at []int
		for k, done := range l.acked[i] {
			if !done {
				d.Sendings, at = append(d.Sendings, all[k]), append(at, k)
			}
		}
		devices, index = append(devices, d), append(index, at)
	}
	return devices, index
}

// note takes the acknowledgements of a run over rest.
func (l *ledger) note(r *replay.Result, index [][]int) {
	for i := range r.Devices {
		for k, ok := range r.Devices[i].Acked {
			if ok {
				l.acked[i][index[i][k]] = true
			}
		}
	}
}

// verify looks for everything acknowledged in what the gateway holds.
func (l *ledger) verify(t *testing.T, held map[personDay]walked) {
	t.Helper()
	least, partial := map[personDay]uint64{}, map[personDay]bool{}
	for i := range l.f.devices {
		person := string(l.f.people[i].participant)
		for k := range l.f.devices[i].Sendings {
			for _, s := range l.f.devices[i].Sendings[k].Upload.Series {
				for m, n := range s.Counts {
					day := personDay{person, l.zone.Day(s.Start + int64(m)*int64(s.Interval)).String()}
					if l.acked[i][k] {
						least[day] += uint64(n)
					} else {
						partial[day] = true
					}
				}
			}
		}
	}
	want := expected(l.f)
	whole := 0
	for day, n := range least {
		got, ok := held[day]
		switch {
		case !ok || got.steps < n:
			t.Errorf("%s on %s: %d steps were acknowledged, the gateway holds %d (%t)", day.person, day.day, n, got.steps, ok)
		case !partial[day] && got != want[day]:
			t.Errorf("%s on %s: all uploads were acknowledged, the gateway holds %+v, expected %+v", day.person, day.day, got, want[day])
		}
		if !partial[day] {
			whole++
		}
	}
	for day, got := range held {
		if w, ok := want[day]; !ok || got.steps > w.steps || got.points != yokohama(got.steps) {
			t.Errorf("%s on %s: the gateway holds %+v, the device knows %+v (%t)", day.person, day.day, got, w, ok)
		}
	}
	t.Logf("%d days with acknowledged uploads, %d of them whole", len(least), whole)
}
