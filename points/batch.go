package points

import (
	"cmp"
	"context"
	"slices"

	"ayumi/steps"
)

// batch scores dirty days together with the days whose points they change.
type batch struct {
	scorer
	people      People
	checkpoints *checkpoints

	dirty     []steps.DirtyDay // by participant, then day
	onwards   bool             // score all that comes after them
	histories []history        // by participant, then day; they do not overlap
	active    []int            // indices of the histories that a day is in
	ids       []steps.ParticipantID
	awards    []steps.Award
}

// awardAll returns the awards of dirty days and of the days that depend on them, or of all that come
// after, by day, then participant. They hold until the next call.
func (b *batch) awardAll(ctx context.Context, dirty []steps.DirtyDay, onwards bool) ([]steps.Award, error) {
	b.dirty, b.onwards = append(b.dirty[:0], dirty...), onwards
	slices.SortFunc(b.dirty, func(x, y steps.DirtyDay) int {
		return cmp.Or(cmp.Compare(x.Participant, y.Participant), cmp.Compare(x.Day, y.Day))
	})
	if err := b.plan(); err != nil {
		return nil, err
	}
	for i := range b.histories {
		if onwards {
			b.histories[i].last = noEnd
		}
	}
	return b.run(ctx)
}

// plan makes the histories that the dirty days ask for.
func (b *batch) plan() error {
	clear(b.histories)
	b.histories = b.histories[:0]
	var own history
	for i, d := range b.dirty {
		if i == 0 || d.Participant != b.dirty[i-1].Participant {
			own = history{id: d.Participant, person: b.people.Person(d.Participant)}
			if err := b.load(&own); err != nil {
				return err
			}
		}
		f := own
		f.dirty = i
		b.reach(&f, d.Day)
		if n := len(b.histories); n > 0 && b.histories[n-1].id == f.id && b.histories[n-1].last >= f.from {
			before := &b.histories[n-1]
			before.first, before.from = min(before.first, f.first), min(before.from, f.from)
			before.last, before.asked = max(before.last, f.last), d.Day
			continue
		}
		b.histories = append(b.histories, f)
	}
	for i := range b.histories {
		f := &b.histories[i]
		f.st = b.book.Begin()
		if b.book.needs.past {
			b.checkpoints.resume(f)
		}
	}
	return nil
}

// reach sets which days a dirty one has scored anew, and which are needed for that.
func (b *batch) reach(f *history, day steps.Day) {
	f.asked, f.first, f.last, f.from = day, day, day, day
	if b.book.needs.duty > 0 && f.sent.Has(day) {
		f.first = b.book.Covers(day).From
	}
	if !b.book.needs.past {
		f.from = f.first
		return
	}
	from, _ := b.book.Window(f.first, &f.person)
	_, until := b.book.Window(day, &f.person)
	f.from, f.last = min(from, f.first), until
	if f.first < day {
		_, until = b.book.Window(f.first, &f.person)
		f.last = max(f.last, until)
	}
}

// run takes the histories through their days.
func (b *batch) run(ctx context.Context) ([]steps.Award, error) {
	b.awards = b.awards[:0]
	days, err := b.days()
	if err == nil {
		err = b.readFinals(ctx, days, b.histories)
	}
	if err != nil {
		return nil, err
	}
	for _, day := range days {
		b.active, b.ids = b.active[:0], b.ids[:0]
		for i := range b.histories {
			if f := &b.histories[i]; f.from <= day && day <= f.last {
				b.active, b.ids = append(b.active, i), append(b.ids, f.id)
			}
		}
		err := b.source.EachOf(day, b.ids, func(i int, n uint64, reported bool) error {
			return b.step(&b.histories[b.active[i]], day, n, reported)
		})
		if err != nil {
			return nil, err
		}
	}
	return b.awards, nil
}

// days returns the days on which there may be something to score, rising.
func (b *batch) days() ([]steps.Day, error) {
	var days []steps.Day
	for i := range b.dirty {
		if b.onwards {
			break // it is where to begin, and may be a day like none
		}
		if n := len(days); n == 0 || days[n-1] != b.dirty[i].Day {
			days = append(days, b.dirty[i].Day)
		}
	}
	if b.onwards || b.book.needs.past || b.book.needs.duty > 0 {
		return b.daysOf(b.histories, days)
	}
	slices.Sort(days)
	return slices.Compact(days), nil
}

// step scores a day of a fold and notes its award if it was asked for.
func (b *batch) step(f *history, day steps.Day, n uint64, reported bool) error {
	mark := b.mark(f, day)
	if !reported && mark == 0 && !b.onwards && !b.eventful(f, day) {
		return nil // onwards, other rules may have awarded it
	}
	if !b.book.needs.past {
		f.st = b.book.Begin()
	} else if day == f.asked {
		b.checkpoints.keep(f, day)
	}
	score, parts, err := b.score(f, b.describe(f, day, n))
	if err != nil {
		return err
	}
	if day >= f.first {
		b.awards = append(b.awards, steps.Award{
			ParticipantDay: steps.ParticipantDay{Participant: f.id, Day: day}, Steps: n, Points: score.Points,
			RuleSet: score.RuleSet, Parts: parts, Mark: mark, Unreported: !reported, Open: b.book.keeps() && !b.isClosed(day),
		})
	}
	return nil
}

// mark returns the mark of a dirty day, 0 for any other. The days of a history rise.
func (b *batch) mark(f *history, day steps.Day) uint64 {
	for ; f.dirty < len(b.dirty) && b.dirty[f.dirty].Participant == f.id; f.dirty++ {
		if d := &b.dirty[f.dirty]; d.Day == day {
			return d.Mark
		} else if d.Day > day {
			break
		}
	}
	return 0
}
