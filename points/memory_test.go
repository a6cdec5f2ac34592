package points

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	"ayumi/steps"
)

// bornMap is People of whom only birthdays are known.
type bornMap map[steps.ParticipantID]steps.Day

func (m bornMap) Person(p steps.ParticipantID) Person {
	d, ok := m[p]
	return Person{Born: d, BornKnown: ok}
}

// persons is People in a map.
type persons map[steps.ParticipantID]Person

func (m persons) Person(p steps.ParticipantID) Person { return m[p] }

// memory is a plain Days: totals, marks and awards in maps.
type memory struct {
	t       reporter
	changed chan struct{}

	mu         sync.Mutex
	totals     map[steps.ParticipantDay]uint64
	marks      map[steps.ParticipantDay]uint64
	dirty      map[steps.ParticipantDay]bool
	returned   map[steps.ParticipantDay]struct{} // by Dirty since Redo
	awards     map[steps.ParticipantDay]steps.Award
	activities map[steps.ParticipantID][]steps.Activity // by day
	sent       map[steps.ParticipantID]steps.DaySet
	closed     map[steps.Day]bool
	late       map[steps.ParticipantDay]steps.LateDay
	scoring    steps.Scoring
	sweeps     int // changes of scoring
	puts       int

	// fail, when set, may refuse a call. It and beforePut run on the engine's goroutine, without
	// the lock.
	fail      func(method string) error
	beforePut func()
}

// reporter is a test, or what rapid makes of one.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Error(args ...any)
}

func newMemory(t reporter) *memory {
	return &memory{
		t: t, changed: make(chan struct{}, 1),
		totals: map[steps.ParticipantDay]uint64{}, marks: map[steps.ParticipantDay]uint64{},
		dirty: map[steps.ParticipantDay]bool{}, returned: map[steps.ParticipantDay]struct{}{},
		awards: map[steps.ParticipantDay]steps.Award{},
		closed: map[steps.Day]bool{}, late: map[steps.ParticipantDay]steps.LateDay{},
		activities: map[steps.ParticipantID][]steps.Activity{}, sent: map[steps.ParticipantID]steps.DaySet{},
		fail: func(string) error { return nil }, beforePut: func() {},
	}
}

// change makes a change of a day, which is dirty then.
func (m *memory) change(key steps.ParticipantDay, do func()) {
	m.mu.Lock()
	do()
	m.marks[key]++
	m.dirty[key] = true
	m.mu.Unlock()
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// set changes a day's total.
func (m *memory) set(key steps.ParticipantDay, total uint64) {
	m.change(key, func() { m.totals[key] = total })
}

// send notes that something was sent on a day.
func (m *memory) send(key steps.ParticipantDay) {
	m.change(key, func() {
		set := m.sent[key.Participant]
		var own steps.DaySet // readers keep the old one
		for d, ok := set.From(-1 << 30); ok; d, ok = set.From(d + 1) {
			own.Add(d)
		}
		own.Add(key.Day)
		m.sent[key.Participant] = own
	})
}

// act records an activity, or cancels it if it is there.
func (m *memory) act(key steps.ParticipantDay, kind steps.ActivityKind) {
	m.change(key, func() {
		own := slices.Clone(m.activities[key.Participant])
		at := slices.IndexFunc(own, func(a steps.Activity) bool { return a.Day == key.Day && a.Kind == kind })
		if at >= 0 {
			own[at].Cancelled.At = 1 - own[at].Cancelled.At
		} else {
			own = append(own, steps.Activity{ParticipantDay: key, Kind: kind, RecordedAt: int64(key.Day) * 86400, By: "staff"})
		}
		slices.SortStableFunc(own, func(a, b steps.Activity) int { return cmp.Compare(a.Day, b.Day) })
		m.activities[key.Participant] = own
	})
}

func (m *memory) Changed() <-chan struct{} { return m.changed }

func (m *memory) Dirty(max int) ([]steps.DirtyDay, error) {
	if err := m.fail("Dirty"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []steps.DirtyDay
	for key := range m.dirty { // in whatever order: the engine must not depend on it
		if len(out) == max {
			break
		}
		if _, returned := m.returned[key]; returned {
			continue
		}
		m.returned[key] = struct{}{}
		out = append(out, steps.DirtyDay{ParticipantDay: key, Mark: m.marks[key]})
	}
	return out, nil
}

func (m *memory) Redo() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.returned)
}

func (m *memory) PutAwards(_ context.Context, awards []steps.Award) error {
	m.beforePut()
	if err := m.fail("PutAwards"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.puts++
	for i, a := range awards {
		if i > 0 && compareDays(awards[i-1].ParticipantDay, a.ParticipantDay) >= 0 {
			m.t.Errorf("award %+v follows that of %v", a, awards[i-1].ParticipantDay)
		}
		if a.Mark > m.marks[a.ParticipantDay] {
			m.t.Errorf("award %+v has a mark that was never given", a)
		}
		if a.Mark == m.marks[a.ParticipantDay] {
			if a.Steps != m.totals[a.ParticipantDay] {
				m.t.Errorf("award %+v is not for the total of its mark", a)
			}
			delete(m.dirty, a.ParticipantDay)
		}
		if m.closed[a.Day] && a.Open {
			m.marks[a.ParticipantDay]++
			m.dirty[a.ParticipantDay] = true
		}
		if _, found := m.awards[a.ParticipantDay]; !found && a.Unreported && a.Points == 0 && a.Parts == "" {
			continue
		}
		a.Mark, a.Unreported, a.Open = 0, false, false
		if m.closed[a.Day] {
			has := m.awards[a.ParticipantDay]
			delete(m.late, a.ParticipantDay)
			if a.Points != has.Points || a.Parts != has.Parts {
				m.late[a.ParticipantDay] = steps.LateDay{ParticipantDay: a.ParticipantDay, Points: a.Points, Parts: a.Parts, Final: has.Points, Kept: has.Parts}
			}
			a.Points, a.Parts = has.Points, has.Parts
		}
		m.awards[a.ParticipantDay] = a
	}
	return nil
}

func compareDays(a, b steps.ParticipantDay) int {
	return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Participant, b.Participant))
}

func (m *memory) Scoring() (steps.Scoring, error) {
	if err := m.fail("Scoring"); err != nil {
		return steps.Scoring{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.scoring, nil
}

func (m *memory) SetScoring(_ context.Context, s steps.Scoring) error {
	if err := m.fail("SetScoring"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.scoring = s
	m.sweeps++
	return nil
}

func (m *memory) StoredDays(r steps.DayRange) ([]steps.Day, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var days []steps.Day
	for key := range m.totals {
		days = append(days, key.Day)
	}
	for key := range m.awards {
		days = append(days, key.Day)
	}
	days = slices.DeleteFunc(days, func(d steps.Day) bool { return !r.Contains(d) })
	slices.Sort(days)
	return slices.Compact(days), nil
}

func (m *memory) EachOf(day steps.Day, people []steps.ParticipantID, fn func(int, uint64, bool) error) error {
	if !slices.IsSorted(people) || len(slices.Compact(slices.Clone(people))) < len(people) {
		m.t.Errorf("%v do not rise", people)
	}
	for i, p := range people {
		m.mu.Lock()
		n, reported := m.totals[steps.ParticipantDay{Participant: p, Day: day}]
		m.mu.Unlock()
		if err := fn(i, n, reported); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) EachDay(_ context.Context, r steps.DayRange, p steps.ParticipantID, fn func(steps.Award) error) error {
	m.mu.Lock()
	all := map[steps.ParticipantDay]steps.Award{}
	for key, a := range m.awards {
		a.Unreported = true
		all[key] = a
	}
	for key, n := range m.totals {
		a := all[key]
		a.ParticipantDay, a.Steps, a.Unreported = key, n, false
		all[key] = a
	}
	m.mu.Unlock()
	for _, key := range slices.SortedFunc(maps.Keys(all), compareDays) {
		if !r.Contains(key.Day) || p != "" && p != key.Participant {
			continue
		}
		if err := fn(all[key]); err != nil {
			return err
		}
	}
	return nil
}

// minutesOf makes minutes of a total, the same for the same total.
func minutesOf(n uint64) []uint32 {
	minutes := make([]uint32, 1440)
	for i := 0; n > 0 && i < len(minutes); i++ {
		minutes[i] = uint32(min(n, 70+n%50))
		n -= uint64(minutes[i])
	}
	return minutes
}

func (m *memory) Minutes(pd steps.ParticipantDay) ([]uint32, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return minutesOf(m.totals[pd]), nil
}

func (m *memory) Activities(p steps.ParticipantID, r steps.DayRange) ([]steps.Activity, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(m.activities[p]), func(a steps.Activity) bool { return !r.Contains(a.Day) }), nil
}

func (m *memory) EachActivity(_ context.Context, fn func(*steps.Activity) error) error {
	m.mu.Lock()
	all := maps.Clone(m.activities)
	m.mu.Unlock()
	for _, p := range slices.Sorted(maps.Keys(all)) {
		for i := range all[p] {
			if err := fn(&all[p][i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *memory) EachClosedDay(_ context.Context, r steps.DayRange, fn func(steps.ClosedDay) error) error {
	m.mu.Lock()
	days := slices.Sorted(maps.Keys(m.closed))
	m.mu.Unlock()
	for _, d := range days {
		if r.Contains(d) {
			if err := fn(steps.ClosedDay{Day: d, State: steps.DayClosed}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *memory) EachLate(_ context.Context, f steps.LateFilter, fn func(steps.LateDay) error) error {
	m.mu.Lock()
	all := maps.Clone(m.late)
	m.mu.Unlock()
	for _, key := range slices.SortedFunc(maps.Keys(all), compareDays) {
		if l := all[key]; f.Days.Contains(key.Day) && (f.Even || l.Points != l.Final) {
			if err := fn(all[key]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *memory) Sendings(p steps.ParticipantID) (steps.DaySet, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sent[p], nil
}

func (m *memory) EachSendings(_ context.Context, fn func(steps.ParticipantID, *steps.DaySet) error) error {
	m.mu.Lock()
	all := maps.Clone(m.sent)
	m.mu.Unlock()
	for _, p := range slices.Sorted(maps.Keys(all)) {
		set := all[p]
		if err := fn(p, &set); err != nil {
			return err
		}
	}
	return nil
}

// award returns what is stored for a day.
func (m *memory) award(key steps.ParticipantDay) steps.Award {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.awards[key]
}

// check compares all awards with one fold over everything that is known of each participant, as it is
// known on the day today.
func (m *memory) check(book *RuleBook, people People, today steps.Day) {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.dirty) > 0 {
		m.t.Errorf("%d days are still dirty", len(m.dirty))
	}
	want := m.want(book, people, today)
	for key, a := range m.awards {
		if _, reported := m.totals[key]; !reported && a.Points == 0 && want[key].Points == 0 {
			delete(want, key) // it earned once, or never did
			continue
		}
		if a != want[key] {
			m.t.Errorf("the award is %+v, want %+v", a, want[key])
		}
		delete(want, key)
	}
	for key, a := range want {
		if _, reported := m.totals[key]; reported || a.Points > 0 {
			m.t.Errorf("there is no award, want %+v", a)
		}
	}
}

// want is what there is to be awarded. Closed days have what they have, whatever is known of them.
func (m *memory) want(book *RuleBook, people People, today steps.Day) map[steps.ParticipantDay]steps.Award {
	facts := map[steps.ParticipantDay]*Facts{}
	of := func(key steps.ParticipantDay) *Facts {
		if facts[key] == nil {
			facts[key] = &Facts{Day: key.Day}
		}
		return facts[key]
	}
	for key, n := range m.totals {
		f := of(key)
		f.Steps, f.Minutes = n, minuteCounts(minutesOf(n))
	}
	for p, all := range m.activities {
		for _, a := range all {
			f := of(steps.ParticipantDay{Participant: p, Day: a.Day})
			if a.Cancelled.At == 0 {
				f.Activities = append(f.Activities, Activity{Kind: string(a.Kind), Times: 1})
			}
		}
	}
	for p, set := range m.sent {
		for d, ok := set.From(-1 << 30); ok; d, ok = set.From(d + 1) {
			of(steps.ParticipantDay{Participant: p, Day: d}).Sent = true
		}
	}
	want := map[steps.ParticipantDay]steps.Award{}
	var last steps.ParticipantID
	var st State
	var person Person
	byPerson := func(a, b steps.ParticipantDay) int {
		return cmp.Or(cmp.Compare(a.Participant, b.Participant), cmp.Compare(a.Day, b.Day))
	}
	for _, key := range slices.SortedFunc(maps.Keys(facts), byPerson) {
		if key.Participant != last {
			last, st, person = key.Participant, book.Begin(), m.person(book, people, key.Participant)
		}
		f := facts[key]
		set := m.sent[last]
		f.NextSent, _ = set.From(key.Day)
		f.SentUntil = today - 1
		has := m.awards[key]
		f.Closed, f.Awarded, f.Parts = m.closed[key.Day], has.Points, has.Parts
		score, parts, err := book.step(&st, f, &person, nil, make([]byte, 0, 64))
		if err != nil {
			m.t.Error(err)
		}
		want[key] = steps.Award{ParticipantDay: key, Steps: f.Steps, Points: score.Points, RuleSet: score.RuleSet, Parts: steps.Parts(parts)}
		if f.Closed {
			want[key] = steps.Award{ParticipantDay: key, Steps: f.Steps, Points: has.Points, RuleSet: has.RuleSet, Parts: has.Parts}
		}
	}
	return want
}

// person is a participant with the baseline that was measured.
func (m *memory) person(book *RuleBook, people People, id steps.ParticipantID) Person {
	p := people.Person(id)
	for i := range book.sets {
		base := book.sets[i].Baseline
		if base == nil || p.Baseline.Known {
			continue
		}
		window, ok := base.Window(&p)
		if !ok {
			break
		}
		var totals []uint64
		for key, n := range m.totals {
			if key.Participant == id && window.Contains(key.Day) {
				totals = append(totals, n)
			}
		}
		p.Baseline = base.Measure(window, totals)
		break
	}
	return p
}
