package points

import (
	"cmp"
	"context"
	"slices"

	"ayumi/steps"
)

// sweep scores everybody's days, day after day, with one fold a participant, so that each table is
// read once from one end to the other. It takes some 330 bytes a participant where points of a day
// depend on other days, and next to nothing where they do not.
type sweep struct {
	scorer
	people People
	from   steps.Day // the first day that counts for those to be awarded
	first  steps.Day // the first day to award
	last   steps.Day // the last one; noEnd is none
	// emit is given each day's award as it is stored, and the score with its parts that it has now.
	emit func(stored *steps.Award, now *DayScore, parts steps.Parts) error

	at        steps.Day  // the day at hand
	closed    bool       // and whether it is closed
	histories []*history // rising by participant
	fresh     []*history // those that the day at hand added, likewise
	slab      []history  // room for more
	alone     history    // of a day that is scored by itself
	// passed are those of whom days were scored beside the sweep, and from which day on it leaves them
	// alone: what it knows of them is not what there is now.
	passed map[steps.ParticipantID]steps.Day
}

// run scores all days.
func (s *sweep) run(ctx context.Context) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	days, err := s.source.StoredDays(steps.DayRange{From: s.from, Until: s.last})
	if err != nil {
		return err
	}
	for i := range s.histories {
		days = s.eventDays(days, s.histories[i], s.from, s.last)
	}
	slices.Sort(days)
	for _, day := range slices.Compact(days) {
		if err := s.day(ctx, day); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes histories for those who have done something besides walking.
func (s *sweep) prepare(ctx context.Context) error {
	if s.book.needs.activities {
		err := s.source.EachActivity(ctx, func(a *steps.Activity) error {
			if n := len(s.histories); n == 0 || s.histories[n-1].id != a.Participant {
				s.histories = append(s.histories, s.begin(a.Participant))
			}
			f := s.histories[len(s.histories)-1]
			f.activities = append(f.activities, *a)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if !s.book.needs.sendings {
		return s.measureAll(s.histories)
	}
	at := 0
	err := s.source.EachSendings(ctx, func(p steps.ParticipantID, sent *steps.DaySet) error {
		for at < len(s.histories) && s.histories[at].id < p {
			at++
		}
		if at < len(s.histories) && s.histories[at].id == p {
			s.histories[at].sent = *sent
			return nil
		}
		f := s.begin(p)
		f.sent = *sent
		s.fresh = append(s.fresh, f)
		return nil
	})
	s.join()
	return cmp.Or(err, s.measureAll(s.histories))
}

// begin makes a history that is kept.
func (s *sweep) begin(p steps.ParticipantID) *history {
	if len(s.slab) == 0 {
		s.slab = make([]history, 256)
	}
	f := &s.slab[0]
	s.slab = s.slab[1:]
	*f = s.history(p)
	return f
}

func (s *sweep) history(p steps.ParticipantID) history {
	return history{id: p, person: s.people.Person(p), st: s.book.Begin()}
}

func (s *sweep) measureAll(histories []*history) error {
	for _, f := range histories {
		if err := s.measure(f); err != nil {
			return err
		}
	}
	return nil
}

// day scores everybody's day.
func (s *sweep) day(ctx context.Context, day steps.Day) error {
	s.at = day
	if !s.remembers() {
		clear(s.passed) // it reads everything about the day only now
	}
	closed, err := s.closedDays(ctx, steps.DayRange{From: day, Until: day})
	if err != nil {
		return err
	}
	_, s.closed = closed[day]
	at := 0
	err = s.source.EachDay(ctx, steps.DayRange{From: day, Until: day}, "", func(a steps.Award) error {
		for ; at < len(s.histories) && s.histories[at].id < a.Participant; at++ {
			if err := s.event(s.histories[at], day); err != nil {
				return err
			}
		}
		if at < len(s.histories) && s.histories[at].id == a.Participant {
			at++
			return s.step(s.histories[at-1], &a)
		}
		f := s.newcomer(a.Participant)
		if err := s.measure(f); err != nil {
			return err
		}
		return s.step(f, &a)
	})
	for ; err == nil && at < len(s.histories); at++ {
		err = s.event(s.histories[at], day)
	}
	s.join()
	return err
}

// newcomer returns the history of a participant who is seen for the first time. It is kept if later days depend
// on it.
func (s *sweep) newcomer(p steps.ParticipantID) *history {
	if !s.book.needs.past {
		s.alone = s.history(p)
		return &s.alone
	}
	f := s.begin(p)
	s.fresh = append(s.fresh, f)
	return f
}

// remembers reports whether the sweep knows something of a participant from before the day at hand.
func (s *sweep) remembers() bool {
	n := &s.book.needs
	return n.past || n.activities || n.sendings
}

// passBy notes whose days are about to be scored beside the sweep.
func (s *sweep) passBy(others []history) {
	for i := range others {
		f := &others[i]
		if !s.remembers() && (f.first > s.at || f.last < s.at) {
			continue
		}
		from := min(f.first, s.at)
		if before, ok := s.passed[f.id]; !ok || from < before {
			s.passed[f.id] = from
		}
	}
}

// event scores a day of a participant of whom no steps and no award are stored.
func (s *sweep) event(f *history, day steps.Day) error {
	if !s.eventful(f, day) {
		return nil
	}
	return s.step(f, &steps.Award{ParticipantDay: steps.ParticipantDay{Participant: f.id, Day: day}, Unreported: true})
}

func (s *sweep) step(f *history, stored *steps.Award) error {
	if _, passed := s.passed[f.id]; passed {
		return nil
	}
	if !s.book.needs.past {
		f.st = s.book.Begin()
	}
	facts := s.describe(f, stored.Day, stored.Steps)
	facts.Closed, facts.Awarded, facts.Parts = s.closed, stored.Points, stored.Parts
	score, parts, err := s.score(f, facts)
	if err != nil || stored.Day < s.first {
		return err
	}
	return s.emit(stored, &score, parts)
}

// join takes the histories of those who were seen for the first time in among the others.
func (s *sweep) join() {
	if len(s.fresh) == 0 {
		return
	}
	old := s.histories
	s.histories = make([]*history, 0, len(old)+len(s.fresh))
	for _, f := range s.fresh {
		for len(old) > 0 && old[0].id < f.id {
			s.histories, old = append(s.histories, old[0]), old[1:]
		}
		s.histories = append(s.histories, f)
	}
	s.histories = append(s.histories, old...)
	s.fresh = s.fresh[:0]
}
