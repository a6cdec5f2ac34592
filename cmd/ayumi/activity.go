package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ayumi/admin"
	"ayumi/steps"
)

func activityCommand() *cobra.Command {
	return group("activity", "Record checkups, events and whatever else the rules pay for",
		activityAdd(), activityCancel(), activityList())
}

// activityArgs reads whose activity of which day and kind a verb is about.
func activityArgs(args []string) (pd steps.ParticipantDay, kind steps.ActivityKind, err error) {
	pd.Participant = steps.ParticipantID(args[0])
	if kind, err = steps.ParseActivityKind(args[1]); err == nil {
		pd.Day, err = steps.ParseDay(args[2])
	}
	if err != nil {
		return pd, kind, usageError{err}
	}
	return pd, kind, nil
}

func activityAdd() *cobra.Command {
	var by string
	var times uint8
	cmd := &cobra.Command{
		Use:   "add PARTICIPANT KIND DATE",
		Short: "Record an activity of a participant's day",
		Long: "Record an activity of a participant's day, such as checkup, event, weight or blood_pressure; docs/rules.md says\n" +
			"how rules pay for them. Recording a kind again for the same day changes nothing, but for --times.",
		Example: "  ayumi activity add --data-dir DIR p-0001 checkup 2026-11-20\n" +
			"  ayumi activity add --data-dir DIR p-0001 challenge 2026-11-20 --times 3",
		Args: exactArgs("PARTICIPANT", "KIND", "DATE"),
	}
	cmd.Flags().Uint8Var(&times, "times", 1, "`HOW` often that day")
	cmd.Flags().StringVar(&by, "by", "", "who records it; your login `NAME` when absent")
	return oneCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) (a admin.Activity, err error) {
		pd, kind, err := activityArgs(args)
		if err != nil {
			return a, err
		}
		return c.AddActivity(ctx, pd, kind, times, staffName(by))
	}, func(w io.Writer, a *admin.Activity) error {
		note := ""
		if !a.Counts {
			note = "; no rule of that day pays for it: check the word"
		}
		_, err := fmt.Fprintf(w, "%s of %s on %s is recorded%s\n", a.Kind, a.Participant, a.Day, note)
		return err
	})
}

func activityCancel() *cobra.Command {
	var d decideFlags
	cmd := &cobra.Command{
		Use:     "cancel PARTICIPANT KIND DATE",
		Short:   "Take an activity back; the record stays",
		Example: "  ayumi activity cancel --data-dir DIR p-0001 checkup 2026-11-20 --reason 'of another person'",
		Args:    exactArgs("PARTICIPANT", "KIND", "DATE"),
	}
	d.add(cmd)
	return clientCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) error {
		pd, kind, err := activityArgs(args)
		if err != nil {
			return err
		}
		_, err = c.CancelActivity(ctx, pd, kind, staffName(d.by), d.reason)
		return err
	})
}

func activityList() *cobra.Command {
	var from, to dayFlag
	cmd := &cobra.Command{
		Use:     "list PARTICIPANT",
		Short:   "List a participant's activities, cancelled ones included",
		Example: "  ayumi activity list --data-dir DIR p-0001 --from 2026-11-01",
		Args:    exactArgs("PARTICIPANT"),
	}
	cmd.Flags().Var(&from, "from", "first day, such as 2026-11-01")
	cmd.Flags().Var(&to, "to", "last day")
	columns := []string{"participant", "day", "kind", "recorded_at", "by", "counts", "cancelled_by", "reason"}
	return printCommand(cmd, listFormats, func(ctx context.Context, c *admin.Client, args []string, f format) error {
		r, _, err := (&rangeFlags{from: from, to: to}).parse()
		if err != nil {
			return err
		}
		all, err := c.Activities(ctx, steps.ParticipantID(args[0]), r)
		if err != nil {
			return err
		}
		return printList(cmd, f, columns, func(row func(...any) error) error {
			for _, a := range all {
				var c admin.Decision
				if a.Cancelled != nil {
					c = *a.Cancelled
				}
				if err := row(a.Participant, a.Day, a.Kind, timestamp(a.RecordedAt), a.By, a.Counts, c.By, c.Reason); err != nil {
					return err
				}
			}
			return nil
		})
	})
}
