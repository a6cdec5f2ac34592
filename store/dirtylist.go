package store

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// A dirty list names days that wait to be scored: all that one transaction had to mark. To Badger it is one
// key, and so is its deletion, which comes when nothing that it names waits any more. Until then it goes on
// naming days that were scored, so that more days are dirty after a restart than were before. That does no
// harm: whoever scores a day again gets the points that it has.

const dirtyListVersion = 1

// dirtyList is a list on its way to the disk or from there. It has at most pieceKeys days.
type dirtyList struct {
	number uint64
	days   []markedDay
}

// markedDay is a day of a list.
type markedDay struct {
	steps.ParticipantDay
	unreported bool // no steps of it need be stored
}

// dirtyLists is what is known of the lists on disk. A day counts in one of those that name it, the newest. It
// is the committer's.
type dirtyLists struct {
	newest  uint64         // the number given last
	waiting map[uint64]int // by list, how many days count in it
	spent   []uint64       // lists in which none does, for the next transaction to delete
}

// count has a day count in a list, unless it does in a newer one. The caller holds mu, because of the day.
func (l *dirtyLists) count(d *dirtyState, list uint64) {
	if d.list >= list {
		return
	}
	l.release(d)
	d.list = list
	l.waiting[list]++
}

// release takes a day off the list that it counts in. The caller holds mu, because of the day.
func (l *dirtyLists) release(d *dirtyState) {
	if d.list == 0 {
		return
	}
	l.waiting[d.list]--
	l.settle(d.list)
	d.list = 0
}

// settle gives a list up in which no day counts.
func (l *dirtyLists) settle(list uint64) {
	if l.waiting[list] == 0 {
		delete(l.waiting, list)
		l.spent = append(l.spent, list)
	}
}

// newList begins a list.
func (s *Store) newList() *dirtyList {
	s.lists.newest++
	return &dirtyList{number: s.lists.newest}
}

// rescoreAfter puts a list, which is numbered here, into a transaction that changed what its days depend on.
func (s *Store) rescoreAfter(txn *badger.Txn, l *dirtyList) error {
	if len(l.days) == 0 {
		return nil
	}
	l.number = s.newList().number
	if err := s.setList(txn, l); err != nil {
		return &tornError{steps.E("store dirty list", steps.Internal, err)}
	}
	return nil
}

// setList puts a list into txn if it names anything.
func (s *Store) setList(txn *badger.Txn, l *dirtyList) error {
	if len(l.days) == 0 {
		return nil
	}
	return s.setSealed(txn, listKey(l.number), appendDirtyList(nil, l.days))
}

// listMark adds a day to a list of txn if it waits to be scored and no list says so yet, or none that it was
// reported, which is to be said now.
func (s *Store) listMark(l *dirtyList, pd steps.ParticipantDay, reported bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.dirty[pd]
	if !ok || d.list != 0 && (d.reported || !reported) {
		return
	}
	d.reported = d.reported || reported
	s.lists.count(&d, l.number)
	s.dirty[pd] = d
	l.days = append(l.days, markedDay{pd, !d.reported})
}

// markListed marks the days of a list that is durable, if it was set. The caller holds mu.
func (s *Store) markListed(l *dirtyList) {
	if len(l.days) == 0 {
		return
	}
	for i := range l.days {
		pd := l.days[i].ParticipantDay
		s.markDirty(pd)
		d := s.dirty[pd]
		d.reported = d.reported || !l.days[i].unreported
		s.lists.count(&d, l.number)
		s.dirty[pd] = d
	}
	s.lists.settle(l.number)
	s.wake()
}

// dropLists deletes lists of which nothing waits any more. What put an end to that is durable, or in txn.
func (s *Store) dropLists(txn *badger.Txn) error {
	l := &s.lists
	n := min(len(l.spent), pieceKeys)
	for _, number := range l.spent[:n] {
		if err := txn.Delete(listKey(number)); err != nil {
			return steps.E("delete dirty list", steps.Internal, err)
		}
	}
	l.spent = append(l.spent[:0], l.spent[n:]...)
	return nil
}

// loadLists marks the days of all lists, oldest first. Of a list that is damaged nobody knows which days it
// named: an operator who accepts that loss has the rules forgotten under which all others are scored, so
// that the points engine scores every stored day.
func (s *Store) loadLists(txn *badger.Txn) (lost [][]byte, err error) {
	err = scan(txn, []byte{prefixDirtyList}, nil, true, func(key, value []byte) error {
		l, err := s.openList(key, value)
		if err != nil {
			lost = append(lost, append([]byte(nil), key...))
			return s.tolerate(fmt.Errorf("%w; days that it named miss being scored; who accepts that has every day scored anew", err))
		}
		s.lists.newest = l.number
		s.markListed(l)
		return nil
	})
	return lost, err
}

// rulesLost stands in the meta table in place of the rules by which all days are scored: nobody knows which are.
const rulesLost = "?"

// giveUpLists deletes lists that cannot be read, which was tolerated.
func (s *Store) giveUpLists(lost [][]byte) error {
	if len(lost) == 0 {
		return nil
	}
	return s.db.Update(func(txn *badger.Txn) error {
		for _, key := range lost {
			if err := txn.Delete(key); err != nil {
				return err
			}
		}
		return txn.Set(metaKey(metaRules), []byte(rulesLost))
	})
}

func (s *Store) openList(key, value []byte) (*dirtyList, error) {
	if len(key) != 9 {
		return nil, corrupt("dirty list", fmt.Sprintf("%x", key[1:]), errKey)
	}
	l := &dirtyList{number: binary.BigEndian.Uint64(key[1:])}
	body, err := s.auth.open(key, value)
	if err == nil {
		l.days, err = parseDirtyList(body)
	}
	if err != nil {
		return nil, corrupt("dirty list", fmt.Sprint(l.number), err)
	}
	return l, nil
}

// appendDirtyList encodes the days of a list. Each is given as far as it differs from the one before.
func appendDirtyList(dst []byte, days []markedDay) []byte {
	dst = append(dst, dirtyListVersion)
	dst = binary.AppendUvarint(dst, uint64(len(days)))
	var before steps.ParticipantDay
	for i := range days {
		d := &days[i]
		dst = binary.AppendVarint(dst, int64(d.Day)-int64(before.Day))
		dst = appendShared(dst, before.Participant, d.Participant)
		flag := byte(0)
		if d.unreported {
			flag = 1
		}
		dst = append(dst, flag)
		before = d.ParticipantDay
	}
	return dst
}

// markBytes is the least that a day takes in a list.
const markBytes = 4

func parseDirtyList(body []byte) ([]markedDay, error) {
	r := reader{b: body}
	if r.byte() != dirtyListVersion {
		r.fail()
	}
	n := r.count(len(r.b) / markBytes)
	if n == 0 {
		r.fail()
	}
	days := make([]markedDay, 0, n)
	var participant []byte
	day := int64(0)
	for range n {
		day += r.varint()
		participant = r.shared(participant)
		flag := r.byte()
		if day < math.MinInt32 || day > math.MaxInt32 || flag > 1 {
			r.fail()
		}
		if r.err != nil {
			break
		}
		pd := steps.ParticipantDay{Participant: steps.ParticipantID(participant), Day: steps.Day(day)}
		days = append(days, markedDay{pd, flag == 1})
	}
	return days, r.done()
}

func listKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixDirtyList}, number)
}
