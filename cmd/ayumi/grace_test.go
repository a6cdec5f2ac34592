package main

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ayumi/admin"
	"ayumi/registry"
	"ayumi/steps"
)

// handClock stands still until it is set.
type handClock struct{ unix atomic.Int64 }

func (c *handClock) now() time.Time { return time.Unix(c.unix.Load(), 0) }

// graceCase is a day whose window ends with another one.
type graceCase struct {
	name, zone string
	day, last  steps.Day
	periods    bool // it is the grace of a point period that ends then
}

// rules let late data of the day count until the last one, and of the day before until the one before.
func (c *graceCase) rules() string {
	text, after := "programme: ward\n", c.last-c.day
	if c.periods {
		text += fmt.Sprintf("periods:\n  - {name: one, from: %s, until: %s, grace: %s}\n  - {name: two, from: %s, until: %s, grace: %s}\n"+
			"  - {name: three, from: %s, until: %s, grace: %s}\n",
			c.day-30, c.day-1, c.last-1, c.day, c.day, c.last, c.day+1, c.day+30, c.day+40)
		after = 30
	}
	text += fmt.Sprintf("rule_sets:\n  - effective: 2000-01-01\n    final_after_days: %d\n    bands:\n      - tiers:\n", after)
	for i := 1; i <= 5; i++ {
		text += fmt.Sprintf("          - {steps: %d, points: %d}\n", 2000*i, i)
	}
	return text
}

// grace is somebody who sends a day late.
type grace struct {
	graceCase
	t     *testing.T
	clock *handClock
	g     *testGateway
	w     *walker
	seq   uint64
}

// send uploads so many hundred steps, a minute each, that end with the day.
func (r *grace) send(day steps.Day, hundreds int) {
	r.t.Helper()
	r.seq++
	_, r.w.start = r.g.calendar.Bounds(day)
	r.w.start -= int64(hundreds) * 60
	body := r.w.upload(r.seq, steps.Protobuf, slices.Repeat([]uint32{100}, hundreds)...)
	if status, _, text := request(r.t, r.g, r.w, http.Header{"Content-Type": {"application/x-protobuf"}}, body); status != http.StatusOK {
		r.t.Fatalf("%d %s", status, text)
	}
}

// has compares the points that the day has, and what is available and provisional altogether.
func (r *grace) has(points, available, provisional steps.Points) {
	r.t.Helper()
	b, err := r.g.client.Balance(r.t.Context(), r.w.participant)
	if err != nil || b.Available != available || b.Provisional != provisional {
		r.t.Errorf("%d available and %d provisional, want %d and %d; %v", b.Available, b.Provisional, available, provisional, err)
	}
	addsUp(r.t, r.g.client, r.w.participant, &b)
	var got []steps.Points
	err = r.g.client.EachDay(r.t.Context(), steps.DayRange{From: r.day, Until: r.day}, r.w.participant, func(a steps.Award) error {
		got = append(got, a.Points)
		return nil
	})
	if err != nil || !slices.Equal(got, []steps.Points{points}) {
		r.t.Errorf("%s has %v points, want %d; %v", r.day, got, points, err)
	}
}

// lateIs compares what staff see of late data: steps, points and what the day has, or that there is nothing.
func (r *grace) lateIs(want ...string) {
	r.t.Helper()
	rows, err := csv.NewReader(strings.NewReader(mustVerb(r.t, "points", "late", "list", "--data-dir", r.g.dir, "--output", "csv"))).ReadAll()
	if err != nil {
		r.t.Fatal(err)
	}
	var got []string
	for _, row := range rows[1:] {
		got = append(got, strings.Join(row[:5], ","))
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("late data %q, want %q", got, want)
	}
}

// serve starts the gateway at the clock's time.
func (r *grace) serve(cfg config, dir string) {
	r.t.Helper()
	if r.g != nil {
		r.g.stop()
	}
	r.g = startGatewayAt(r.t, cfg, dir, r.clock.now)
}

// TestLastSecondOfTheGrace sends a day in the last second in which that counts, and a second after its end.
func TestLastSecondOfTheGrace(t *testing.T) {
	autumn, spring := steps.DateDay(2026, 10, 25), steps.DateDay(2027, 3, 28) // on which London changes its clocks
	for _, c := range []graceCase{
		{name: "Tokyo", zone: "Asia/Tokyo", day: steps.DateDay(2026, 10, 10), last: steps.DateDay(2026, 10, 17)},
		{name: "Tokyo, a period", zone: "Asia/Tokyo", day: steps.DateDay(2026, 9, 28), last: steps.DateDay(2026, 10, 7), periods: true},
		{name: "London, until a day of 25 hours", zone: "Europe/London", day: autumn - 3, last: autumn},
		{name: "London, until a day of 23 hours", zone: "Europe/London", day: spring - 3, last: spring},
		{name: "London, a day of 25 hours", zone: "Europe/London", day: autumn, last: autumn + 3},
		{name: "London, a day of 23 hours, a period", zone: "Europe/London", day: spring, last: spring + 5, periods: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			(&grace{graceCase: c, t: t, clock: new(handClock)}).run()
		})
	}
}

func (r *grace) run() {
	t, dir, cfg := r.t, r.t.TempDir(), testConfig()
	cfg.Programme.TimeZone, cfg.Programme.Rules = r.zone, wrote(t, "rules.yaml", []byte(r.rules()))
	cfg.Points.CloseAfterStart, cfg.Points.FinalAfterDays = 0, 0
	calendar, err := steps.NewCalendar(r.zone)
	if err != nil {
		t.Fatal(err)
	}
	_, end := calendar.Bounds(r.last)
	_, over := calendar.Bounds(r.day)
	r.clock.unix.Store(over + 12*3600)
	r.serve(cfg, dir)
	r.w = enrolWalker(t, r.g, "late", registry.App, false)
	r.send(r.day-1, 25)
	r.send(r.day, 25)
	r.has(1, 0, 2)

	r.clock.unix.Store(end - 1)
	r.serve(cfg, dir) // which wakes the closer; it looks again every second that is left until midnight
	await(t, r.g, "ayumi_closing_last_closed_day_seconds", float64(r.day-1)*86400)
	_, err = r.g.client.CloseDays(t.Context(), admin.CloseRequest{Through: &r.day, By: "desk"})
	if steps.KindOf(err) != steps.Conflict || !strings.Contains(err.Error(), "count until "+r.last.String()) {
		t.Errorf("closed a second early: %v", err)
	}
	r.send(r.day, 65) // and nobody asks for its points before midnight
	r.clock.unix.Store(end)
	await(t, r.g, "ayumi_closing_last_closed_day_seconds", float64(r.day)*86400)
	r.has(3, 4, 0)
	r.lateIs()

	r.clock.unix.Store(end + 1)
	r.send(r.day, 105)
	r.send(r.day+1, 45) // still counts
	r.has(3, 4, 2)
	r.lateIs(fmt.Sprintf("p-late,%s,10500,5,3", r.day))
	mustVerb(t, "points", "late", "correct", "--data-dir", dir, "p-late", r.day.String(), "--reason", "in hospital", "--by", "desk")
	r.has(5, 6, 2)
	r.lateIs()
}
