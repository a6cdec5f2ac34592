package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"ayumi/admin"
	"ayumi/points"
	"ayumi/steps"
)

// adminRules is what the administrator's API does with rules.
type adminRules struct{ g *gateway }

// TryRules implements admin.Rules.
func (a adminRules) TryRules(ctx context.Context, name string, file io.Reader, r steps.DayRange) (*points.Trial, []points.TrialRow, error) {
	book, err := points.ParseRules(cmp.Or(name, "rules"), file)
	if err != nil {
		return nil, nil, err
	}
	if err := a.g.engine.Settle(ctx); err != nil {
		return nil, nil, err
	}
	closed := map[steps.Day]bool{}
	err = a.g.store.EachClosedDay(ctx, r, func(d steps.ClosedDay) error {
		closed[d.Day] = true
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return a.g.engine.Try(ctx, book, r, func(d steps.Day) bool { return closed[d] })
}

// ReloadRules implements admin.Rules.
func (a adminRules) ReloadRules(context.Context) (admin.RulesInForce, error) {
	book, err := a.g.cfg.rules()
	if err != nil {
		return admin.RulesInForce{}, err
	}
	a.g.engine.SetRules(book)
	a.g.log.Info("rules read again", "programme", book.Programme(), "fingerprint", book.Fingerprint())
	return a.RulesInForce(), nil
}

// RulesInForce implements admin.Rules.
func (a adminRules) RulesInForce() admin.RulesInForce {
	book := a.g.engine.Rules()
	return admin.RulesInForce{Programme: book.Programme(), RuleSets: book.RuleSetIDs(), Fingerprint: book.Fingerprint()}
}

// reloadOnHangup reads the rules again whenever the process gets SIGHUP. A file with a mistake is logged,
// and the rules stay what they were.
func (g *gateway) reloadOnHangup(ctx context.Context) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
			if _, err := (adminRules{g}).ReloadRules(ctx); err != nil {
				g.log.Error("the rules file has a mistake; the rules stay what they were", "err", err)
			}
		}
	}
}

func rulesShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "Show the rules that a running gateway scores by",
		Example: "  ayumi rules show --data-dir DIR",
		Args:    exactArgs(),
	}
	return printCommand(cmd, oneFormats, func(ctx context.Context, c *admin.Client, _ []string, f format) error {
		now, err := c.RulesInForce(ctx)
		if err != nil {
			return err
		}
		return printRules(cmd, &now, f)
	})
}

func printRules(cmd *cobra.Command, now *admin.RulesInForce, f format) error {
	if f == formatJSON {
		return printJSON(cmd.OutOrStdout(), now)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "programme    %s\nrule sets    %s\nfingerprint  %s\n",
		now.Programme, strings.Join(now.RuleSets, ", "), now.Fingerprint)
	return err
}

func rulesReload() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have a running gateway read its rules file again",
		Long: "Have a running gateway read the file again that programme.rules names, and score every stored day by it. Days that\n" +
			"are closed keep their points; where the rules would have given others, they are listed (ayumi points late). A file\n" +
			"with a mistake is refused with its lines and fields, and the gateway keeps the rules that it has. SIGHUP does the same.",
		Example: "  ayumi rules reload --data-dir DIR",
		Args:    exactArgs(),
	}
	return printCommand(cmd, oneFormats, func(ctx context.Context, c *admin.Client, _ []string, f format) error {
		now, err := c.ReloadRules(ctx)
		if err != nil {
			return err
		}
		return printRules(cmd, &now, f)
	})
}

func rulesTry() *cobra.Command {
	var which rangeFlags
	cmd := &cobra.Command{
		Use:   "try FILE",
		Short: "Compare what other rules would award with what is awarded",
		Long: "Score the stored days of a range by the rules of a file and compare them with what is awarded: what it costs\n" +
			"altogether, who gains and who loses. Nothing is changed. Days that are closed keep their points, so they are told\n" +
			"apart. The table shows the largest changes; csv has a row for everybody for whom something changes.",
		Example: "  ayumi rules try rules.yaml --data-dir DIR --from 2026-10-01 --to 2026-10-31\n" +
			"  ayumi rules try rules.yaml --data-dir DIR --from 2026-10-01 --output csv > changes.csv",
		Args: exactArgs("FILE"),
	}
	cmd.Flags().Var(&which.from, "from", "first day, such as 2026-10-01")
	cmd.Flags().Var(&which.to, "to", "last day; open when absent")
	return printCommand(cmd, listFormats, func(ctx context.Context, c *admin.Client, args []string, f format) error {
		r, _, err := which.parse()
		if err != nil {
			return err
		}
		if which.from.day == nil {
			return usageError{fmt.Errorf("--from is missing; give the first day to compare")}
		}
		file, err := os.ReadFile(args[0])
		if err != nil {
			return steps.E("read rules", steps.Invalid, err)
		}
		var rows []points.TrialRow
		trial, err := c.TryRules(ctx, args[0], file, r, func(row points.TrialRow) error {
			rows = append(rows, row)
			return nil
		})
		if err != nil {
			return err
		}
		return printTrial(cmd, trial, rows, f)
	})
}

// mostShown is how many of those who gain or lose a table shows.
const mostShown = 10

func printTrial(cmd *cobra.Command, t *points.Trial, rows []points.TrialRow, f format) error {
	w := cmd.OutOrStdout()
	switch f {
	case formatJSON:
		return printJSON(w, struct {
			*points.Trial
			Rows []points.TrialRow `json:"rows"`
		}{t, rows})
	case formatTable:
		fmt.Fprintf(w, "%s: %d days of %d participants; %d gain, %d lose\n", t.Programme, t.Days, t.Participants, t.Gain, t.Lose)
		fmt.Fprintf(w, "open days    %d points now, %d by these rules (%+d)\n", t.Before, t.After, t.After-t.Before)
		fmt.Fprintf(w, "closed days  %d points, which stay; %d by these rules (%+d)\n\n", t.ClosedBefore, t.ClosedAfter, t.ClosedAfter-t.ClosedBefore)
		rows = largest(rows)
	}
	out, err := newRows(w, f, "participant", "before", "after", "change", "days_changed")
	if err != nil {
		return err
	}
	for _, r := range rows {
		if err := out.row(r.Participant, r.Before, r.After, fmt.Sprintf("%+d", r.After-r.Before), r.Days); err != nil {
			return err
		}
	}
	return out.end()
}

// largest returns the largest gains and then the largest losses.
func largest(rows []points.TrialRow) []points.TrialRow {
	slices.SortStableFunc(rows, func(a, b points.TrialRow) int {
		return cmp.Compare(b.After-b.Before, a.After-a.Before)
	})
	if len(rows) <= 2*mostShown {
		return rows
	}
	return slices.Concat(rows[:mostShown], rows[len(rows)-mostShown:])
}
