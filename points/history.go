package points

import (
	"slices"
	"sort"

	"ayumi/steps"
)

// history is one participant's days on their way through the rules, in rising order.
type history struct {
	id     steps.ParticipantID
	person Person
	st     State
	from   steps.Day // the first day that counts for those to be awarded
	first  steps.Day // the first day to award
	last   steps.Day // the last day to award
	asked  steps.Day // of dirty days the last: the state before it is worth keeping
	dirty  int       // index of the first dirty day that was not passed
	kept   bool      // what its closed days have was read

	activities []steps.Activity // rising by day
	sent       steps.DaySet
}

// scorer turns facts into scores under one rule book.
type scorer struct {
	book     *RuleBook
	source   Source
	calendar steps.Calendar
	today    steps.Day

	finals  finals
	facts   Facts
	minutes dayMinutes
	scratch []byte
	parts   map[string]steps.Parts // the same ones come again and again
}

// mostParts bounds the parts that are remembered.
const mostParts = 4096

// score folds a day into a history, and returns the parts of its score too.
func (s *scorer) score(f *history, facts *Facts) (DayScore, steps.Parts, error) {
	if !s.book.keeps() {
		score, err := s.book.Step(&f.st, facts, &f.person)
		return score, "", err
	}
	if s.scratch == nil {
		s.scratch, s.parts = make([]byte, 0, 64), map[string]steps.Parts{}
	}
	score, encoded, err := s.book.step(&f.st, facts, &f.person, nil, s.scratch[:0])
	if err != nil || len(encoded) == 0 {
		return score, "", err
	}
	s.scratch = encoded
	parts, known := s.parts[string(encoded)]
	if !known {
		if len(s.parts) >= mostParts {
			clear(s.parts)
		}
		parts = steps.Parts(encoded)
		s.parts[string(parts)] = parts
	}
	return score, parts, nil
}

// dayMinutes reads a day's minutes when a rule asks for them.
type dayMinutes struct {
	source Source
	pd     steps.ParticipantDay
}

// Counts implements Minutes.
func (m *dayMinutes) Counts() ([]uint32, error) { return m.source.Minutes(m.pd) }

// describe puts together what is known of a participant's day.
func (s *scorer) describe(f *history, day steps.Day, total uint64) *Facts {
	s.minutes = dayMinutes{source: s.source, pd: steps.ParticipantDay{Participant: f.id, Day: day}}
	s.facts = Facts{Day: day, Steps: total, Minutes: &s.minutes, Activities: s.facts.Activities[:0]}
	if s.book.needs.sendings {
		s.facts.Sent, s.facts.SentUntil = f.sent.Has(day), s.today-1
		s.facts.NextSent, _ = f.sent.From(day)
	}
	if s.isClosed(day) {
		has, found := s.finals.kept[s.minutes.pd]
		s.facts.Closed, s.facts.Awarded, s.facts.Parts = f.kept || found, has.points, has.parts
	}
	own := f.activitiesOn(day)
	if len(own) == 0 {
		return &s.facts
	}
	deadline := s.book.Deadlines(day).Activities
	for i := range own {
		if a := &own[i]; a.Cancelled.At == 0 && s.calendar.Day(a.RecordedAt) <= deadline {
			s.facts.Activities = append(s.facts.Activities, Activity{Kind: string(a.Kind), Times: max(int(a.Times), 1)})
		}
	}
	return &s.facts
}

// activitiesOn returns the fold's activities of a day.
func (f *history) activitiesOn(day steps.Day) []steps.Activity {
	from := sort.Search(len(f.activities), func(i int) bool { return f.activities[i].Day >= day })
	n := sort.Search(len(f.activities)-from, func(i int) bool { return f.activities[from+i].Day > day })
	return f.activities[from : from+n]
}

// eventful reports whether there is anything to score on a day besides steps.
func (s *scorer) eventful(f *history, day steps.Day) bool {
	return len(f.activitiesOn(day)) > 0 || s.book.needs.sent && f.sent.Has(day)
}

// eventDays appends the days up to last on which there is something to score besides steps.
func (s *scorer) eventDays(dst []steps.Day, f *history, from, last steps.Day) []steps.Day {
	for i := range f.activities {
		if d := f.activities[i].Day; d >= from && d <= last {
			dst = append(dst, d)
		}
	}
	if s.book.needs.sent {
		for d, ok := f.sent.From(from); ok && d <= last; d, ok = f.sent.From(d + 1) {
			dst = append(dst, d)
		}
	}
	return dst
}

// load reads what the rules ask for besides steps.
func (s *scorer) load(f *history) (err error) {
	if s.book.needs.activities {
		if f.activities, err = s.source.Activities(f.id, steps.DayRange{From: s.book.sets[0].Effective}); err != nil {
			return err
		}
	}
	if s.book.needs.sendings {
		if f.sent, err = s.source.Sendings(f.id); err != nil {
			return err
		}
	}
	return s.measure(f)
}

// measure measures the person's baseline, unless staff have entered one or the rules have none.
func (s *scorer) measure(f *history) error {
	base := s.book.needs.baseline
	if base == nil || f.person.Baseline.Known {
		return nil
	}
	window, ok := base.Window(&f.person)
	if !ok {
		return nil
	}
	days, err := s.source.StoredDays(window)
	if err != nil {
		return err
	}
	var totals []uint64
	for _, day := range days {
		err := s.source.EachOf(day, []steps.ParticipantID{f.id}, func(_ int, n uint64, _ bool) error {
			totals = append(totals, n)
			return nil
		})
		if err != nil {
			return err
		}
	}
	f.person.Baseline = base.Measure(window, totals)
	return nil
}

// daysOf returns the days from the first to the last on which any of the histories may have something to
// score, rising.
func (s *scorer) daysOf(histories []history, days []steps.Day) ([]steps.Day, error) {
	if len(histories) > 0 {
		r := steps.DayRange{From: histories[0].from, Until: histories[0].last}
		for i := range histories {
			r.From, r.Until = min(r.From, histories[i].from), max(r.Until, histories[i].last)
		}
		if r.Until >= s.today { // nobody knows of days after tomorrow
			r.Until = 0
		}
		stored, err := s.source.StoredDays(r)
		if err != nil {
			return nil, err
		}
		days = append(days, stored...)
		for i := range histories {
			days = s.eventDays(days, &histories[i], histories[i].from, histories[i].last)
		}
	}
	slices.Sort(days)
	return slices.Compact(days), nil
}
