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

// segments is the journal on disk: files of records, one record a group, appended and fsynced by
// the committer. A file is named after its first group, in hexadecimal, and deleted when the day
// blocks cover its last. A new one begins with every start and every checkpoint.
type segments struct {
	dir  string
	auth *auth
	f    *os.File // open for appending; nil until the first record
	last uint64   // newest group in f
	old  []segment
}

type segment struct {
	name string
	last uint64 // newest group in it
}

// A record is length(4) group record tag; the length is that of the middle two, and the tag is
// under the key "j" group(8).
const lengthBytes = 4

func openSegments(dir string, a *auth) (*segments, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &segments{dir: dir, auth: a}, nil
}

func segmentName(first uint64) string { return fmt.Sprintf("%016x.log", first) }

// append writes the record of a group, whose first lengthBytes are free, and returns when it is on
// disk.
func (s *segments) append(group uint64, record []byte) error {
	if s.f == nil {
		if err := s.create(group); err != nil {
			return err
		}
	}
	if _, err := s.f.Write(record); err != nil {
		return err
	}
	s.last = group
	return unix.Fdatasync(int(s.f.Fd()))
}

// create begins a file. One of that name can be there only if nothing in it was acknowledged.
func (s *segments) create(first uint64) error {
	f, err := os.OpenFile(filepath.Join(s.dir, segmentName(first)), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	s.f = f
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

// rotate ends the open file, so that it can be deleted when blocks cover it.
func (s *segments) rotate() error {
	if s.f == nil {
		return nil
	}
	err := s.f.Close()
	s.old = append(s.old, segment{s.f.Name(), s.last})
	s.f = nil
	return err
}

// retire deletes the files whose groups are all at most upTo.
func (s *segments) retire(upTo uint64) error {
	for len(s.old) > 0 && s.old[0].last <= upTo {
		if err := os.Remove(s.old[0].name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		s.old = s.old[1:]
	}
	return nil
}

// size returns how many bytes the files have that are to be replayed.
func (s *segments) size() (n int64, err error) {
	names, err := filepath.Glob(filepath.Join(s.dir, "*.log"))
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
	names, err := filepath.Glob(filepath.Join(s.dir, "*.log"))
	if err != nil {
		return 0, err
	}
	slices.Sort(names)
	last = retired
	for _, name := range names {
		var first uint64
		if _, err := fmt.Sscanf(filepath.Base(name), "%x.log", &first); err != nil {
			return last, fmt.Errorf("%w: %s is no name of a journal file", errJournal, name)
		}
		newest, err := s.replayFile(name, first, &last, fn)
		if err != nil {
			return last, fmt.Errorf("%s: %w", name, err)
		}
		if newest >= first { // otherwise the next group will be written to it
			s.old = append(s.old, segment{name, newest})
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
	if s.f == nil {
		return nil
	}
	err := s.f.Close()
	s.f = nil
	if err != nil {
		return steps.E("close journal", steps.Internal, err)
	}
	return nil
}
