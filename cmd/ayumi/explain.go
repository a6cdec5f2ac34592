package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"ayumi/admin"
	"ayumi/explain"
	"ayumi/merge"
	"ayumi/steps"
)

// explainer puts together what the rooms know of a day.
type explainer struct{ g *gateway }

// Explain implements admin.Explainer. Everything that was acknowledged before is in it.
func (e explainer) Explain(ctx context.Context, pd steps.ParticipantDay) (*explain.Day, error) {
	const op = "explain day"
	if _, ok := e.g.registry.Participant(pd.Participant); !ok {
		return nil, steps.Errorf(op, steps.NotFound, "participant %q is not registered; check the ID", pd.Participant)
	}
	if err := e.g.engine.Settle(ctx); err != nil {
		return nil, err
	}
	in := explain.Input{ParticipantDay: pd, Calendar: e.g.calendar, Policy: e.g.store.Policy()}
	var err error
	if in.Score, err = e.g.engine.Explain(pd); err != nil {
		return nil, err
	}
	sources, found, err := e.g.store.Sources(pd)
	if err != nil {
		return nil, err
	}
	if found {
		m, err := merge.New(in.Policy)
		if err != nil {
			return nil, err
		}
		merged := m.Explain(sources)
		in.Sources, in.Merged = sources, &merged
	}
	uploads, err := e.g.store.Uploads(pd)
	if err != nil {
		return nil, err
	}
	for _, u := range uploads {
		in.Uploads = append(in.Uploads, explain.Upload{
			Device: u.Device, Boot: u.Revision.Boot, Seq: u.Revision.Seq, Origin: u.Origin.String(),
			Interval: u.Interval, Cells: u.Cells, Steps: u.Steps,
		})
	}
	in.Standing, err = e.standing(ctx, pd, e.g.closer.OpenUntil(pd.Day))
	if err != nil {
		return nil, err
	}
	if v, err := e.g.store.Review(pd); err == nil {
		in.Review = &v
	} else if steps.KindOf(err) != steps.NotFound {
		return nil, err
	}
	in.Standing.Waiting = in.Standing.Points != in.Score.Score.Points
	return explain.New(&in), nil
}

// standing reads what the ledger has of a day.
func (e explainer) standing(ctx context.Context, pd steps.ParticipantDay, closesOn steps.Day) (explain.Standing, error) {
	s := explain.Standing{State: "open"}
	one := steps.DayRange{From: pd.Day, Until: pd.Day}
	err := e.g.store.EachDay(ctx, one, pd.Participant, func(a steps.Award) error {
		s.Points, s.RuleSet = a.Points, a.RuleSet
		return nil
	})
	if err != nil {
		return s, err
	}
	err = e.g.store.EachClosedDay(ctx, one, func(d steps.ClosedDay) error {
		s.State = d.State.String()
		return nil
	})
	if s.State == "open" && closesOn >= e.g.calendar.Day(e.g.clock().Unix()) {
		s.ClosesOn = &closesOn
	}
	return s, err
}

// pointsExplain shows a day and why it earned what it did.
func pointsExplain() *cobra.Command {
	var day dayFlag
	var participant, language string
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Show what a participant's day earned and why, with a picture of the day",
		Long: "Show what a participant's day earned: each rule that gave points, the caps that cut them, which device decided\n" +
			"which minutes and why, and the uploads that brought them; with a picture of the day. For residents in Japanese or\n" +
			"English; --output json has all of it, minute by minute, for auditors.",
		Example: "  ayumi points explain --data-dir DIR --participant p-0001 --day 2026-11-20\n" +
			"  ayumi points explain --data-dir DIR --participant p-0001 --day 2026-11-20 --language ja\n" +
			"  ayumi points explain --data-dir DIR --participant p-0001 --day 2026-11-20 --output json",
		Args: exactArgs(),
	}
	cmd.Flags().StringVar(&participant, "participant", "", "whose day")
	cmd.Flags().Var(&day, "day", "which day, such as 2026-11-20")
	cmd.Flags().StringVar(&language, "language", "en", "ja or en")
	return printCommand(cmd, oneFormats, func(ctx context.Context, c *admin.Client, _ []string, f format) error {
		l, err := explain.ParseLanguage(language)
		if err != nil {
			return usageError{fmt.Errorf("--language: %w", err)}
		}
		id, err := steps.ParseParticipantID(participant)
		if err != nil || day.day == nil {
			return usageError{fmt.Errorf("--participant and --day say what to explain, such as --participant p-0001 --day 2026-11-20")}
		}
		d, err := c.Explain(ctx, steps.ParticipantDay{Participant: id, Day: *day.day})
		if err != nil {
			return err
		}
		if f == formatJSON {
			return printJSON(cmd.OutOrStdout(), d)
		}
		if err := d.WriteText(cmd.OutOrStdout(), l); err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout())
		return d.WritePicture(cmd.OutOrStdout(), l)
	})
}
