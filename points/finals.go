package points

import (
	"context"
	"errors"

	"ayumi/steps"
)

// finals are the points of closed days that may differ from what the days would earn now.
type finals struct {
	of     steps.DayRange
	days   map[steps.Day]struct{} // that are closed
	points map[steps.ParticipantDay]steps.Points
}

// mostLate is how many late days are read to find those of the participants at hand. Where there are more, as
// after a change of the rules of closed days, each participant's own days are read.
const mostLate = 4096

var errEnough = errors.New("enough")

// readFinals finds out what closed days have among those from the first to the last: those that are dirty, and
// those that are listed as late. Any other has what it earned when it was closed, and would earn that now.
func (s *scorer) readFinals(ctx context.Context, days []steps.Day, histories []history, dirty []steps.DirtyDay) error {
	s.finals = finals{}
	if len(days) == 0 || !s.needsFinals() {
		return nil
	}
	r := steps.DayRange{From: days[0], Until: days[len(days)-1]}
	closed, err := s.closedDays(ctx, r)
	if err != nil {
		return err
	}
	s.finals = finals{r, closed, map[steps.ParticipantDay]steps.Points{}}
	if len(closed) == 0 {
		return nil
	}
	if err := s.readLate(ctx, histories); err != nil {
		return err
	}
	for _, d := range dirty {
		if _, ok := closed[d.Day]; !ok {
			continue
		}
		s.finals.points[d.ParticipantDay] = 0
		if err := s.readOwn(ctx, d.Participant, steps.DayRange{From: d.Day, Until: d.Day}); err != nil {
			return err
		}
	}
	return nil
}

// needsFinals reports whether points of a day depend on what other days were awarded.
func (s *scorer) needsFinals() bool { return s.book.counted != [spanCount]bool{} }

// readLate reads what the late days have.
func (s *scorer) readLate(ctx context.Context, histories []history) error {
	n := 0
	err := s.source.EachLate(ctx, steps.LateFilter{Days: s.finals.of}, func(l steps.LateDay) error {
		if n++; n > mostLate {
			return errEnough
		}
		s.finals.points[l.ParticipantDay] = l.Final
		return nil
	})
	if !errors.Is(err, errEnough) {
		return err
	}
	for i := range histories {
		own := steps.DayRange{From: histories[i].from, Until: s.finals.of.Until}
		if err := s.readOwn(ctx, histories[i].id, own); err != nil {
			return err
		}
	}
	return nil
}

// readOwn reads what a participant's closed days have.
func (s *scorer) readOwn(ctx context.Context, p steps.ParticipantID, r steps.DayRange) error {
	return s.source.EachDay(ctx, r, p, func(a steps.Award) error {
		if _, ok := s.finals.days[a.Day]; ok {
			s.finals.points[a.ParticipantDay] = a.Points
		}
		return nil
	})
}

// closedDays returns which days of a range are closed.
func (s *scorer) closedDays(ctx context.Context, r steps.DayRange) (map[steps.Day]struct{}, error) {
	closed := map[steps.Day]struct{}{}
	err := s.source.EachClosedDay(ctx, r, func(d steps.ClosedDay) error {
		closed[d.Day] = struct{}{}
		return nil
	})
	return closed, err
}

// overtaken reports whether a day was closed since readFinals looked.
func (s *scorer) overtaken(ctx context.Context) (bool, error) {
	if s.finals.days == nil {
		return false, nil
	}
	closed, err := s.closedDays(ctx, s.finals.of)
	return len(closed) > len(s.finals.days), err
}
