// Command ayumi is the server of a municipal walking-points programme: a gateway that pedometers
// and apps upload steps to, the points engine behind it, and the verbs of those who run it.
//
// This package is the assembly, the only place that knows every room, and the command line. The
// verbs that look at a running gateway talk to it over admin.sock in its data directory.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run executes one command line and returns the exit status: 0 done, 1 failed, 2 misused.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var misuse usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &misuse):
		fmt.Fprintf(stderr, "ayumi: %v\n", err)
		return 2
	default:
		fmt.Fprintf(stderr, "ayumi: %v\n", err)
		return 1
	}
}

// usageError is a command line that cannot be meant.
type usageError struct{ error }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "ayumi",
		Short: "The server of a municipal walking-points programme",
		Long: "Ayumi receives steps from pedometers (MQTT) and apps (HTTPS), keeps them, and turns them into points.\n\n" +
			"To see it work on made-up people:  ayumi demo\n" +
			"To run a gateway:                  ayumi serve --data-dir DIR",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noVerb,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.ValidateRequiredFlags(); err != nil { // before cobra does, whose error is no usageError
				return usageError{fmt.Errorf("%w; see '%s --help'", err, cmd.CommandPath())}
			}
			return nil
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see '%s --help'", err, cmd.CommandPath())}
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		demoCommand(), serveCommand(), replayCommand(), benchCommand(),
		deviceCommand(), participantCommand(), daysCommand(), pointsCommand(), prizeCommand(), exchangeCommand(),
		activityCommand(), quarantineCommand(), reviewCommand(),
		rulesCommand(), checkConfigCommand(), checkStoreCommand(), versionCommand(),
	)
	return root
}

// exactArgs wants as many arguments as there are names, and says which is missing.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usageError{fmt.Errorf("%s is missing; see '%s --help'", names[len(args)], cmd.CommandPath())}
		case len(args) > len(names):
			return usageError{fmt.Errorf("%q is one argument too many; see '%s --help'", args[len(names)], cmd.CommandPath())}
		}
		return nil
	}
}
