package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"ayumi/admin"
	"ayumi/steps"
)

// clientCommand finishes a verb that talks to a running gateway: it adds --data-dir and hands run
// a connected client.
func clientCommand(cmd *cobra.Command, run func(ctx context.Context, c *admin.Client, args []string) error) *cobra.Command {
	var dir string
	dataDirFlag(cmd, &dir)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		c, err := admin.Dial(dir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, c.Close()) }()
		return run(cmd.Context(), c, args)
	}
	return cmd
}

// printCommand is a clientCommand that prints data in one of the formats.
func printCommand(cmd *cobra.Command, formats []format, run func(ctx context.Context, c *admin.Client, args []string, f format) error) *cobra.Command {
	var output string
	outputFlag(cmd, &output, formats)
	return clientCommand(cmd, func(ctx context.Context, c *admin.Client, args []string) error {
		f, err := parseFormat(output, formats)
		if err != nil {
			return err
		}
		return run(ctx, c, args, f)
	})
}

// oneCommand is a printCommand that prints one thing: print writes for people what get returned.
func oneCommand[T any](cmd *cobra.Command, get func(ctx context.Context, c *admin.Client, args []string) (T, error),
	print func(w io.Writer, v *T) error,
) *cobra.Command {
	return printCommand(cmd, oneFormats, func(ctx context.Context, c *admin.Client, args []string, f format) error {
		v, err := get(ctx, c, args)
		if err != nil {
			return err
		}
		if f == formatJSON {
			return printJSON(cmd.OutOrStdout(), v)
		}
		return print(cmd.OutOrStdout(), &v)
	})
}

// The formats of one thing and of a list.
var (
	oneFormats  = []format{formatTable, formatJSON}
	listFormats = []format{formatTable, formatJSON, formatCSV}
)

// printList prints rows of named columns as each yields them.
func printList(cmd *cobra.Command, f format, columns []string, each func(row func(cells ...any) error) error) error {
	out, err := newRows(cmd.OutOrStdout(), f, columns...)
	if err != nil {
		return err
	}
	if err := each(out.row); err != nil {
		return err
	}
	return out.end()
}

// group is a verb that only has verbs below it.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short,
		Args: noVerb,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(below...)
	return cmd
}

// noVerb refuses what follows a verb that only has verbs below it.
func noVerb(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%q is no verb of '%s'; see '%s --help'", args[0], cmd.CommandPath(), cmd.CommandPath())}
	}
	return nil
}

// dayFlag is a date on the command line.
type dayFlag struct{ day *steps.Day }

// Set implements pflag.Value.
func (f *dayFlag) Set(s string) error {
	d, err := steps.ParseDay(s)
	if err != nil {
		return err
	}
	f.day = &d
	return nil
}

// String implements pflag.Value.
func (f *dayFlag) String() string {
	if f.day == nil {
		return ""
	}
	return f.day.String()
}

// Type implements pflag.Value.
func (f *dayFlag) Type() string { return "DATE" }

// rangeFlags narrows a listing of days.
type rangeFlags struct {
	from, to    dayFlag
	participant string
}

func (f *rangeFlags) add(cmd *cobra.Command) {
	cmd.Flags().Var(&f.from, "from", "first day, such as 2026-11-01")
	cmd.Flags().Var(&f.to, "to", "last day")
	cmd.Flags().StringVar(&f.participant, "participant", "", "only this participant's `ID`")
}

func (f *rangeFlags) parse() (r steps.DayRange, p steps.ParticipantID, err error) {
	if f.participant != "" {
		if p, err = steps.ParseParticipantID(f.participant); err != nil {
			return r, "", usageError{fmt.Errorf("--participant: %w", err)}
		}
	}
	if f.from.day != nil {
		r.From = *f.from.day
	}
	if f.to.day != nil {
		r.Until = *f.to.day
		if r.Until < r.From {
			return r, "", usageError{fmt.Errorf("--to %s lies before --from %s; exchange them", r.Until, r.From)}
		}
	}
	return r, p, nil
}

// staffName is who decides, for the record: --by, or the login name.
func staffName(by string) string {
	if by != "" {
		return by
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return os.Getenv("USER")
}

// timestamp prints an instant, by the clock of whoever looks (RFC 3339); nothing for never.
func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.RFC3339)
}

// orDash prints an optional value.
func orDash[T any](v *T) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprint(*v)
}
