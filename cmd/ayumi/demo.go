package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"ayumi/admin"
	"ayumi/closing"
	"ayumi/replay"
	"ayumi/steps"
)

// demoFlags are the options of the demo.
type demoFlags struct {
	once   bool
	people int
	days   int
	seed   uint64
	dir    string
}

func demoCommand() *cobra.Command {
	var o demoFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See it work: invented people upload over real MQTT and HTTPS, and earn points",
		Long: "Start a gateway with the built-in defaults on free ports of the loopback, let invented people's pedometers\n" +
			"(MQTT over TLS) and apps (HTTPS) upload two weeks, with repeats, late days and broken clocks, and print what\n" +
			"everybody walked and earned. The gateway then keeps running until Ctrl-C, to be looked at.",
		Example: "  ayumi demo\n  ayumi demo --once --people 200 --days 30",
		Args:    exactArgs(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	cmd.Flags().BoolVar(&o.once, "once", false, "end when the table is printed")
	cmd.Flags().IntVar(&o.people, "people", 30, "how many people to invent")
	cmd.Flags().IntVar(&o.days, "days", 14, "how many days they walk, up to yesterday; at most 35")
	cmd.Flags().Uint64Var(&o.seed, "seed", 1, "`NUMBER` that decides who walks how")
	cmd.Flags().StringVar(&o.dir, "data-dir", "", "keep the data in `DIR`; a temporary directory when absent")
	return cmd
}

func (o *demoFlags) run(cmd *cobra.Command) (err error) {
	if o.people < 1 || o.people > 10_000 || o.days < 1 || o.days > 35 {
		return usageError{errors.New("--people is 1 to 10000 and --days 1 to 35")}
	}
	dir := o.dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "ayumi-demo-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	cfg := demoConfig()
	g, err := newGateway(cfg, dir, time.Now, cfg.logger(cmd.ErrOrStderr()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	gateway := newStage(g.Run)
	err = o.show(cmd, dir, g.banner())
	if err == nil && !o.once {
		fmt.Fprintf(cmd.OutOrStdout(), "\nThe gateway keeps running until Ctrl-C. In another terminal:\n"+
			"  go run ./cmd/ayumi days --data-dir %[1]s --participant walker-001\n"+
			"  go run ./cmd/ayumi quarantine list --data-dir %[1]s\n", dir)
		select {
		case <-cmd.Context().Done():
		case err = <-gateway.ended:
		}
	}
	return errors.Join(err, gateway.stop())
}

// demoConfig is the default on free ports, quiet.
func demoConfig() config {
	cfg := defaultConfig()
	cfg.MQTT.Listen, cfg.MQTT.ListenTLS = "127.0.0.1:0", "127.0.0.1:0"
	cfg.HTTPS.Listen, cfg.Metrics.Listen = "127.0.0.1:0", "127.0.0.1:0"
	cfg.MQTT.MaxConnections, cfg.HTTPS.MaxConnections = 5000, 5000 // few enough for most limits of open files
	cfg.Points.FinalAfterDays = closing.MaxFinalAfter              // whatever comes late counts
	cfg.Log.Level = "warn"
	return cfg
}

// show runs the fleet and prints what became of it.
func (o *demoFlags) show(cmd *cobra.Command, dir, banner string) (err error) {
	ctx, w := cmd.Context(), cmd.OutOrStdout()
	c, err := admin.Dial(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	f, err := o.invent(ctx, c)
	if err != nil {
		return err
	}
	if err := f.enrol(ctx, c); err != nil {
		return err
	}
	status, err := c.Status(ctx)
	if err != nil {
		return err
	}
	options, err := f.options(&status, 50)
	if err != nil {
		return err
	}
	fmt.Fprint(w, banner)
	fmt.Fprintf(w, "\n%d people upload %d days: pedometers over MQTT, apps over HTTPS …\n", o.people, o.days)
	bar := newProgress(cmd.ErrOrStderr())
	result, err := f.send(ctx, options, bar)
	bar.done()
	if err != nil {
		return err
	}
	if err := printDemo(ctx, w, c, f, &result); err != nil {
		return err
	}
	return f.verify(ctx, w, c)
}

// invent makes the people and their devices. Every third pedometer meets all the faults there are.
func (o *demoFlags) invent(ctx context.Context, c *admin.Client) (*fleet, error) {
	cal, err := c.Calendar(ctx)
	if err != nil {
		return nil, err
	}
	zone, err := steps.NewCalendar(cal.Zone)
	if err != nil {
		return nil, err
	}
	walkers := replay.Walkers(replay.WalkerOptions{
		People: o.people, First: cal.Today - steps.Day(o.days), Last: cal.Today - 1, Seed: o.seed,
	})
	f := new(fleet)
	for i := range walkers {
		k := &walkers[i]
		options := k.PlanOptions(zone, o.seed)
		device, kind, by := "pedometer-"+k.ID, "pedometer", replay.ByMQTT
		switch {
		case k.App:
			device, kind, by = "app-"+k.ID, "app", replay.ByHTTPS
		case i%3 == 0:
			options.Faults = replay.AllFaults
		}
		if err := f.add(k.Person, steps.DeviceID(device), kind, by, options); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// demoRows is how many people the table shows.
const demoRows = 15

// printDemo prints the points table and what happened on the way.
func printDemo(ctx context.Context, w io.Writer, c *admin.Client, f *fleet, r *replay.Result) error {
	sums, err := balances(ctx, c, steps.DayRange{}, "")
	if err != nil {
		return err
	}
	fmt.Fprintln(w)
	out, err := newRows(w, formatTable, "participant", "days", "steps", "steps/day", "points", "of the most")
	if err != nil {
		return err
	}
	var most steps.Points = 1
	for _, b := range sums {
		most = max(most, b.points)
	}
	for i, id := range sortedKeys(sums) {
		if i == demoRows && len(sums) > demoRows+1 {
			if err := out.row(fmt.Sprintf("… %d more", len(sums)-demoRows)); err != nil {
				return err
			}
			break
		}
		b := sums[id]
		bar := gauge(int(b.points), int(most))
		if err := out.row(id, b.days, b.steps, b.steps/uint64(b.days), b.points, bar); err != nil {
			return err
		}
	}
	if err := out.end(); err != nil {
		return err
	}
	return printDemoTally(w, f, r, sums)
}

func printDemoTally(w io.Writer, f *fleet, r *replay.Result, sums map[steps.ParticipantID]balance) error {
	var all balance
	for _, b := range sums {
		all.days += b.days
		all.steps += b.steps
		all.points += b.points
	}
	t := &f.want.Tally
	_, err := fmt.Fprintf(w, "\n%d people, %d participant-days, %d steps, %d points\n"+
		"%d uploads, %d of them sent again, %d split, %d a month late, %d corrected later, %d with a broken clock\n"+
		"%d acknowledged in %.1f s, %.0f uploads/s, each after its fsync; %d went to quarantine\n",
		len(sums), all.days, all.steps, all.points,
		t.Uploads, t.Repeats, t.Splits, t.Late, t.Superseded, t.BrokenClock,
		r.Acknowledged, r.Elapsed.Seconds(), r.PerSecond(), r.Quarantined)
	return err
}

// verify compares what the gateway holds with what the people walked.
func (f *fleet) verify(ctx context.Context, w io.Writer, c *admin.Client) error {
	held := make(map[steps.ParticipantDay]uint64)
	err := c.EachDay(ctx, steps.DayRange{}, "", func(a steps.Award) error {
		held[a.ParticipantDay] = a.Steps
		return nil
	})
	if err != nil {
		return err
	}
	for _, d := range f.want.Days {
		pd := steps.ParticipantDay{Participant: steps.ParticipantID(d.Person), Day: d.Day}
		if got, ok := held[pd]; !ok || got != d.Steps {
			return fmt.Errorf("%s walked %d steps on %s, the gateway holds %d", d.Person, d.Steps, d.Day, got)
		}
	}
	_, err = fmt.Fprintf(w, "All %d day totals equal what was walked, to the step.\n", len(f.want.Days))
	return err
}
