package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ayumi/admin"
	"ayumi/registry"
	"ayumi/steps"
)

func participantCommand() *cobra.Command {
	return group("participant", "Register and look up participants",
		participantAdd(), participantShow(), participantList(), participantBorn(), participantSet(), participantSources())
}

func participantAdd() *cobra.Command {
	var born dayFlag
	cmd := &cobra.Command{
		Use:     "add ID",
		Short:   "Register a participant",
		Long:    "Register a participant under a pseudonym. Names and addresses do not belong here.",
		Example: "  ayumi participant add --data-dir DIR p-0001 --born 1955-04-01",
		Args:    exactArgs("ID"),
	}
	cmd.Flags().Var(&born, "born", "date of birth, for rules with age bands")
	return clientCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) error {
		p, err := c.AddParticipant(ctx, steps.ParticipantID(args[0]), born.day)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "participant %s is registered\n", p.ID)
		return err
	})
}

func participantBorn() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "born ID DATE",
		Short:   "Set a participant's date of birth and compute their points anew",
		Example: "  ayumi participant born --data-dir DIR p-0001 1955-04-01\n  ayumi participant born --data-dir DIR p-0001 unknown",
		Args:    exactArgs("ID", "DATE"),
	}
	return clientCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) error {
		var born dayFlag
		if args[1] != "unknown" {
			if err := born.Set(args[1]); err != nil {
				return usageError{err}
			}
		}
		_, err := c.SetBorn(ctx, steps.ParticipantID(args[0]), born.day)
		return err
	})
}

func participantSet() *cobra.Command {
	var cohort, baseline string
	var resident, enrolled []string
	cmd := &cobra.Command{
		Use:   "set ID",
		Short: "Set what a participant's points depend on and compute them anew",
		Long: "Set a participant's cohort, days of residency and enrolment, or baseline, for rules that ask for them. Days are\n" +
			"FIRST..LAST, or FIRST.. while they go on; give the flag once for each stretch. Nobody is asked for proof of what\n" +
			"is not set: without days a participant is resident always, and enrolled from the registration on. An empty value\n" +
			"takes away what was set.",
		Example: "  ayumi participant set --data-dir DIR p-0001 --cohort trial\n" +
			"  ayumi participant set --data-dir DIR p-0001 --resident 2026-04-01..2026-09-30 --resident 2027-01-10..\n" +
			"  ayumi participant set --data-dir DIR p-0001 --baseline 5200@2026-04-15\n" +
			"  ayumi participant set --data-dir DIR p-0001 --resident ''",
		Args: exactArgs("ID"),
	}
	cmd.Flags().StringVar(&cohort, "cohort", "", "group that the rules name")
	cmd.Flags().StringArrayVar(&resident, "resident", nil, "`DAYS` of living here, from moving in to moving out")
	cmd.Flags().StringArrayVar(&enrolled, "enrolled", nil, "`DAYS` of taking part")
	cmd.Flags().StringVar(&baseline, "baseline", "", "`STEPS@DATE`: steps a day before the programme, and the first day held against them")
	return clientCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) error {
		patch := map[string]any{}
		if cmd.Flags().Changed("cohort") {
			patch["cohort"] = cohort
		}
		for name, list := range map[string][]string{"resident": resident, "enrolled": enrolled} {
			if !cmd.Flags().Changed(name) {
				continue
			}
			spans, err := parseSpans(list)
			if err != nil {
				return usageError{fmt.Errorf("--%s %w", name, err)}
			}
			patch[name] = spans
		}
		if cmd.Flags().Changed("baseline") {
			b, err := parseBaseline(baseline)
			if err != nil {
				return usageError{fmt.Errorf("--baseline %w", err)}
			}
			patch["baseline"] = b
		}
		if len(patch) == 0 {
			return usageError{errors.New("nothing to set; give --cohort, --resident, --enrolled or --baseline")}
		}
		_, err := c.UpdateParticipant(ctx, steps.ParticipantID(args[0]), patch)
		return err
	})
}

func participantSources() *cobra.Command {
	var chosen string
	cmd := &cobra.Command{
		Use:   "sources ID [DEVICE...]",
		Short: "Set the order in which a participant's devices count, and total their days anew",
		Long: "Set the order in which a participant's devices count where several counted the same minutes; those that are\n" +
			"not named follow by ID. Without a device, all do. docs/merging.md says how days are merged.",
		Example: "  ayumi participant sources --data-dir DIR p-0001 phone-1 ped-7\n" +
			"  ayumi participant sources --data-dir DIR p-0001 --choose phone-1",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return exactArgs("ID")(cmd, args)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&chosen, "choose", "", "the `DEVICE` that alone counts where the programme lets one; none for the first that counted")
	return clientCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) error {
		id := steps.ParticipantID(args[0])
		if cmd.Flags().Changed("choose") {
			device := (*steps.DeviceID)(&chosen)
			if chosen == "none" {
				device = nil
			}
			if _, err := c.ChooseSource(ctx, id, device); err != nil || len(args) == 1 {
				return err
			}
		}
		order := make([]steps.DeviceID, 0, len(args)-1)
		for _, device := range args[1:] {
			order = append(order, steps.DeviceID(device))
		}
		_, err := c.SetSources(ctx, id, order)
		return err
	})
}

// parseSpans reads FIRST..LAST or FIRST.. of each value; an empty value is none.
func parseSpans(values []string) ([]admin.DaySpan, error) {
	spans := []admin.DaySpan{}
	for _, v := range values {
		if v == "" {
			continue
		}
		first, last, ok := strings.Cut(v, "..")
		if !ok {
			return nil, fmt.Errorf("%q is not FIRST..LAST, such as 2026-04-01..2026-09-30", v)
		}
		var s admin.DaySpan
		var err error
		if s.From, err = steps.ParseDay(first); err != nil {
			return nil, err
		}
		if last != "" {
			until, err := steps.ParseDay(last)
			if err != nil {
				return nil, err
			}
			s.Until = &until
		}
		spans = append(spans, s)
	}
	return spans, nil
}

func parseBaseline(v string) (*registry.Baseline, error) {
	if v == "" {
		return nil, nil
	}
	count, from, ok := strings.Cut(v, "@")
	n, err := strconv.ParseUint(count, 10, 32)
	if !ok || err != nil {
		return nil, fmt.Errorf("%q is not STEPS@DATE, such as 5200@2026-04-15", v)
	}
	day, err := steps.ParseDay(from)
	return &registry.Baseline{Steps: n, From: day}, err
}

func participantShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show a participant and the devices bound to them",
		Example: "  ayumi participant show --data-dir DIR p-0001",
		Args:    exactArgs("ID"),
	}
	return oneCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) (admin.Participant, error) {
		return c.Participant(ctx, steps.ParticipantID(args[0]))
	}, func(w io.Writer, p *admin.Participant) error {
		printTraits(w, p)
		printSources(w, p)
		fmt.Fprintln(w)
		return printBindings(cmd, p.Bindings)
	})
}

func printTraits(w io.Writer, p *admin.Participant) {
	fmt.Fprintf(w, "participant  %s\nborn         %s\nsince        %s\n", p.ID, orDash(p.Born), p.Since)
	if p.Cohort != "" {
		fmt.Fprintf(w, "cohort       %s\n", p.Cohort)
	}
	for _, list := range []struct {
		name string
		days []admin.DaySpan
	}{{"resident", p.Resident}, {"enrolled", p.Enrolled}} {
		for _, d := range list.days {
			fmt.Fprintf(w, "%-12s %s to %s\n", list.name, d.From, orDash(d.Until))
		}
	}
	if b := p.Baseline; b != nil {
		fmt.Fprintf(w, "baseline     %d steps a day, from %s\n", b.Steps, b.From)
	}
}

// printSources shows what the participant decided about devices.
func printSources(w io.Writer, p *admin.Participant) {
	if len(p.Sources) > 0 {
		fmt.Fprintf(w, "sources      %s\n", strings.Join(deviceNames(p.Sources), ", "))
	}
	if p.Chosen != "" {
		fmt.Fprintf(w, "chosen       %s\n", p.Chosen)
	}
}

func deviceNames(ids []steps.DeviceID) []string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = string(id)
	}
	return names
}

func printBindings(cmd *cobra.Command, bindings []admin.Binding) error {
	out, err := newRows(cmd.OutOrStdout(), formatTable, "device", "participant", "from", "until")
	if err != nil {
		return err
	}
	for _, b := range bindings {
		if err := out.row(b.Device, b.Participant, b.From, orDash(b.Until)); err != nil {
			return err
		}
	}
	return out.end()
}

func participantList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List all participants",
		Example: "  ayumi participant list --data-dir DIR --output csv",
		Args:    exactArgs(),
	}
	return printCommand(cmd, listFormats, func(ctx context.Context, c *admin.Client, _ []string, f format) error {
		return printList(cmd, f, []string{"participant", "born", "since"}, func(row func(...any) error) error {
			return c.EachParticipant(ctx, func(p admin.Participant) error { return row(p.ID, orDash(p.Born), p.Since) })
		})
	})
}
