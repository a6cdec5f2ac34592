package store

import (
	"encoding/binary"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// contactState is a device's last contact with what is needed to count each upload once.
type contactState struct {
	steps.DeviceContact
	group     uint64 // newest journal group counted in
	counted   uint64 // newest group counted in before this process started
	unflushed bool
}

// Contact returns the last that was heard of a device.
func (s *Store) Contact(d steps.DeviceID) (steps.DeviceContact, bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	state, ok := s.contacts[d]
	if !ok {
		return steps.DeviceContact{}, false, nil
	}
	return state.DeviceContact, true, nil
}

// contact notes that a device was heard of and returns its ID.
func (s *Store) contact(u *journalUpload, receivedAt int64, group uint64) steps.DeviceID {
	state := s.contacts[steps.DeviceID(u.device)]
	if state == nil {
		state = new(contactState)
		state.Device = steps.DeviceID(u.device)
		s.contacts[state.Device] = state
	}
	if group <= state.counted {
		return state.Device // replayed, and counted before the crash
	}
	state.SentAt, state.ReceivedAt = u.sentAt, receivedAt
	if u.battery != 0 || len(u.firmware) > 0 || u.signal != 0 {
		state.Status.Battery, state.Status.Signal = u.battery, u.signal
		if state.Status.Firmware != string(u.firmware) {
			state.Status.Firmware = string(u.firmware)
		}
	}
	state.Uploads++
	state.group = group
	if !state.unflushed {
		state.unflushed = true
		s.unflushedContacts = append(s.unflushedContacts, state.Device)
	}
	return state.Device
}

// writeContacts writes the first of devices and returns the others.
func (s *Store) writeContacts(txn *badger.Txn, devices []steps.DeviceID) ([]steps.DeviceID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(devices), pieceKeys)
	for _, d := range devices[:n] {
		state := s.contacts[d]
		state.unflushed = false
		if err := s.setSealed(txn, contactKey(d), appendContactState(nil, state)); err != nil {
			return nil, err
		}
	}
	return devices[n:], nil
}

// loadContacts reads every device's last contact.
func (s *Store) loadContacts(txn *badger.Txn) error {
	return scan(txn, []byte{prefixContact}, nil, true, func(key, value []byte) error {
		body, err := s.auth.open(key, value)
		if err != nil {
			return corrupt("contact", string(key[1:]), err)
		}
		state, err := parseContactState(body)
		if err != nil {
			return corrupt("contact", string(key[1:]), err)
		}
		s.contacts[steps.DeviceID(key[1:])] = state
		return nil
	})
}

func appendContactState(dst []byte, c *contactState) []byte {
	dst = binary.AppendUvarint(dst, c.group)
	dst = binary.AppendVarint(dst, c.ReceivedAt)
	dst = binary.AppendUvarint(dst, c.Uploads)
	dst = appendString(dst, string(c.Device))
	return appendContact(dst, &c.Contact)
}

func parseContactState(b []byte) (*contactState, error) {
	r := reader{b: b}
	c := &contactState{group: r.uvarint()}
	c.counted = c.group
	c.ReceivedAt = r.varint()
	c.Uploads = r.uvarint()
	c.Device = steps.DeviceID(r.string())
	c.SentAt = r.varint()
	c.Status = steps.DeviceStatus{Battery: r.byte(), Firmware: r.string(), Signal: int32(r.varint())}
	return c, r.done()
}
