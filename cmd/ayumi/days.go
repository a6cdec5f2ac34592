package main

import (
	"context"

	"github.com/spf13/cobra"

	"ayumi/admin"
	"ayumi/steps"
)

func daysCommand() *cobra.Command {
	var which rangeFlags
	var output string
	cmd := &cobra.Command{
		Use:   "days",
		Short: "Print the steps and points of each participant's days",
		Example: "  ayumi days --data-dir DIR --from 2026-11-01 --to 2026-11-30\n" +
			"  ayumi days --data-dir DIR --participant p-0001 --output csv",
		Args: exactArgs(),
	}
	which.add(cmd)
	outputFlag(cmd, &output, "table|json|csv")
	return clientCommand(cmd, func(ctx context.Context, c *admin.Client, _ []string) error {
		r, p, err := which.parse()
		if err != nil {
			return err
		}
		f, err := parseFormat(output, formatTable, formatJSON, formatCSV)
		if err != nil {
			return err
		}
		out, err := newRows(cmd.OutOrStdout(), f, "participant", "day", "steps", "points")
		if err != nil {
			return err
		}
		err = c.EachDay(ctx, r, p, func(a steps.Award) error { return out.row(a.Participant, a.Day, a.Steps, a.Points) })
		if err != nil {
			return err
		}
		return out.end()
	})
}

// balance is what a participant's days add up to.
type balance struct {
	days   int
	steps  uint64
	points steps.Points
}

func pointsCommand() *cobra.Command {
	var which rangeFlags
	var output string
	cmd := &cobra.Command{
		Use:     "points",
		Short:   "Print each participant's points over a range of days",
		Example: "  ayumi points --data-dir DIR --from 2026-10-01 --to 2026-12-31 --output csv",
		Args:    exactArgs(),
	}
	which.add(cmd)
	outputFlag(cmd, &output, "table|json|csv")
	return clientCommand(cmd, func(ctx context.Context, c *admin.Client, _ []string) error {
		r, p, err := which.parse()
		if err != nil {
			return err
		}
		f, err := parseFormat(output, formatTable, formatJSON, formatCSV)
		if err != nil {
			return err
		}
		sums, err := balances(ctx, c, r, p)
		if err != nil {
			return err
		}
		out, err := newRows(cmd.OutOrStdout(), f, "participant", "days", "steps", "points")
		if err != nil {
			return err
		}
		for _, id := range sortedKeys(sums) {
			b := sums[id]
			if err := out.row(id, b.days, b.steps, b.points); err != nil {
				return err
			}
		}
		return out.end()
	})
}

func balances(ctx context.Context, c *admin.Client, r steps.DayRange, p steps.ParticipantID) (map[steps.ParticipantID]balance, error) {
	sums := make(map[steps.ParticipantID]balance)
	err := c.EachDay(ctx, r, p, func(a steps.Award) error {
		b := sums[a.Participant]
		b.days++
		b.steps += a.Steps
		b.points += a.Points
		sums[a.Participant] = b
		return nil
	})
	return sums, err
}
