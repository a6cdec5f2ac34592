package store

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"ayumi/steps"
)

// segments is the journal on disk: files of records, one record a group, written and fsynced one after
// the other. A file is named after its first group, in hexadecimal, and becomes a spare when the day blocks
// cover its last. A new one begins with every start and every checkpoint, and where there is a
// spare and no room for the next record.
type segments struct {
	dir    string
	auth   *auth
	spares *spares
	f      *os.File // being written; nil until the first record
	at     int64    // where the next record goes
	laid   int64    // up to where f had its blocks when it was begun
	last   uint64   // newest group in f
	old    []segment
}

type segment struct {
	name string
	last uint64 // newest group in it
	// reusable says that it can become a spare: this process wrote it to its end, so that nothing in it is newer
	// than last, as may be after a loss that was accepted, and it is large enough.
	reusable bool
}

// A record is length(4) group record tag; the length is that of the middle two, and the tag is
// under the key "j" group(8).
const lengthBytes = 4

const segmentSuffix = ".log"

// openSegments opens the journal in dir, with spares of size bytes that cover keep bytes.
func openSegments(dir string, a *auth, size, keep int64) (*segments, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	p, err := openSpares(dir, size, keep)
	if err != nil {
		return nil, err
	}
	return &segments{dir: dir, auth: a, spares: p}, nil
}

func segmentName(first uint64) string { return fmt.Sprintf("%016x%s", first, segmentSuffix) }

// append writes the record of a group, whose first lengthBytes are free, and returns when it is on
// disk.
func (s *segments) append(group uint64, record []byte) error {
	if s.f == nil || s.at > 0 && s.at+int64(len(record)) > s.laid {
		if err := s.begin(group); err != nil {
			return err
		}
	}
	n, err := s.f.Write(record)
	s.at += int64(n)
	if err != nil {
		return err
	}
	s.last = group
	return unix.Fdatasync(int(s.f.Fd()))
}

// begin begins a file with a spare. Where there is none the open file grows, or a new one.
func (s *segments) begin(first uint64) error {
	if s.f != nil && s.at < s.spares.size/growShare {
		return nil
	}
	name := filepath.Join(s.dir, segmentName(first)) // is there already only if nothing in it was acknowledged
	flags := os.O_WRONLY
	switch spare, err := s.spares.take(name); {
	case err != nil:
		return err
	case !spare && s.f != nil:
		s.spares.ask()
		return nil
	case !spare:
		flags |= os.O_CREATE | os.O_TRUNC
	}
	if err := s.rotate(); err != nil {
		return err
	}
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.f, s.at, s.laid = f, 0, info.Size()
	return syncDir(s.dir)
}

// seal puts the length and the tag of a finished record in place.
func (s *segments) seal(group uint64, record []byte) []byte {
	binary.LittleEndian.PutUint32(record, uint32(len(record)-lengthBytes))
	tag := s.auth.tag(recordKey(group), record[lengthBytes:])
	return append(record, tag[:]...)
}

func recordKey(group uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{'j'}, group)
}

// rotate ends the open file, so that it can be given up when blocks cover it.
func (s *segments) rotate() error {
	if s.f == nil {
		return nil
	}
	err := s.f.Close()
	s.old = append(s.old, segment{s.f.Name(), s.last, max(s.at, s.laid) >= s.spares.size})
	s.f = nil
	return err
}

// retire gives up the files whose groups are all at most upTo.
func (s *segments) retire(upTo uint64) error {
	for len(s.old) > 0 && s.old[0].last <= upTo {
		give := os.Remove
		if s.old[0].reusable {
			give = s.spares.recycle
		}
		if err := give(s.old[0].name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		s.old = s.old[1:]
	}
	return nil
}

// size returns how many bytes the files have that are to be replayed.
func (s *segments) size() (n int64, err error) {
	names, err := filepath.Glob(filepath.Join(s.dir, "*"+segmentSuffix))
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return 0, err
		}
		n += info.Size()
	}
	return n, nil
}

// replay calls fn for every group above retired, in order, with memory that it may have during the call. What
// follows a damaged or torn record is read only if it takes up where that record stood: a group that was
// being written when the process ended was never acknowledged. It returns the newest group.
func (s *segments) replay(retired uint64, fn func(group uint64, body []byte) error) (last uint64, err error) {
	names, err := filepath.Glob(filepath.Join(s.dir, "*"+segmentSuffix))
	if err != nil {
		return 0, err
	}
	slices.Sort(names)
	last = retired
	for _, name := range names {
		var first uint64
		if _, err := fmt.Sscanf(filepath.Base(name), "%x"+segmentSuffix, &first); err != nil {
			return last, fmt.Errorf("%w: %s is no name of a journal file", errJournal, name)
		}
		newest, err := s.replayFile(name, first, &last, fn)
		if err == nil && newest > retired {
			err = syncFile(name)
		}
		if err != nil {
			return last, fmt.Errorf("%s: %w", name, err)
		}
		if newest >= first { // otherwise the next group will be written to it
			s.old = append(s.old, segment{name: name, last: newest})
		}
	}
	return last, nil
}

// replayFile reads one file up to its end or its first record that is not whole, and returns its
// newest group.
func (s *segments) replayFile(name string, first uint64, last *uint64, fn func(uint64, []byte) error) (newest uint64, err error) {
	f, err := openRecords(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for group := first; ; group++ {
		record, err := f.next()
		if err != nil {
			return group - 1, err
		}
		body, err := s.auth.open(recordKey(group), record)
		if err != nil { // of a record that is not whole too
			return group - 1, nil
		}
		if group <= *last { // blocks cover it
			continue
		}
		if group != *last+1 {
			return group, fmt.Errorf("%w: group %d follows group %d", errJournal, group, *last)
		}
		*last = group
		if err := fn(group, body); err != nil {
			return group, err
		}
	}
}

// syncFile makes durable what a killed process had only written: the groups that follow will be, and must not
// follow a gap after a power loss.
func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fdatasync(int(f.Fd())), f.Close())
}

// records reads a journal file.
type records struct {
	*os.File
	r      *bufio.Reader
	left   int64
	record []byte // the last
}

func openRecords(name string) (*records, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &records{File: f, r: bufio.NewReaderSize(f, 1<<20), left: info.Size()}, nil
}

// next returns the next record without its length, until it is called again, or nil if there is none that
// is whole.
func (f *records) next() ([]byte, error) {
	var length [lengthBytes]byte
	if f.left < lengthBytes {
		return nil, nil
	}
	if _, err := io.ReadFull(f.r, length[:]); err != nil {
		return nil, err
	}
	f.left -= lengthBytes
	n := int64(binary.LittleEndian.Uint32(length[:])) + tagBytes
	if n > f.left {
		return nil, nil
	}
	f.left -= n
	f.record = slices.Grow(f.record[:0], int(n))[:n]
	_, err := io.ReadFull(f.r, f.record)
	return f.record, err
}

func (s *segments) close() error {
	err := s.spares.drop()
	if s.f != nil {
		err = errors.Join(err, s.f.Close())
		s.f = nil
	}
	if err != nil {
		return steps.E("close journal", steps.Internal, err)
	}
	return nil
}
