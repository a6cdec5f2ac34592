package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"ayumi/admin"
	"ayumi/steps"
)

func quarantineCommand() *cobra.Command {
	return group("quarantine", "Look at what was not accepted, release or discard it",
		quarantineList(), quarantineShow(), quarantineRelease(), quarantineDiscard())
}

func quarantineList() *cobra.Command {
	var device, reason, state string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List quarantined payloads, newest first",
		Example: "  ayumi quarantine list --data-dir DIR --reason unbound\n" +
			"  ayumi quarantine list --data-dir DIR --device watch-17 --state all --output json",
		Args: exactArgs(),
	}
	cmd.Flags().StringVar(&device, "device", "", "only this device's `ID`")
	cmd.Flags().StringVar(&reason, "reason", "", "only this `REASON`, such as future or unbound")
	cmd.Flags().StringVar(&state, "state", "open", "`STATE`: open, released, discarded or all")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most `N` entries; 0 is all")
	return printCommand(cmd, listFormats, func(ctx context.Context, c *admin.Client, _ []string, f format) error {
		filter, err := quarantineFilter(device, reason, state, limit)
		if err != nil {
			return err
		}
		return printList(cmd, f, []string{"id", "received_at", "device", "transport", "state", "series", "reason", "detail"}, func(row func(...any) error) error {
			return c.EachQuarantined(ctx, filter, func(q *admin.QuarantineEntry) error {
				for _, x := range q.Faults {
					if err := row(q.ID, timestamp(q.ReceivedAt), q.Device, q.Transport, q.State, x.Series, x.Reason, x.Detail); err != nil {
						return err
					}
				}
				return nil
			})
		})
	})
}

func quarantineFilter(device, reason, state string, limit int) (steps.QuarantineFilter, error) {
	f := steps.QuarantineFilter{Device: steps.DeviceID(device), Limit: limit}
	if reason != "" {
		r, ok := steps.ParseReason(reason)
		if !ok {
			return f, usageError{fmt.Errorf("--reason %q is none of %v", reason, steps.Reasons())}
		}
		f.Reason = r
	}
	states := map[string]steps.DecisionState{}
	for s := steps.Open; s <= steps.Discarded; s++ {
		states[s.String()] = s
	}
	if s, ok := states[state]; ok {
		f.State = &s
	} else if state != "all" {
		return f, usageError{fmt.Errorf("--state %q is none of open, released, discarded, all", state)}
	}
	return f, nil
}

func quarantineShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show one quarantined payload with its bytes",
		Example: "  ayumi quarantine show --data-dir DIR 5f0c…",
		Args:    exactArgs("ID"),
	}
	return oneCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) (admin.QuarantineEntry, error) {
		return c.Quarantined(ctx, steps.QuarantineID(args[0]))
	}, printEntry)
}

func printEntry(w io.Writer, q *admin.QuarantineEntry) error {
	fmt.Fprintf(w, "id           %s\nreceived     %s\ndevice       %s\ncarried by   %s\ntransport    %s\nencoding     %s\ntopic        %s\nstate        %s\n",
		q.ID, timestamp(q.ReceivedAt), q.Device, cmp.Or(string(q.Via), "-"), q.Transport, cmp.Or(q.Encoding, "-"), cmp.Or(q.Topic, "-"), q.State)
	if q.Decision != nil {
		fmt.Fprintf(w, "decided      %s by %s: %s\n", timestamp(q.Decision.At), q.Decision.By, q.Decision.Reason)
	}
	for _, x := range q.Faults {
		where := "upload"
		if x.Series >= 0 {
			where = fmt.Sprintf("series[%d]", x.Series)
		}
		fmt.Fprintf(w, "%-12s %s: %s\n", where, x.Reason, x.Detail)
	}
	fmt.Fprintf(w, "\n%d bytes:\n", len(q.Raw))
	if q.Encoding == steps.JSON.String() && utf8.Valid(q.Raw) {
		_, err := fmt.Fprintf(w, "%s\n", q.Raw)
		return err
	}
	_, err := fmt.Fprint(w, hex.Dump(q.Raw))
	return err
}

// decideFlags are what a decision must carry.
type decideFlags struct{ by, reason string }

func (d *decideFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&d.by, "by", "", "who decides; your login `NAME` when absent")
	cmd.Flags().StringVar(&d.reason, "reason", "", "why; kept with the entry")
	if err := cmd.MarkFlagRequired("reason"); err != nil {
		panic(err) // the flag was added in the line above
	}
}

func quarantineRelease() *cobra.Command {
	var d decideFlags
	cmd := &cobra.Command{
		Use:   "release ID",
		Short: "Take a quarantined payload into the series",
		Long: "Take a quarantined payload into the series. Old and implausible samples are accepted on your word; anything\n" +
			"else must be mended first: bind the device, register it.",
		Example: "  ayumi quarantine release --data-dir DIR 5f0c… --reason 'handed over on the 3rd, form 114'",
		Args:    exactArgs("ID"),
	}
	d.add(cmd)
	return clientCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) error {
		r, err := c.Release(ctx, steps.QuarantineID(args[0]), staffName(d.by), d.reason)
		if err != nil {
			return err
		}
		for _, u := range r.Uploads {
			fmt.Fprintf(cmd.OutOrStdout(), "%s of %s as record %s\n", u.Verdict, u.Device, r.Record)
		}
		return nil
	})
}

func quarantineDiscard() *cobra.Command {
	var d decideFlags
	cmd := &cobra.Command{
		Use:     "discard ID",
		Short:   "Close a quarantined payload for good; it can still be looked up",
		Example: "  ayumi quarantine discard --data-dir DIR 5f0c… --reason 'test device of the vendor'",
		Args:    exactArgs("ID"),
	}
	d.add(cmd)
	return clientCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) error {
		_, err := c.Discard(ctx, steps.QuarantineID(args[0]), staffName(d.by), d.reason)
		return err
	})
}

// sortedKeys returns a map's keys in order.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
