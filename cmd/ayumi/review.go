package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ayumi/admin"
	"ayumi/plausibility"
	"ayumi/review"
)

func reviewCommand() *cobra.Command {
	return group("review", "Look at days that seem wrong, and decide whether their points count",
		reviewList(), reviewShow(), reviewRun(), reviewDecide(), reviewAppeal())
}

func reviewList() *cobra.Command {
	var which rangeFlags
	var state, kind string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List flagged days, those that wait for a decision unless told otherwise",
		Example: "  ayumi review list --data-dir DIR\n" +
			"  ayumi review list --data-dir DIR --state held --kind flat_cadence --from 2026-11-01",
		Args: exactArgs(),
	}
	which.add(cmd)
	cmd.Flags().StringVar(&state, "state", "waiting", "`STATE`: open, held, cleared, upheld, waiting (open or held) or all")
	cmd.Flags().StringVar(&kind, "kind", "", "only days with this `KIND` of flag, such as shared_pattern")
	columns := []string{"participant", "day", "state", "score", "flags", "steps", "found_at", "by", "text"}
	return printCommand(cmd, listFormats, func(ctx context.Context, c *admin.Client, _ []string, f format) error {
		filter, err := reviewFilter(state, kind)
		if err != nil {
			return err
		}
		if filter.Days, filter.Participant, err = which.parse(); err != nil {
			return err
		}
		return printList(cmd, f, columns, func(row func(...any) error) error {
			return c.EachReview(ctx, filter, func(r *admin.Review) error {
				var last admin.ReviewEvent
				if n := len(r.Events); n > 0 {
					last = r.Events[n-1]
				}
				return row(r.Participant, r.Day, r.State, r.Score, kindsOf(r), r.Steps, timestamp(r.FoundAt), last.By, last.Text)
			})
		})
	})
}

// kindsOf lists what a day raised.
func kindsOf(r *admin.Review) string {
	kinds := make([]string, len(r.Flags))
	for i := range r.Flags {
		kinds[i] = r.Flags[i].Kind.String()
	}
	return strings.Join(kinds, "+")
}

func reviewFilter(state, kind string) (f review.Filter, err error) {
	switch state {
	case "all":
	case "waiting":
		f.Undecided = true
	default:
		if f.State, err = review.ParseState(state); err != nil {
			return f, usageError{fmt.Errorf("--state: %w, waiting or all", err)}
		}
	}
	if kind != "" {
		if f.Kind, err = plausibility.ParseKind(kind); err != nil {
			return f, usageError{fmt.Errorf("--kind: %w", err)}
		}
	}
	return f, nil
}

func reviewShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show PARTICIPANT DATE",
		Short: "Show a flagged day: what it rests on, and what was decided",
		Long: "Show a flagged day: what each flag rests on, and every decision and appeal. 'ayumi points explain' shows the day\n" +
			"itself, with its picture.",
		Example: "  ayumi review show --data-dir DIR p-0001 2026-11-20",
		Args:    exactArgs("PARTICIPANT", "DATE"),
	}
	return oneCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) (r admin.Review, err error) {
		pd, err := dayArgs(args)
		if err != nil {
			return r, err
		}
		return c.Review(ctx, pd)
	}, printReview)
}

func printReview(w io.Writer, r *admin.Review) error {
	fmt.Fprintf(w, "participant  %s\nday          %s\nsteps        %d\nstate        %s\nscore        %d\nfound        %s\n",
		r.Participant, r.Day, r.Steps, r.State, r.Score, timestamp(r.FoundAt))
	for i := range r.Flags {
		f := &r.Flags[i]
		fmt.Fprintf(w, "flag         %s (%d): %s to %s, %s, limit %s", f.Kind, f.Score, f.From, f.To, plainNumber(f.Figure), plainNumber(f.Limit))
		if o := f.Copy; o != nil {
			fmt.Fprintf(w, "; as %s on %s, %+g minutes", o.Participant, o.Day, o.Shift)
		}
		fmt.Fprintln(w)
	}
	for _, e := range r.Events {
		fmt.Fprintf(w, "%-12s %s by %s: %s", e.Kind, timestamp(e.At), e.By, e.Text)
		if e.Entry != 0 {
			fmt.Fprintf(w, " (entry %d of the ledger)", e.Entry)
		}
		fmt.Fprintln(w)
	}
	return nil
}

func reviewRun() *cobra.Command {
	var from, to dayFlag
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Look for days that seem wrong now",
		Long: "Look for days that seem wrong now: in all days that are not closed, or in those that you name. The gateway does so\n" +
			"by itself every night and before it closes a day; this is for other limits, and for days that are closed, whose\n" +
			"points are not held any more.",
		Example: "  ayumi review run --data-dir DIR\n" +
			"  ayumi review run --data-dir DIR --from 2026-11-01 --to 2026-11-07",
		Args: exactArgs(),
	}
	cmd.Flags().Var(&from, "from", "first day, such as 2026-11-01")
	cmd.Flags().Var(&to, "to", "last day")
	columns := []string{"day", "participants", "scored", "flagged", "held"}
	return printCommand(cmd, listFormats, func(ctx context.Context, c *admin.Client, _ []string, f format) error {
		r, _, err := (&rangeFlags{from: from, to: to}).parse()
		if err != nil {
			return err
		}
		bar := newProgress(cmd.ErrOrStderr())
		defer bar.done()
		return printList(cmd, f, columns, func(row func(...any) error) error {
			return c.RunReview(ctx, r, func(p *admin.ReviewProgress) error {
				if !p.Over {
					bar.show("%s: %d of %d participants", p.Day, p.Done, p.Of)
					return nil
				}
				return row(p.Day, p.Of, p.Scored, p.Flagged, p.Held)
			})
		})
	})
}

func reviewDecide() *cobra.Command {
	var d decideFlags
	var clearing, uphold bool
	cmd := &cobra.Command{
		Use:   "decide PARTICIPANT DATE",
		Short: "Decide whether the points of a flagged day count",
		Long: "Decide whether the points of a flagged day count. --clear releases what is held; --uphold leaves it so, and the\n" +
			"participant may appeal once. Points that are not to come back are taken with 'ayumi points correct --pending --day'.\n" +
			"Steps are never changed. The same decision again changes nothing.",
		Example: "  ayumi review decide --data-dir DIR p-0001 2026-11-20 --clear --reason 'a marathon; saw the certificate'\n" +
			"  ayumi review decide --data-dir DIR p-0001 2026-11-20 --uphold --reason 'says it hung on a swing'",
		Args: exactArgs("PARTICIPANT", "DATE"),
	}
	d.add(cmd)
	cmd.Flags().BoolVar(&clearing, "clear", false, "nothing was wrong: the points count")
	cmd.Flags().BoolVar(&uphold, "uphold", false, "the points do not count")
	return oneCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) (r admin.Review, err error) {
		pd, err := dayArgs(args)
		if err != nil {
			return r, err
		}
		if clearing == uphold {
			return r, usageError{errors.New("give either --clear or --uphold")}
		}
		decide := c.UpholdReview
		if clearing {
			decide = c.ClearReview
		}
		return decide(ctx, pd, staffName(d.by), d.reason)
	}, printReview)
}

func reviewAppeal() *cobra.Command {
	var by, text string
	cmd := &cobra.Command{
		Use:   "appeal PARTICIPANT DATE",
		Short: "Record that a participant does not agree with a decision; the review waits again",
		Long: "Record that a participant does not agree with an upheld review. It waits for a second decision, which is final;\n" +
			"both are kept, with the appeal.",
		Example: "  ayumi review appeal --data-dir DIR p-0001 2026-11-20 --text 'by letter: I walk my dog at night'",
		Args:    exactArgs("PARTICIPANT", "DATE"),
	}
	cmd.Flags().StringVar(&by, "by", "", "who takes it down; your login `NAME` when absent")
	cmd.Flags().StringVar(&text, "text", "", "what the participant says; kept for good")
	if err := cmd.MarkFlagRequired("text"); err != nil {
		panic(err) // the flag was added in the line above
	}
	return oneCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) (r admin.Review, err error) {
		pd, err := dayArgs(args)
		if err != nil {
			return r, err
		}
		return c.AppealReview(ctx, pd, staffName(by), text)
	}, printReview)
}

// plainNumber writes a figure without an exponent, with two decimals where it has any.
func plainNumber(x float64) string {
	if x == math.Trunc(x) {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'f', 2, 64)
}
