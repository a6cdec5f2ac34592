package points

import (
	"context"

	"ayumi/steps"
)

// Explained is a day's score with everything that it was computed from.
type Explained struct {
	Score      DayScore
	Set        *RuleSet // that was in force, nil if none was; it is shared
	Person     Person   // with the baseline that was measured, if it was
	Age        int      // on the day, or UnknownAge
	Steps      uint64
	Sent       bool // something was sent on that calendar day
	Activities []steps.Activity
	Deadlines  Deadlines
	Period     string // ID of the point period that the day lies in, "" for none
}

// Explain scores a day as the engine does, from everything that is known of the participant by now, and
// says why. What is stored may lag behind until the day is scored. Any goroutine may call it.
func (e *Engine) Explain(pd steps.ParticipantDay) (*Explained, error) {
	s := e.scorer()
	f := history{id: pd.Participant, person: e.people.Person(pd.Participant), st: s.book.Begin(), from: pd.Day, last: pd.Day}
	if err := s.load(&f); err != nil {
		return nil, err
	}
	if s.book.needs.past {
		f.from, _ = s.book.Window(pd.Day, &f.person)
	}
	days, err := s.daysOf([]history{f}, []steps.Day{pd.Day})
	if err != nil {
		return nil, err
	}
	own := []history{f}
	if err := s.readFinals(context.Background(), days, own); err != nil {
		return nil, err
	}
	f = own[0]
	out := &Explained{Person: f.person, Age: f.person.Age(pd.Day), Deadlines: s.book.Deadlines(pd.Day)}
	out.Set, _ = s.book.On(pd.Day)
	if p, ok := s.book.Period(pd.Day); ok {
		out.Period = p.ID
	}
	for _, day := range days {
		err := s.source.EachOf(day, []steps.ParticipantID{f.id}, func(_ int, n uint64, _ bool) error {
			facts := s.describe(&f, day, n)
			if day < pd.Day {
				_, err := s.book.Step(&f.st, facts, &f.person)
				return err
			}
			out.Steps, out.Sent, out.Activities = n, facts.Sent, f.activitiesOn(day)
			out.Score, err = s.book.Explain(&f.st, facts, &f.person)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
