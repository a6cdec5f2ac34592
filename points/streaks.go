package points

import (
	"math/bits"
)

// Goal is what makes a day count for a streak or as a goal day. A day without steps reaches none.
type Goal struct {
	Steps uint64 `json:",omitzero"` // counted steps at least; 0 if Rule is meant
	Rule  int    `json:",omitzero"` // index of an earlier rule of the rule set with a table
	Tier  int    `json:",omitzero"` // index of the tier of it that the day reaches at least
}

// meets reports whether the day reaches the goal, whatever caps leave of its points.
func (e *eval) meets(g *Goal) bool {
	if g.Steps > 0 {
		return e.counted >= g.Steps
	}
	return int(e.reached[g.Rule]) > g.Tier
}

// streak pays for Days goal days in a row and then counts anew, so that a day that comes late and
// joins two streaks never takes away what either paid.
func (e *eval) streak(r *Rule, got *earned) {
	e.streakDay(r, e.meets(&r.Goal))
	row := &e.st.slots[r.slots.own]
	if int(*row) < r.Days {
		return
	}
	*row = 0
	e.bonus(r, got)
}

// streakDay counts the day. A day that was left out had no steps and ended the streak.
func (e *eval) streakDay(r *Rule, met bool) {
	row := &e.st.slots[r.slots.own]
	if e.passed > 1 || !met {
		*row = 0
	}
	if met {
		*row++
	}
}

// goalDays pays once when enough days have reached the goal within a span; or, within a rolling
// window, whenever they have, and each goal day counts for one payment only. It pays on a goal day,
// also where a new rule set asks for fewer days than there are already.
func (e *eval) goalDays(r *Rule, got *earned) {
	met := e.meets(&r.Goal)
	e.goalDay(r, met)
	days := &e.st.slots[r.slots.own]
	switch {
	case !met:
	case r.Window > 0 && bits.OnesCount32(*days) >= r.Days:
		*days = 0
		e.bonus(r, got)
	case r.Window == 0 && *days&paid == 0 && int(*days) >= r.Days:
		*days |= paid
		e.bonus(r, got)
	}
}

// paid marks the count of a span that has been paid for.
const paid = 1 << 31

// goalDay counts the day.
func (e *eval) goalDay(r *Rule, met bool) {
	days := &e.st.slots[r.slots.own]
	if r.Window > 0 {
		*days = *days << min(e.passed, maxWindow+1) & (1<<r.Window - 1) // a shift by 32 leaves 0
	}
	switch {
	case met && r.Window > 0:
		*days |= 1
	case met:
		*days++
	}
}

// maxWindow bounds a rolling window: a bit a day in a slot.
const maxWindow = 31

// bonus fills in what is paid for days that reached a goal.
func (e *eval) bonus(r *Rule, got *earned) {
	got.points, got.unit = r.Points, UnitDays
	got.threshold, got.figure = uint64(r.Days), uint64(r.Days)
}
