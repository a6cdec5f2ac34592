package store

import (
	"slices"

	"ayumi/steps"
)

// headDay is one participant-day in memory: what is on disk merged with what the journal holds.
type headDay struct {
	devices   []headDevice // by device ID
	total     uint64
	totalOK   bool // total is that of the current cells
	unflushed bool // some device is not yet written to its block
	pins      int  // groups under way that will merge into it; the committer's
}

// headDevice is one device's part of a day. Cells that are on disk are kept encoded, in a tenth of
// the memory; a merge decodes them.
type headDevice struct {
	device    steps.DeviceID
	cells     *deviceDay // nil while only block is kept
	block     []byte     // the day as it is on disk, or is about to be
	unflushed bool
}

// thawed returns the device's cells, decoded.
func (d *headDevice) thawed() *deviceDay {
	if d.cells != nil {
		return d.cells
	}
	cells, err := parseBlock(d.block)
	if err != nil { // it was parsed when it was loaded, or encoded by us
		panic("store: a day block in memory does not decode: " + err.Error())
	}
	return cells
}

// merge adds a run of a device.
func (h *headDay) merge(device []byte, r *cellRun) outcome {
	d := h.device(device)
	cells := d.thawed()
	out := cells.merge(r)
	if out.changed {
		d.cells, d.block = cells, nil
		d.unflushed, h.unflushed, h.totalOK = true, true, false
	}
	return out
}

// device returns a device's part of the day.
func (h *headDay) device(id []byte) *headDevice {
	i := 0
	for i < len(h.devices) && string(h.devices[i].device) < string(id) {
		i++
	}
	if i == len(h.devices) || string(h.devices[i].device) != string(id) {
		h.devices = slices.Insert(h.devices, i, headDevice{device: steps.DeviceID(id), cells: new(deviceDay)})
	}
	return &h.devices[i]
}

// steps returns the day's total.
func (h *headDay) steps() uint64 {
	if !h.totalOK {
		var few [4]*deviceDay
		cells := few[:0]
		for i := range h.devices {
			cells = append(cells, h.devices[i].thawed())
		}
		h.total, h.totalOK = total(cells), true
	}
	return h.total
}

// dirtyState says that a day waits to be scored.
type dirtyState struct {
	mark      uint64 // of the newest change
	since     uint64 // of the oldest one that may not be scored
	persisted bool   // a key of the dirty table says so too
}

// contactState is a device's last contact with what is needed to count each upload once.
type contactState struct {
	steps.DeviceContact
	group     uint64 // newest journal group counted in
	counted   uint64 // newest group counted in before this process started
	unflushed bool
}

func (s *Store) markDirty(pd steps.ParticipantDay) {
	s.markSeq++
	d, ok := s.dirty[pd]
	if !ok {
		d.since = s.markSeq
	}
	d.mark = s.markSeq
	s.dirty[pd] = d
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

// wake tells the points engine that days became dirty.
func (s *Store) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}
