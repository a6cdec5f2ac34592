package store

import (
	"fmt"

	"ayumi/steps"
)

// bookDay is a participant-day of the model.
type bookDay struct {
	p   steps.ParticipantID
	day steps.Day
}

// book is the ledger, written as plainly as possible: the amounts themselves, without postings.
type book struct {
	steps     map[bookDay]uint64
	revisions map[bookDay]uint64
	dirty     map[bookDay]bool
	asked     map[steps.Day]map[bookDay]bool // what a closing waits for
	points    map[bookDay]steps.Points       // of the page, corrections included
	late      map[bookDay]steps.Points
	decided   map[bookDay]bool
	closed    map[steps.Day]steps.PeriodID
	available map[steps.ParticipantID]map[steps.PeriodID]steps.Points
	pending   map[steps.ParticipantID]map[steps.PeriodID]steps.Points
	requests  map[string]string // participant and key, and what was asked for
	stock     uint64
	exchanges []bookExchange
	issued    steps.Points
	expired   steps.Points
}

type bookExchange struct {
	p     steps.ParticipantID
	parts map[steps.PeriodID]steps.Points
	state steps.ExchangeState
}

func newBook() *book {
	return &book{
		steps: map[bookDay]uint64{}, revisions: map[bookDay]uint64{}, dirty: map[bookDay]bool{},
		asked: map[steps.Day]map[bookDay]bool{}, points: map[bookDay]steps.Points{}, late: map[bookDay]steps.Points{},
		decided: map[bookDay]bool{}, closed: map[steps.Day]steps.PeriodID{},
		available: map[steps.ParticipantID]map[steps.PeriodID]steps.Points{},
		pending:   map[steps.ParticipantID]map[steps.PeriodID]steps.Points{}, requests: map[string]string{},
	}
}

func give(m map[steps.ParticipantID]map[steps.PeriodID]steps.Points, p steps.ParticipantID, id steps.PeriodID, n steps.Points) {
	if m[p] == nil {
		m[p] = map[steps.PeriodID]steps.Points{}
	}
	m[p][id] += n
}

// score scores what is dirty.
func (m *book) score(points func(uint64) steps.Points) {
	for d := range m.dirty {
		n := points(m.steps[d])
		if _, closed := m.closed[d.day]; !closed {
			m.issued += n - m.points[d]
			m.points[d] = n
			continue
		}
		if _, known := m.points[d]; !known {
			m.points[d] = 0
		}
		was, listed := m.late[d]
		delete(m.late, d)
		if n != m.points[d] {
			m.late[d] = n
		}
		if !listed || was != n || n == m.points[d] {
			delete(m.decided, d)
		}
	}
	clear(m.dirty)
	clear(m.asked)
}

// close closes a day if it can be.
func (m *book) close(day steps.Day, id steps.PeriodID, held func(steps.ParticipantID) bool) steps.Kind {
	if into, closed := m.closed[day]; closed {
		if into != id {
			return steps.Conflict
		}
		return fine
	}
	if m.asked[day] == nil {
		m.asked[day] = map[bookDay]bool{}
		for d := range m.dirty {
			if d.day == day {
				m.asked[day][d] = true
			}
		}
	}
	if len(m.asked[day]) > 0 {
		return steps.Unavailable
	}
	m.closed[day] = id
	for d, n := range m.points {
		if d.day == day && held(d.p) {
			give(m.pending, d.p, id, n)
		} else if d.day == day {
			give(m.available, d.p, id, n)
		}
	}
	return fine
}

// fine is the kind of no error.
const fine = steps.Kind(255)

func kindOf(err error) steps.Kind {
	if err == nil {
		return fine
	}
	return steps.KindOf(err)
}

// post does what an entry asks for, if it can be.
func (m *book) post(r *steps.EntryRequest) steps.Kind {
	name, content := fmt.Sprint(r.Participant, "/", r.Key), fmt.Sprintf("%+v", *r)
	if was, known := m.requests[name]; known {
		if was != content {
			return steps.Conflict
		}
		return fine
	}
	n := r.Points
	from, to := m.available, m.pending
	switch {
	case r.Kind == steps.EntryBonus:
		from, to = nil, m.available
	case r.Kind == steps.EntryRelease:
		from, to = m.pending, m.available
	case r.Kind == steps.EntryCorrection && n > 0:
		from, to = nil, m.available
	case r.Kind == steps.EntryCorrection:
		to, n = nil, -n
	}
	if r.Account == steps.AccountPending && from == nil {
		to = m.pending
	} else if r.Account == steps.AccountPending {
		from = m.pending
	}
	if from != nil && from[r.Participant][r.Period] < n {
		return steps.Conflict
	}
	if r.Day != 0 {
		if kind := m.correct(r); kind != fine {
			return kind
		}
	}
	if from != nil {
		give(from, r.Participant, r.Period, -n)
	} else {
		m.issued += n
	}
	if to != nil {
		give(to, r.Participant, r.Period, n)
	} else {
		m.issued -= n
	}
	m.requests[name] = content
	return fine
}

func (m *book) correct(r *steps.EntryRequest) steps.Kind {
	d := bookDay{r.Participant, r.Day}
	into, closed := m.closed[r.Day]
	points, known := m.points[d]
	switch {
	case !closed:
		return steps.Conflict
	case into != r.Period:
		return steps.Invalid
	case !known:
		return steps.NotFound
	case points+r.Points < 0:
		return steps.Conflict
	}
	m.points[d] += r.Points
	m.dirty[d] = true
	if late, listed := m.late[d]; listed && late == m.points[d] {
		delete(m.late, d)
		delete(m.decided, d)
	}
	return fine
}

const modelPrice = 4

// exchange takes a prize from what expires first: 2025 before 2026.
func (m *book) exchange(p steps.ParticipantID, key steps.RequestKey, today steps.Day) steps.Kind {
	name := fmt.Sprint(p, "/", key)
	if was, known := m.requests[name]; known {
		if was != "exchange" {
			return steps.Conflict
		}
		return fine
	}
	if m.stock == 0 {
		return steps.Conflict
	}
	parts, rest := map[steps.PeriodID]steps.Points{}, steps.Points(modelPrice)
	for _, period := range []steps.Period{periods()[1], periods()[0]} {
		if today <= period.Expires {
			parts[period.ID] = min(rest, m.available[p][period.ID])
			rest -= parts[period.ID]
		}
	}
	if rest > 0 {
		return steps.Conflict
	}
	for id, n := range parts {
		give(m.available, p, id, -n)
	}
	m.stock--
	m.requests[name] = "exchange"
	m.exchanges = append(m.exchanges, bookExchange{p, parts, steps.ExchangeRequested})
	return fine
}

func (m *book) change(id int, state steps.ExchangeState) steps.Kind {
	if id < 1 || id > len(m.exchanges) {
		return steps.NotFound
	}
	x := &m.exchanges[id-1]
	switch {
	case x.state == state:
		return fine
	case x.state == steps.ExchangeCancelled:
		return steps.Conflict
	case state == steps.ExchangeCancelled:
		for period, n := range x.parts {
			give(m.available, x.p, period, n)
		}
		m.stock++
	}
	x.state = state
	return fine
}

func (m *book) expire(id steps.PeriodID) {
	for p := range m.available {
		m.expired += m.available[p][id]
		m.available[p][id] = 0
	}
}
