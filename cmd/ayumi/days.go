package main

import (
	"context"

	"github.com/spf13/cobra"

	"ayumi/admin"
	"ayumi/steps"
)

func daysCommand() *cobra.Command {
	var which rangeFlags
	cmd := &cobra.Command{
		Use:   "days",
		Short: "Print the steps and points of each participant's days",
		Example: "  ayumi days --data-dir DIR --from 2026-11-01 --to 2026-11-30\n" +
			"  ayumi days --data-dir DIR --participant p-0001 --output csv",
		Args: exactArgs(),
	}
	which.add(cmd)
	return printCommand(cmd, listFormats, func(ctx context.Context, c *admin.Client, _ []string, f format) error {
		r, p, err := which.parse()
		if err != nil {
			return err
		}
		return printList(cmd, f, []string{"participant", "day", "steps", "points"}, func(row func(...any) error) error {
			return c.EachDay(ctx, r, p, func(a steps.Award) error { return row(a.Participant, a.Day, a.Steps, a.Points) })
		})
	})
}
