package points

import (
	"context"

	"ayumi/steps"
)

// TrialRow is what other rules would change for one participant.
type TrialRow struct {
	Participant steps.ParticipantID `json:"participant"`
	Before      steps.Points        `json:"before"` // as awarded, over all days of the trial
	After       steps.Points        `json:"after"`
	Days        int                 `json:"days_changed"`
}

// Trial is what other rules would change altogether.
type Trial struct {
	Programme    string       `json:"programme"`
	Days         int          `json:"participant_days"`
	Participants int          `json:"participants"`
	Gain         int          `json:"gain"` // participants with more points than before
	Lose         int          `json:"lose"`
	Before       steps.Points `json:"before"`
	After        steps.Points `json:"after"`
	// Of closed days, which stay as they are: what they have, and what they would have had.
	ClosedBefore steps.Points `json:"closed_before"`
	ClosedAfter  steps.Points `json:"closed_after"`
}

// Try scores the days of a range under other rules and compares them with what is awarded. It changes
// nothing. closed says which days are final: what they would have earned is told apart. It reads every day
// once, of the range and of what the rules need before it, and keeps a row for each participant. Any
// goroutine may call it, after Settle.
func (e *Engine) Try(ctx context.Context, book *RuleBook, r steps.DayRange, closed func(steps.Day) bool) (*Trial, []TrialRow, error) {
	t := &Trial{Programme: book.Programme()}
	rows := map[steps.ParticipantID]*TrialRow{}
	var order []steps.ParticipantID
	s := sweep{scorer: e.scorer(), people: e.people, from: r.From, first: r.From, last: r.Until}
	s.book = book
	if s.last == 0 {
		s.last = noEnd
	}
	if book.needs.past {
		s.from, _ = book.Window(r.From, nil)
	}
	s.emit = func(stored *steps.Award, now *DayScore, _ steps.Parts) error {
		if stored.Unreported && stored.Points == 0 && now.Points == 0 {
			return nil
		}
		t.Days++
		row := rows[stored.Participant]
		if row == nil {
			row = &TrialRow{Participant: stored.Participant}
			rows[stored.Participant] = row
			order = append(order, stored.Participant)
		}
		if closed(stored.Day) {
			t.ClosedBefore += stored.Points
			t.ClosedAfter += now.Points
			return nil
		}
		row.Before += stored.Points
		row.After += now.Points
		if stored.Points != now.Points {
			row.Days++
		}
		return nil
	}
	if err := s.run(ctx); err != nil {
		return nil, nil, err
	}
	out := make([]TrialRow, 0, len(order))
	for _, id := range order {
		row := rows[id]
		t.add(row)
		out = append(out, *row)
	}
	return t, out, nil
}

func (t *Trial) add(row *TrialRow) {
	t.Participants++
	t.Before += row.Before
	t.After += row.After
	switch {
	case row.After > row.Before:
		t.Gain++
	case row.After < row.Before:
		t.Lose++
	}
}
