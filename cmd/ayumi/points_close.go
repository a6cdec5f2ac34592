package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ayumi/admin"
	"ayumi/steps"
)

var closedColumns = []string{"day", "state", "period", "closed_at", "by", "participants", "points", "held"}

func closedRow(row func(...any) error, d *admin.ClosedDay) error {
	return row(d.Day, d.State, d.Period, timestamp(d.ClosedAt), d.By, d.Participants, d.Points, d.Held)
}

func pointsClose() *cobra.Command {
	var day, through dayFlag
	var early bool
	var by string
	cmd := &cobra.Command{
		Use:   "close",
		Short: "Make the points of a day, or of all through one, final",
		Long: "Make the points of a day, or of all days through one, final. The gateway does so by itself when late data no\n" +
			"longer change a day; this is for days that it leaves to staff, such as those before the first, and for\n" +
			"closing early. Days are closed in order. It may be repeated, and goes on where it was interrupted.",
		Example: "  ayumi points close --data-dir DIR --through 2026-10-31\n" +
			"  ayumi points close --data-dir DIR --day 2026-11-01 --early",
		Args: exactArgs(),
	}
	cmd.Flags().Var(&day, "day", "just this day")
	cmd.Flags().Var(&through, "through", "this day and all before it")
	cmd.Flags().BoolVar(&early, "early", false, "though late data would still count")
	cmd.Flags().StringVar(&by, "by", "", "who closes; your login `NAME` when absent")
	return printCommand(cmd, listFormats, func(ctx context.Context, c *admin.Client, _ []string, f format) error {
		if (day.day == nil) == (through.day == nil) {
			return usageError{errors.New("give either --day or --through")}
		}
		days, err := c.CloseDays(ctx, admin.CloseRequest{Day: day.day, Through: through.day, Early: early, By: staffName(by)})
		if err != nil {
			return err
		}
		return printList(cmd, f, closedColumns, func(row func(...any) error) error {
			for i := range days {
				if err := closedRow(row, &days[i]); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func pointsClosed() *cobra.Command {
	var from, to dayFlag
	cmd := &cobra.Command{
		Use:     "closed",
		Short:   "List the days whose points are final",
		Example: "  ayumi points closed --data-dir DIR --from 2026-11-01",
		Args:    exactArgs(),
	}
	cmd.Flags().Var(&from, "from", "first day, such as 2026-11-01")
	cmd.Flags().Var(&to, "to", "last day")
	return printCommand(cmd, listFormats, func(ctx context.Context, c *admin.Client, _ []string, f format) error {
		r, _, err := (&rangeFlags{from: from, to: to}).parse()
		if err != nil {
			return err
		}
		return printList(cmd, f, closedColumns, func(row func(...any) error) error {
			return c.EachClosedDay(ctx, r, func(d *admin.ClosedDay) error { return closedRow(row, d) })
		})
	})
}

func pointsPeriods() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "periods",
		Short:   "List the point period of today and all others that hold points",
		Example: "  ayumi points periods --data-dir DIR",
		Args:    exactArgs(),
	}
	return printCommand(cmd, listFormats, func(ctx context.Context, c *admin.Client, _ []string, f format) error {
		return printList(cmd, f, periodColumns, func(row func(...any) error) error {
			return c.EachPeriod(ctx, func(p *admin.PeriodBalance) error { return periodRow(row, p) })
		})
	})
}

func pointsExpire() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "expire PERIOD",
		Short: "Take what is left of a point period that is over",
		Long: "Take what participants have available of a point period that is over. The gateway does so by itself every hour;\n" +
			"this is for those who cannot wait. What is held for review stays.",
		Example: "  ayumi points expire --data-dir DIR spring@2026-04-01",
		Args:    exactArgs("PERIOD"),
	}
	return oneCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) (admin.Expiry, error) {
		return c.Expire(ctx, steps.PeriodID(args[0]))
	}, func(w io.Writer, done *admin.Expiry) error {
		_, err := fmt.Fprintf(w, "%d points of %s expired\n", done.Points, counted(done.Participants, "participant"))
		return err
	})
}
