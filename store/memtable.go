package store

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"

	"ayumi/steps"
)

// Badger reads a log that an unclean stop left behind into a memtable of the size that it is opened
// with, and ends the process when the log does not fit. So the size is kept beside the store, in
// a file that is written before Badger makes a log of that size.
const (
	memtableFile = "memtable"
	logSuffix    = ".mem"
	// unrecorded is the size of stores that were made before it was recorded.
	unrecorded = 64 << 20
)

// openDB opens Badger with the configured memtable. Logs of a larger one are first turned into
// tables under the size that they were made with.
func openDB(cfg *Config, log *slog.Logger) (*badger.DB, error) {
	size, recorded, err := memtableBytes(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if size > cfg.MemTableBytes {
		left, err := logs(cfg.Dir)
		if err != nil {
			return nil, err
		}
		if len(left) > 0 {
			log.Info("turning the logs of a larger memtable into tables", "was_bytes", size, "now_bytes", cfg.MemTableBytes)
			if err := flushLogs(*cfg, size, log); err != nil {
				return nil, err
			}
		}
	}
	if size != cfg.MemTableBytes || !recorded {
		if err := recordMemtable(cfg.Dir, cfg.MemTableBytes); err != nil {
			return nil, err
		}
	}
	return badger.Open(cfg.badgerOptions(badgerLog{log}))
}

// flushLogs opens and closes Badger, which leaves no log behind.
func flushLogs(cfg Config, size int64, log *slog.Logger) error {
	cfg.MemTableBytes = size
	db, err := badger.Open(cfg.badgerOptions(badgerLog{log}))
	if err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	left, err := logs(cfg.Dir)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("logs %v are left after a clean close; open it once with store.mem_table_bytes: %d", left, size)
	}
	return err
}

// logs lists the numbers of Badger's logs, in order.
func logs(dir string) ([]int, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"+logSuffix))
	if err != nil {
		return nil, err
	}
	var ids []int
	for _, name := range names {
		id, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(name), logSuffix))
		if err != nil {
			return nil, fmt.Errorf("%s is no name of a log; move it away", name)
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}

func logName(dir string, id int) string {
	return filepath.Join(dir, fmt.Sprintf("%05d%s", id, logSuffix))
}

// memtableBytes reads the largest memtable that the logs in dir can have been made with.
func memtableBytes(dir string) (size int64, recorded bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, memtableFile))
	if errors.Is(err, fs.ErrNotExist) {
		return unrecorded, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	size, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || size <= 0 {
		return 0, false, fmt.Errorf("%s holds %q; write the store.mem_table_bytes into it that the store was last served with",
			filepath.Join(dir, memtableFile), text)
	}
	return size, true, nil
}

// recordMemtable replaces the record; it is on disk when this returns.
func recordMemtable(dir string, n int64) error {
	fresh := filepath.Join(dir, memtableFile+".new")
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeSynced(fresh, strconv.AppendInt(nil, n, 10)); err != nil {
		return err
	}
	if err := os.Rename(fresh, filepath.Join(dir, memtableFile)); err != nil {
		return err
	}
	return syncDir(dir)
}

// preallocation gives each of Badger's logs its blocks when the log is begun. Badger maps a file with
// a hole and fills it, so a disk that somebody else fills up would end the process in the middle
// of a commit.
type preallocation struct {
	dir   string
	bytes int64
	next  int // number of the log that has none yet
	off   bool
}

// logBytes is what a log can grow to: Badger begins the next one when a transaction, of at
// most 15 % of the memtable, has filled it.
func (c *Config) logBytes() int64 { return c.MemTableBytes + c.MemTableBytes*15/100 + 4096 }

// newPreallocation begins with the newest log that there is.
func newPreallocation(cfg *Config) (*preallocation, error) {
	ids, err := logs(cfg.Dir)
	if err != nil || len(ids) == 0 {
		return nil, steps.Errorf("open store", steps.Internal, "%q: there is no log: %w", cfg.Dir, err)
	}
	return &preallocation{dir: cfg.Dir, bytes: cfg.logBytes(), next: ids[len(ids)-1]}, nil
}

// extend looks for logs that were begun since the last call, which costs a failed open, a few
// microseconds. It is not called while the disk is nearly full: what is left then is for what will be
// written, not for what may be. A disk without room is no error, since Store.diskFull looks after
// that; neither is a file system that cannot preallocate.
func (p *preallocation) extend() error {
	for !p.off {
		f, err := os.OpenFile(logName(p.dir, p.next), os.O_WRONLY, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return steps.E("preallocate log", steps.Unavailable, err)
		}
		for err = unix.EINTR; errors.Is(err, unix.EINTR); {
			err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, p.bytes)
		}
		if err != nil && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
			p.off = true
		}
		if err := f.Close(); err != nil {
			return steps.E("preallocate log", steps.Unavailable, err)
		}
		p.next++
	}
	return nil
}
