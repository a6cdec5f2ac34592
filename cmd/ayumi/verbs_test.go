package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"ayumi/steps"
)

// TestVerbProcess is the ayumi command when the scripts run this binary as a process of its own.
func TestVerbProcess(t *testing.T) {
	if os.Getenv("AYUMI_VERB_PROCESS") != "1" {
		t.Skip("only the scripts run this")
	}
	os.Exit(run(flag.Args(), os.Stdout, os.Stderr))
}

// installVerb puts a command ayumi that is this binary into dir.
func installVerb(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	text := fmt.Sprintf("#!/bin/sh\nGORACE=atexit_sleep_ms=0 AYUMI_VERB_PROCESS=1 exec '%s' -test.run='^TestVerbProcess$' -test.timeout=1m -- \"$@\"\n", self)
	return os.WriteFile(filepath.Join(dir, "ayumi"), []byte(text), 0o700)
}

// TestVerbs runs testdata/script, each script against a gateway of its own on $DATA.
func TestVerbs(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "script", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no scripts: %v", err)
	}
	bin := t.TempDir()
	if err := installVerb(bin); err != nil {
		t.Fatal(err)
	}
	example, err := filepath.Abs(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			cfg := testConfig()
			cfg.Plausibility.HoldSevere = true
			g := startGateway(t, cfg, t.TempDir())
			today := g.calendar.Day(time.Now().Unix())
			testscript.Run(t, testscript.Params{
				Files: []string{file}, RequireUniqueNames: true, Cmds: scriptCommands(g),
				Setup: func(env *testscript.Env) error {
					env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
					env.Setenv("DATA", g.dir)
					env.Setenv("EXAMPLE", example)
					env.Setenv("TODAY", today.String())
					env.Setenv("YESTERDAY", (today - 1).String())
					env.Setenv("FIRST", (today - 20).String())
					return nil
				},
			})
		})
	}
}

type scriptCommand = func(ts *testscript.TestScript, neg bool, args []string)

// scriptCommands are the words that the scripts have beside testscript's own.
func scriptCommands(g *testGateway) map[string]scriptCommand {
	return map[string]scriptCommand{
		// misuse PATTERN COMMAND...: status 2, and stderr has the pattern.
		"misuse": func(ts *testscript.TestScript, _ bool, args []string) { wantStatus(ts, 2, args[0], args[1:]) },
		// fails PATTERN COMMAND...: status 1, and stderr has the pattern.
		"fails": func(ts *testscript.TestScript, _ bool, args []string) { wantStatus(ts, 1, args[0], args[1:]) },
		// unreachable COMMAND...: status 1, and stderr says what to start.
		"unreachable": func(ts *testscript.TestScript, _ bool, args []string) {
			wantStatus(ts, 1, `cannot reach the gateway: no admin\.sock in "\w+"; is ayumi serve running with --data-dir \w+\?`, args)
		},
		"helps":      helps,
		"wellformed": wellformed,
		// capture NAME PATTERN: sets NAME to the pattern's first group in stdout.
		"capture": func(ts *testscript.TestScript, _ bool, args []string) {
			m := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
			if m == nil {
				ts.Fatalf("stdout has no %s", args[1])
			}
			ts.Setenv(args[0], m[1])
		},
		// post DEVICE SECRET FILE STATUS: uploads the JSON file, in which $NAME is replaced.
		"post": func(ts *testscript.TestScript, _ bool, args []string) {
			w := &walker{device: steps.DeviceID(args[0]), secret: args[1]}
			body := os.Expand(ts.ReadFile(args[2]), ts.Getenv)
			status, _, text := request(g.t, g, w, http.Header{"Content-Type": {"application/json"}}, []byte(body))
			if fmt.Sprint(status) != args[3] {
				ts.Fatalf("%d %s", status, text)
			}
		},
	}
}

// wantStatus runs a command that has to fail with this status and one clear line.
func wantStatus(ts *testscript.TestScript, status int, pattern string, command []string) {
	err := ts.Exec(command[0], command[1:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != status {
		ts.Fatalf("%v, want status %d", err, status)
	}
	text := ts.ReadFile("stderr")
	if !regexp.MustCompile("(?s)^ayumi: .*"+pattern).MatchString(text) || strings.Contains(text, "panic") {
		ts.Fatalf("stderr has no %s", pattern)
	}
}

// helps VERB...: --help prints the use, an example and the flags, and each example begins with the verb.
func helps(ts *testscript.TestScript, _ bool, verb []string) {
	ts.Check(ts.Exec("ayumi", append(slices.Clone(verb), "--help")...))
	text := ts.ReadFile("stdout")
	_, examples, found := strings.Cut(text, "\nExamples:\n")
	examples, _, _ = strings.Cut(examples, "\n\n")
	if !found || !strings.Contains(text, "\nUsage:\n  ayumi "+strings.Join(verb, " ")) || ts.ReadFile("stderr") != "" {
		ts.Fatalf("%v --help lacks usage or example", verb)
	}
	for line := range strings.SplitSeq(examples, "\n") {
		if !strings.HasPrefix(line, "  ayumi "+strings.Join(verb, " ")) {
			ts.Fatalf("an example of %v is %q", verb, line)
		}
	}
}

// wellformed N COLUMNS COMMAND...: the command prints N records of these columns in each format,
// the same in all. The table stays in stdout.
func wellformed(ts *testscript.TestScript, _ bool, args []string) {
	n, columns, command := args[0], strings.Split(args[1], ","), args[2:]
	show := func(format string) string {
		ts.Check(ts.Exec(command[0], append(slices.Clone(command[1:]), "--output", format)...))
		if errs := ts.ReadFile("stderr"); errs != "" {
			ts.Fatalf("stderr: %s", errs)
		}
		return ts.ReadFile("stdout")
	}
	records, err := csv.NewReader(strings.NewReader(show("csv"))).ReadAll()
	ts.Check(err)
	if len(records) == 0 || !slices.Equal(records[0], columns) || fmt.Sprint(len(records)-1) != n {
		ts.Fatalf("CSV: %q, want %s records of %v", records, n, columns)
	}
	var objects []map[string]any
	ts.Check(json.Unmarshal([]byte(show("json")), &objects))
	if fmt.Sprint(len(objects)) != n {
		ts.Fatalf("JSON: %d records, want %s", len(objects), n)
	}
	table := strings.Split(strings.TrimSuffix(show("table"), "\n"), "\n")
	if !slices.Equal(strings.Fields(strings.ToLower(table[0])), columns) || len(table) != len(records) {
		ts.Fatalf("table: %d lines, headed %q", len(table), table[0])
	}
	for i, r := range records[1:] {
		for j, column := range columns {
			if got := fmt.Sprint(objects[i][column]); got != r[j] && !sameNumber(objects[i][column], r[j]) {
				ts.Fatalf("record %d has %s %q in CSV and %q in JSON", i, column, r[j], got)
			}
			if !strings.Contains(table[i+1], r[j]) {
				ts.Fatalf("record %d has %s %q, which the table lacks: %s", i, column, r[j], table[i+1])
			}
		}
	}
}

func sameNumber(v any, text string) bool {
	f, ok := v.(float64)
	return ok && fmt.Sprintf("%.0f", f) == text
}

// A verb that help.txtar does not ask for help has none that is tested.
func TestHelpScriptKnowsEveryVerb(t *testing.T) {
	script, err := os.ReadFile(filepath.Join("testdata", "script", "help.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, c := range cmd.Commands() {
			visit(c)
		}
		if cmd.HasSubCommands() || cmd.Name() == "help" {
			return
		}
		n++
		if line := "helps " + strings.TrimPrefix(cmd.CommandPath(), "ayumi "); !strings.Contains(string(script), line+"\n") {
			t.Errorf("help.txtar lacks %q", line)
		}
	}
	visit(newRoot())
	if n == 0 {
		t.Error("there are no verbs")
	}
}
