package store

import (
	"slices"
	"strings"

	"ayumi/steps"
)

// headDay is one participant-day in memory: what is on disk merged with what the journal holds.
type headDay struct {
	devices   []headDevice // by device ID
	total     uint64
	totalOK   bool // total is that of the current cells
	unflushed bool // some device is not yet written to its block
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

// merge adds a run of the day.
func (h *headDay) merge(r *steps.Run) outcome {
	i, found := slices.BinarySearchFunc(h.devices, r.Device, func(d headDevice, want steps.DeviceID) int {
		return strings.Compare(string(d.device), string(want))
	})
	if !found {
		h.devices = slices.Insert(h.devices, i, headDevice{device: r.Device, cells: new(deviceDay)})
	}
	d := &h.devices[i]
	cells := d.thawed()
	out := cells.merge(r)
	if out.changed {
		d.cells, d.block = cells, nil
		d.unflushed, h.unflushed, h.totalOK = true, true, false
	}
	return out
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
	mark      uint64
	persisted bool // a key of the dirty table says so too
}

// contactState is a device's last contact with what is needed to count each upload once.
type contactState struct {
	steps.DeviceContact
	group     uint64 // newest journal group counted in
	counted   uint64 // newest group counted in before this process started
	unflushed bool
}

// apply merges one durable commit of a journal group into the head and completes its receipt.
// Every participant-day of the commit has been loaded. The caller holds mu.
func (s *Store) apply(c *steps.Commit, group uint64) {
	type result struct {
		runs    int
		changed bool
	}
	var few [8]result
	results := few[:0]
	for range c.Receipt.Uploads {
		results = append(results, result{})
	}
	for i := range c.Runs {
		r := &c.Runs[i]
		pd := steps.ParticipantDay{Participant: r.Participant, Day: r.Day}
		h := s.head[pd]
		wasFlushed := !h.unflushed
		out := h.merge(r)
		if out.changed {
			s.markDirty(pd)
		}
		if h.unflushed && wasFlushed {
			s.unflushedDays = append(s.unflushedDays, pd)
		}
		s.metrics.conflicts.Add(float64(out.conflicts))
		if r.Upload < len(results) {
			results[r.Upload].runs++
			results[r.Upload].changed = results[r.Upload].changed || out.changed
			c.Receipt.Uploads[r.Upload].Conflicts += out.conflicts
		}
	}
	for i := range results {
		u := &c.Receipt.Uploads[i]
		if results[i].runs > 0 && !results[i].changed && u.Conflicts == 0 && u.Verdict == steps.Stored {
			u.Verdict = steps.Duplicate
		}
	}
	for i := range c.Contacts {
		s.contact(&c.Contacts[i], c.Receipt.ReceivedAt, group)
	}
}

func (s *Store) markDirty(pd steps.ParticipantDay) {
	s.markSeq++
	d := s.dirty[pd]
	d.mark = s.markSeq
	s.dirty[pd] = d
}

func (s *Store) contact(c *steps.Contact, receivedAt int64, group uint64) {
	state := s.contacts[c.Device]
	if state == nil {
		state = new(contactState)
		s.contacts[c.Device] = state
	}
	if group <= state.counted {
		return // replayed, and counted before the crash
	}
	status := state.Status
	if !c.Status.IsZero() {
		status = c.Status
	}
	state.Contact = *c
	state.Status = status
	state.ReceivedAt = receivedAt
	state.Uploads++
	state.group = group
	if !state.unflushed {
		state.unflushed = true
		s.unflushedContacts = append(s.unflushedContacts, c.Device)
	}
}

// wake tells the points engine that days became dirty.
func (s *Store) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}
