package points

import (
	"context"
	"errors"

	"ayumi/steps"
)

// finals are what closed days have where it may differ from what the days would earn now.
type finals struct {
	of   steps.DayRange
	days map[steps.Day]struct{} // that are closed
	last steps.Day              // of these
	kept map[steps.ParticipantDay]kept
}

// kept is what a closed day has.
type kept struct {
	points steps.Points
	parts  steps.Parts
}

// mostLate is how many late days are read to find those of the participants at hand. Where there are more, as
// after a change of the rules of closed days, each participant's own days are read.
const mostLate = 4096

var errEnough = errors.New("enough")

// readFinals finds out what closed days have among those from the first to the last. Those that are scored, and those
// after them, may come to earn something else by that, so these are read. Of those before, what is listed as late
// says which would earn something else than they have. (While other rules are being put into force it does not yet,
// and whoever is scored meanwhile is scored once more by catchUp, from a day on that comes before such days.)
func (s *scorer) readFinals(ctx context.Context, days []steps.Day, histories []history) error {
	s.finals = finals{}
	if len(days) == 0 || !s.book.keeps() {
		return nil
	}
	r := steps.DayRange{From: days[0], Until: days[len(days)-1]}
	closed, err := s.closedDays(ctx, r)
	if err != nil {
		return err
	}
	s.finals = finals{of: r, days: closed, kept: map[steps.ParticipantDay]kept{}}
	if len(closed) == 0 {
		return nil
	}
	s.finals.last = r.From
	for d := range closed {
		s.finals.last = max(s.finals.last, d)
	}
	listed := false
	for i := range histories {
		f := &histories[i]
		f.kept = f.first <= s.finals.last
		if listed = listed || !f.kept; f.kept {
			if err := s.readOwn(ctx, f); err != nil {
				return err
			}
		}
	}
	if !listed {
		return nil
	}
	return s.readLate(ctx, histories)
}

// readLate reads what the late days have.
func (s *scorer) readLate(ctx context.Context, histories []history) error {
	n := 0
	err := s.source.EachLate(ctx, steps.LateFilter{Days: s.finals.of, Even: true}, func(l steps.LateDay) error {
		if n++; n > mostLate {
			return errEnough
		}
		s.finals.kept[l.ParticipantDay] = kept{l.Final, l.Kept}
		return nil
	})
	if !errors.Is(err, errEnough) {
		return err
	}
	for i := range histories {
		if f := &histories[i]; !f.kept {
			f.kept = true
			if err := s.readOwn(ctx, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// readOwn reads what the closed days of a history have.
func (s *scorer) readOwn(ctx context.Context, f *history) error {
	r := steps.DayRange{From: f.from, Until: min(f.last, s.finals.last)}
	if r.Until < r.From {
		return nil
	}
	return s.source.EachDay(ctx, r, f.id, func(a steps.Award) error {
		if s.isClosed(a.Day) {
			s.finals.kept[a.ParticipantDay] = kept{a.Points, a.Parts}
		}
		return nil
	})
}

// isClosed reports whether readFinals found a day closed.
func (s *scorer) isClosed(d steps.Day) bool {
	_, closed := s.finals.days[d]
	return closed
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
