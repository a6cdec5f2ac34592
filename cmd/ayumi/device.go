package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"ayumi/admin"
	"ayumi/registry"
	"ayumi/steps"
)

func deviceCommand() *cobra.Command {
	return group("device", "Register devices and say whose steps they count",
		deviceAdd(), deviceShow(), deviceList(), deviceBind(), deviceUnbind(), deviceRotate(),
		deviceRevoke(), deviceRestore(), deviceProvision())
}

func deviceAdd() *cobra.Command {
	var kind, participant string
	var from dayFlag
	cmd := &cobra.Command{
		Use:   "add ID",
		Short: "Register a device and print its secret, once",
		Example: "  ayumi device add --data-dir DIR watch-17 --participant p-0001\n" +
			"  ayumi device add --data-dir DIR hall-2 --kind reader",
		Args: exactArgs("ID"),
	}
	cmd.Flags().StringVar(&kind, "kind", "pedometer", "`KIND`: pedometer, app or reader")
	cmd.Flags().StringVar(&participant, "participant", "", "bind it to this participant's `ID`")
	cmd.Flags().Var(&from, "from", "first day of the binding; today when absent")
	return clientCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) error {
		k, err := registry.ParseKind(kind)
		if err != nil {
			return usageError{fmt.Errorf("--kind: %w", err)}
		}
		if participant != "" { // before the secret is shown and cannot be had again
			if _, err := c.Participant(ctx, steps.ParticipantID(participant)); err != nil {
				return err
			}
		}
		cred, err := c.AddDevice(ctx, steps.DeviceID(args[0]), k)
		if err != nil {
			return err
		}
		if err := printSecret(cmd, cred); err != nil || participant == "" {
			return err
		}
		_, err = c.Bind(ctx, cred.Device, steps.ParticipantID(participant), from.day)
		return err
	})
}

func printSecret(cmd *cobra.Command, cred admin.Credential) error {
	fmt.Fprintln(cmd.ErrOrStderr(), "The secret is shown this once; the gateway keeps only its hash.")
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "device  %s\nsecret  %s\n", cred.Device, cred.Secret)
	return err
}

func deviceShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show a device: bindings, last contact, battery",
		Example: "  ayumi device show --data-dir DIR watch-17",
		Args:    exactArgs("ID"),
	}
	return oneCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) (admin.Device, error) {
		return c.Device(ctx, steps.DeviceID(args[0]))
	}, func(w io.Writer, d *admin.Device) error {
		fmt.Fprintf(w, "device     %s\nkind       %s\nsince      %s\nrevoked    %t\n", d.ID, d.Kind, d.Since, d.Revoked)
		if k := d.Contact; k != nil {
			fmt.Fprintf(w, "last seen  %s\nuploads    %d\nbattery    %s\nfirmware   %s\nsignal     %s\n",
				timestamp(k.ReceivedAt), k.Uploads, unlessZero(k.Battery, " %"), cmp.Or(k.Firmware, "-"), unlessZero(k.Signal, " dBm"))
		} else {
			fmt.Fprintln(w, "last seen  never")
		}
		fmt.Fprintln(w)
		return printBindings(cmd, d.Bindings)
	})
}

// unlessZero prints what a device may leave out.
func unlessZero[T comparable](v T, unit string) string {
	var zero T
	if v == zero {
		return "-"
	}
	return fmt.Sprint(v, unit)
}

func deviceList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List all devices with their last contact",
		Example: "  ayumi device list --data-dir DIR --output csv",
		Args:    exactArgs(),
	}
	return printCommand(cmd, listFormats, func(ctx context.Context, c *admin.Client, _ []string, f format) error {
		return printList(cmd, f, []string{"device", "kind", "participant", "revoked", "last_seen", "uploads"}, func(row func(...any) error) error {
			return c.EachDevice(ctx, func(d admin.Device) error {
				var seen time.Time
				var uploads uint64
				if d.Contact != nil {
					seen, uploads = d.Contact.ReceivedAt, d.Contact.Uploads
				}
				return row(d.ID, d.Kind.String(), d.Participant, d.Revoked, timestamp(seen), uploads)
			})
		})
	})
}

func deviceBind() *cobra.Command {
	var from dayFlag
	cmd := &cobra.Command{
		Use:   "bind ID PARTICIPANT",
		Short: "Count a device's steps for a participant from a day on",
		Long: "Count a device's steps for a participant from a day on. A binding to somebody else that is open ends\n" +
			"the day before; days of one device never count for two people.",
		Example: "  ayumi device bind --data-dir DIR watch-17 p-0001 --from 2026-11-01",
		Args:    exactArgs("ID", "PARTICIPANT"),
	}
	cmd.Flags().Var(&from, "from", "first day; today when absent")
	return clientCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) error {
		d, err := c.Bind(ctx, steps.DeviceID(args[0]), steps.ParticipantID(args[1]), from.day)
		if err != nil {
			return err
		}
		return printBindings(cmd, d.Bindings)
	})
}

func deviceUnbind() *cobra.Command {
	var to dayFlag
	cmd := &cobra.Command{
		Use:     "unbind ID",
		Short:   "End a device's binding with a day",
		Example: "  ayumi device unbind --data-dir DIR watch-17 --to 2026-11-30",
		Args:    exactArgs("ID"),
	}
	cmd.Flags().Var(&to, "to", "last day that counts; today when absent")
	return clientCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) error {
		d, err := c.Unbind(ctx, steps.DeviceID(args[0]), to.day)
		if err != nil {
			return err
		}
		return printBindings(cmd, d.Bindings)
	})
}

func deviceRotate() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "rotate ID",
		Short:   "Give a device a new secret; the old one stops working",
		Example: "  ayumi device rotate --data-dir DIR watch-17",
		Args:    exactArgs("ID"),
	}
	return clientCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) error {
		cred, err := c.RotateSecret(ctx, steps.DeviceID(args[0]))
		if err != nil {
			return err
		}
		return printSecret(cmd, cred)
	})
}

func deviceRevoke() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "revoke ID",
		Short:   "Shut a device out; its steps stay",
		Example: "  ayumi device revoke --data-dir DIR watch-17",
		Args:    exactArgs("ID"),
	}
	return clientCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) error {
		_, err := c.Revoke(ctx, steps.DeviceID(args[0]))
		return err
	})
}

func deviceRestore() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "restore ID",
		Short:   "Let a revoked device in again",
		Example: "  ayumi device restore --data-dir DIR watch-17",
		Args:    exactArgs("ID"),
	}
	return clientCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) error {
		_, err := c.Restore(ctx, steps.DeviceID(args[0]))
		return err
	})
}

func deviceProvision() *cobra.Command {
	var opt registry.ProvisionOptions
	cmd := &cobra.Command{
		Use:   "provision FILE",
		Short: "Register people and devices in bulk from CSV; prints participant,device,secret",
		Long: "Register participants, devices and bindings from a CSV file with the columns participant,device,kind,from,born\n" +
			"(only device is required). Every mistake is reported with its line, and then nothing is applied. Keep the output\n" +
			"safe: the secrets cannot be had again.",
		Example: "  ayumi device provision --data-dir DIR people.csv > secrets.csv\n" +
			"  ayumi device provision --data-dir DIR --dry-run people.csv",
		Args: exactArgs("FILE"),
	}
	cmd.Flags().BoolVar(&opt.DryRun, "dry-run", false, "check the file and change nothing")
	cmd.Flags().BoolVar(&opt.SkipExisting, "skip-existing", false, "pass over devices that are registered already")
	return clientCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) error {
		var in io.Reader = cmd.InOrStdin()
		if args[0] != "-" {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			in = f
		}
		bar := newProgress(cmd.ErrOrStderr())
		defer bar.done()
		w := csv.NewWriter(cmd.OutOrStdout())
		rows := 0
		sum, err := c.Provision(ctx, in, opt, func(r admin.ProvisionedRow) error {
			if rows == 0 {
				if err := w.Write([]string{"participant", "device", "secret"}); err != nil {
					return err
				}
			}
			rows++
			bar.show("%d devices", rows)
			return w.Write([]string{string(r.Participant), string(r.Device), r.Secret})
		})
		w.Flush()
		if err != nil {
			return err
		}
		bar.done()
		fmt.Fprintf(cmd.ErrOrStderr(), "%d participants and %d devices registered, %d passed over\n", sum.Participants, sum.Devices, sum.Skipped)
		return w.Error()
	})
}
