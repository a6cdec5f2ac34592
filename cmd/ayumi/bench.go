package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ayumi/admin"
	"ayumi/bench"
	"ayumi/registry"
	"ayumi/steps"
)

// benchFlags are the options of the load generator.
type benchFlags struct {
	load     bench.Config
	self     bool
	dir      string
	target   string
	username string
	password string
	caFile   string
	useTLS   bool
	version  string
	conns    int
	bundle   int
	idle     bool
	output   string

	allowance int // uploads/s that the gateway lets each device keep up; 0 is no limit
}

func benchCommand() *cobra.Command {
	var o benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how many uploads a second are acknowledged, and how fast",
		Long: "Load a gateway, or any MQTT broker, with uploads and print what was acknowledged. By default a gateway is\n" +
			"started for it, in a process of its own with a temporary data directory. The devices are registered first;\n" +
			"their uploads are real ones, so never bench a gateway whose points count.",
		Example: "  ayumi bench --connections 50 --window 32\n" +
			"  ayumi bench --connections 1000 --window 1 --duration 60s --output json\n" +
			"  ayumi bench --rate 50000 --connections 1000           # latency at a fixed rate\n" +
			"  ayumi bench --https --bundle 100\n" +
			"  ayumi bench --data-dir DIR --tls                      # a gateway that runs already\n" +
			"  ayumi bench --idle --connections 15000 --duration 3m  # memory of connections that say nothing\n" +
			"  ayumi bench --target 127.0.0.1:1883                   # another broker, anonymous",
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.add(cmd)
	return cmd
}

func (o *benchFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.self, "self", false, "start a gateway to measure; the default without --data-dir and --target")
	f.StringVar(&o.dir, "data-dir", "", "measure the gateway that runs with this `DIR`")
	f.StringVar(&o.target, "target", "", "measure whatever listens on `HOST:PORT`; nothing is registered")
	f.StringVar(&o.username, "username", "", "with --target; anonymous when absent")
	f.StringVar(&o.password, "password", "", "with --target and --username")
	f.StringVar(&o.caFile, "ca", "", "with --target: trust the CA in `FILE` (PEM)")
	f.StringVar(&o.load.Topic, "topic", "", "publish to `TOPIC`, {client} being the client ID; the gateway's own when absent")
	f.IntVar(&o.load.ServerPID, "server-pid", 0, "report processor time and memory of this process; known with --self")
	f.BoolVar(&o.load.HTTPS, "https", false, "post by HTTPS instead of MQTT")
	f.BoolVar(&o.useTLS, "tls", false, "MQTT over TLS")
	f.StringVar(&o.version, "mqtt", "3.1.1", "MQTT `VERSION`: 3.1.1 or 5")
	f.IntVar(&o.conns, "connections", 50, "how many, each a device of its own")
	f.IntVar(&o.load.Window, "window", 32, "unacknowledged messages a connection; always 1 with HTTPS")
	f.IntVar(&o.load.Samples, "samples", 15, "one-minute counts an upload")
	f.IntVar(&o.bundle, "bundle", 1, "uploads a message; above 1 each connection is a reader with so many devices")
	f.BoolVar(&o.idle, "idle", false, "only hold the connections open, by MQTT, and report what each takes")
	f.IntVar(&o.load.Raw, "payload", 0, "publish messages of so many bytes instead of uploads; with --target")
	f.Float64Var(&o.load.Rate, "rate", 0, "uploads/s over all connections on a fixed schedule; 0: as fast as acknowledged")
	f.DurationVar(&o.load.Duration, "duration", 10*time.Second, "how long to measure")
	f.DurationVar(&o.load.Warmup, "warmup", 2*time.Second, "how long to load before that")
	outputFlag(cmd, &o.output, oneFormats)
}

func (o *benchFlags) check() error {
	switch {
	case o.dir != "" && o.target != "" || o.self && (o.dir != "" || o.target != ""):
		return usageError{errors.New("--self, --data-dir and --target exclude each other")}
	case o.conns < 1 || o.conns > 100_000:
		return usageError{errors.New("--connections is 1 to 100000")}
	case o.bundle < 1 || o.bundle > 1000:
		return usageError{errors.New("--bundle is 1 to 1000")}
	case o.target == "" && (o.load.Raw > 0 || o.load.Topic != "" || o.username != "" || o.caFile != ""):
		return usageError{errors.New("--payload, --topic, --username and --ca go with --target")}
	case o.idle && o.load.HTTPS:
		return usageError{errors.New("--idle is for MQTT; idle HTTPS connections are closed")}
	case o.load.Duration < time.Millisecond:
		return usageError{errors.New("--duration is at least 1ms")}
	case o.version != "3.1.1" && o.version != "5":
		return usageError{fmt.Errorf("--mqtt %q is none of 3.1.1, 5", o.version)}
	}
	return nil
}

func (o *benchFlags) run(cmd *cobra.Command) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	to, err := parseFormat(o.output, oneFormats)
	if err != nil {
		return err
	}
	o.load.Version = map[string]byte{"3.1.1": 4, "5": 5}[o.version]
	ctx := cmd.Context()
	switch {
	case o.target != "":
		err = o.aimAt()
	case o.dir != "":
		err = o.enrol(ctx, o.dir)
		o.warn(cmd.ErrOrStderr())
	default:
		var s *served
		mqttConns, httpsConns := o.conns, 0
		if o.load.HTTPS {
			mqttConns, httpsConns = 0, o.conns
		}
		if s, err = startServer(ctx, o.load.Window, mqttConns, httpsConns); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		if err = o.enrol(ctx, s.dir); err == nil && o.idle {
			err = o.afresh(ctx, s)
		}
		o.load.ServerPID = s.pid()
	}
	if err != nil {
		return err
	}
	if o.idle {
		return o.runIdle(cmd, to)
	}
	r, err := bench.Run(ctx, o.load)
	if err != nil {
		return err
	}
	if err := printBench(cmd.OutOrStdout(), to, r, benchLines(r)); err != nil {
		return err
	}
	if !r.Clean() {
		return fmt.Errorf("%d uploads were refused, %d left unacknowledged, %d connections lost; first: %s",
			r.Refused, r.Unacknowledged, r.Lost, r.FirstError)
	}
	return nil
}

// afresh restarts the gateway and finds it again.
func (o *benchFlags) afresh(ctx context.Context, s *served) error {
	if err := s.restart(ctx); err != nil {
		return err
	}
	c, err := admin.Dial(s.dir)
	if err != nil {
		return err
	}
	status, err := c.Status(ctx)
	if err := errors.Join(err, c.Close()); err != nil {
		return err
	}
	return o.reach(&status)
}

// runIdle holds connections open instead of loading the server.
func (o *benchFlags) runIdle(cmd *cobra.Command, to format) error {
	r, err := bench.Idle(cmd.Context(), o.load)
	if err != nil {
		return err
	}
	lines := [][2]string{
		{"idle connections", strconv.Itoa(r.Connections)},
		{"connects/s", fmt.Sprintf("%.0f", r.ConnectsPerSecond)},
		{"server before, after", fmt.Sprintf("%d MiB, %d MiB", r.BeforeBytes>>20, r.AfterBytes>>20)},
		{"memory a connection", fmt.Sprintf("%.0f bytes", r.BytesPerConnection)},
		{"server's processor time", fmt.Sprintf("%.2f s in %.0f s of silence", r.ServerCPUSeconds, r.Seconds)},
		{"lost", strconv.Itoa(r.Lost)},
	}
	if err := printBench(cmd.OutOrStdout(), to, r, lines); err != nil {
		return err
	}
	if r.Lost > 0 {
		return fmt.Errorf("%d connections were lost; first: %s", r.Lost, r.FirstError)
	}
	return nil
}

// benchDays is how many days the devices fill: long enough that each participant-day stays busy
// only for a while, and all of them accepted.
const benchDays = 30

// aimAt prepares for a server that knows none of our devices.
func (o *benchFlags) aimAt() error {
	o.load.Addr = o.target
	o.fill(steps.Calendar{}, steps.Calendar{}.Day(time.Now().Unix()), nil)
	for i := range o.load.Clients {
		o.load.Clients[i].User, o.load.Clients[i].Secret = o.username, o.password
	}
	if !o.useTLS && !o.load.HTTPS {
		return nil
	}
	conf, err := clientTLS(o.caFile)
	o.load.TLS = conf
	return err
}

// enrol registers the devices with the gateway of a data directory and finds its ports.
func (o *benchFlags) enrol(ctx context.Context, dir string) (err error) {
	c, err := admin.Dial(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	cal, err := c.Calendar(ctx)
	if err != nil {
		return err
	}
	zone, err := steps.NewCalendar(cal.Zone)
	if err != nil {
		return err
	}
	people := o.people(cal.Today - benchDays)
	secrets, err := enrolAll(ctx, c, people)
	if err != nil {
		return err
	}
	if err := o.enrolReaders(ctx, c, secrets); err != nil {
		return err
	}
	o.fill(zone, cal.Today, secrets)
	status, err := c.Status(ctx)
	if err != nil {
		return err
	}
	o.allowance = status.DeviceRate
	if o.bundle > 1 {
		o.allowance = status.ReaderRate
	}
	return o.reach(&status)
}

// warn says that the gateway will slow the devices, so that nobody takes that for its speed.
func (o *benchFlags) warn(w io.Writer) {
	if o.allowance > 0 {
		fmt.Fprintf(w, "note: this gateway lets each device keep up %d uploads/s after a first burst; to measure the gateway,\n"+
			"start it with limits.device_rate and limits.reader_rate 0\n", o.allowance)
	}
}

// enrolReaders registers the connections themselves when they carry other devices' uploads. Readers
// count for nobody, so they are no part of people.
func (o *benchFlags) enrolReaders(ctx context.Context, c *admin.Client, secrets map[steps.DeviceID]string) error {
	if o.bundle == 1 {
		return nil
	}
	for i := range o.conns {
		id := o.client(i)
		cred, err := c.RotateSecret(ctx, id)
		if steps.KindOf(err) == steps.NotFound {
			cred, err = c.AddDevice(ctx, id, registry.Reader)
		}
		if err != nil {
			return err
		}
		secrets[id] = cred.Secret
	}
	return nil
}

// reach picks the listener and what to trust.
func (o *benchFlags) reach(status *admin.Status) error {
	conf, err := clientTLS(status.CAFile)
	if err != nil {
		return err
	}
	name := "mqtt"
	switch {
	case o.load.HTTPS:
		name = "https"
	case o.useTLS:
		name = "mqtts"
	}
	if o.load.Addr = status.Addresses[name]; o.load.Addr == "" {
		return fmt.Errorf("the gateway has no %s listener", name)
	}
	if name != "mqtt" {
		o.load.TLS = conf
	}
	return nil
}

// client and carried name the devices.
func (o *benchFlags) client(i int) steps.DeviceID {
	if o.bundle > 1 {
		return steps.DeviceID(fmt.Sprintf("bench-reader-%05d", i))
	}
	return steps.DeviceID(fmt.Sprintf("bench-%05d", i))
}

func (o *benchFlags) carried(i, j int) steps.DeviceID {
	return steps.DeviceID(fmt.Sprintf("bench-%05d-%03d", i, j))
}

// people are those whose steps the devices count, one a device.
func (o *benchFlags) people(from steps.Day) (all []enrolment) {
	person := func(device steps.DeviceID, kind string) {
		all = append(all, enrolment{steps.ParticipantID(device), device, kind, from})
	}
	for i := range o.conns {
		if o.bundle == 1 {
			person(o.client(i), "pedometer")
			continue
		}
		for j := range o.bundle {
			person(o.carried(i, j), "pedometer")
		}
	}
	return all
}

// fill names the clients and the days. The boot counter is the time, so that a later run wins.
func (o *benchFlags) fill(zone steps.Calendar, today steps.Day, secrets map[steps.DeviceID]string) {
	o.load.First, _ = zone.Bounds(today - benchDays)
	o.load.Days, o.load.Boot = benchDays, uint32(time.Now().Unix())
	o.load.Clients = make([]bench.Client, o.conns)
	for i := range o.load.Clients {
		id := o.client(i)
		c := bench.Client{ID: string(id), User: string(id), Secret: secrets[id]}
		for j := range o.bundle {
			if o.bundle > 1 {
				c.Carries = append(c.Carries, o.carried(i, j))
			}
		}
		o.load.Clients[i] = c
	}
}

// printBench prints what was measured, whole or as lines of name and value.
func printBench(w io.Writer, to format, r any, lines [][2]string) error {
	if to == formatJSON {
		return printJSON(w, r)
	}
	for _, line := range lines {
		if _, err := fmt.Fprintf(w, "%-32s %s\n", line[0], line[1]); err != nil {
			return err
		}
	}
	return nil
}

func benchLines(r *bench.Result) [][2]string {
	l := r.Latency
	lines := [][2]string{
		{"connections × window", fmt.Sprintf("%d × %d", r.Connections, r.Window)},
		{"uploads/s acknowledged", fmt.Sprintf("%.0f", r.UploadsPerSecond)},
		{"samples/s acknowledged", fmt.Sprintf("%.0f", r.SamplesPerSecond)},
		{"latency p50 / p99 / p99.9 / max", fmt.Sprintf("%.2f / %.2f / %.2f / %.2f ms", l.P50, l.P99, l.P999, l.Max)},
		{"uploads by second", bySecond(r.Series)},
		{"acknowledged in all", strconv.FormatUint(r.Acknowledged, 10)},
		{"refused, unacknowledged, lost", fmt.Sprintf("%d, %d, %d", r.Refused, r.Unacknowledged, r.Lost)},
	}
	for _, p := range []struct {
		name string
		u    *bench.Usage
	}{{"server", r.Server}, {"generator", r.Generator}} {
		if p.u != nil {
			lines = append(lines, [2]string{p.name, fmt.Sprintf("%.2f cores, %d MiB", p.u.CPUSeconds/r.Seconds, p.u.RSSBytes>>20)})
		}
	}
	return lines
}

func bySecond(series []float64) string {
	var b strings.Builder
	for i, n := range series {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%.0f", n)
	}
	return b.String()
}
