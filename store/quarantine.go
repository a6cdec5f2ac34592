package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// quarantineOverhead is about what an entry adds to a transaction besides its raw bytes.
const quarantineOverhead = 1 << 10

// quarantineRecord is an entry as stored, without the raw bytes.
type quarantineRecord struct {
	V          int            `json:"v"`
	ReceivedAt int64          `json:"received_at"`
	Device     steps.DeviceID `json:"device"`
	Via        steps.DeviceID `json:"via,omitempty"`
	Transport  uint8          `json:"transport"`
	Encoding   uint8          `json:"encoding,omitempty"`
	Bundle     bool           `json:"bundle,omitempty"`
	Topic      string         `json:"topic,omitempty"`
	Faults     []faultRecord  `json:"faults"`
	RawLen     int            `json:"raw_len"`
	State      uint8          `json:"state,omitempty"`
	DecidedAt  int64          `json:"decided_at,omitempty"`
	DecidedBy  string         `json:"decided_by,omitempty"`
	Why        string         `json:"why,omitempty"`
}

type faultRecord struct {
	Series int    `json:"series"`
	Reason uint8  `json:"reason"`
	Detail string `json:"detail"`
}

const quarantineVersion = 1

// writeRare puts a payload's quarantined parts, or its decision, into the group. What is in
// quarantine already stays as it is, with the decision that was made.
func (s *Store) writeRare(txn *badger.Txn, e *entry) error {
	if e.rare.resolve != nil { // a release has nothing to quarantine
		return s.resolve(txn, e.rare.resolve)
	}
	fresh, err := s.unknown(txn, e)
	if err != nil {
		return err
	}
	for i := range fresh {
		if err := setQuarantine(txn, &fresh[i]); err != nil {
			return steps.E("quarantine payload", steps.Internal, err)
		}
	}
	return nil
}

// quarantineSlack is how many times more entries a device may have through payloads that hold
// accepted samples too, its own or, behind a reader, other devices': those must not be held up by
// what is bad beside them. A reader may have so many times more entries of devices that it carried:
// those devices may be made up, and their number is bounded by nothing else.
const quarantineSlack = 10

// holders calls fn for everybody whose room in quarantine an entry takes, with how many times more room
// than a device's that is: the device and the reader that carried it.
func holders(device, via steps.DeviceID, fn func(id steps.DeviceID, room int)) {
	fn(device, 1)
	if via != "" && via != device {
		fn(via, quarantineSlack)
	}
}

// held changes how many undecided entries somebody has.
func (s *Store) held(device, via steps.DeviceID, by int) {
	holders(device, via, func(id steps.DeviceID, _ int) {
		if s.quarantine[id] += by; s.quarantine[id] == 0 {
			delete(s.quarantine, id)
		}
	})
}

// unknown returns the entries that are not in quarantine yet and counts them, or refuses the
// payload if their devices have no room left there.
func (s *Store) unknown(txn *badger.Txn, e *entry) ([]steps.QuarantineEntry, error) {
	limit := s.cfg.QuarantinePerDevice
	if e.runs > 0 {
		limit *= quarantineSlack
	}
	fresh := make([]steps.QuarantineEntry, 0, len(e.rare.quarantine))
	adds := make(map[steps.DeviceID]int)
	for _, q := range e.rare.quarantine {
		known, err := s.get(txn, quarantineKey(q.ID))
		if err != nil {
			return nil, err
		}
		if known != nil || slices.ContainsFunc(fresh, func(o steps.QuarantineEntry) bool { return o.ID == q.ID }) {
			continue
		}
		holders(q.Device, q.Via, func(id steps.DeviceID, room int) {
			if s.quarantine[id]+adds[id] >= limit*room {
				err = steps.Errorf("quarantine payload", steps.Overload,
					"device %s has %d undecided payloads in quarantine (store.quarantine_per_device); release or discard some",
					id, s.quarantine[id])
			}
			adds[id]++
		})
		if err != nil {
			return nil, err
		}
		fresh = append(fresh, q)
	}
	for i := range fresh {
		s.held(fresh[i].Device, fresh[i].Via, 1)
	}
	return fresh, nil
}

func setQuarantine(txn *badger.Txn, q *steps.QuarantineEntry) error {
	if err := setRecord(txn, q.ID, recordOf(q)); err != nil {
		return err
	}
	raw := q.Raw
	for part := 0; len(raw) > 0; part++ {
		n := min(len(raw), partBytes)
		if err := txn.Set(rawKey(q.ID, part), raw[:n:n]); err != nil {
			return err
		}
		raw = raw[n:]
	}
	return nil
}

func setRecord(txn *badger.Txn, id steps.QuarantineID, r *quarantineRecord) error {
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return txn.Set(quarantineKey(id), value)
}

// resolve closes an open entry.
func (s *Store) resolve(txn *badger.Txn, r *steps.Resolution) error {
	record, err := s.record(txn, r.ID)
	if err != nil {
		return err
	}
	if state := steps.DecisionState(record.State); state != steps.Open {
		return steps.Errorf("decide on quarantined payload", steps.Conflict,
			"%s was %s by %s already", r.ID, state, record.DecidedBy)
	}
	s.held(record.Device, record.Via, -1)
	d := &r.Decision
	record.State, record.DecidedAt, record.DecidedBy, record.Why = uint8(d.State), d.At, d.By, d.Reason
	if err := setRecord(txn, r.ID, record); err != nil {
		return steps.E("decide on quarantined payload", steps.Internal, err)
	}
	return nil
}

// Resolve closes a quarantined payload without adding anything. Kinds: NotFound, Conflict.
func (s *Store) Resolve(ctx context.Context, r steps.Resolution) error {
	return s.change(ctx, quarantineOverhead, func(txn *badger.Txn) error { return s.resolve(txn, &r) }, nil)
}

// Quarantined returns one entry with its raw bytes.
func (s *Store) Quarantined(_ context.Context, id steps.QuarantineID) (*steps.QuarantineEntry, error) {
	var q *steps.QuarantineEntry
	err := s.db.View(func(txn *badger.Txn) error {
		record, err := s.record(txn, id)
		if err != nil {
			return err
		}
		q = record.entry(id)
		return readRaw(txn, q, record.RawLen)
	})
	return q, err
}

func readRaw(txn *badger.Txn, q *steps.QuarantineEntry, want int) error {
	err := scan(txn, rawPrefix(q.ID), nil, true, func(_, value []byte) error {
		q.Raw = append(q.Raw, value...)
		return nil
	})
	if err != nil {
		return steps.E("read quarantine", steps.Internal, err)
	}
	if len(q.Raw) != want || steps.NewQuarantineID(q.Device, q.Raw) != q.ID {
		return corrupt("quarantine", string(q.ID), errors.New("the raw bytes are not those that were quarantined"))
	}
	return nil
}

// EachQuarantined calls fn for the entries that the filter lets through, newest first, without
// their raw bytes.
func (s *Store) EachQuarantined(ctx context.Context, f steps.QuarantineFilter, fn func(*steps.QuarantineEntry) error) error {
	var found []*steps.QuarantineEntry
	err := s.db.View(func(txn *badger.Txn) error {
		return scan(txn, []byte{prefixQuarantine}, nil, true, func(key, value []byte) error {
			id := steps.QuarantineID(key[1:])
			record, err := parseRecord(id, value)
			if err != nil {
				return err
			}
			if q := record.entry(id); matches(&f, q) {
				found = append(found, q)
			}
			return ctx.Err()
		})
	})
	if err != nil {
		return err
	}
	slices.SortFunc(found, func(a, b *steps.QuarantineEntry) int {
		return cmp.Or(cmp.Compare(b.ReceivedAt, a.ReceivedAt), cmp.Compare(a.ID, b.ID))
	})
	if f.Limit > 0 && len(found) > f.Limit {
		found = found[:f.Limit]
	}
	for _, q := range found {
		if err := fn(q); err != nil {
			return err
		}
	}
	return nil
}

func matches(f *steps.QuarantineFilter, q *steps.QuarantineEntry) bool {
	if f.Device != "" && f.Device != q.Device && f.Device != q.Via {
		return false
	}
	if f.State != nil && *f.State != q.Decision.State {
		return false
	}
	return f.Reason == 0 || slices.ContainsFunc(q.Faults, func(x steps.Fault) bool { return x.Reason == f.Reason })
}

// loadQuarantine counts the undecided entries by who holds them.
func (s *Store) loadQuarantine(txn *badger.Txn) error {
	return scan(txn, []byte{prefixQuarantine}, nil, true, func(key, value []byte) error {
		record, err := parseRecord(steps.QuarantineID(key[1:]), value)
		if err != nil {
			return err
		}
		if steps.DecisionState(record.State) == steps.Open {
			s.held(record.Device, record.Via, 1)
		}
		return nil
	})
}

func (s *Store) record(txn *badger.Txn, id steps.QuarantineID) (*quarantineRecord, error) {
	value, err := s.get(txn, quarantineKey(id))
	if err != nil {
		return nil, err
	}
	if value == nil {
		return nil, steps.Errorf("find quarantined payload", steps.NotFound, "there is none with id %s", id)
	}
	return parseRecord(id, value)
}

func parseRecord(id steps.QuarantineID, value []byte) (*quarantineRecord, error) {
	var r quarantineRecord
	if err := json.Unmarshal(value, &r); err != nil {
		return nil, corrupt("quarantine", string(id), err)
	}
	if r.V != quarantineVersion {
		return nil, corrupt("quarantine", string(id), fmt.Errorf("version %d; this build reads %d", r.V, quarantineVersion))
	}
	return &r, nil
}

func recordOf(q *steps.QuarantineEntry) *quarantineRecord {
	r := &quarantineRecord{
		V: quarantineVersion, ReceivedAt: q.ReceivedAt, Device: q.Device, Via: q.Via,
		Transport: uint8(q.Transport), Encoding: uint8(q.Encoding), Bundle: q.Bundle, Topic: q.Topic,
		RawLen: len(q.Raw), State: uint8(q.Decision.State), DecidedAt: q.Decision.At,
		DecidedBy: q.Decision.By, Why: q.Decision.Reason,
	}
	for _, f := range q.Faults {
		r.Faults = append(r.Faults, faultRecord{f.Series, uint8(f.Reason), f.Detail})
	}
	return r
}

func (r *quarantineRecord) entry(id steps.QuarantineID) *steps.QuarantineEntry {
	q := &steps.QuarantineEntry{
		ID: id, ReceivedAt: r.ReceivedAt, Device: r.Device, Via: r.Via,
		Transport: steps.Transport(r.Transport), Encoding: steps.Encoding(r.Encoding), Bundle: r.Bundle,
		Topic: r.Topic, Decision: steps.Decision{
			State: steps.DecisionState(r.State), At: r.DecidedAt, By: r.DecidedBy, Reason: r.Why,
		},
	}
	for _, f := range r.Faults {
		q.Faults = append(q.Faults, steps.Fault{Series: f.Series, Reason: steps.Reason(f.Reason), Detail: f.Detail})
	}
	return q
}
