package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ayumi/admin"
	"ayumi/steps"
)

// balance is what a participant's days add up to.
type balance struct {
	days   int
	steps  uint64
	points steps.Points
}

func pointsCommand() *cobra.Command {
	var which rangeFlags
	cmd := &cobra.Command{
		Use:   "points",
		Short: "Print each participant's points over a range of days; balances, entries, closing below it",
		Long: "Print what each participant's days earned over a range of days. The verbs below keep the ledger of points;\n" +
			"docs/ledger.md explains it.",
		Example: "  ayumi points --data-dir DIR --from 2026-10-01 --to 2026-12-31 --output csv",
		Args:    noVerb,
	}
	cmd.AddCommand(pointsExplain(), pointsBalance(), pointsBalances(), pointsStatement(), pointsTotals(),
		pointsBonus(), pointsCorrect(), pointsHold(), pointsRelease(),
		pointsClose(), pointsClosed(), pointsLate(), pointsPeriods(), pointsExpire())
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

func pointsBalance() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "balance PARTICIPANT",
		Short:   "Show what a participant has, by point period",
		Example: "  ayumi points balance --data-dir DIR p-0001",
		Args:    exactArgs("PARTICIPANT"),
	}
	return oneCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) (admin.Balance, error) {
		return c.Balance(ctx, steps.ParticipantID(args[0]))
	}, func(w io.Writer, b *admin.Balance) error {
		fmt.Fprintf(w, "participant  %s\nprovisional  %d\navailable    %d\npending      %d\nspendable    %d\nentries      %d\n\n",
			b.Participant, b.Provisional, b.Available, b.Pending, b.Spendable, b.Entries)
		return printList(cmd, formatTable, periodColumns, func(row func(...any) error) error {
			for i := range b.Periods {
				if err := periodRow(row, &b.Periods[i]); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

var periodColumns = []string{"period", "from", "until", "expires", "spendable", "available", "pending"}

func periodRow(row func(...any) error, p *admin.PeriodBalance) error {
	return row(p.Period, orDash(p.From), orDash(p.Until), orDash(p.Expires), p.Spendable, p.Available, p.Pending)
}

func pointsBalances() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "balances",
		Short:   "List what everybody has",
		Example: "  ayumi points balances --data-dir DIR --output csv",
		Args:    exactArgs(),
	}
	return printCommand(cmd, listFormats, func(ctx context.Context, c *admin.Client, _ []string, f format) error {
		return printList(cmd, f, []string{"participant", "provisional", "available", "pending", "spendable"}, func(row func(...any) error) error {
			return c.EachBalance(ctx, func(b *admin.Balance) error {
				return row(b.Participant, b.Provisional, b.Available, b.Pending, b.Spendable)
			})
		})
	})
}

func pointsStatement() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "statement PARTICIPANT",
		Short: "List a participant's ledger: what moved which points when and why",
		Long: "List a participant's ledger in the order of time, a line a posting: points go from one account to another.\n" +
			"What came into provisional, available and pending, less what left them, is the balance.",
		Example: "  ayumi points statement --data-dir DIR p-0001",
		Args:    exactArgs("PARTICIPANT"),
	}
	columns := []string{"at", "kind", "seq", "day", "from", "to", "period", "points", "by", "reason"}
	return printCommand(cmd, listFormats, func(ctx context.Context, c *admin.Client, args []string, f format) error {
		return printList(cmd, f, columns, func(row func(...any) error) error {
			return c.EachEntry(ctx, steps.ParticipantID(args[0]), func(e *admin.Entry) error {
				postings := e.Postings
				if len(postings) == 0 {
					postings = []admin.Posting{{}} // a day that earned nothing
				}
				for _, p := range postings {
					if err := row(timestamp(e.At), e.Kind, e.Seq, orDash(e.Day), p.From, p.To, p.Period, p.Points, e.By, e.Reason); err != nil {
						return err
					}
				}
				return nil
			})
		})
	})
}

func pointsTotals() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "totals",
		Short:   "Print the trial balance: what all accounts hold together, and their sum, which is zero",
		Example: "  ayumi points totals --data-dir DIR",
		Args:    exactArgs(),
	}
	return printCommand(cmd, listFormats, func(ctx context.Context, c *admin.Client, _ []string, f format) error {
		t, err := c.Totals(ctx)
		if err != nil {
			return err
		}
		return printList(cmd, f, []string{"account", "points"}, func(row func(...any) error) error {
			for _, a := range []struct {
				account string
				points  steps.Points
			}{
				{"provisional", t.Provisional}, {"pending", t.Pending}, {"available", t.Available},
				{"issued", t.Issued}, {"spent", t.Spent}, {"expired", t.Expired}, {"sum", t.Sum},
			} {
				if err := row(a.account, a.points); err != nil {
					return err
				}
			}
			return nil
		})
	})
}
