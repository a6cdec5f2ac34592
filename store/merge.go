package store

import (
	"slices"

	"ayumi/steps"
)

// flushEvery is after how many entries of a group the acknowledgements so far are sent: many
// enough that a connection's own mostly go together, few enough that nobody waits for a large group.
const flushEvery = 512

// merge brings the head up to a group that has become durable, and reports to its submitters in
// order.
func (s *Store) merge(g *group) {
	s.mu.Lock()
	for i := range g.entries {
		if e := &g.entries[i]; e.change != nil && e.err == nil && e.change.after != nil {
			e.change.after()
		}
	}
	s.mu.Unlock()
	r := reader{b: g.journal[groupHead:]}
	days := g.days
	record := steps.RecordID{Group: g.seq}
	for i := range g.entries {
		e := &g.entries[i]
		own := days[:e.runs]
		days = days[e.runs:]
		unpin(own)
		if e.change != nil || e.err != nil {
			s.report(e, &s.receipt, e.err)
			continue
		}
		receipt := &s.receipt
		if e.rare != nil {
			receipt = &e.rare.receipt
		}
		receipt.Record = record
		record.Index++
		s.mu.Lock() // for each payload, so that readers get in between
		s.apply(&r, own, g.seq, receipt, e.rare != nil)
		s.mu.Unlock()
		s.report(e, receipt, nil)
		if i%flushEvery == flushEvery-1 {
			s.flush()
		}
	}
	s.flush()
	s.afterMerge(g)
}

// afterMerge tells the rest of the store that the head has moved on.
func (s *Store) afterMerge(g *group) {
	if g.seq > 0 {
		s.merged = g.seq
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.metrics.headDays.Set(float64(s.head.len()))
	s.metrics.dirtyDays.Set(float64(len(s.dirty)))
	if len(s.dirty) > 0 {
		s.wake()
	}
}

// apply merges one payload off the journal and completes its receipt: the one that came with it
// (known), or one made of the journal alone. The caller holds mu.
func (s *Store) apply(r *reader, days []dayRef, group uint64, receipt *steps.Receipt, known bool) {
	receipt.ReceivedAt = r.varint()
	uploads := r.count(len(r.b))
	if !known {
		receipt.Uploads = slices.Grow(receipt.Uploads[:0], uploads)[:uploads]
	}
	for i := range uploads {
		u := parseUpload(r)
		answer := &receipt.Uploads[i]
		if !known {
			*answer = steps.UploadReceipt{Revision: u.revision, Verdict: steps.Quarantined}
			if u.flags&wasStored != 0 {
				answer.Verdict = steps.Stored
			}
		}
		device := s.applyUpload(r, &u, days[:u.runs], receipt.ReceivedAt, group, answer)
		days = days[u.runs:]
		if !known {
			answer.Device = device
		}
	}
}

// applyUpload merges one upload's runs and contact. It returns the device's ID.
func (s *Store) applyUpload(r *reader, u *journalUpload, days []dayRef, receivedAt int64, group uint64,
	answer *steps.UploadReceipt,
) steps.DeviceID {
	changed := false
	for i := range days {
		parseRun(r, &s.run)
		s.run.source.revision = u.revision
		out := s.applyRun(days[i].day, u.device)
		changed = changed || out.changed
		answer.Conflicts += out.conflicts
	}
	if answer.Conflicts > 0 {
		s.metrics.conflicts.Add(float64(answer.Conflicts))
	}
	if len(days) > 0 && !changed && answer.Conflicts == 0 && answer.Verdict == steps.Stored {
		answer.Verdict = steps.Duplicate
	}
	if u.flags&withContact == 0 {
		return steps.DeviceID(u.device)
	}
	contacts := &s.contacts.shards[s.contacts.shardOf(u.device)]
	c, on := contacts.note(u, receivedAt, group), s.sentDay(receivedAt)
	for i := range days {
		if p := days[i].day.Participant; c.sentOn != on || c.sentFor != p {
			s.send(c, p, on)
		}
	}
	return c.device
}

// applyRun merges s.run into a day.
func (s *Store) applyRun(day *headDay, device []byte) outcome {
	out := s.head.of(day).merge(day, device, &s.run.cellRun)
	if out.changed {
		s.markDirty(day.ParticipantDay)
	}
	return out
}
