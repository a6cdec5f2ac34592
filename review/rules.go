package review

import (
	"fmt"
	"slices"
	"strings"

	"ayumi/ledger"
	"ayumi/steps"
)

// automatic is who finds things anew.
const automatic = "ayumi"

// maxTextBytes bounds a reason and an appeal: a reason, with the day before it, is that of a ledger entry.
const maxTextBytes = ledger.MaxReasonBytes - 16

// Note returns a day's review after a look: old changed, a new one, or nil if there is none any more. old may be
// nil and is not changed. fixed says that the day's points are final, or being made so: then nothing is held that
// was not, and a decision stands whatever is found. On an open day a decision falls when a kind of flag appears
// that staff have not seen.
func Note(old *Review, f *Finding, fixed bool, now int64) *Review {
	state := Open
	if f.Hold && !fixed {
		state = Held
	}
	switch {
	case old == nil && len(f.Flags) == 0:
		return nil
	case old == nil:
		return &Review{ParticipantDay: f.ParticipantDay, FoundAt: now, LookedAt: now, Steps: f.Steps, Score: f.Score, Flags: f.Flags, State: state}
	case len(f.Flags) == 0 && (fixed || len(old.Events) > 0):
		return old // staff, or the points, wait for it
	case len(f.Flags) == 0:
		return nil
	case slices.Equal(old.Flags, f.Flags) && old.Steps == f.Steps && (fixed || f.Hold == old.State.Holds() || len(old.Events) > 0):
		return old
	}
	r := *old
	if !old.State.Undecided() {
		fresh := unseen(old, f)
		if fixed || len(fresh) == 0 {
			return old
		}
		if old.State == Upheld {
			state = Held // it was, and still waits
		}
		r.Events = append(slices.Clone(r.Events), Event{Kind: Renewal, At: now, By: automatic, Text: strings.Join(fresh, ", ")})
	} else if fixed || len(old.Events) > 0 && old.State == Held {
		state = old.State
	}
	r.LookedAt, r.Steps, r.Score, r.Flags, r.State = now, f.Steps, f.Score, f.Flags, state
	return &r
}

// unseen names the kinds of a finding that a review has not.
func unseen(r *Review, f *Finding) (names []string) {
	for i := range f.Flags {
		if k := f.Flags[i].Kind; !r.Has(k) && !slices.Contains(names, k.String()) {
			names = append(names, k.String())
		}
	}
	return names
}

// Decide adds staff's decision: d is a Clearing or an Upholding, with who and why. again says that the same
// decision stands already; asking twice changes nothing. Another decision on what is decided is a Conflict, and
// needs an appeal first.
func Decide(r *Review, d Event) (again bool, err error) {
	const op = "decide on review"
	if err := signed(op, &d); err != nil {
		return false, err
	}
	if n := len(r.Events); n > 0 && !r.State.Undecided() {
		last := &r.Events[n-1]
		if last.Kind == d.Kind && last.By == d.By && last.Text == d.Text {
			return true, nil
		}
		return false, steps.Errorf(op, steps.Conflict, "%s on %s was %s by %s; the participant may appeal once", r.Participant, r.Day, last.Kind, last.By)
	}
	switch d.Kind {
	case Clearing:
		r.State = Cleared
	case Upholding:
		r.State = Upheld
	default:
		return false, steps.Errorf(op, steps.Invalid, "%s is no decision; clear or uphold", d.Kind)
	}
	r.Events = append(r.Events, d)
	return false, nil
}

// Contest adds a participant's appeal against an Upholding; the review waits for a second decision, which is
// final. holds says whether the points are held, or will be when the day is closed.
func Contest(r *Review, d Event, holds bool) (again bool, err error) {
	const op = "appeal"
	if err := signed(op, &d); err != nil {
		return false, err
	}
	for i := len(r.Events) - 1; i >= 0 && r.Events[i].Kind != Renewal; i-- {
		switch e := &r.Events[i]; {
		case e.Kind != Appeal:
		case i == len(r.Events)-1 && e.By == d.By && e.Text == d.Text:
			return true, nil
		default:
			return false, steps.Errorf(op, steps.Conflict, "%s on %s was appealed before; a second decision is final", r.Participant, r.Day)
		}
	}
	if r.State != Upheld {
		return false, steps.Errorf(op, steps.Conflict, "the review of %s on %s is %s; only what was upheld is appealed", r.Participant, r.Day, r.State)
	}
	d.Kind, r.State = Appeal, Open
	if holds {
		r.State = Held
	}
	r.Events = append(r.Events, d)
	return false, nil
}

func signed(op string, d *Event) error {
	if d.By == "" || d.Text == "" || len(d.By) > ledger.MaxByBytes || len(d.Text) > maxTextBytes {
		return steps.Errorf(op, steps.Invalid, "who (at most %d bytes) and why (at most %d) are needed", ledger.MaxByBytes, maxTextBytes)
	}
	return nil
}

// Release is the entry by which the last decision, a Clearing, lets points go. Asking again with its key is
// answered with the entry that is there.
func Release(r *Review, period steps.PeriodID, n steps.Points) (*steps.Entry, error) {
	d := &r.Events[len(r.Events)-1]
	return ledger.New(&steps.EntryRequest{
		Participant: r.Participant, Kind: steps.EntryRelease, Period: period, Points: n, By: d.By,
		Key: ReleaseKey(r, len(r.Events)), Reason: fmt.Sprintf("%s: %s", r.Day, d.Text),
	})
}

// ReleaseKey is the request key of the release that came of a review's event, the first being 1.
func ReleaseKey(r *Review, event int) steps.RequestKey {
	return steps.RequestKey(fmt.Sprintf("review:%s:%d", r.Day, event))
}
