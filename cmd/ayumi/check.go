package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"ayumi/registry"
	"ayumi/steps"
	"ayumi/store"
)

func checkConfigCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "check-config FILE",
		Short:   "Check a config file and the rules that it names",
		Example: "  ayumi check-config /etc/ayumi/config.yaml",
		Args:    exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(args[0])
			if err != nil {
				return err
			}
			if _, err := steps.NewCalendar(cfg.Programme.TimeZone); err != nil {
				return fmt.Errorf("programme.time_zone: %w", err)
			}
			rules, err := cfg.rules()
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is good; rules: %s\n", args[0], rules.Programme())
			return nil
		},
	}
}

func checkStoreCommand() *cobra.Command {
	var dir, output string
	var acceptLoss bool
	cmd := &cobra.Command{
		Use:   "check-store",
		Short: "Verify that everything in a store adds up",
		Long: "Verify a store while its gateway is stopped: checksums, every day's total against the sum of its merged\n" +
			"minutes, every award against its day's total, every quarantined payload. Exit status 1 if anything is wrong.",
		Example: "  ayumi check-store --data-dir /var/lib/ayumi\n" +
			"  ayumi check-store --data-dir /var/lib/ayumi --output json",
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, err := parseFormat(output, oneFormats)
			if err != nil {
				return err
			}
			report, err := checkStore(cmd, dir, acceptLoss)
			if err != nil {
				return err
			}
			if err := printReport(cmd, format, report); err != nil {
				return err
			}
			if report.ProblemCount > 0 {
				return fmt.Errorf("the store has %d problems", report.ProblemCount)
			}
			return nil
		},
	}
	dataDirFlag(cmd, &dir)
	outputFlag(cmd, &output, oneFormats)
	cmd.Flags().BoolVar(&acceptLoss, "accept-loss", false,
		"open a store that lost acknowledged uploads, so that it can be served again; restore a backup instead if there is one")
	return cmd
}

// checkStore opens the store by itself; the directory lock keeps a running gateway and this apart.
func checkStore(cmd *cobra.Command, dir string, acceptLoss bool) (report *store.Report, err error) {
	path := filepath.Join(dir, "store")
	if _, err := os.Stat(path); err != nil {
		return nil, steps.Errorf("check store", steps.NotFound, "there is none in --data-dir %q", dir)
	}
	cfg := defaultConfig()
	sc := cfg.store(path)
	sc.AcceptLoss = acceptLoss
	sc.Sources = nil // those that the store's totals are by
	sc.Orders = func(t store.Table) (store.Orders, error) { return registry.Open(t, registry.Config{}) }
	s, err := store.Open(sc, cfg.logger(cmd.ErrOrStderr()), prometheus.NewRegistry())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	bar := newProgress(cmd.ErrOrStderr())
	defer bar.done()
	return s.Check(cmd.Context(), func(days int) { bar.show("%d participant-days checked", days) })
}

func printReport(cmd *cobra.Command, format format, r *store.Report) error {
	if format == formatJSON {
		return printJSON(cmd.OutOrStdout(), r)
	}
	w := cmd.OutOrStdout()
	for _, line := range []struct {
		label string
		value any
	}{
		{"participant-days on disk", r.ParticipantDays},
		{"steps in them", r.Steps},
		{"journal groups not yet in blocks", r.JournalGroups},
		{"awards", r.Awards},
		{"days waiting to be scored", r.Waiting},
		{"closed days", r.ClosedDays},
		{"late days", r.Late},
		{"reviews", r.Reviews},
		{"balances", r.Balances},
		{"ledger entries", r.Entries},
		{"exchanges", r.Exchanges},
		{"quarantined payloads", r.Quarantined},
		{"problems", r.ProblemCount},
	} {
		fmt.Fprintf(w, "%-34s %v\n", line.label, line.value)
	}
	if r.Retotalling {
		fmt.Fprintln(w, "the gateway has yet to total all days anew under another merge policy")
	}
	if r.Rescoring {
		fmt.Fprintln(w, "the gateway has yet to score all days anew: days that wait to be scored are not known")
	}
	for _, p := range r.Problems {
		fmt.Fprintf(w, "  %s\n", p)
	}
	return nil
}
