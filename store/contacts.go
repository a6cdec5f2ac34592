package store

import (
	"encoding/binary"
	"fmt"
	"slices"
	"unique"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// contactState is a device's last contact with what is needed to count each upload once. There is one
// for every device there is, so it is packed.
type contactState struct {
	device     steps.DeviceID
	firmware   string
	sentAt     int64
	receivedAt int64
	uploads    uint64
	group      uint64 // newest journal group counted in
	signal     int32
	battery    uint8
	unflushed  bool
	ahead      bool // group is newer than what was counted in before this process started

	sentOn  steps.Day           // the last calendar day on which it was found to send something,
	sentFor steps.ParticipantID // and for whom
}

// Contact returns the last that was heard of a device.
func (s *Store) Contact(d steps.DeviceID) (steps.DeviceContact, bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c, ok := s.contacts[d]
	if !ok {
		return steps.DeviceContact{}, false, nil
	}
	return steps.DeviceContact{Contact: c.contact(), ReceivedAt: c.receivedAt, Uploads: c.uploads}, true, nil
}

func (c *contactState) contact() steps.Contact {
	status := steps.DeviceStatus{Battery: c.battery, Firmware: c.firmware, Signal: c.signal}
	return steps.Contact{Device: c.device, SentAt: c.sentAt, Status: status}
}

// contact notes that a device was heard of.
func (s *Store) contact(u *journalUpload, receivedAt int64, group uint64) *contactState {
	c := s.contacts[steps.DeviceID(u.device)]
	if c == nil {
		c = &contactState{device: steps.DeviceID(u.device), ahead: true}
		s.contacts[c.device] = c
	}
	if !c.ahead && group <= c.group {
		return c // replayed, and counted before the crash
	}
	c.sentAt, c.receivedAt = u.sentAt, receivedAt
	if u.battery != 0 || len(u.firmware) > 0 || u.signal != 0 {
		c.battery, c.signal = u.battery, u.signal
		if c.firmware != string(u.firmware) {
			c.firmware = unique.Make(string(u.firmware)).Value() // few are in use at a time
		}
	}
	c.uploads++
	c.group, c.ahead = group, true
	if !c.unflushed {
		c.unflushed = true
		s.unflushedContacts = append(s.unflushedContacts, c.device)
	}
	return c
}

// writeContacts writes the first of devices and returns the others. Readers get in between every few.
func (s *Store) writeContacts(txn *badger.Txn, devices []steps.DeviceID) ([]steps.DeviceID, error) {
	n := min(len(devices), pieceKeys)
	for some := range slices.Chunk(devices[:n], daysAtOnce) {
		s.mu.Lock()
		for _, d := range some {
			s.contacts[d].unflushed = false
		}
		s.mu.Unlock()
		for _, d := range some { // only the committer changes contacts
			if err := s.setSealed(txn, contactKey(d), appendContactState(nil, s.contacts[d])); err != nil {
				return nil, err
			}
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
		c, err := parseContactState(body)
		if err == nil && string(c.device) != string(key[1:]) {
			err = fmt.Errorf("it is that of %s", c.device)
		}
		if err != nil {
			return corrupt("contact", string(key[1:]), err)
		}
		s.contacts[c.device] = c
		return nil
	})
}

func appendContactState(dst []byte, c *contactState) []byte {
	dst = binary.AppendUvarint(dst, c.group)
	dst = binary.AppendVarint(dst, c.receivedAt)
	dst = binary.AppendUvarint(dst, c.uploads)
	dst = appendString(dst, string(c.device))
	contact := c.contact()
	return appendContact(dst, &contact)
}

func parseContactState(b []byte) (*contactState, error) {
	r := reader{b: b}
	c := &contactState{group: r.uvarint(), receivedAt: r.varint(), uploads: r.uvarint(), device: steps.DeviceID(r.string())}
	c.sentAt, c.battery = r.varint(), r.byte()
	c.firmware = unique.Make(r.string()).Value()
	c.signal = int32(r.varint())
	return c, r.done()
}
