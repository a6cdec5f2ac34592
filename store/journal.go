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

// partBytes bounds one journal or quarantine value. Badger keeps values below its threshold of
// 1 MiB in the LSM tree, and only there are failed fsyncs reported.
const partBytes = 512 << 10

// appendCommit encodes what of a commit the head needs: contacts and runs. Participants and
// devices are written when they change from one run to the next.
func appendCommit(dst []byte, c *steps.Commit) []byte {
	dst = binary.AppendVarint(dst, c.Receipt.ReceivedAt)
	dst = binary.AppendUvarint(dst, uint64(len(c.Contacts)))
	for i := range c.Contacts {
		dst = appendContact(dst, &c.Contacts[i])
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.Runs)))
	var last steps.Run
	for i := range c.Runs {
		dst = appendRun(dst, &c.Runs[i], &last)
	}
	return dst
}

func appendContact(dst []byte, c *steps.Contact) []byte {
	dst = appendString(dst, string(c.Device))
	dst = binary.AppendVarint(dst, c.SentAt)
	dst = append(dst, c.Status.Battery)
	dst = appendString(dst, c.Status.Firmware)
	return binary.AppendVarint(dst, int64(c.Status.Signal))
}

func parseContact(r *reader) steps.Contact {
	return steps.Contact{
		Device: steps.DeviceID(r.string()),
		SentAt: r.varint(),
		Status: steps.DeviceStatus{Battery: r.byte(), Firmware: r.string(), Signal: int32(r.varint())},
	}
}

const (
	sameOwner = 0
	newOwner  = 1
)

func appendRun(dst []byte, run, last *steps.Run) []byte {
	if run.Participant == last.Participant && run.Device == last.Device && run.Revision == last.Revision {
		dst = append(dst, sameOwner)
	} else {
		dst = append(dst, newOwner)
		dst = appendString(dst, string(run.Participant))
		dst = appendString(dst, string(run.Device))
		dst = binary.AppendUvarint(dst, uint64(run.Revision.Boot))
		dst = binary.AppendUvarint(dst, run.Revision.Seq)
		last.Participant, last.Device, last.Revision = run.Participant, run.Device, run.Revision
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

func parseRun(r *reader, last *steps.Run) steps.Run {
	if r.byte() == newOwner {
		last.Participant = steps.ParticipantID(r.string())
		last.Device = steps.DeviceID(r.string())
		last.Revision = steps.Revision{Boot: r.uint32(), Seq: r.uvarint()}
	}
	run := *last
	run.Day = steps.Day(r.varint())
	run.Interval = r.uint32()
	run.First = r.count(maxDayMinutes)
	run.Origin = steps.Origin(r.byte())
	run.Counts = make([]uint32, r.count(maxDayMinutes))
	for i := range run.Counts {
		run.Counts[i] = r.uint32()
	}
	return run
}

// appendGroup frames the encoded commits of one group: version, sequence, number of commits, the
// commits.
func appendGroup(dst []byte, seq uint64, commits [][]byte) []byte {
	dst = append(dst, journalVersion)
	dst = binary.AppendUvarint(dst, seq)
	dst = binary.AppendUvarint(dst, uint64(len(commits)))
	for _, c := range commits {
		dst = append(dst, c...)
	}
	return dst
}

// parseGroup decodes a group and calls fn for each of its commits, which belong to fn.
func parseGroup(b []byte, seq uint64, fn func(*steps.Commit) error) error {
	if len(b) == 0 || b[0] != journalVersion {
		return fmt.Errorf("%w: version %x; this build reads %d", errJournal, b[:min(1, len(b))], journalVersion)
	}
	r := reader{b: b[1:]}
	if got := r.uvarint(); got != seq {
		return fmt.Errorf("%w: holds group %d", errJournal, got)
	}
	for range r.count(len(r.b)) {
		c := steps.Commit{Receipt: steps.Receipt{ReceivedAt: r.varint()}}
		for range r.count(len(r.b)) {
			c.Contacts = append(c.Contacts, parseContact(&r))
		}
		var last steps.Run
		for range r.count(len(r.b)) {
			c.Runs = append(c.Runs, parseRun(&r, &last))
		}
		if r.err != nil {
			break
		}
		if err := fn(&c); err != nil {
			return err
		}
	}
	if err := r.done(); err != nil {
		return fmt.Errorf("%w: %w", errJournal, err)
	}
	return nil
}
