package explain

import (
	"bytes"
	"strings"
	"testing"

	"ayumi/plausibility"
	"ayumi/review"
	"ayumi/steps"
)

// TestReviewedDay says in both languages what a review means for the day, and names nobody else to the resident.
func TestReviewedDay(t *testing.T) {
	for _, c := range []struct {
		state           review.State
		english, listed string
	}{
		{review.Open, "Staff are looking at this day.", "Why the day is reviewed"},
		{review.Held, "The day is being reviewed by staff; its points are pending until they have decided.", "Why the day is reviewed"},
		{review.Upheld, "do not count; this can be appealed once.", "Why the day is reviewed"},
		{review.Cleared, "found nothing wrong.", ""},
	} {
		in := everything(t)
		in.Standing.State, in.Standing.ClosesOn = closed, nil
		in.Review = &review.Review{ParticipantDay: in.ParticipantDay, State: c.state, Flags: []plausibility.Flag{
			{Kind: plausibility.FlatCadence, Score: 60, From: 0, To: 1440, Figure: 1440, Limit: 120},
			{Kind: plausibility.SharedPattern, Score: 100, From: 60, To: 90, Figure: 0.987, Limit: 0.5, Other: steps.ParticipantDay{Participant: "p-2", Day: day}},
		}}
		d := New(in)
		if !strings.HasSuffix(d.Text.English, c.english) || !strings.HasSuffix(d.Text.Japanese, reviewWords[c.state.String()][0]+"。") {
			t.Errorf("%s: %s %s", c.state, d.Text.English, d.Text.Japanese)
		}
		if final := strings.Contains(d.Text.English, "This is final"); final == (c.state == review.Held) {
			t.Errorf("%s: %s", c.state, d.Text.English)
		}
		if d.Review.State != c.state.String() || len(d.Review.Flags) != 2 || d.Review.Flags[1].Other != "p-2" {
			t.Errorf("%s: %+v", c.state, d.Review)
		}
		var text bytes.Buffer
		if err := d.WriteText(&text, English); err != nil {
			t.Fatal(err)
		}
		if listed := strings.Contains(text.String(), "Why the day is reviewed"); listed != (c.listed != "") || strings.Contains(text.String(), "p-2") {
			t.Errorf("%s: %s", c.state, text.String())
		}
	}
}

// TestEveryKindHasWords knows what each kind of flag is about.
func TestEveryKindHasWords(t *testing.T) {
	for _, k := range plausibility.Kinds() {
		f := &plausibility.Flag{Kind: k, Figure: 0.5, Limit: 0.25, To: 60}
		en, ja := flagText(English, f), flagText(Japanese, f)
		if kindWords[k].ja == "" || !strings.HasPrefix(en, kindWords[k].en+" (00:00 to 01:00, ") || !strings.HasPrefix(ja, kindWords[k].ja) {
			t.Errorf("%s: %q %q", k, en, ja)
		}
		if share := kindWords[k].unitEN == "%"; share != strings.Contains(en, "50 %; limit 25") {
			t.Errorf("%s: %q", k, en)
		}
	}
}
