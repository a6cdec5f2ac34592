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

// balance is what a participant's days add up to.
type balance struct {
	days   int
	steps  uint64
	points steps.Points
}

func pointsCommand() *cobra.Command {
	var which rangeFlags
	cmd := &cobra.Command{
		Use:     "points",
		Short:   "Print each participant's points over a range of days",
		Example: "  ayumi points --data-dir DIR --from 2026-10-01 --to 2026-12-31 --output csv",
		Args:    exactArgs(),
	}
	cmd.AddCommand(pointsExplain())
	which.add(cmd)
	return printCommand(cmd, listFormats, func(ctx context.Context, c *admin.Client, _ []string, f format) error {
		r, p, err := which.parse()
		if err != nil {
			return err
		}
		sums, err := balances(ctx, c, r, p)
		if err != nil {
			return err
		}
		return printList(cmd, f, []string{"participant", "days", "steps", "points"}, func(row func(...any) error) error {
			for _, id := range sortedKeys(sums) {
				b := sums[id]
				if err := row(id, b.days, b.steps, b.points); err != nil {
					return err
				}
			}
			return nil
		})
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
