package plausibility

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"ayumi/replay/replaytest"
)

// realDays are what real people walked.
func realDays(t testing.TB) (days []Day) {
	t.Helper()
	for _, d := range replaytest.Days(t) {
		days = append(days, Day{ParticipantDay: d.ParticipantDay, Minutes: d.Minutes})
	}
	return days
}

func mustNew(t testing.TB, cfg Config) *Scorer {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// library is a store's index of fingerprints, without the index.
type library struct {
	s     *Scorer
	days  []Day
	marks []Fingerprint
}

func (l *library) add(d Day) {
	if f, ok := l.s.Fingerprint(&d); ok {
		l.days, l.marks = append(l.days, d), append(l.marks, f)
	}
}

// near returns the days that are worth comparing with one.
func (l *library) near(d *Day) (out []Peer) {
	f, ok := l.s.Fingerprint(d)
	for i := range l.days {
		if ok && l.s.Near(f, l.marks[i]) && l.days[i].ParticipantDay != d.ParticipantDay {
			out = append(out, l.days[i])
		}
	}
	return out
}

// TestRealDays scores every honest day, compared with all others that its fingerprint is near to.
// docs/plausibility.md says why the flags that remain are right.
func TestRealDays(t *testing.T) {
	s := mustNew(t, DefaultConfig())
	lib := library{s: s}
	days := realDays(t)
	for _, d := range days {
		lib.add(d)
	}
	var flagged []string
	peers := 0
	for i := range days {
		near := lib.near(&days[i])
		peers += len(near)
		r := s.Score(&days[i], near)
		for _, f := range r.Flags {
			flagged = append(flagged, fmt.Sprintf("%s %s %s %d: %02d:%02d to %02d:%02d %.4g of %.4g, %s", days[i].Participant, days[i].Day, f.Kind,
				f.Score, f.From/60, f.From%60, f.To/60, f.To%60, f.Figure, f.Limit, r.Suggestion))
		}
	}
	t.Logf("%d of %d days have fingerprints, %d pairs of them are near", len(lib.days), len(days), peers/2)
	want := []string{"1624580081 2016-05-01 unbroken 50: 07:09 to 10:12 183 of 180, review"}
	if !slices.Equal(flagged, want) {
		t.Errorf("flagged\n%s\nwant\n%s", strings.Join(flagged, "\n"), strings.Join(want, "\n"))
	}
}

// TestRealMargins pins how near the honest days come to each limit, a day from its flagged walk apart.
func TestRealMargins(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Day.Steps, cfg.Hour.Steps, cfg.Cadence.Minutes, cfg.Coverage.Hours = 1, 1, 1, 1
	cfg.Flat.Minutes, cfg.Unbroken.Minutes = cfg.Flat.Window, cfg.Unbroken.Pauses+1
	cfg.Brisk.Share, cfg.Regular.Repeated, cfg.Regular.Round, cfg.Evening.Share = 1, 1e-9, 1e-9, 1e-9
	s := mustNew(t, cfg)
	nearest := map[Kind]float64{}
	days := realDays(t)
	for i := range days {
		for _, f := range s.Score(&days[i], nil).Flags {
			if was, ok := nearest[f.Kind]; !ok || f.Kind == NoSmallMovement && f.Figure < was || f.Kind != NoSmallMovement && f.Figure > was {
				nearest[f.Kind] = f.Figure
			}
		}
	}
	for k, want := range map[Kind]string{
		BusyDay: "36019", BusyHour: "10578", HighCadence: "0", LongActivity: "17", FlatCadence: "80", Unbroken: "183",
		NoSmallMovement: "0.202", RepeatedCounts: "0.214", RoundCounts: "0.226", LateSteps: "0.412",
	} {
		if got := fmt.Sprintf("%.5g", nearest[k]); got != want && fmt.Sprintf("%.3f", nearest[k]) != want {
			t.Errorf("%s: %s, want %s", k, got, want)
		}
	}
}
