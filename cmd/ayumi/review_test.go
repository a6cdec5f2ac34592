package main

import (
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"ayumi/admin"
	"ayumi/plausibility/plausibilitytest"
	"ayumi/registry"
	"ayumi/replay"
	"ayumi/steps"
)

// suspect is somebody whose day was not walked, or not by them.
type suspect struct {
	id   steps.ParticipantID
	name string
	kind string // of the flag that the day must raise; "" is any
	held bool
}

// honestDays are whole days of the export, as somebody else may have walked them.
func honestDays(t *testing.T, file string) (days [][]uint32) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	people, err := replay.ReadFitbitMinutes(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range people {
		for i := 0; i+24 <= len(p.Hours); i++ {
			if p.Hours[i].Hour != 0 || p.Hours[i+23].Day != p.Hours[i].Day {
				continue
			}
			m := make([]uint32, 1440)
			active := 0
			for h := range 24 {
				for j, n := range p.Hours[i+h].Counts {
					if m[h*60+j] = n; n >= 10 {
						active++
					}
				}
			}
			if active >= 120 {
				days = append(days, m)
			}
		}
	}
	return days
}

// send uploads a day as its device reports it.
func (p *programme) send(name string, day steps.Day, made plausibilitytest.Day) steps.ParticipantID {
	p.t.Helper()
	w := enrolWalker(p.t, p.g, name, registry.App, false)
	var series []string
	if len(made.Hours) == 0 {
		series = append(series, seriesJSON(day, 0, 60, made.Minutes))
	}
	for _, h := range made.Hours {
		n := uint32(0)
		for _, c := range made.Minutes[h*60 : h*60+60] {
			n += c
		}
		series = append(series, seriesJSON(day, h, 3600, []uint32{n}))
	}
	body := `{"boot":1,"seq":1,"series":[` + strings.Join(series, ",") + `]}`
	if status, _, text := request(p.t, p.g, w, http.Header{"Content-Type": {"application/json"}}, []byte(body)); status != http.StatusOK {
		p.t.Fatalf("%s: %d %s", name, status, text)
	}
	return w.participant
}

func seriesJSON(day steps.Day, hour, interval int, counts []uint32) string {
	return fmt.Sprintf(`{"start":"%sT%02d:00:00+09:00","interval_s":%d,"steps":%s}`, day, hour, interval,
		strings.ReplaceAll(fmt.Sprint(counts), " ", ","))
}

// cheat uploads one of each cheat, and two pairs of devices that one person wears.
func (p *programme) cheat(file string, day steps.Day) (all []suspect) {
	p.t.Helper()
	honest, rng := honestDays(p.t, file), rand.New(rand.NewPCG(3, 4)) //nolint:gosec // a test
	at := 0
	base := func() []uint32 { at += 37; return honest[at%len(honest)] }
	for i, c := range plausibilitytest.Cheats() {
		id := p.send(fmt.Sprintf("cheat-%02d", i), day, c.Make(base(), rng))
		all = append(all, suspect{id, c.Name, c.Kind, c.Need == "hold"})
	}
	worn := base()
	for i, minutes := range [][]uint32{worn, worn, append([]uint32{0}, worn[:1439]...)} {
		id := p.send(fmt.Sprintf("shared-%d", i), day, plausibilitytest.Day{Minutes: minutes})
		all = append(all, suspect{id, "a shared device", "shared_pattern", true})
	}
	return all
}

// TestReviewsFromUploadToRelease uploads cheats beside real people's days, through the production assembly: what
// nobody walked is flagged, and held when its day is closed until staff decide; what people walked is not.
func TestReviewsFromUploadToRelease(t *testing.T) {
	file := sharedFile(t, "data/fitbit-53894/minuteStepsWide_merged.csv")
	p := newProgramme(t)
	p.serve(p.today+5, p.today+100, 400)
	mustVerb(t, "replay", "fitbit-minutes", "--data-dir", p.dir, file)
	day := p.today - 10
	suspects := p.cheat(file, day)
	honest := len(readDays(t, p.dir)) - len(suspects)

	mustVerb(t, "review", "run", "--data-dir", p.dir)
	p.flagged(suspects, day, honest)
	before := p.balances()

	const finalAfter = 3
	p.serve(p.today-14, p.today+100, finalAfter)
	await(t, p.g, "ayumi_closing_last_closed_day_seconds", float64(p.today-finalAfter-1)*86400)
	p.flagged(suspects, day, honest) // the look before the closing found the same
	p.held(suspects, before)
	p.decide(suspects, day)
	p.g.stop()
}

// flagged checks whose days wait for staff.
func (p *programme) flagged(suspects []suspect, day steps.Day, honest int) {
	p.t.Helper()
	rows, err := csv.NewReader(strings.NewReader(mustVerb(p.t, "review", "list", "--data-dir", p.dir, "--output", "csv"))).ReadAll()
	if err != nil {
		p.t.Fatal(err)
	}
	found := map[string][]string{}
	for _, r := range rows[1:] {
		i := slices.IndexFunc(suspects, func(s suspect) bool { return string(s.id) == r[0] })
		switch {
		case i >= 0 && r[1] == day.String():
			found[r[0]] = r
		case r[0] != "1624580081" || r[2] != "open" || r[4] != "unbroken": // the race of docs/plausibility.md
			p.t.Errorf("an honest day is flagged: %q", r)
		}
	}
	for _, s := range suspects {
		r := found[string(s.id)]
		if r == nil || !strings.Contains(r[4], s.kind) || s.held && r[2] != "held" {
			p.t.Errorf("%s (%s): %q; want %s, held %v", s.id, s.name, r, s.kind, s.held)
		}
	}
	if n := len(rows) - 1 - len(found); n != 1 || honest < 850 {
		p.t.Errorf("%d honest days of %d are flagged; want 1", n, honest)
	}
}

// held checks that the points of held days, and no others, are pending.
func (p *programme) held(suspects []suspect, before map[steps.ParticipantID]admin.Balance) {
	p.t.Helper()
	held := map[string]bool{}
	for _, r := range strings.Split(mustVerb(p.t, "review", "list", "--data-dir", p.dir, "--state", "held", "--output", "csv"), "\n")[1:] {
		held[strings.SplitN(r, ",", 2)[0]] = true
	}
	pending := 0
	for id, b := range p.balances() {
		was := before[id]
		i := slices.IndexFunc(suspects, func(s suspect) bool { return s.id == id })
		want := steps.Points(0)
		if i >= 0 && held[string(id)] {
			want = was.Provisional
			pending++
		}
		if b.Pending != want || b.Pending+b.Available+b.Provisional != was.Provisional {
			p.t.Errorf("%s had %d points and has %d pending, %d available, %d provisional", id, was.Provisional, b.Pending, b.Available, b.Provisional)
		}
	}
	if pending < 10 {
		p.t.Errorf("%d people have points pending", pending)
	}
}

// decide clears one, and upholds another who appeals.
func (p *programme) decide(suspects []suspect, day steps.Day) {
	p.t.Helper()
	var held []steps.ParticipantID
	for _, s := range suspects {
		if s.held {
			held = append(held, s.id)
		}
	}
	act := func(verb string, id steps.ParticipantID, more ...string) string {
		p.t.Helper()
		return mustVerb(p.t, append([]string{"review", verb, "--data-dir", p.dir, string(id), day.String(), "--by", "desk"}, more...)...)
	}
	before := p.balances()
	for range 2 { // twice is once
		act("decide", held[0], "--clear", "--reason", "a swing for charity")
	}
	act("decide", held[1], "--uphold", "--reason", "a swing")
	act("appeal", held[1], "--text", "no swing")
	if text := act("decide", held[1], "--uphold", "--reason", "seen by the warden"); strings.Count(text, "upheld ") != 2 || !strings.Contains(text, "no swing") {
		p.t.Errorf("both decisions are to be kept: %s", text)
	}
	after := p.balances()
	for i, want := range []admin.Balance{{Available: before[held[0]].Pending}, {Pending: before[held[1]].Pending}} {
		if got := after[held[i]]; got.Available != want.Available || got.Pending != want.Pending || before[held[i]].Pending == 0 {
			p.t.Errorf("%s had %+v and has %+v", held[i], before[held[i]], got)
		}
	}
	if text := mustVerb(p.t, "points", "explain", "--data-dir", p.dir, "--participant", string(held[1]), "--day", day.String(), "--language", "ja"); !strings.Contains(text, "この日のポイントは対象になりません") {
		p.t.Errorf("explained: %s", text)
	}
}
