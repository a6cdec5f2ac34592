package review

import (
	"reflect"
	"strings"
	"testing"

	"ayumi/plausibility"
	"ayumi/steps"
)

var pd = steps.ParticipantDay{Participant: "p", Day: 20000}

func found(n uint64, hold bool, kinds ...plausibility.Kind) *Finding {
	f := &Finding{ParticipantDay: pd, Steps: n, Hold: hold}
	for _, k := range kinds {
		f.Flags = append(f.Flags, plausibility.Flag{Kind: k, Score: 50, Figure: 2, Limit: 1})
		f.Score = min(100, f.Score+50)
	}
	return f
}

func staff(k EventKind, by, text string) Event { return Event{Kind: k, At: 9, By: by, Text: text} }

// TestNote goes through what a look may find of a day whose review is in each state.
func TestNote(t *testing.T) {
	upheld, appealed, cleared := []Event{staff(Upholding, "a", "x")}, []Event{staff(Upholding, "a", "x"), staff(Appeal, "b", "y")}, []Event{staff(Clearing, "a", "x")}
	for _, c := range []struct {
		name   string
		state  State // of the review before, 0 if there was none; it had busy_day on 100 steps
		events []Event
		f      *Finding
		fixed  bool
		want   State // 0: none
		same   bool  // nothing changed
		added  string
	}{
		{"nothing", 0, nil, found(1, false), false, 0, false, ""},
		{"a flag", 0, nil, found(1, false, plausibility.BusyDay), false, Open, false, ""},
		{"a severe one", 0, nil, found(1, true, plausibility.BusyDay), false, Held, false, ""},
		{"a severe one of a closed day", 0, nil, found(1, true, plausibility.BusyDay), true, Open, false, ""},
		{"the same again", Open, nil, found(100, false, plausibility.BusyDay), false, Open, true, ""},
		{"the same, severe by other limits", Open, nil, found(100, true, plausibility.BusyDay), false, Held, false, ""},
		{"the same, on a closed day", Held, nil, found(100, false, plausibility.BusyDay), true, Held, true, ""},
		{"nothing any more", Open, nil, found(90, false), false, 0, false, ""},
		{"nothing any more on a closed day", Held, nil, found(90, false), true, Held, true, ""},
		{"less severe", Held, nil, found(90, false, plausibility.BusyHour), false, Open, false, ""},
		{"less severe on a closed day", Held, nil, found(90, false, plausibility.BusyHour), true, Held, false, ""},
		{"more after a clearing, of the same kind", Cleared, cleared, found(200, true, plausibility.BusyDay), false, Cleared, true, ""},
		{"less after a clearing", Cleared, cleared, found(90, false), false, Cleared, true, ""},
		{"another kind after a clearing", Cleared, cleared, found(200, true, plausibility.BusyDay, plausibility.Unbroken), false, Held, false, "unbroken"},
		{"another mild kind after a clearing", Cleared, cleared, found(200, false, plausibility.Unbroken), false, Open, false, "unbroken"},
		{"another kind after an upholding", Upheld, upheld, found(200, false, plausibility.Unbroken), false, Held, false, "unbroken"},
		{"another kind after a clearing on a closed day", Cleared, cleared, found(200, true, plausibility.Unbroken), true, Cleared, true, ""},
		{"mild while an appeal waits", Held, appealed, found(200, false, plausibility.BusyDay), false, Held, false, ""},
		{"nothing while an appeal waits", Held, appealed, found(200, false), false, Held, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var old *Review
			if c.state != 0 {
				old = &Review{ParticipantDay: pd, FoundAt: 1, LookedAt: 1, Steps: 100, Score: 50, State: c.state, Events: c.events,
					Flags: found(100, false, plausibility.BusyDay).Flags}
			}
			r := Note(old, c.f, c.fixed, 7)
			switch {
			case (r == old) != (c.same || c.state == 0 && c.want == 0):
				t.Fatalf("changed to %+v", r)
			case c.want == 0:
				if r != nil {
					t.Fatalf("there is a review: %+v", r)
				}
				return
			case r.State != c.want:
				t.Errorf("it is %s; want %s", r.State, c.want)
			case !c.same && (r.Steps != c.f.Steps || r.LookedAt != 7 || !reflect.DeepEqual(r.Flags, c.f.Flags)):
				t.Errorf("it holds %+v", r)
			}
			added := ""
			if n := len(r.Events); n > len(c.events) {
				added = r.Events[n-1].Text
			}
			if added != c.added || len(r.Events) < len(c.events) {
				t.Errorf("events %+v; want %q added", r.Events, c.added)
			}
		})
	}
}

func wantKind(t *testing.T, err error, kind steps.Kind, text string) {
	t.Helper()
	if err == nil || steps.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v; want %s: %q", err, kind, text)
	}
}

// TestDecisions goes from a flag over an appeal to the second decision, which is final.
func TestDecisions(t *testing.T) {
	r := &Review{ParticipantDay: pd, State: Held, Flags: found(1, true, plausibility.BusyDay).Flags}
	_, err := Contest(r, staff(0, "desk", "she walked"), true)
	wantKind(t, err, steps.Conflict, "is held; only what was upheld is appealed")
	_, err = Decide(r, staff(Upholding, "", "pendulum"))
	wantKind(t, err, steps.Invalid, "who")
	_, err = Decide(r, staff(Upholding, "a", strings.Repeat("x", maxTextBytes+1)))
	wantKind(t, err, steps.Invalid, "at most 984")
	_, err = Decide(r, staff(Appeal, "a", "x"))
	wantKind(t, err, steps.Invalid, "no decision")
	for _, again := range []bool{false, true} {
		if got, err := Decide(r, staff(Upholding, "a", "pendulum")); err != nil || got != again || r.State != Upheld {
			t.Fatalf("%v %v: %+v", got, err, r)
		}
	}
	_, err = Decide(r, staff(Clearing, "b", "no pendulum"))
	wantKind(t, err, steps.Conflict, "was upheld by a; the participant may appeal once")
	for _, again := range []bool{false, true} {
		if got, err := Contest(r, staff(0, "desk", "she walked"), true); err != nil || got != again || r.State != Held {
			t.Fatalf("%v %v: %+v", got, err, r)
		}
	}
	if _, err := Decide(r, staff(Upholding, "b", "seen on the film")); err != nil {
		t.Fatal(err)
	}
	_, err = Contest(r, staff(0, "desk", "she did"), true)
	wantKind(t, err, steps.Conflict, "a second decision is final")
	kinds := []EventKind{}
	for _, e := range r.Events {
		kinds = append(kinds, e.Kind)
	}
	if !reflect.DeepEqual(kinds, []EventKind{Upholding, Appeal, Upholding}) || r.Events[0].By != "a" || r.Events[1].Text != "she walked" {
		t.Errorf("events %+v", r.Events)
	}
}

func TestPrints(t *testing.T) {
	var p Prints
	for _, day := range []steps.Day{100, 98, 103, 100, 72} {
		p.Put(Print{Day: day, Steps: uint64(day)}, 28)
	}
	days := []steps.Day{}
	for _, d := range p.Days {
		days = append(days, d.Day)
	}
	if !reflect.DeepEqual(days, []steps.Day{98, 100, 103}) {
		t.Errorf("kept %v", days)
	}
	if d, ok := p.Of(100); !ok || d.Steps != 100 {
		t.Errorf("100: %+v %v", d, ok)
	}
	if _, ok := p.Of(99); ok {
		t.Error("99 is there")
	}
}

func TestNames(t *testing.T) {
	for s := Open; s <= Upheld; s++ {
		if got, err := ParseState(s.String()); got != s || err != nil {
			t.Errorf("%s: %v %v", s, got, err)
		}
	}
	_, err := ParseState("lost")
	wantKind(t, err, steps.Invalid, "open, held, cleared, upheld")
}
