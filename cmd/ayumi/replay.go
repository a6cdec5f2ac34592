package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"ayumi/admin"
	"ayumi/replay"
	"ayumi/steps"
)

func replayCommand() *cobra.Command {
	return group("replay", "Turn a real export into devices that upload it", replayFitbitMinutes())
}

// replayFlags are the options of a replay.
type replayFlags struct {
	faults, noShift bool
	transport       string
	encoding        string
	seed            uint64
	connections     int
}

func replayFitbitMinutes() *cobra.Command {
	var o replayFlags
	cmd := &cobra.Command{
		Use:   "fitbit-minutes FILE",
		Short: "Upload a minuteStepsWide export as pedometers would",
		Long: "Upload the minutes of an export (Id, ActivityHour, Steps00 … Steps59; times in the programme's zone) through\n" +
			"one device a person. The people and devices are registered through the gateway of --data-dir. All days are\n" +
			"shifted together so that the last one is yesterday; --no-shift is for a gateway with limits.max_age_days: 0.\n" +
			"--faults adds what happens in the field: every upload at least twice, shuffled within a week, split, a month\n" +
			"late, corrected, restarted devices, and copies with a clock in 2000 or 2036, which belong in quarantine.\n" +
			"The same file, seed and day give the same uploads, so a replay that was cut off can be run again.",
		Example: "  ayumi replay fitbit-minutes --data-dir DIR minuteStepsWide_merged.csv --faults\n" +
			"  ayumi replay fitbit-minutes --data-dir DIR minuteStepsWide_merged.csv --transport https",
		Args: exactArgs("FILE"),
	}
	cmd.Flags().BoolVar(&o.faults, "faults", false, "add repeats, reordering, splits, late days, corrections, broken clocks")
	cmd.Flags().BoolVar(&o.noShift, "no-shift", false, "keep the file's dates")
	cmd.Flags().StringVar(&o.transport, "transport", "mqtt", "`WAY`: mqtt, https or both")
	cmd.Flags().StringVar(&o.encoding, "encoding", "", "`ENCODING`: pb or json; either, by device, when absent")
	cmd.Flags().Uint64Var(&o.seed, "seed", 1, "`NUMBER` that decides cadences and faults")
	cmd.Flags().IntVar(&o.connections, "connections", 50, "devices that upload at the same time")
	return clientCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) error {
		in, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer in.Close()
		return o.run(ctx, cmd, c, in)
	})
}

func (o *replayFlags) run(ctx context.Context, cmd *cobra.Command, c *admin.Client, in io.Reader) error {
	way, err := replay.ParseTransport(o.transport)
	if err != nil {
		return usageError{fmt.Errorf("--transport: %w", err)}
	}
	encodings := map[string]steps.Encoding{"": 0, "pb": steps.Protobuf, "json": steps.JSON}
	enc, ok := encodings[o.encoding]
	if !ok {
		return usageError{fmt.Errorf("--encoding %q is none of pb, json", o.encoding)}
	}
	people, err := replay.ReadFitbitMinutes(in)
	if err != nil {
		return err
	}
	f, shift, err := o.plan(ctx, c, people, enc)
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
	run, err := f.options(&status, o.connections)
	if err != nil {
		return err
	}
	run.Transport, run.Seed = way, o.seed
	bar := newProgress(cmd.ErrOrStderr())
	result, err := f.send(ctx, run, bar)
	bar.done()
	if err != nil {
		return err
	}
	return printReplay(cmd.OutOrStdout(), f, &result, shift)
}

// plan makes a device of every person. The boot id rises with the day that the replay is shifted
// to, so that the same file replayed tomorrow wins over today's.
func (o *replayFlags) plan(ctx context.Context, c *admin.Client, people []replay.Person, enc steps.Encoding) (*fleet, int, error) {
	cal, err := c.Calendar(ctx)
	if err != nil {
		return nil, 0, err
	}
	zone, err := steps.NewCalendar(cal.Zone)
	if err != nil {
		return nil, 0, err
	}
	shift := 0
	if !o.noShift {
		shift = replay.Shift(people, cal.Today-1)
	}
	options := replay.PlanOptions{Calendar: zone, Seed: o.seed, Encoding: enc, Boot: uint32(max(0, 2*shift) + 1)}
	if o.faults {
		options.Faults = replay.AllFaults
	}
	f := new(fleet)
	for _, p := range people {
		if err := f.add(p, steps.DeviceID("fitbit-"+p.ID), "pedometer", 0, options); err != nil {
			return nil, 0, err
		}
	}
	return f, shift, nil
}

// printReplay sums up a replay.
func printReplay(w io.Writer, f *fleet, r *replay.Result, shift int) error {
	t := &f.want.Tally
	for _, line := range []struct {
		label string
		value any
	}{
		{"people", t.People},
		{"participant-days", len(f.want.Days)},
		{"steps", t.Steps},
		{"days shifted", shift},
		{"uploads", t.Uploads},
		{"  of them split", t.Splits},
		{"  a month late", t.Late},
		{"  corrected later", t.Superseded},
		{"  with a broken clock", t.BrokenClock},
		{"devices restarted", t.Restarts},
		{"sent, repeats included", t.Sendings},
		{"acknowledged", r.Acknowledged},
		{"  into quarantine", r.Quarantined},
		{"reconnects", r.Reconnects},
		{"seconds", fmt.Sprintf("%.1f", r.Elapsed.Seconds())},
		{"acknowledged a second", fmt.Sprintf("%.0f", r.PerSecond())},
	} {
		if _, err := fmt.Fprintf(w, "%-24s %v\n", line.label, line.value); err != nil {
			return err
		}
	}
	return nil
}
