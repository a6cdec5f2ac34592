package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// watermark is a small file that names the newest journal group and the newest Badger transaction
// known to be durable. A journal that ends in a damaged record looks like one whose last record was
// being written, and Badger drops a damaged log entry and everything after it without an error; what
// ends before the watermark has lost something.
//
// It is written after each commit into the page cache, which a kill survives, and fsynced once a
// second: after a power loss it may lag behind, but it is never ahead of what was fsynced.
type watermark struct {
	f        *os.File
	group    uint64 // newest journal group
	txns     uint64 // newest Badger transaction
	turn     int64  // slot to write next
	syncedAt time.Time
	dirty    bool
}

// castagnoli is the polynomial of the slots' checksums.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// The file holds two slots, written in turn, so that a torn write leaves the other one.
const (
	watermarkFile = "watermark"
	slotBytes     = 24 // magic(4) group(8) transactions(8) crc32c(4)
	slotStride    = 4096
	slotMagic     = "AYWM"
	syncEvery     = time.Second
)

func openWatermark(dir string) (*watermark, error) {
	f, err := os.OpenFile(filepath.Join(dir, watermarkFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open watermark: %w", err)
	}
	w := &watermark{f: f}
	for slot := range int64(2) {
		var b [slotBytes]byte
		n, err := f.ReadAt(b[:], slot*slotStride)
		if err != nil && n == 0 {
			continue // never written
		}
		if group, txns, ok := parseSlot(b[:]); ok && txns+group >= w.txns+w.group { // both only rise
			w.group, w.txns, w.turn = group, txns, 1-slot
		}
	}
	return w, nil
}

func parseSlot(b []byte) (group, txns uint64, ok bool) {
	ok = string(b[:4]) == slotMagic && crc32.Checksum(b[:20], castagnoli) == binary.LittleEndian.Uint32(b[20:])
	return binary.LittleEndian.Uint64(b[4:]), binary.LittleEndian.Uint64(b[12:]), ok
}

// write records that w.group and transaction txns are durable.
func (w *watermark) write(txns uint64) error {
	w.txns = txns
	b := append(make([]byte, 0, slotBytes), slotMagic...)
	b = binary.LittleEndian.AppendUint64(b, w.group)
	b = binary.LittleEndian.AppendUint64(b, w.txns)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if _, err := w.f.WriteAt(b, w.turn*slotStride); err != nil {
		return fmt.Errorf("cannot write watermark: %w", err)
	}
	w.turn, w.dirty = 1-w.turn, true
	return nil
}

// reset moves the watermark back, in both slots.
func (w *watermark) reset(group, txns uint64) error {
	if err := w.f.Truncate(0); err != nil {
		return fmt.Errorf("cannot reset watermark: %w", err)
	}
	w.group = group
	if err := w.write(txns); err != nil {
		return err
	}
	return w.sync(time.Time{})
}

// sync flushes the file to disk if it is due, or at once when now is zero.
func (w *watermark) sync(now time.Time) error {
	if !w.dirty || (!now.IsZero() && now.Sub(w.syncedAt) < syncEvery) {
		return nil
	}
	w.syncedAt, w.dirty = now, false
	if err := unix.Fdatasync(int(w.f.Fd())); err != nil {
		return fmt.Errorf("cannot sync watermark: %w", err)
	}
	return nil
}

func (w *watermark) close() error {
	err := w.sync(time.Time{})
	if cerr := w.f.Close(); !errors.Is(cerr, fs.ErrClosed) {
		err = errors.Join(err, cerr)
	}
	return err
}
