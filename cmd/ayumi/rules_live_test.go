package main

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ayumi/explain"
	"ayumi/steps"
)

// minuteDays reads a minuteStepsWide export by itself: every minute of every person-day, with every date
// moved so that the last one becomes last.
func minuteDays(t *testing.T, path string, last time.Time) map[personDay][]uint64 {
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
	at := make([]time.Time, len(rows))
	var end time.Time
	for i, row := range rows[1:] {
		if at[i+1], err = time.Parse("1/2/2006 15:04", row[1]); err != nil {
			t.Fatal(err)
		}
		if at[i+1].After(end) {
			end = at[i+1]
		}
	}
	moved := last.Sub(end.Truncate(24 * time.Hour))
	days := map[personDay][]uint64{}
	for i, row := range rows[1:] {
		key := personDay{row[0], at[i+1].Add(moved).Format(time.DateOnly)}
		if days[key] == nil {
			days[key] = make([]uint64, 24*60)
		}
		for minute, text := range row[2:62] {
			n, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			days[key][at[i+1].Hour()*60+minute] += n
		}
	}
	return days
}

// tier returns what a figure earns by a table of thresholds and points.
func tier(figure uint64, table ...uint64) (points int) {
	for i := 0; i < len(table); i += 2 {
		if figure >= table[i] {
			points = int(table[i+1])
		}
	}
	return points
}

// published scores all days by the published tables of three programmes.
var published = map[string]func(days map[personDay][]uint64) map[personDay]walked{
	"yamagata": func(days map[personDay][]uint64) map[personDay]walked {
		return byDay(days, func(minutes []uint64, n uint64) int {
			return tier(n, 4000, 40, 5000, 50, 6000, 60, 7000, 70, 8000, 100)
		})
	},
	"singapore": func(days map[personDay][]uint64) map[personDay]walked { // as from February 2023
		return byDay(days, func(minutes []uint64, n uint64) int {
			brisk := uint64(0)
			for _, m := range minutes {
				if m >= 100 {
					brisk++
				}
			}
			return min(30, tier(n, 5000, 10)+tier(brisk, 10, 10, 20, 15, 30, 20))
		})
	},
	"vitality-uk": func(days map[personDay][]uint64) map[personDay]walked { // of unknown age
		scored := byDay(days, func(_ []uint64, n uint64) int { return tier(n, 12_500, 8) })
		weeks := map[personDay]int{}
		keys := make([]personDay, 0, len(scored))
		for key := range scored {
			keys = append(keys, key)
		}
		slices.SortFunc(keys, func(a, b personDay) int { return strings.Compare(a.day, b.day) })
		for _, key := range keys {
			date, _ := time.Parse(time.DateOnly, key.day)
			week := personDay{key.person, date.AddDate(0, 0, -(int(date.Weekday())+6)%7).Format(time.DateOnly)}
			w := scored[key]
			w.points = min(w.points, 40-weeks[week])
			weeks[week] += w.points
			scored[key] = w
		}
		return scored
	},
}

func byDay(days map[personDay][]uint64, points func(minutes []uint64, n uint64) int) map[personDay]walked {
	out := map[personDay]walked{}
	for key, minutes := range days {
		n := uint64(0)
		for _, m := range minutes {
			n += m
		}
		out[key] = walked{n, points(minutes, n)}
	}
	return out
}

// TestRealDaysUnderPresets uploads real people's days, has one gateway score them by one programme after
// the other, and compares each with what its published table gives, straight from the file.
func TestRealDaysUnderPresets(t *testing.T) {
	t.Parallel()
	file := sharedFile(t, "data/fitbit-53894/minuteStepsWide_merged.csv")
	dir := t.TempDir()
	cfg := testConfig()
	cfg.Programme.Rules = filepath.Join(t.TempDir(), "rules.yaml")
	use := func(name string) {
		t.Helper()
		preset, err := os.ReadFile(filepath.Join("..", "..", "points", "presets", name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(cfg.Programme.Rules, preset, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	use("yokohama")
	g := startGateway(t, cfg, dir)
	began := today(t, g.client)
	mustVerb(t, "replay", "fitbit-minutes", "--data-dir", dir, file)
	last := midnight(t, began).AddDate(0, 0, -1)
	if today(t, g.client) != began {
		t.Skip("midnight passed while uploading; the dates are moved by the day")
	}
	sameDays(t, readDays(t, dir), exportDays(t, file, last))
	days := minuteDays(t, file, last)
	for _, name := range []string{"yamagata", "vitality-uk", "singapore"} {
		want := published[name](days)
		trial := mustVerb(t, "rules", "try", filepath.Join("..", "..", "points", "presets", name+".yaml"), "--data-dir", dir,
			"--from", last.AddDate(0, 0, -60).Format(time.DateOnly), "--output", "json")
		use(name)
		mustVerb(t, "rules", "reload", "--data-dir", dir)
		sameDays(t, readDays(t, dir), want)
		var said struct{ After int }
		if err := json.Unmarshal([]byte(trial), &said); err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, w := range want {
			sum += w.points
		}
		if said.After != sum || sum == 0 {
			t.Errorf("%s was said to cost %d points; it costs %d", name, said.After, sum)
		}
		explained(t, g, want)
	}
}

// explained compares some days with their explanations: lines, decisions and minutes add up to them.
func explained(t *testing.T, g *testGateway, days map[personDay]walked) {
	t.Helper()
	n := 0
	for key, w := range days {
		if n++; n%23 != 0 {
			continue
		}
		day, err := steps.ParseDay(key.day)
		if err != nil {
			t.Fatal(err)
		}
		d, err := g.client.Explain(t.Context(), steps.ParticipantDay{Participant: steps.ParticipantID(key.person), Day: day})
		if err != nil {
			t.Fatal(err)
		}
		got := walked{d.Steps, int(d.Points)}
		if lines, decided, counted, uploaded := addUp(d); got != w || lines != w.points || decided != w.steps || counted != w.steps || uploaded != w.steps {
			t.Errorf("%v is explained as %+v: lines %d, decisions %d, minutes %d, uploads %d; want %+v", key, got, lines, decided, counted, uploaded, w)
		}
	}
}

func addUp(d *explain.Day) (lines int, decided, counted, uploaded uint64) {
	for _, l := range d.Lines {
		lines += int(l.Points)
	}
	for _, c := range d.Decisions {
		decided += c.Steps
	}
	for _, m := range d.Minutes {
		counted += uint64(m)
	}
	for _, u := range d.Uploads {
		uploaded += u.Steps
	}
	return lines, decided, counted, uploaded
}

// TestBadRulesChangeNothing gives a running gateway a rules file with a mistake, through the API and by
// SIGHUP, and then a good one.
func TestBadRulesChangeNothing(t *testing.T) {
	dir := t.TempDir()
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good := "programme: ward\nrule_sets:\n  - effective: 2026-04-01\n    bands: [{tiers: [{steps: 6000, points: 1}]}]\n"
	bad := strings.Replace(good, "points: 1", "pionts: 1", 1)
	write(good)
	p := serve(t, dir, writeConfig(t, lastingPorts(t), "programme:\n  rules: "+rules+"\n"))
	before := mustVerb(t, "rules", "show", "--data-dir", dir)
	write(bad)
	_, stderr, status := verb(t, "rules", "reload", "--data-dir", dir)
	if status != 1 || !strings.Contains(stderr, rules) || !strings.Contains(stderr, "line 4") || !strings.Contains(stderr, "pionts") {
		t.Errorf("status %d: %q; want file, line and field", status, stderr)
	}
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(startWithin); !strings.Contains(p.errs.String(), "the rules stay what they were"); <-look.C {
		if time.Now().After(end) {
			t.Fatalf("SIGHUP is not answered:\n%s", p.errs)
		}
	}
	if after := mustVerb(t, "rules", "show", "--data-dir", dir); after != before {
		t.Errorf("rules were\n%s, and are\n%s", before, after)
	}
	write(strings.Replace(good, "points: 1", "points: 2", 1))
	mustVerb(t, "rules", "reload", "--data-dir", dir)
	if after := mustVerb(t, "rules", "show", "--data-dir", dir); after == before {
		t.Errorf("the rules are still\n%s", after)
	}
	p.kill()
	write(bad)
	if _, stderr, status := verb(t, "serve", "--data-dir", dir, "--config", writeConfig(t, lastingPorts(t), "programme:\n  rules: "+rules+"\n")); status != 1 ||
		!strings.Contains(stderr, "line 4") {
		t.Errorf("a gateway started with a mistake in its rules: status %d, %q", status, stderr)
	}
}
