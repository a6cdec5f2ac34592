package main

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"ayumi/registry"
	"ayumi/steps"
)

// weekRules have the same points under a cap of the rule set, and under one of a single rule.
var weekRules = map[string]string{
	"rule set": `programme: ward
rule_sets:
  - effective: 2000-01-01
    final_after_days: 3
    weekly_cap: 10
    bands: [{tiers: [{steps: 2000, points: 1}, {steps: 4000, points: 2}, {steps: 10000, points: 5}]}]
`,
	"rule": `programme: ward
rule_sets:
  - effective: 2000-01-01
    final_after_days: 3
    rules:
      - {name: walk, caps: {week: 10}, steps: {tiers: [{steps: 2000, points: 1}, {steps: 4000, points: 2}, {steps: 10000, points: 5}]}}
`,
}

// week is somebody's week under a cap of 10 points, of which Monday is closed and the other days are open.
type week struct {
	grace
	monday steps.Day
}

// newWeek has them walk for 2, 5 and 5 points, of which the cap leaves 2, 5 and 3.
func newWeek(t *testing.T, rules string) *week {
	t.Helper()
	r := &week{grace{t: t, clock: new(handClock)}, steps.DateDay(2026, 10, 12)}
	r.day = r.monday
	cfg, dir := testConfig(), t.TempDir()
	cfg.Programme.Rules = wrote(t, "rules.yaml", []byte(rules))
	cfg.Points.CloseAfterStart, cfg.Points.FinalAfterDays = 0, 0
	r.clock.unix.Store(time.Date(2026, 10, 15, 3, 0, 0, 0, time.UTC).Unix()) // Thursday noon in Tokyo
	r.serve(cfg, dir)
	r.w = enrolWalker(t, r.g, "late", registry.App, false)
	for i, hundreds := range []int{45, 105, 105} {
		r.send(r.monday+steps.Day(i), hundreds) //nolint:gosec // small
	}
	r.earned(2, 5, 3)
	r.clock.unix.Add(86400)
	r.serve(cfg, dir)
	await(t, r.g, "ayumi_closing_last_closed_day_seconds", float64(r.monday)*86400)
	return r
}

// earned compares what Monday, Tuesday and Wednesday have.
func (r *week) earned(want ...steps.Points) {
	r.t.Helper()
	var got []steps.Points
	err := r.g.client.EachDay(r.t.Context(), steps.DayRange{From: r.monday, Until: r.monday + 2}, r.w.participant, func(a steps.Award) error {
		got = append(got, a.Points)
		return nil
	})
	if err != nil || !slices.Equal(got, want) {
		r.t.Errorf("the days have %v points, want %v; %v", got, want, err)
	}
	b, err := r.g.client.Balance(r.t.Context(), r.w.participant)
	if sum := b.Available + b.Provisional; err != nil || sum > 10 {
		r.t.Errorf("the cap of 10 points a week is passed: %d; %v", sum, err)
	}
}

// mondayWas corrects all of Monday's minutes.
func (r *week) mondayWas(hundreds int) {
	r.t.Helper()
	r.seq++
	_, end := r.g.calendar.Bounds(r.monday)
	counts := make([]uint32, 120)
	r.w.start = end - int64(len(counts))*60
	for i := range hundreds {
		counts[i] = 100
	}
	body := r.w.upload(r.seq, steps.Protobuf, counts...)
	if status, _, text := request(r.t, r.g, r.w, http.Header{"Content-Type": {"application/x-protobuf"}}, body); status != http.StatusOK {
		r.t.Fatalf("%d %s", status, text)
	}
}

// TestClosedDayUnderAWeeklyCap has data come late for a closed day of a week whose other days are open. What it would
// have earned changes nothing: they have what the cap leaves beside what it was awarded. A correction does.
func TestClosedDayUnderAWeeklyCap(t *testing.T) {
	for of, rules := range weekRules {
		t.Run("raised, of a "+of, func(t *testing.T) {
			r := newWeek(t, rules)
			r.mondayWas(105)
			r.lateIs(fmt.Sprintf("p-late,%s,10500,5,2", r.monday))
			r.earned(2, 5, 3)
			r.send(r.monday+2, 110) // no other points, but scored again
			r.earned(2, 5, 3)
			r.correct("in hospital")
			r.earned(5, 5, 0)
			r.lateIs()
		})
		t.Run("lowered, of a "+of, func(t *testing.T) {
			r := newWeek(t, rules)
			r.mondayWas(5)
			r.lateIs(fmt.Sprintf("p-late,%s,500,0,2", r.monday))
			r.earned(2, 5, 3)
			r.send(r.monday+2, 110)
			r.earned(2, 5, 3)
			r.correct("of another person")
			r.earned(0, 5, 5)
		})
	}
}

// correct gives Monday what its late data would have earned.
func (r *week) correct(reason string) {
	r.t.Helper()
	mustVerb(r.t, "points", "late", "correct", "--data-dir", r.g.dir, "p-late", r.monday.String(), "--reason", reason, "--by", "desk")
}
