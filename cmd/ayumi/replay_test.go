package main

import (
	"context"
	"encoding/csv"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ayumi/admin"
	"ayumi/steps"
)

// personDay names a participant-day as the command line prints it.
type personDay struct{ person, day string }

// walked is what a participant-day came to.
type walked struct {
	steps  uint64
	points int
}

// yokohama scores a day by the published table: a point for 2,000 steps, at most 5.
func yokohama(steps uint64) int { return int(min(steps/2000, 5)) }

// readDays is what `ayumi days --output csv` prints.
func readDays(t *testing.T, dir string) map[personDay]walked {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(mustVerb(t, "days", "--data-dir", dir, "--output", "csv"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) == 0 || strings.Join(rows[0], ",") != "participant,day,steps,points" {
		t.Fatalf("days printed the header %q", rows)
	}
	days := make(map[personDay]walked, len(rows))
	for _, row := range rows[1:] {
		key := personDay{row[0], row[1]}
		n, err := strconv.ParseUint(row[2], 10, 64)
		if err != nil {
			t.Fatalf("%v: %v", row, err)
		}
		p, err := strconv.Atoi(row[3])
		if err != nil {
			t.Fatalf("%v: %v", row, err)
		}
		if _, twice := days[key]; twice {
			t.Fatalf("days printed %v twice", key)
		}
		days[key] = walked{n, p}
	}
	return days
}

// sameDays compares every day, those that only one side has included.
func sameDays(t *testing.T, got, want map[personDay]walked) {
	t.Helper()
	const most = 10
	wrong := 0
	for key, w := range want {
		if g, ok := got[key]; g != w {
			if wrong++; wrong <= most {
				t.Errorf("%s on %s: gateway holds %+v (%t), expected %+v", key.person, key.day, g, ok, w)
			}
		}
	}
	for key, g := range got {
		if _, ok := want[key]; !ok {
			if wrong++; wrong <= most {
				t.Errorf("%s on %s: gateway holds %+v, expected no such day", key.person, key.day, g)
			}
		}
	}
	if wrong > most {
		t.Errorf("%d days are wrong", wrong)
	}
}

// exportDays sums a minuteStepsWide export up by itself, with every date moved so that the last
// one becomes last; a zero last moves nothing.
func exportDays(t *testing.T, path string, last time.Time) map[personDay]walked {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	type hour struct {
		person string
		date   time.Time
		steps  uint64
	}
	var hours []hour
	var end time.Time
	for _, row := range rows[1:] {
		date, _, _ := strings.Cut(row[1], " ")
		h := hour{person: row[0]}
		if h.date, err = time.Parse("1/2/2006", date); err != nil {
			t.Fatal(err)
		}
		for _, minute := range row[2:62] {
			n, err := strconv.ParseUint(minute, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			h.steps += n
		}
		if h.date.After(end) {
			end = h.date
		}
		hours = append(hours, h)
	}
	var moved time.Duration
	if !last.IsZero() {
		moved = last.Sub(end)
	}
	days := make(map[personDay]walked)
	for _, h := range hours {
		key := personDay{h.person, h.date.Add(moved).Format(time.DateOnly)}
		n := days[key].steps + h.steps
		days[key] = walked{n, yokohama(n)}
	}
	return days
}

// today is the programme's day by the gateway's calendar.
func today(t *testing.T, c *admin.Client) steps.Day {
	t.Helper()
	cal, err := c.Calendar(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if cal.Zone != "Asia/Tokyo" {
		t.Fatalf("the calendar is that of %s", cal.Zone)
	}
	return cal.Today
}

// midnight is a day's start in UTC, to reckon with dates.
func midnight(t *testing.T, d steps.Day) time.Time {
	t.Helper()
	date, err := time.Parse(time.DateOnly, d.String())
	if err != nil {
		t.Fatal(err)
	}
	return date
}

// printed reads a number off a replay's summary.
func printed(t *testing.T, summary, label string) int {
	t.Helper()
	for line := range strings.Lines(summary) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), label+" "); ok {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			return n
		}
	}
	t.Fatalf("no %q in:\n%s", label, summary)
	return 0
}

// quarantined lists the entries by name, with the reasons of each.
func quarantined(t *testing.T, c *admin.Client) map[steps.QuarantineID][]string {
	t.Helper()
	entries := make(map[steps.QuarantineID][]string)
	err := c.EachQuarantined(context.Background(), steps.QuarantineFilter{}, func(q *admin.QuarantineEntry) error {
		if _, twice := entries[q.ID]; twice {
			t.Errorf("entry %s is listed twice", q.ID)
		}
		for _, f := range q.Faults {
			entries[q.ID] = append(entries[q.ID], f.Reason)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// clockFaults checks that as many payloads as were sent with a broken clock are quarantined, for
// what a broken clock leads to and nothing else.
func clockFaults(t *testing.T, c *admin.Client, want int) {
	t.Helper()
	entries := quarantined(t, c)
	if len(entries) != want {
		t.Errorf("%d payloads are quarantined, expected the %d that came with a broken clock", len(entries), want)
	}
	seen := map[string]int{}
	for id, reasons := range entries {
		if len(reasons) == 0 {
			t.Errorf("entry %s names no reason", id)
		}
		for _, r := range reasons {
			seen[r]++
		}
	}
	for r, n := range seen {
		if r != "future" && r != "too_old" && r != "unbound" {
			t.Errorf("%d faults are %s", n, r)
		}
	}
}

// replayCase is one way of replaying the export.
type replayCase struct {
	name       string
	args       []string
	faults     bool
	twice      bool
	fileDates  bool
	maxAgeDays int
}

func TestReplayFitbit(t *testing.T) {
	t.Parallel()
	file := sharedFile(t, "data/fitbit-53894/minuteStepsWide_merged.csv")
	for _, c := range []replayCase{
		{name: "mqtt", args: []string{"--transport", "mqtt"}, maxAgeDays: 42},
		{name: "mqtt with faults", args: []string{"--transport", "mqtt", "--faults"}, faults: true, twice: true, maxAgeDays: 42},
		{name: "https", args: []string{"--transport", "https"}, maxAgeDays: 42},
		{name: "https with faults", args: []string{"--transport", "https", "--faults"}, faults: true, maxAgeDays: 42},
		{name: "the file's own dates", args: []string{"--no-shift", "--faults", "--encoding", "pb"}, faults: true, fileDates: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for !c.replay(t, file, 33, 919) { // midnight passed meanwhile
			}
		})
	}
}

// raceDetector reports whether this test was built with -race.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// replay uploads the file to a gateway of its own, twice if asked to, and compares what it holds
// with the file. It reports false when the day changed on the way, so that nothing can be said.
func (c *replayCase) replay(t *testing.T, file string, people, days int) bool {
	t.Helper()
	dir := t.TempDir()
	cfg := testConfig()
	cfg.Limits.MaxAgeDays = c.maxAgeDays
	g := startGateway(t, cfg, dir)
	defer g.stop()
	args := append([]string{"replay", "fitbit-minutes", "--data-dir", dir, file}, c.args...)

	began := today(t, g.client)
	summaries := []string{mustVerb(t, args...)}
	held := []map[personDay]walked{readDays(t, dir)}
	broken := printed(t, summaries[0], "with a broken clock")
	clockFaults(t, g.client, broken)
	if c.twice {
		summaries = append(summaries, mustVerb(t, args...))
		held = append(held, readDays(t, dir))
		clockFaults(t, g.client, broken)
	}
	if today(t, g.client) != began {
		return false
	}

	var last time.Time
	if !c.fileDates {
		last = midnight(t, began).AddDate(0, 0, -1)
	}
	want := exportDays(t, file, last)
	ids := map[string]bool{}
	for key := range want {
		ids[key.person] = true
	}
	if len(ids) != people || len(want) != days {
		t.Fatalf("the file holds %d people and %d person-days, not %d and %d", len(ids), len(want), people, days)
	}
	for i := range held {
		sameDays(t, held[i], want)
		c.checkSummary(t, summaries[i], want, people)
	}
	return true
}

// checkSummary compares what the verb printed with the file.
func (c *replayCase) checkSummary(t *testing.T, summary string, want map[personDay]walked, people int) {
	t.Helper()
	var sum uint64
	for _, w := range want {
		sum += w.steps
	}
	sent := printed(t, summary, "sent, repeats included")
	broken := printed(t, summary, "with a broken clock")
	refused := printed(t, summary, "into quarantine")
	for _, line := range []struct {
		label string
		want  int
	}{
		{"people", people}, {"participant-days", len(want)}, {"steps", int(sum)}, {"acknowledged", sent}, {"reconnects", 0},
	} {
		if got := printed(t, summary, line.label); got != line.want {
			t.Errorf("the summary says %d %s, expected %d", got, line.label, line.want)
		}
	}
	if c.faults != (broken > 0) || c.faults != (refused > broken) || c.faults != (sent > 2*printed(t, summary, "uploads")) {
		t.Errorf("faults asked for: %t; the summary is\n%s", c.faults, summary)
	}
	if c.fileDates != (printed(t, summary, "days shifted") == 0) {
		t.Errorf("file's own dates: %t; the summary is\n%s", c.fileDates, summary)
	}
}
