package points

import (
	"context"

	"ayumi/steps"
)

// Source is what scoring needs to know of days. *store.Store satisfies it. Its methods may be called
// from any goroutine.
type Source interface {
	// StoredDays returns the days of the range on which anybody has steps or an award, rising.
	StoredDays(r steps.DayRange) ([]steps.Day, error)
	// EachOf calls fn for each of the participants, which rise, with the merged steps of a day;
	// reported is false, and steps 0, where nobody reported anything.
	EachOf(day steps.Day, people []steps.ParticipantID, fn func(i int, steps uint64, reported bool) error) error
	// EachDay calls fn for the participant-days of a range that have steps or an award, ordered by day,
	// then participant, those of one participant only if p is not "".
	EachDay(ctx context.Context, r steps.DayRange, p steps.ParticipantID, fn func(steps.Award) error) error
	// Minutes returns the merged counts of a day, minute by minute.
	Minutes(pd steps.ParticipantDay) ([]uint32, error)
	// Activities returns a participant's activities of a range, by day, cancelled ones included.
	Activities(p steps.ParticipantID, r steps.DayRange) ([]steps.Activity, error)
	// EachActivity calls fn for every activity, by participant, then day.
	EachActivity(ctx context.Context, fn func(*steps.Activity) error) error
	// Sendings returns the calendar days on which something was sent for a participant.
	Sendings(p steps.ParticipantID) (steps.DaySet, error)
	// EachClosedDay calls fn for every day of the range that is closed or being closed, rising.
	EachClosedDay(ctx context.Context, r steps.DayRange, fn func(steps.ClosedDay) error) error
	// EachLate calls fn for the closed days whose data would have earned other points when they were last scored,
	// or, with f.Even, other parts.
	EachLate(ctx context.Context, f steps.LateFilter, fn func(steps.LateDay) error) error
	// EachSendings calls fn for every participant for whom something was ever sent, rising.
	EachSendings(ctx context.Context, fn func(steps.ParticipantID, *steps.DaySet) error) error
}

// People is what scoring needs to know of participants.
type People interface {
	// Person returns what points depend on; of somebody unknown, nothing is known.
	Person(p steps.ParticipantID) Person
}
