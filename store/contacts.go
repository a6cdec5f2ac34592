package store

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
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

// contactBook holds the contacts of all devices. It is cut into shards by device, so that the journal is
// replayed into several at once, each of them small enough for a processor's cache.
type contactBook struct {
	seed   maphash.Seed
	shards [headShards]contactShard
}

// contactShard is the contacts of some devices.
type contactShard struct {
	devices   map[steps.DeviceID]*contactState
	unflushed []*contactState // those whose flag is set, for the next checkpoint
}

func newContactBook() *contactBook {
	b := &contactBook{seed: maphash.MakeSeed()}
	for i := range b.shards {
		b.shards[i].devices = make(map[steps.DeviceID]*contactState)
	}
	return b
}

// shardOf returns the shard of a device.
func (b *contactBook) shardOf(device []byte) int {
	return int(maphash.Bytes(b.seed, device) % headShards)
}

// of is shardOf for a device's ID that is a string.
func (b *contactBook) of(d steps.DeviceID) *contactShard {
	return &b.shards[maphash.String(b.seed, string(d))%headShards]
}

// len returns how many devices there are.
func (b *contactBook) len() (n int) {
	for i := range b.shards {
		n += len(b.shards[i].devices)
	}
	return n
}

// takeUnflushed returns the contacts that a checkpoint has to write, and forgets them.
func (b *contactBook) takeUnflushed() []*contactState {
	return takeLists(b.shards[:], func(sh *contactShard) *[]*contactState { return &sh.unflushed })
}

// Contact returns the last that was heard of a device.
func (s *Store) Contact(d steps.DeviceID) (steps.DeviceContact, bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c, ok := s.contacts.of(d).devices[d]
	if !ok {
		return steps.DeviceContact{}, false, nil
	}
	return steps.DeviceContact{Contact: c.contact(), ReceivedAt: c.receivedAt, Uploads: c.uploads}, true, nil
}

func (c *contactState) contact() steps.Contact {
	status := steps.DeviceStatus{Battery: c.battery, Firmware: c.firmware, Signal: c.signal}
	return steps.Contact{Device: c.device, SentAt: c.sentAt, Status: status}
}

// note notes that a device was heard of.
func (sh *contactShard) note(u *journalUpload, receivedAt int64, group uint64) *contactState {
	c := sh.devices[steps.DeviceID(u.device)]
	if c == nil {
		c = &contactState{device: steps.DeviceID(u.device), ahead: true}
		sh.devices[c.device] = c
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
		sh.unflushed = append(sh.unflushed, c)
	}
	return c
}

// writeContacts writes the first of contacts and returns the others. Readers get in between every few.
func (s *Store) writeContacts(txn *badger.Txn, contacts []*contactState) ([]*contactState, error) {
	n := min(len(contacts), pieceKeys)
	for some := range slices.Chunk(contacts[:n], daysAtOnce) {
		s.mu.Lock()
		for _, c := range some {
			c.unflushed = false
		}
		s.mu.Unlock()
		for _, c := range some { // only the committer changes contacts
			if err := s.setSealed(txn, contactKey(c.device), appendContactState(nil, c)); err != nil {
				return nil, err
			}
		}
	}
	return contacts[n:], nil
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
		s.contacts.of(c.device).devices[c.device] = c
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
