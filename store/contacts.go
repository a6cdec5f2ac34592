package store

import (
	"encoding/binary"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

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

// writeContacts writes the first of devices and returns those.
func (s *Store) writeContacts(txn *badger.Txn, devices []steps.DeviceID) ([]steps.DeviceID, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	devices = devices[:min(len(devices), pieceKeys)]
	for _, d := range devices {
		if err := s.setSealed(txn, contactKey(d), appendContactState(nil, s.contacts[d])); err != nil {
			return nil, err
		}
	}
	return devices, nil
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
	return appendContact(dst, &c.Contact)
}

func parseContactState(b []byte) (*contactState, error) {
	r := reader{b: b}
	c := &contactState{group: r.uvarint()}
	c.counted = c.group
	c.ReceivedAt = r.varint()
	c.Uploads = r.uvarint()
	c.Contact = parseContact(&r)
	return c, r.done()
}
