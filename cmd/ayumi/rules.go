package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"ayumi/points"
	"ayumi/steps"
)

func rulesCommand() *cobra.Command {
	return group("rules", "Check, try and reload a programme's rules", rulesCheck(), rulesTry(), rulesReload(), rulesShow())
}

func rulesCheck() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a rules file and list what is wrong and what looks wrong",
		Long: "Check a rules file without a gateway. Errors are what a gateway would refuse the file for; warnings are\n" +
			"what can be meant but hardly is. Each has its line, its field and the remedy. Exit status 1 if there is\n" +
			"an error. docs/rules.md explains every key.",
		Example: "  ayumi rules check rules.yaml\n" +
			"  ayumi rules check rules.yaml --output json",
		Args: exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := parseFormat(output, oneFormats)
			if err != nil {
				return err
			}
			report, err := checkRules(args[0])
			if err != nil {
				return err
			}
			if err := report.print(cmd.OutOrStdout(), format); err != nil {
				return err
			}
			if report.Errors > 0 {
				return fmt.Errorf("%s has %s", args[0], counted(report.Errors, "error"))
			}
			return nil
		},
	}
	outputFlag(cmd, &output, oneFormats)
	return cmd
}

// rulesReport is what a rules file is found to be.
type rulesReport struct {
	File      string           `json:"file"`
	Programme string           `json:"programme,omitempty"` // of a file without errors
	RuleSets  []string         `json:"rule_sets,omitempty"` // their IDs, by rising date
	Errors    int              `json:"errors"`
	Warnings  int              `json:"warnings"`
	Findings  []points.Finding `json:"findings"`
}

// checkRules fails only if the file cannot be read.
func checkRules(file string) (*rulesReport, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, steps.E("read rules", steps.Invalid, err)
	}
	defer f.Close()
	book, found, err := points.CheckRules(file, f)
	if err != nil && steps.KindOf(err) != steps.Invalid {
		return nil, err
	}
	report := &rulesReport{File: file, Findings: found}
	if found == nil {
		report.Findings = []points.Finding{} // an empty list in JSON
	}
	for _, finding := range found {
		if finding.Severity == points.SeverityError {
			report.Errors++
		} else {
			report.Warnings++
		}
	}
	if err == nil {
		report.Programme = book.Programme()
		report.RuleSets = book.RuleSetIDs()
	}
	return report, nil
}

func (r *rulesReport) print(w io.Writer, f format) error {
	if f == formatJSON {
		return printJSON(w, r)
	}
	for _, finding := range r.Findings {
		if _, err := fmt.Fprintf(w, "%s: %s: %v\n", r.File, finding.Severity, finding); err != nil {
			return err
		}
	}
	if r.Errors > 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "%s is good; programme %s, %s, %s\n", r.File, r.Programme,
		counted(len(r.RuleSets), "rule set"), counted(r.Warnings, "warning"))
	return err
}

// counted returns "1 error", "2 errors".
func counted(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}
