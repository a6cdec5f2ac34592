package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"ayumi/admin"
	"ayumi/steps"
)

// keyFlag is a request key: a request that is repeated with it is done once.
type keyFlag struct{ key string }

func (k *keyFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&k.key, "key", "", "request `KEY` that makes repeating harmless; a new one when absent")
}

// get returns the key that was given, or a new one.
func (k *keyFlag) get() steps.RequestKey {
	if k.key == "" {
		k.key = rand.Text()
	}
	return steps.RequestKey(k.key)
}

// explain adds to an error after which nobody knows what was done how to find out.
func (k *keyFlag) explain(err error) error {
	if kind := steps.KindOf(err); err != nil && (kind == steps.Unavailable || kind == steps.Overload) {
		return fmt.Errorf("%w; to repeat it without its being done twice, add --key %s", err, k.key)
	}
	return err
}

// entryFlags are what staff give with an entry.
type entryFlags struct {
	decideFlags
	keyFlag
	points  int64
	period  string
	day     dayFlag
	pending bool
}

func (f *entryFlags) add(cmd *cobra.Command, points string) {
	f.decideFlags.add(cmd)
	f.keyFlag.add(cmd)
	cmd.Flags().Int64Var(&f.points, "points", 0, points)
	if err := cmd.MarkFlagRequired("points"); err != nil {
		panic(err) // the flag was added in the line above
	}
	cmd.Flags().StringVar(&f.period, "period", "", "point period's `ID`; today's when absent")
}

// command finishes a verb that makes an entry of a kind.
func (f *entryFlags) command(kind steps.EntryKind, points string, cmd *cobra.Command) *cobra.Command {
	f.add(cmd, points)
	cmd.Args = exactArgs("PARTICIPANT")
	return printCommand(cmd, oneFormats, func(ctx context.Context, c *admin.Client, args []string, out format) error {
		return f.post(ctx, cmd, c, steps.ParticipantID(args[0]), kind, out)
	})
}

func (f *entryFlags) post(ctx context.Context, cmd *cobra.Command, c *admin.Client, p steps.ParticipantID, kind steps.EntryKind, out format) error {
	r := admin.EntryRequest{Kind: kind.String(), Key: f.get(), Points: steps.Points(f.points), Period: steps.PeriodID(f.period),
		Day: f.day.day, By: staffName(f.by), Reason: f.reason}
	if f.pending {
		r.Account = steps.AccountPending.String()
	}
	e, err := c.PostEntry(ctx, p, r)
	if err != nil {
		return f.explain(err)
	}
	if out == formatJSON {
		return printJSON(cmd.OutOrStdout(), e)
	}
	m := e.Postings[0]
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "entry %d of %s: %s, %d points of %s from %s to %s\n", e.Seq, p, e.Kind, m.Points, m.Period, m.From, m.To)
	return err
}

func pointsBonus() *cobra.Command {
	return new(entryFlags).command(steps.EntryBonus, "how many", &cobra.Command{
		Use:     "bonus PARTICIPANT",
		Short:   "Give a participant points",
		Example: "  ayumi points bonus --data-dir DIR p-0001 --points 50 --reason 'spoke at the opening'",
	})
}

func pointsCorrect() *cobra.Command {
	var f entryFlags
	cmd := f.command(steps.EntryCorrection, "how many to add; negative to take", &cobra.Command{
		Use:   "correct PARTICIPANT",
		Short: "Put a participant's final points right",
		Long: "Add points to what a participant has, or take some with a negative number. With --day the correction stands on\n" +
			"that closed day too. Late data that were listed are accepted with 'ayumi points late correct'.",
		Example: "  ayumi points correct --data-dir DIR p-0001 --points 3 --day 2026-11-01 --reason 'worn by her, form 114'\n" +
			"  ayumi points correct --data-dir DIR p-0001 --points -20 --reason 'bonus given twice'",
	})
	cmd.Flags().Var(&f.day, "day", "closed day that it is about")
	cmd.Flags().BoolVar(&f.pending, "pending", false, "change the points that are held rather than the available ones")
	return cmd
}

func pointsHold() *cobra.Command {
	return new(entryFlags).command(steps.EntryHold, "how many", &cobra.Command{
		Use:     "hold PARTICIPANT",
		Short:   "Hold available points of a participant for review",
		Example: "  ayumi points hold --data-dir DIR p-0001 --points 30 --reason 'two pedometers on one arm?'",
	})
}

func pointsRelease() *cobra.Command {
	return new(entryFlags).command(steps.EntryRelease, "how many", &cobra.Command{
		Use:     "release PARTICIPANT",
		Short:   "Let points go that were held",
		Example: "  ayumi points release --data-dir DIR p-0001 --points 30 --reason 'asked by phone, all walked'",
	})
}

func pointsLate() *cobra.Command {
	return group("late", "Look at data that came after their day was closed, and decide on them",
		lateList(), lateDiscard(), lateCorrect())
}

func lateList() *cobra.Command {
	var which rangeFlags
	var all bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List closed days whose data changed so that they would have earned other points",
		Example: "  ayumi points late list --data-dir DIR\n" +
			"  ayumi points late list --data-dir DIR --participant p-0001 --all",
		Args: exactArgs(),
	}
	which.add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "those on which staff have decided too")
	columns := []string{"participant", "day", "steps", "points", "final", "noted_at", "state", "by", "reason"}
	return printCommand(cmd, listFormats, func(ctx context.Context, c *admin.Client, _ []string, f format) error {
		r, p, err := which.parse()
		if err != nil {
			return err
		}
		return printList(cmd, f, columns, func(row func(...any) error) error {
			return c.EachLate(ctx, steps.LateFilter{Days: r, Participant: p, Undecided: !all}, func(l *admin.LateDay) error {
				var d admin.Decision
				if l.Decision != nil {
					d = *l.Decision
				}
				return row(l.Participant, l.Day, l.Steps, l.Points, l.Final, timestamp(l.NotedAt), l.State, d.By, d.Reason)
			})
		})
	})
}

// dayArgs reads PARTICIPANT DATE.
func dayArgs(args []string) (pd steps.ParticipantDay, err error) {
	pd.Participant = steps.ParticipantID(args[0])
	if pd.Day, err = steps.ParseDay(args[1]); err != nil {
		return pd, usageError{err}
	}
	return pd, nil
}

func lateDiscard() *cobra.Command {
	var d decideFlags
	cmd := &cobra.Command{
		Use:     "discard PARTICIPANT DATE",
		Short:   "Leave a closed day as it is, whatever came late",
		Example: "  ayumi points late discard --data-dir DIR p-0001 2026-11-01 --reason 'sent after the end of the grace'",
		Args:    exactArgs("PARTICIPANT", "DATE"),
	}
	d.add(cmd)
	return clientCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) error {
		pd, err := dayArgs(args)
		if err != nil {
			return err
		}
		_, err = c.DiscardLate(ctx, pd, staffName(d.by), d.reason)
		return err
	})
}

// errFound ends a listing early.
var errFound = errors.New("found")

func lateCorrect() *cobra.Command {
	var f entryFlags
	cmd := &cobra.Command{
		Use:     "correct PARTICIPANT DATE",
		Short:   "Correct a closed day to the points that its late data would have earned",
		Example: "  ayumi points late correct --data-dir DIR p-0001 2026-11-01 --reason 'in hospital until the 20th'",
		Args:    exactArgs("PARTICIPANT", "DATE"),
	}
	f.decideFlags.add(cmd)
	f.keyFlag.add(cmd)
	cmd.Flags().BoolVar(&f.pending, "pending", false, "change the points that are held rather than the available ones")
	return printCommand(cmd, oneFormats, func(ctx context.Context, c *admin.Client, args []string, out format) error {
		pd, err := dayArgs(args)
		if err != nil {
			return err
		}
		filter := steps.LateFilter{Participant: pd.Participant, Days: steps.DayRange{From: pd.Day, Until: pd.Day}}
		err = c.EachLate(ctx, filter, func(l *admin.LateDay) error {
			f.points = int64(l.Points - l.Final)
			return errFound
		})
		if err == nil {
			return steps.Errorf("correct day", steps.NotFound, "%s has no late data on %s; see 'ayumi points statement' for what was done about it",
				pd.Participant, pd.Day)
		}
		if !errors.Is(err, errFound) {
			return err
		}
		f.day.day = &pd.Day
		return f.post(ctx, cmd, c, pd.Participant, steps.EntryCorrection, out)
	})
}
