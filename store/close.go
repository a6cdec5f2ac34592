package store

import (
	"cmp"
	"context"
	"encoding/binary"

	"github.com/dgraph-io/badger/v4"

	"ayumi/ledger"
	"ayumi/steps"
)

// closedDay is a day's closing as stored.
type closedDay struct {
	steps.ClosedDay
	last steps.ParticipantID // the last one who got points so far
}

const closedVersion = 1

func appendClosed(dst []byte, c *closedDay) []byte {
	dst = append(dst, closedVersion, byte(c.State))
	dst = appendString(dst, string(c.Period))
	dst = binary.AppendVarint(dst, c.At)
	dst = appendString(dst, c.By)
	dst = binary.AppendUvarint(dst, uint64(c.Participants))
	dst = binary.AppendUvarint(dst, uint64(c.Points))
	dst = binary.AppendUvarint(dst, uint64(c.Held))
	return appendString(dst, string(c.last))
}

func parseClosed(body []byte, d steps.Day) (c closedDay, err error) {
	r := reader{b: body}
	if r.byte() != closedVersion {
		r.fail()
	}
	c.Day, c.State = d, steps.CloseState(r.byte())
	c.Period, c.At, c.By = steps.PeriodID(r.string()), r.varint(), r.string()
	c.Participants, c.Points, c.Held = int(r.uvarint()), steps.Points(r.uvarint()), steps.Points(r.uvarint())
	c.last = steps.ParticipantID(r.string())
	return c, r.done()
}

// closedDay reads the closing of a day; found is false for a day that is open.
func (s *Store) closedDay(txn *badger.Txn, d steps.Day) (c closedDay, found bool, err error) {
	body, err := s.getSealed(txn, "closed day", closedKey(d), d.String())
	if err != nil || body == nil {
		return c, false, err
	}
	if c, err = parseClosed(body, d); err != nil {
		return c, false, corrupt("closed day", d.String(), err)
	}
	return c, true, nil
}

// openClosed reads the record of a closed day.
func (s *Store) openClosed(key, value []byte) (c closedDay, err error) {
	day := takeDay(key[1:])
	body, err := s.auth.open(key, value)
	if err == nil {
		c, err = parseClosed(body, day)
	}
	if err != nil {
		return c, corrupt("closed day", day.String(), err)
	}
	return c, nil
}

// EachClosedDay calls fn for every day in the range that is closed or being closed, in order. One that
// is still being closed was interrupted, unless CloseDay is running: call it again.
func (s *Store) EachClosedDay(ctx context.Context, r steps.DayRange, fn func(steps.ClosedDay) error) error {
	err := s.db.View(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixClosed}, closedKey(r.From), true, func(key, value []byte) error {
			day := takeDay(key[1:])
			if !r.Contains(day) {
				return errStop
			}
			c, err := s.openClosed(key, value)
			if err != nil {
				return err
			}
			return cmp.Or(ctx.Err(), fn(c.ClosedDay))
		})
	})
	if err == errStop {
		return nil
	}
	return err
}

// CloseDay makes a day's points final: it fixes the pages, and moves what every participant earned to
// the available points of the period, or to the pending ones where its review holds them. It works in bounded
// transactions beside uploads and exchanges, goes on where a call before it was interrupted, and
// changes nothing when the day is closed already. Later data of the day is listed by EachLate.
//
// It is Unavailable while data that came in before the first call for this day waits to be scored;
// let the points engine settle and call again. It is a Conflict if the day was closed, or began to be
// closed, into another period.
func (s *Store) CloseDay(ctx context.Context, r steps.CloseRequest) (steps.ClosedDay, error) {
	const op = "close day"
	if r.Period == "" || r.By == "" || len(r.By) > ledger.MaxByBytes {
		return steps.ClosedDay{}, steps.Errorf(op, steps.Invalid,
			"%s: a point period and who closes it (at most %d bytes) are needed", r.Day, ledger.MaxByBytes)
	}
	select { // one at a time
	case s.closing <- struct{}{}:
		defer func() { <-s.closing }()
	case <-ctx.Done():
		return steps.ClosedDay{}, steps.E(op, steps.Overload, context.Cause(ctx))
	}
	day, err := s.freeze(ctx, &r)
	if err != nil {
		return steps.ClosedDay{}, err
	}
	if day.Period != r.Period {
		return day.ClosedDay, steps.Errorf(op, steps.Conflict, "%s is %s into the period %s, not %s",
			r.Day, day.State, day.Period, r.Period)
	}
	if day.State == steps.DayClosed {
		return day.ClosedDay, nil
	}
	return s.postFinals(ctx, &r, day)
}

// closeBytes is about what a closed day's record adds to a transaction.
const closeBytes = 400

// freeze fixes a day's pages unless they are.
func (s *Store) freeze(ctx context.Context, r *steps.CloseRequest) (closedDay, error) {
	s.pageMu.Lock() // no award is on its way
	defer s.pageMu.Unlock()
	s.mu.Lock()
	day, known := s.closedDays[r.Day]
	asked, again := s.closeAsked[r.Day]
	if !known && !again {
		asked = s.markSeq
		s.closeAsked[r.Day] = asked
	}
	s.mu.Unlock()
	if known {
		return day, nil
	}
	day.ClosedDay = steps.ClosedDay{Day: r.Day, State: steps.DayClosing, Period: r.Period, At: s.cfg.Clock().Unix(), By: r.By}
	return day, s.change(ctx, closeBytes, func(txn *badger.Txn) error {
		if n := s.unscored(r.Day, asked); n > 0 {
			return steps.Errorf("close day", steps.Unavailable,
				"%d participant-days of %s wait to be scored; try again when the points engine has scored them", n, r.Day)
		}
		w := &writes{s: s}
		w.set(closedKey(r.Day), appendClosed(nil, &day))
		return w.apply(txn)
	}, func() {
		s.closedDays[r.Day] = day
		delete(s.closeAsked, r.Day)
	})
}

// unscored counts the day's changes up to a mark that wait to be scored. What came in later does not
// hold up the closing; otherwise one device that never stops sending could.
func (s *Store) unscored(d steps.Day, upTo uint64) (n int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for pd, state := range s.dirty {
		if pd.Day == d && state.since <= upTo {
			n++
		}
	}
	return n
}

// postFinals moves the points of a day whose pages are fixed, and marks it as closed.
func (s *Store) postFinals(ctx context.Context, r *steps.CloseRequest, day closedDay) (steps.ClosedDay, error) {
	// On the committer, so that a balance whose change it does not note is in the snapshot.
	err := s.change(ctx, 0, func(*badger.Txn) error { s.touched.begin(); return nil }, nil)
	if err != nil {
		return steps.ClosedDay{}, err
	}
	defer s.touched.end()
	err = s.db.View(func(txn *badger.Txn) (err error) {
		day, err = s.postChunks(ctx, txn, r, day)
		return err
	})
	if err != nil {
		return steps.ClosedDay{}, err
	}
	day.State = steps.DayClosed
	err = s.change(ctx, closeBytes, func(txn *badger.Txn) error {
		w := &writes{s: s}
		w.set(closedKey(r.Day), appendClosed(nil, &day))
		return w.apply(txn)
	}, func() { s.closedDays[r.Day] = day })
	return day.ClosedDay, err
}

// postChunks posts what is left of a closing. Each transaction is prepared here, from the snapshot snap,
// while the committer writes the one before.
func (s *Store) postChunks(ctx context.Context, snap *badger.Txn, r *steps.CloseRequest, day closedDay) (closedDay, error) {
	j := s.newFinalJoin(snap, r, day)
	defer j.close()
	if err := j.pages.walk(r.Day, day.last); err != nil {
		return day, err
	}
	var before <-chan error
	for {
		c, err := j.next()
		var done <-chan error
		if err = cmp.Or(err, ctx.Err()); err == nil && c != nil {
			done, err = s.submit(ctx, c.size, func(txn *badger.Txn) error { return s.writeFinals(txn, c) },
				func() { s.closedDays[r.Day] = c.day })
		}
		if before != nil {
			err = cmp.Or(err, <-before)
		}
		switch {
		case err != nil && done != nil:
			<-done
			return day, err
		case err != nil || c == nil:
			return day, err
		}
		before, day = done, c.day
	}
}

// final is what a participant got when a day was closed.
type final struct {
	participant steps.ParticipantID
	points      steps.Points
	held        bool
}

func (f *final) account() steps.Account {
	if f.held {
		return steps.AccountPending
	}
	return steps.AccountAvailable
}

// finalChunk is one transaction of a closing.
type finalChunk struct {
	finals   []final
	balances []keyValue // sealed, one for each of finals
	record   keyValue   // the chunk
	day      closedDay  // when this chunk is posted
	size     int
}

// writeFinals puts a chunk into txn. Balances that changed since the snapshot are computed anew.
func (s *Store) writeFinals(txn *badger.Txn, c *finalChunk) error {
	w := &writes{s: s, pairs: c.balances}
	for i := range c.finals {
		f := &c.finals[i]
		if !s.touched.has(f.participant) {
			continue
		}
		b, err := s.balance(txn, f.participant)
		if err != nil {
			return err
		}
		ledger.Add(&b, f.account(), c.day.Period, f.points)
		key := balanceKey(f.participant)
		c.balances[i] = keyValue{key, s.auth.seal(key, appendBalance(nil, &b))}
	}
	w.pairs = append(w.pairs, c.record)
	w.set(closedKey(c.day.Day), appendClosed(nil, &c.day))
	return w.apply(txn)
}

// finalJoin walks the fixed pages of a day beside the balances.
type finalJoin struct {
	s        *Store
	held     func(steps.ParticipantID) bool
	pages    *sheetCursor
	balances *seeker
	reviews  *seeker
	day      closedDay
	balance  steps.Balance // memory
}

func (s *Store) newFinalJoin(txn *badger.Txn, r *steps.CloseRequest, day closedDay) *finalJoin {
	return &finalJoin{s: s, held: r.Held, pages: s.newSheetCursor(txn), balances: s.newSeeker(txn, prefixBalance),
		reviews: s.newSeeker(txn, prefixReview), day: day}
}

func (j *finalJoin) close() {
	j.pages.close()
	j.balances.close()
	j.reviews.close()
}

// next prepares the next chunk, or returns nil when there is nothing left to post.
func (j *finalJoin) next() (*finalChunk, error) {
	c := &finalChunk{size: closeBytes}
	var arena []byte
	for len(c.finals) < pieceKeys && c.size < pieceBytes {
		day, p, more, err := j.pages.peek()
		if err != nil {
			return nil, err
		}
		if !more || day != j.day.Day {
			break
		}
		j.pages.step()
		if p.points == 0 {
			continue
		}
		f := final{participant: p.participant, points: p.points}
		if f.held, err = j.holds(p.participant); err != nil {
			return nil, err
		}
		if arena, err = j.credit(c, arena, &f); err != nil {
			return nil, err
		}
	}
	if len(c.finals) == 0 {
		return nil, nil
	}
	j.day.last = c.finals[len(c.finals)-1].participant
	j.day.Participants += len(c.finals)
	c.day = j.day
	key := dayKey(prefixFinal, steps.ParticipantDay{Participant: j.day.last, Day: j.day.Day})
	value := appendFinals(nil, &j.day.ClosedDay, c.finals)
	c.size += len(value)
	c.record = keyValue{key, j.s.auth.seal(key, value)}
	return c, nil
}

// holds reports whether a participant's points are held: by a review, as it was when the pages were fixed, or
// because whoever closes the day says so.
func (j *finalJoin) holds(p steps.ParticipantID) (bool, error) {
	pd := steps.ParticipantDay{Participant: p, Day: j.day.Day}
	body, found, err := j.reviews.find(dayKey(prefixReview, pd))
	if err == nil && found {
		v, err := parseReview(body, pd)
		if err != nil {
			return false, corrupt("review", nameOf(pd), err)
		}
		if v.State.Holds() {
			return true, nil
		}
	}
	if err != nil {
		return false, corrupt("review", nameOf(pd), err)
	}
	return j.held != nil && j.held(p), nil
}

// credit adds a participant's final points to the chunk, with the balance that they make.
func (j *finalJoin) credit(c *finalChunk, arena []byte, f *final) ([]byte, error) {
	key := balanceKey(f.participant)
	j.balance = steps.Balance{Participant: f.participant, Periods: j.balance.Periods[:0]}
	body, found, err := j.balances.find(key)
	if err == nil && found {
		err = parseBalance(body, &j.balance)
	}
	if err != nil {
		return arena, corrupt("balance", string(f.participant), err)
	}
	ledger.Add(&j.balance, f.account(), j.day.Period, f.points)
	if f.held {
		j.day.Held += f.points
	} else {
		j.day.Points += f.points
	}
	start := len(arena)
	arena = appendBalance(arena, &j.balance)
	tag := j.s.auth.tag(key, arena[start:])
	arena = append(arena, tag[:]...)
	value := arena[start:len(arena):len(arena)]
	c.finals = append(c.finals, *f)
	c.balances = append(c.balances, keyValue{key, value})
	c.size += len(key) + len(value) + keyOverhead
	return arena, nil
}

// keyOverhead is about what a key adds to a transaction beside itself and its value.
const keyOverhead = 16
