package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"ayumi/steps"
)

const journalVersion = 1

// errJournal is wrapped by every decoding error of a journal group.
var errJournal = errors.New("journal group is damaged")

// partBytes bounds one value of a quarantined payload. Badger keeps values below its threshold of
// 1 MiB in the LSM tree, and only there are failed fsyncs reported.
const partBytes = 512 << 10

// frameBytes is the head of a journal group: version(1) group(8) commits(4). groupHead is what a
// group in memory leaves free for it and for the record's length.
const (
	frameBytes = 13
	groupHead  = lengthBytes + frameBytes
)

// putFrame writes the head of a group.
func putFrame(frame []byte, group uint64, commits int) {
	frame[0] = journalVersion
	binary.LittleEndian.PutUint64(frame[1:], group)
	binary.LittleEndian.PutUint32(frame[9:], uint32(commits))
}

// An upload's flags.
const (
	withContact = 1 << iota
	wasStored   // its provisional verdict was Stored
)

// appendCommit encodes a commit as it stands in the journal (see doc.go): by upload, with the
// contact and the runs of each.
func appendCommit(dst []byte, c *steps.Commit) []byte {
	dst = binary.AppendVarint(dst, c.Receipt.ReceivedAt)
	dst = binary.AppendUvarint(dst, uint64(len(c.Receipt.Uploads)))
	runs, contacts := c.Runs, c.Contacts
	var last steps.ParticipantID
	for i := range c.Receipt.Uploads {
		u := &c.Receipt.Uploads[i]
		flags := byte(0)
		if u.Verdict == steps.Stored {
			flags |= wasStored
		}
		if len(contacts) > 0 && contacts[0].Upload == i {
			flags |= withContact
		}
		dst = append(dst, flags)
		dst = appendString(dst, string(u.Device))
		dst = binary.AppendUvarint(dst, uint64(u.Revision.Boot))
		dst = binary.AppendUvarint(dst, u.Revision.Seq)
		if flags&withContact != 0 {
			dst = appendContact(dst, &contacts[0])
			contacts = contacts[1:]
		}
		own := 0
		for own < len(runs) && runs[own].Upload == i {
			own++
		}
		dst = binary.AppendUvarint(dst, uint64(own))
		for j := range runs[:own] {
			dst = appendRun(dst, &runs[j], last)
			last = runs[j].Participant
		}
		runs = runs[own:]
	}
	return dst
}

func appendContact(dst []byte, c *steps.Contact) []byte {
	dst = binary.AppendVarint(dst, c.SentAt)
	dst = append(dst, c.Status.Battery)
	dst = appendString(dst, c.Status.Firmware)
	return binary.AppendVarint(dst, int64(c.Status.Signal))
}

// appendRun encodes a run. An empty participant is the one of the run before in the commit.
func appendRun(dst []byte, run *steps.Run, last steps.ParticipantID) []byte {
	if run.Participant == last {
		dst = append(dst, 0)
	} else {
		dst = appendString(dst, string(run.Participant))
	}
	dst = binary.AppendVarint(dst, int64(run.Day))
	dst = binary.AppendUvarint(dst, uint64(run.Interval))
	dst = binary.AppendUvarint(dst, uint64(run.First))
	dst = append(dst, byte(run.Origin))
	dst = binary.AppendUvarint(dst, uint64(len(run.Counts)))
	for _, c := range run.Counts {
		dst = binary.AppendUvarint(dst, uint64(c))
	}
	return dst
}

// The decoded forms lend out bytes of the journal instead of strings, so that merging a group
// allocates nothing.
type (
	journalUpload struct {
		flags    byte
		device   []byte
		revision steps.Revision
		sentAt   int64
		battery  byte
		firmware []byte
		signal   int32
		runs     int
	}
	journalRun struct {
		participant []byte
		day         steps.Day
		cellRun     // its counts are memory of the caller's; its revision is the upload's
	}
)

func parseUpload(r *reader) journalUpload {
	u := journalUpload{flags: r.byte(), device: r.bytes()}
	u.revision = steps.Revision{Boot: r.uint32(), Seq: r.uvarint()}
	if u.flags&withContact != 0 {
		u.sentAt, u.battery, u.firmware, u.signal = r.varint(), r.byte(), r.bytes(), int32(r.varint())
	}
	u.runs = r.count(len(r.b))
	return u
}

// parseRun decodes a run into out, which holds the run before and whose counts it overwrites.
func parseRun(r *reader, out *journalRun) {
	if p := r.bytes(); len(p) > 0 {
		out.participant = p
	}
	out.day = steps.Day(r.varint())
	out.interval = r.uint32()
	out.first = r.count(maxDayMinutes)
	out.source.origin = steps.Origin(r.byte())
	n := r.count(maxDayMinutes - out.first)
	out.counts = out.counts[:0]
	for range n {
		if len(r.b) > 0 && r.b[0] < 0x80 { // most counts
			out.counts = append(out.counts, uint32(r.b[0]))
			r.b = r.b[1:]
			continue
		}
		out.counts = append(out.counts, r.uint32())
	}
	if out.interval == 0 || out.interval%60 != 0 {
		r.fail()
	}
}

// parseFrame checks the head of a group and returns its commits.
func parseFrame(b []byte, group uint64) (commits int, body []byte, err error) {
	if len(b) < frameBytes || b[0] != journalVersion {
		return 0, nil, fmt.Errorf("%w: version %x; this build reads %d", errJournal, b[:min(1, len(b))], journalVersion)
	}
	if got := binary.LittleEndian.Uint64(b[1:]); got != group {
		return 0, nil, fmt.Errorf("%w: holds group %d", errJournal, got)
	}
	return int(binary.LittleEndian.Uint32(b[9:])), b[frameBytes:], nil
}
