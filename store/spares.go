package store

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// spares are journal files whose turn is yet to come. They have all their blocks, written once, so that
// making a record durable is the write of the record and nothing else: for a file that grows the file system
// writes the new size and the new blocks too, which takes as long again.
//
// What a spare holds does not matter: zeros, or records that blocks cover, none of which can be
// taken for a newer one, since its number is under its tag.
type spares struct {
	dir   string
	size  int64         // of each, in bytes
	ready chan string   // their names; the capacity is how many are kept
	want  chan struct{} // capacity 1: one is to be made
}

const (
	spareSuffix = ".spare"
	// segmentBytes is the size of a spare: large enough that beginning another file, two
	// milliseconds, does not count, and small enough that one more is made in a moment.
	segmentBytes = 8 << 20
	// growShare is the part of that, one in so many, to which a file grows before a spare is made to take
	// its place. A programme that stays below between two checkpoints does without.
	growShare = 32
	// spareRetry is how long nothing is tried after a failure.
	spareRetry = time.Minute
)

// openSpares takes up those that are there, of so many bytes each, and keeps as many as cover keep bytes.
func openSpares(dir string, size, keep int64) (*spares, error) {
	p := &spares{dir, size, make(chan string, keep/size+1), make(chan struct{}, 1)}
	names, err := filepath.Glob(filepath.Join(dir, "*"+spareSuffix))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err == nil && info.Size() < size { // it was being made
			err = os.Remove(name)
		} else if err == nil {
			err = p.put(name)
		}
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

// put keeps a spare if there is room for it, and deletes it otherwise.
func (p *spares) put(name string) error {
	select {
	case p.ready <- name:
		return nil
	default:
		return os.Remove(name)
	}
}

// recycle makes a spare of a journal file that blocks cover. The new name need not be durable: under the
// old one the file is covered too.
func (p *spares) recycle(name string) error {
	spare := strings.TrimSuffix(name, segmentSuffix) + spareSuffix
	if err := os.Rename(name, spare); err != nil {
		return err
	}
	return p.put(spare)
}

// take gives a spare the name of a journal file, and reports whether there was one. Another is made
// meanwhile if it was the last.
func (p *spares) take(name string) (found bool, err error) {
	select {
	case spare := <-p.ready:
		if len(p.ready) == 0 {
			p.ask()
		}
		return true, os.Rename(spare, name)
	default:
		return false, nil
	}
}

// drop deletes the spares: a store that is not open, and a backup of it, are as small as they can be. Those that a
// kill leaves are taken up again.
func (p *spares) drop() (err error) {
	for len(p.ready) > 0 {
		err = errors.Join(err, os.Remove(<-p.ready))
	}
	return err
}

// ask has a spare made.
func (p *spares) ask() {
	select {
	case p.want <- struct{}{}:
	default:
	}
}

// run makes spares that are asked for until ctx ends, while full does not report a disk without room.
func (p *spares) run(ctx context.Context, full func() bool, log *slog.Logger) {
	var pause <-chan time.Time
	for {
		want := p.want
		if pause != nil {
			want = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-pause:
			pause = nil
			continue
		case <-want:
		}
		if len(p.ready) > 0 {
			continue
		}
		err := error(unix.ENOSPC)
		if !full() {
			err = p.make(ctx)
		}
		if err != nil && ctx.Err() == nil {
			log.Debug("no journal file was laid out in advance; appending takes longer", "err", err)
			pause = time.After(spareRetry)
		}
	}
}

// make makes a spare. It leaves nothing behind when it fails.
func (p *spares) make(ctx context.Context) error {
	f, err := os.CreateTemp(p.dir, "*"+spareSuffix)
	if err != nil {
		return err
	}
	err = fillWithZeros(ctx, f, p.size)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return p.put(f.Name())
}

// fillWithZeros writes n zeros, durably, and in pieces, so that a sync of the journal that happens
// meanwhile does not wait for all of them.
func fillWithZeros(ctx context.Context, f *os.File, n int64) error {
	zeros := make([]byte, 256<<10)
	for ; n > 0; n -= int64(len(zeros)) {
		_, err := f.Write(zeros[:min(n, int64(len(zeros)))])
		if err == nil {
			err = unix.Fdatasync(int(f.Fd()))
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
	return nil
}
