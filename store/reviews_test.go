package store

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"ayumi/plausibility"
	"ayumi/review"
	"ayumi/steps"
)

// finding is one that raises a flag.
func finding(p steps.ParticipantID, day steps.Day, hold bool) review.Finding {
	return review.Finding{ParticipantDay: steps.ParticipantDay{Participant: p, Day: day}, Steps: 9000, Score: 100, Hold: hold,
		Flags: []plausibility.Flag{
			{Kind: plausibility.FlatCadence, Score: 60, From: 3, To: 400, Figure: 0.25, Limit: 120},
			{Kind: plausibility.SharedPattern, Score: 100, Figure: 0.9, Limit: 0.5, Exact: true, Shift: -0.75,
				Other: steps.ParticipantDay{Participant: "twin", Day: day}},
		}}
}

func (r *running) note(found ...review.Finding) []review.Review {
	r.t.Helper()
	changed, err := r.NoteReviews(context.Background(), found)
	if err != nil {
		r.t.Fatal(err)
	}
	return changed
}

func (r *running) decide(p steps.ParticipantID, day steps.Day, kind review.EventKind, by string) review.Review {
	r.t.Helper()
	pd := steps.ParticipantDay{Participant: p, Day: day}
	v, err := r.DecideReview(context.Background(), pd, review.Event{Kind: kind, By: by, Text: "looked at"})
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

// TestReviewHoldsPoints closes a day with reviews in every state, and decides afterwards.
func TestReviewHoldsPoints(t *testing.T) {
	cfg := testConfig(t.TempDir())
	r := start(t, cfg)
	for _, p := range []steps.ParticipantID{"cleared", "held", "open", "plain", "upheld"} {
		r.upload(p, day0, 1, 9000)
	}
	r.score("x@1", perThousand)
	r.note(finding("cleared", day0, true), finding("held", day0, true), finding("open", day0, false), finding("upheld", day0, true))
	r.decide("cleared", day0, review.Clearing, "a")
	r.decide("upheld", day0, review.Upholding, "a")
	if c := r.closeDay(day0); c.Points != 27 || c.Held != 18 {
		t.Errorf("closed %+v", c)
	}
	if again := r.note(finding("held", day0, false), finding("open", day0, true)); len(again) != 0 {
		t.Errorf("looked at again when closed: %+v", again)
	}
	for range 2 { // decided twice, before and after the store is opened again
		v := r.decide("held", day0, review.Clearing, "b")
		r.wants("held", 0, 0, 9)
		if v.State != review.Cleared || len(v.Events) != 1 || v.Events[0].Entry != 1 {
			t.Errorf("cleared: %+v", v)
		}
		r.end()
		r = start(t, cfg)
	}
	r.wants("cleared", 0, 0, 9)
	r.wants("open", 0, 0, 9)
	r.wants("plain", 0, 0, 9)
	r.wants("upheld", 0, 9, 0)
	lines := r.lines("held")
	if e := lines[len(lines)-1]; e.Kind != steps.EntryRelease || e.By != "b" || e.Reason != day0.String()+": looked at" || e.Key != steps.RequestKey("review:"+day0.String()+":1") {
		t.Errorf("the release is %+v", e)
	}
	r.appeal("upheld")
	refused(t, "decided on again", second(r, "held", review.Upholding), steps.Conflict, "was cleared by b")
	refused(t, "nobody's", second(r, "plain", review.Clearing), steps.NotFound, "nothing was flagged")
}

func second(r *running, p steps.ParticipantID, kind review.EventKind) error {
	_, err := r.DecideReview(context.Background(), steps.ParticipantDay{Participant: p, Day: day0}, review.Event{Kind: kind, By: "c", Text: "z"})
	return err
}

// appeal has an upheld day appealed and cleared, and checks that both decisions are kept.
func (r *running) appeal(p steps.ParticipantID) {
	r.t.Helper()
	pd := steps.ParticipantDay{Participant: p, Day: day0}
	for range 2 {
		v, err := r.AppealReview(context.Background(), pd, review.Event{By: "desk", Text: "I walked"})
		if err != nil || v.State != review.Held || len(v.Events) != 2 {
			r.t.Fatalf("appealed: %+v %v", v, err)
		}
	}
	r.decide(p, day0, review.Clearing, "b")
	r.wants(p, 0, 0, 9)
	v, err := r.Review(pd)
	if err != nil || v.State != review.Cleared || len(v.Events) != 3 || v.Events[0].By != "a" || v.Events[1].Text != "I walked" || v.Events[2].Entry != 1 {
		r.t.Errorf("after the appeal: %+v %v", v, err)
	}
	var f review.Finding = finding(p, day0, true)
	if !reflect.DeepEqual(v.Flags, f.Flags) || v.Steps != f.Steps || v.Score != f.Score {
		r.t.Errorf("stored %+v, found %+v", v, f)
	}
}

// TestReleaseTakesWhatIsLeft clears a day from whose held points staff have taken some.
func TestReleaseTakesWhatIsLeft(t *testing.T) {
	r := start(t, testConfig(t.TempDir()))
	for _, p := range []steps.ParticipantID{"corrected", "gone", "released"} {
		r.upload(p, day0, 1, 9000)
	}
	r.score("x@1", perThousand)
	r.note(finding("corrected", day0, true), finding("gone", day0, true), finding("released", day0, true))
	r.closeDay(day0)
	for p, n := range map[steps.ParticipantID]steps.Points{"corrected": -5, "gone": -9} {
		_, err := r.Post(context.Background(), steps.EntryRequest{Participant: p, Key: "c", Kind: steps.EntryCorrection, Period: "2026",
			Account: steps.AccountPending, Points: n, Day: day0, Reason: "shaken", By: "a"})
		if err != nil {
			t.Fatal(err)
		}
	}
	r.post("released", "r", steps.EntryRelease, 2)
	for p, entry := range map[steps.ParticipantID]uint64{"corrected": 2, "gone": 0, "released": 2} {
		if v := r.decide(p, day0, review.Clearing, "b"); v.Events[0].Entry != entry {
			t.Errorf("%s: %+v", p, v)
		}
	}
	r.wants("corrected", 0, 0, 4)
	r.wants("gone", 0, 0, 0)
	r.wants("released", 0, 0, 9)
}

// TestNoDecisionWhileClosing interrupts a closing: what it holds is not decided on until it is at its end.
func TestNoDecisionWhileClosing(t *testing.T) {
	r := start(t, testConfig(t.TempDir()))
	r.upload("p", day0, 1, 9000)
	r.upload("q", day0, 1, 9000)
	r.score("x@1", perThousand)
	r.note(finding("q", day0, true))
	ctx, cancel := context.WithCancel(context.Background())
	_, err := r.CloseDay(ctx, steps.CloseRequest{Day: day0, Period: "2026", By: "test", Held: func(steps.ParticipantID) bool {
		cancel()
		return false
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	refused(t, "while it is closed", second(r, "q", review.Clearing), steps.Unavailable, "is being closed; try again")
	if v := r.note(finding("p", day0, true)); len(v) != 1 || v[0].State != review.Open {
		t.Errorf("found while it is closed: %+v", v)
	}
	r.closeDay(day0)
	r.wants("p", 0, 0, 9)
	r.wants("q", 0, 9, 0)
	if err := second(r, "q", review.Clearing); err != nil {
		t.Error(err)
	}
	r.wants("q", 0, 0, 9)
}

// TestReviewsAgainstModel does at random what looks, closings and staff do, and compares with the rules alone.
func TestReviewsAgainstModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := newReviewModel(t)
			rng := newRand(seed)
			for range 150 {
				day := day0 + steps.Day(rng.IntN(3))
				p := steps.ParticipantID(fmt.Sprint("p", rng.IntN(4)))
				m.step(rng.IntN(12), p, day, rng.IntN(2) == 0)
			}
			m.compare()
		})
	}
}

type reviewModel struct {
	t       *testing.T
	cfg     Config
	r       *running
	reviews map[steps.ParticipantDay]*review.Review
	closed  map[steps.Day]bool
	pending map[steps.ParticipantDay]bool
}

func newReviewModel(t *testing.T) *reviewModel {
	m := &reviewModel{t: t, cfg: testConfig(t.TempDir()), reviews: map[steps.ParticipantDay]*review.Review{},
		closed: map[steps.Day]bool{}, pending: map[steps.ParticipantDay]bool{}}
	m.r = start(t, m.cfg)
	for day := range steps.Day(3) {
		for p := range 4 {
			m.r.upload(steps.ParticipantID(fmt.Sprint("p", p)), day0+day, 1, 4000)
		}
	}
	m.r.score("x@1", perThousand)
	return m
}

// step does one thing, and in the model.
func (m *reviewModel) step(what int, p steps.ParticipantID, day steps.Day, yes bool) {
	pd := steps.ParticipantDay{Participant: p, Day: day}
	have := m.reviews[pd]
	switch {
	case what < 4:
		f := finding(p, day, yes)
		f.Flags = f.Flags[:what%3]
		m.r.note(f)
		if v := review.Note(have, &f, m.closed[day], 0); v != nil {
			m.reviews[pd] = v
		} else {
			delete(m.reviews, pd)
		}
	case what < 8:
		kind := review.Upholding
		if yes {
			kind = review.Clearing
		}
		d := review.Event{Kind: kind, By: "a", Text: "x"}
		_, got := m.r.DecideReview(context.Background(), pd, d)
		m.follow(got, have, func(v *review.Review) (bool, error) { return review.Decide(v, d) })
		if v := m.reviews[pd]; v != nil && v.State == review.Cleared {
			delete(m.pending, pd)
		}
	case what < 10:
		d := review.Event{By: "desk", Text: "no"}
		_, got := m.r.AppealReview(context.Background(), pd, d)
		m.follow(got, have, func(v *review.Review) (bool, error) { return review.Contest(v, d, !m.closed[day] || m.pending[pd]) })
	case what == 10 && yes && !m.closed[day]:
		m.r.closeDay(day)
		m.closed[day] = true
		for held, v := range m.reviews {
			if held.Day == day && v.State.Holds() {
				m.pending[held] = true
			}
		}
	case what == 11 && yes:
		m.r.end()
		m.r = start(m.t, m.cfg)
	}
}

// follow does to a review of the model what the store did, if it did.
func (m *reviewModel) follow(got error, have *review.Review, fn func(*review.Review) (bool, error)) {
	m.t.Helper()
	if have == nil {
		refused(m.t, "without a review", got, steps.NotFound, "nothing was flagged")
		return
	}
	v := *have
	v.Events = append([]review.Event(nil), have.Events...)
	_, want := fn(&v)
	if steps.KindOf(got) != steps.KindOf(want) || (got == nil) != (want == nil) {
		m.t.Fatalf("the store says %v, the rules %v", got, want)
	}
	if want == nil {
		m.reviews[have.ParticipantDay] = &v
	}
}

func (m *reviewModel) compare() {
	m.t.Helper()
	n := 0
	err := m.r.EachReview(context.Background(), review.Filter{}, func(v *review.Review) error {
		n++
		want := m.reviews[v.ParticipantDay]
		if want == nil || want.State != v.State || len(want.Events) != len(v.Events) || len(want.Flags) != len(v.Flags) {
			m.t.Errorf("the store has %+v, the model %+v", v, want)
		}
		return nil
	})
	if err != nil || n != len(m.reviews) {
		m.t.Errorf("%d reviews, %v; the model has %d", n, err, len(m.reviews))
	}
	for i := range 4 {
		p := steps.ParticipantID(fmt.Sprint("p", i))
		var provisional, pending, available steps.Points
		for day := range steps.Day(3) {
			switch pd := (steps.ParticipantDay{Participant: p, Day: day0 + day}); {
			case !m.closed[pd.Day]:
				provisional += 4
			case m.pending[pd]:
				pending += 4
			default:
				available += 4
			}
		}
		m.r.wants(p, provisional, pending, available)
	}
}

func TestPrintsSurvive(t *testing.T) {
	cfg := testConfig(t.TempDir())
	r := start(t, cfg)
	want := []review.Prints{
		{Participant: "a", Days: []review.Print{{Day: day0, Steps: 3}, {Day: day0 + 1, Steps: 9000, Active: true, Pattern: plausibility.Fingerprint{1, 1 << 63}}}},
		{Participant: "c", Days: []review.Print{{Day: day0 - 30000, Steps: 1}}},
	}
	if err := r.PutPrints(context.Background(), want); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var got []review.Prints
		err := r.EachPrints(context.Background(), []steps.ParticipantID{"a", "b", "c"}, func(i int, p *review.Prints) error {
			got = append(got, review.Prints{Participant: p.Participant, Days: append([]review.Print(nil), p.Days...)})
			return nil
		})
		if err != nil || len(got) != 3 || len(got[1].Days) != 0 || !reflect.DeepEqual([]review.Prints{got[0], got[2]}, want) {
			t.Errorf("%+v %v", got, err)
		}
		r.end()
		r = start(t, cfg)
	}
}

func FuzzParseReview(f *testing.F) {
	some := finding("p", day0, true)
	v := review.Note(nil, &some, false, 5)
	v.Events = []review.Event{{Kind: review.Clearing, At: 6, By: "a", Text: "b", Entry: 7}}
	f.Add(appendReview(nil, v))
	f.Fuzz(func(t *testing.T, body []byte) {
		v, err := parseReview(body, some.ParticipantDay)
		if err != nil {
			return
		}
		again, err := parseReview(appendReview(nil, &v), some.ParticipantDay)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(v) { // by their text, since NaN is not itself
			t.Errorf("%+v became %+v, %v", v, again, err)
		}
	})
}

func FuzzParsePrints(f *testing.F) {
	f.Add(appendPrints(nil, &review.Prints{Days: []review.Print{{Day: day0, Steps: 3}, {Day: day0 + 1, Active: true}}}))
	f.Fuzz(func(t *testing.T, body []byte) {
		var p, again review.Prints
		if err := parsePrints(body, &p); err != nil {
			return
		}
		if err := parsePrints(appendPrints(nil, &p), &again); err != nil || !reflect.DeepEqual(again.Days, p.Days) {
			t.Errorf("%+v became %+v, %v", p, again, err)
		}
	})
}
