package store

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// sentDay returns the calendar day of a receipt time. It is for the committer.
func (s *Store) sentDay(receivedAt int64) steps.Day {
	if c := &s.sentOn; receivedAt < c.start || receivedAt >= c.end {
		c.day = s.cfg.Calendar.Day(receivedAt)
		c.start, c.end = s.cfg.Calendar.Bounds(c.day)
	}
	return s.sentOn.day
}

// dayBounds remembers the day of the last receipt time.
type dayBounds struct {
	day        steps.Day
	start, end int64
}

// send notes that a device sent something for a participant on a calendar day. The caller holds mu.
func (s *Store) send(c *contactState, p steps.ParticipantID, on steps.Day) {
	c.sentOn, c.sentFor = on, p
	if s.head.shardOf(p).send(p, on) {
		s.markDirty(steps.ParticipantDay{Participant: p, Day: on})
	}
}

// send notes that something was sent for a participant on a calendar day, and reports whether that is
// new. The caller holds mu.
func (sh *headShard) send(p steps.ParticipantID, on steps.Day) bool {
	own := sh.sent[p]
	if slices.Contains(own, on) {
		return false
	}
	sh.sent[p] = append(own, on)
	return true
}

// senders returns the participants for whom something was sent that is not on disk yet. They are sorted by ID when
// sorting is over, which for a million is longer than uploads should wait. The caller holds mu.
func (h *head) senders() []steps.ParticipantID {
	n := 0
	for i := range h.shards {
		n += len(h.shards[i].sent)
	}
	senders := make([]steps.ParticipantID, 0, n)
	for i := range h.shards {
		for p := range h.shards[i].sent {
			senders = append(senders, p)
		}
	}
	h.sorting.Go(func() { slices.Sort(senders) })
	return senders
}

// sentFor returns the days on which something was sent for a participant and that are not on disk yet.
func (s *Store) sentFor(p steps.ParticipantID) []steps.Day {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.head.shardOf(p).sent[p]
}

// sentPart is how many of a participant's days a checkpoint has written.
type sentPart struct {
	participant steps.ParticipantID
	days        int
}

// writeSendings writes the first of the senders and returns the others.
func (s *Store) writeSendings(txn *badger.Txn, participants []steps.ParticipantID) ([]steps.ParticipantID, error) {
	s.head.sorting.Wait() // most of it was beside the writing of the days
	sets := s.newSeeker(txn, prefixSendings)
	defer sets.close()
	l, n := s.newList(), 0
	for ; n < min(len(participants), pieceKeys/2) && len(l.days) < pieceKeys/2; n++ { // a participant has few days
		p := participants[n]
		key := sendingsKey(p)
		set, err := sets.sendings(key)
		if err != nil {
			return nil, err
		}
		days := s.sentFor(p)
		changed := false
		for _, day := range days {
			changed = set.Add(day) || changed
			s.listMark(l, steps.ParticipantDay{Participant: p, Day: day}, false)
		}
		s.sentParts = append(s.sentParts, sentPart{p, len(days)})
		if !changed {
			continue
		}
		body, err := set.AppendBinary(nil)
		if err != nil {
			return nil, err
		}
		if err := s.setSealed(txn, key, body); err != nil {
			return nil, err
		}
	}
	return participants[n:], s.setList(txn, l)
}

// forgetSendings drops from memory what has become durable.
func (s *Store) forgetSendings() {
	for some := range slices.Chunk(s.sentParts, daysAtOnce) {
		s.mu.Lock()
		for _, part := range some {
			sent := s.head.shardOf(part.participant).sent
			if left := sent[part.participant][part.days:]; len(left) > 0 {
				sent[part.participant] = slices.Clone(left)
			} else {
				delete(sent, part.participant)
			}
		}
		s.mu.Unlock()
	}
	s.sentParts = s.sentParts[:0]
}

// Sendings returns the calendar days on which something was sent for a participant: an upload, new or
// not, of a device that is theirs.
func (s *Store) Sendings(p steps.ParticipantID) (set steps.DaySet, err error) {
	recent := s.sentFor(p) // before the snapshot: what is dropped meanwhile is in it
	err = s.db.View(func(txn *badger.Txn) (err error) {
		set, _, err = s.storedSendings(txn, p)
		return err
	})
	for _, day := range recent {
		set.Add(day)
	}
	return set, err
}

// EachSendings calls fn for every participant for whom something was ever sent, by ID, with the days as
// Sendings returns them.
func (s *Store) EachSendings(ctx context.Context, fn func(steps.ParticipantID, *steps.DaySet) error) error {
	recent := s.recentSendings()
	flush := func(before steps.ParticipantID, all bool) error {
		for len(recent) > 0 && (all || recent[0].participant < before) {
			var set steps.DaySet
			for _, day := range recent[0].days {
				set.Add(day)
			}
			if err := fn(recent[0].participant, &set); err != nil {
				return err
			}
			recent = recent[1:]
		}
		return nil
	}
	err := s.db.View(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixSendings}, nil, true, func(key, value []byte) error {
			p := steps.ParticipantID(key[1:])
			set, err := s.openSendings(key, value)
			if err = cmp.Or(err, ctx.Err(), flush(p, false)); err != nil {
				return err
			}
			if len(recent) > 0 && recent[0].participant == p {
				for _, day := range recent[0].days {
					set.Add(day)
				}
				recent = recent[1:]
			}
			return fn(p, &set)
		})
	})
	return cmp.Or(err, flush("", true))
}

type recentSending struct {
	participant steps.ParticipantID
	days        []steps.Day
}

// recentSendings returns what is not on disk yet, by participant.
func (s *Store) recentSendings() []recentSending {
	s.mu.RLock()
	var out []recentSending
	for i := range s.head.shards {
		for p, days := range s.head.shards[i].sent {
			out = append(out, recentSending{p, days})
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(out, func(a, b recentSending) int { return cmp.Compare(a.participant, b.participant) })
	return out
}

func (s *Store) storedSendings(txn *badger.Txn, p steps.ParticipantID) (set steps.DaySet, found bool, err error) {
	key := sendingsKey(p)
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return set, false, nil
	}
	if err == nil {
		err = item.Value(func(v []byte) (err error) {
			set, err = s.openSendings(key, v)
			return err
		})
	}
	return set, true, err
}

// sendings is storedSendings for participants in the order of their IDs.
func (k *seeker) sendings(key []byte) (set steps.DaySet, err error) {
	body, found, err := k.find(key)
	if err == nil && found {
		err = set.UnmarshalBinary(body)
	}
	if err != nil {
		return set, corrupt("sendings", string(key[1:]), err)
	}
	return set, nil
}

func (s *Store) openSendings(key, value []byte) (set steps.DaySet, err error) {
	body, err := s.auth.open(key, value)
	if err == nil {
		err = set.UnmarshalBinary(body)
	}
	if err != nil {
		return set, corrupt("sendings", string(key[1:]), err)
	}
	return set, nil
}

func sendingsKey(p steps.ParticipantID) []byte { return append([]byte{prefixSendings}, p...) }

// withoutSteps reports whether a day without a block may have an award: something else was recorded for
// it.
func (s *Store) withoutSteps(txn *badger.Txn, pd steps.ParticipantDay) (bool, error) {
	if hasActivity(txn, pd) {
		return true, nil
	}
	sent, _, err := s.storedSendings(txn, pd.Participant)
	if err != nil {
		return false, err
	}
	return sent.Has(pd.Day) || slices.Contains(s.sentFor(pd.Participant), pd.Day), nil
}

// withoutBlock reports whether a day has no block in txn.
func withoutBlock(txn *badger.Txn, pd steps.ParticipantDay) (bool, error) {
	_, err := txn.Get(dayKey(prefixDay, pd))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return true, nil
	}
	return false, err
}
