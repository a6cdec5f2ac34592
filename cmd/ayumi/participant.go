package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ayumi/admin"
	"ayumi/steps"
)

func participantCommand() *cobra.Command {
	return group("participant", "Register and look up participants",
		participantAdd(), participantShow(), participantList(), participantBorn(), participantSources())
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

func participantShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show a participant and the devices bound to them",
		Example: "  ayumi participant show --data-dir DIR p-0001",
		Args:    exactArgs("ID"),
	}
	return printCommand(cmd, oneFormats, func(ctx context.Context, c *admin.Client, args []string, f format) error {
		p, err := c.Participant(ctx, steps.ParticipantID(args[0]))
		if err != nil {
			return err
		}
		if f == formatJSON {
			return printJSON(cmd.OutOrStdout(), p)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "participant  %s\nborn         %s\nsince        %s\n", p.ID, orDash(p.Born), p.Since)
		printSources(cmd, &p)
		return printBindings(cmd, p.Bindings)
	})
}

// printSources shows what the participant decided about devices.
func printSources(cmd *cobra.Command, p *admin.Participant) {
	w := cmd.OutOrStdout()
	if len(p.Sources) > 0 {
		fmt.Fprintf(w, "sources      %s\n", strings.Join(deviceNames(p.Sources), ", "))
	}
	if p.Chosen != "" {
		fmt.Fprintf(w, "chosen       %s\n", p.Chosen)
	}
	fmt.Fprintln(w)
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
