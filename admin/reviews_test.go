package admin

import (
	"context"
	"errors"
	"testing"

	"ayumi/plausibility"
	"ayumi/review"
	"ayumi/steps"
)

// flagged is what the store and the reviewer know of two days.
func flagged() []*review.Review {
	return []*review.Review{
		{ParticipantDay: steps.ParticipantDay{Participant: "p1", Day: today - 2}, FoundAt: now.Unix(), LookedAt: now.Unix(), Steps: 96480,
			Score: 100, State: review.Held, Flags: []plausibility.Flag{{Kind: plausibility.FlatCadence, Score: 100, From: 420, To: 1440, Figure: 1440, Limit: 120}}},
		{ParticipantDay: steps.ParticipantDay{Participant: "p2", Day: today - 1}, FoundAt: now.Unix(), LookedAt: now.Unix(), Steps: 8000,
			Score: 55, State: review.Open, Flags: []plausibility.Flag{{Kind: plausibility.SharedPattern, Score: 55, Figure: 0.7, Limit: 0.65, Shift: 2.5,
				Other: steps.ParticipantDay{Participant: "p1", Day: today - 1}}},
			Events: []review.Event{{Kind: review.Upholding, At: now.Unix(), By: "a", Text: "b", Entry: 4}}},
	}
}

func (b *books) EachReview(_ context.Context, f review.Filter, fn func(*review.Review) error) error {
	for _, v := range b.reviews {
		if f.Wants(v) {
			if err := fn(v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *books) find(pd steps.ParticipantDay) (*review.Review, error) {
	for _, v := range b.reviews {
		if v.ParticipantDay == pd {
			return v, nil
		}
	}
	return nil, steps.Errorf("look up review", steps.NotFound, "nothing was flagged")
}

func (b *books) Review(pd steps.ParticipantDay) (review.Review, error) {
	v, err := b.find(pd)
	if err != nil {
		return review.Review{}, err
	}
	return *v, nil
}

func (b *books) DecideReview(_ context.Context, pd steps.ParticipantDay, d review.Event) (review.Review, error) {
	v, err := b.find(pd)
	if err != nil {
		return review.Review{}, err
	}
	_, err = review.Decide(v, d)
	return *v, err
}

func (b *books) AppealReview(_ context.Context, pd steps.ParticipantDay, d review.Event) (review.Review, error) {
	v, err := b.find(pd)
	if err != nil {
		return review.Review{}, err
	}
	_, err = review.Contest(v, d, true)
	return *v, err
}

// Look tells of one day in two parts, and ends as it was told to.
func (b *books) Look(_ context.Context, r steps.DayRange, tell func(review.Progress) error) error {
	day := max(r.From, today-7)
	for _, p := range []review.Progress{
		{Day: day, Done: 256, Of: 300},
		{Day: day, Done: 300, Of: 300, Outcome: &review.Outcome{Day: day, Participants: 300, Scored: 290, Flagged: 3, Held: 2}},
	} {
		if err := tell(p); err != nil {
			return err
		}
	}
	return b.err
}

func TestReviews(t *testing.T) {
	ctx := context.Background()
	b := desk(t)
	b.reviews = flagged()
	one, two := reviewOf(b.reviews[0]), reviewOf(b.reviews[1])
	if f := one.Flags[0]; f.From != "07:00" || f.To != "24:00" || f.Copy != nil {
		t.Errorf("flag %+v", f)
	}
	same(t, two.Flags[0].Copy, &Copy{"p1", today - 1, 2.5, false})
	for _, c := range []struct {
		f    review.Filter
		want []Review
	}{
		{review.Filter{}, []Review{one, two}},
		{review.Filter{State: review.Open, Undecided: true}, []Review{two}},
		{review.Filter{Kind: plausibility.FlatCadence}, []Review{one}},
		{review.Filter{Participant: "p2", Days: steps.DayRange{From: today - 1, Until: today}}, []Review{two}},
		{review.Filter{Days: steps.DayRange{From: today}}, nil},
	} {
		var got []Review
		must(t, b.c.EachReview(ctx, c.f, func(r *Review) error { got = append(got, *r); return nil }))
		same(t, got, c.want)
	}
	got, err := b.c.Review(ctx, b.reviews[1].ParticipantDay)
	must(t, err)
	same(t, got, two)
	_, err = b.c.Review(ctx, steps.ParticipantDay{Participant: "p1", Day: today})
	wantError(t, err, steps.NotFound, "nothing was flagged")
	wantError(t, b.c.EachReview(ctx, review.Filter{Participant: "misspelt"}, nil), steps.NotFound, "misspelt")
}

func TestDecideOnReviews(t *testing.T) {
	ctx := context.Background()
	b := desk(t)
	b.reviews = flagged()
	pd := b.reviews[0].ParticipantDay
	_, err := b.c.UpholdReview(ctx, pd, "desk", " ")
	wantError(t, err, steps.Invalid, "reason is empty; say why")
	got, err := b.c.UpholdReview(ctx, pd, " desk ", "a swing")
	must(t, err)
	same(t, got.Events, []ReviewEvent{{Kind: "upheld", At: instant(0), By: "desk", Text: "a swing"}})
	_, err = b.c.ClearReview(ctx, pd, "desk", "no swing")
	wantError(t, err, steps.Conflict, "the participant may appeal once")
	got, err = b.c.AppealReview(ctx, pd, "desk", "my dog")
	if must(t, err); got.State != "held" || len(got.Events) != 2 || got.Events[1].Kind != "appealed" {
		t.Errorf("appealed: %+v", got)
	}
	got, err = b.c.ClearReview(ctx, pd, "head", "saw the dog")
	if must(t, err); got.State != "cleared" || len(got.Events) != 3 {
		t.Errorf("cleared: %+v", got)
	}
}

func TestRunReview(t *testing.T) {
	ctx := context.Background()
	b := desk(t)
	var got []ReviewProgress
	note := func(p *ReviewProgress) error { got = append(got, *p); return nil }
	must(t, b.c.RunReview(ctx, steps.DayRange{From: today - 3}, note))
	same(t, got, []ReviewProgress{
		{Day: today - 3, Done: 256, Of: 300},
		{Day: today - 3, Done: 300, Of: 300, Over: true, Scored: 290, Flagged: 3, Held: 2},
	})
	wantError(t, b.c.RunReview(ctx, steps.DayRange{From: today, Until: today - 1}, note), steps.Invalid, "holds no day")
	b.err = steps.Errorf("look at day", steps.Unavailable, "the disk is full")
	wantError(t, b.c.RunReview(ctx, steps.DayRange{}, note), steps.Unavailable, "the disk is full")
	stop := errors.New("enough")
	if err := b.c.RunReview(ctx, steps.DayRange{}, func(*ReviewProgress) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("ended with %v", err)
	}
}
