package store

import (
	"os"

	"golang.org/x/sys/unix"

	"ayumi/steps"
)

// Badger writes through mapped files. A mapped page for which the disk has no block left raises
// SIGBUS, which no error handling can turn away, so the store stops writing before that.

const (
	// levelZeroTables is how many flushed memtables Badger lets pile up before it merges them.
	levelZeroTables = 5
	// baseLevelBytes is the most that it merges them with: its level below, which holds up to ten
	// times BaseLevelSize. Deeper levels are merged in smaller steps.
	baseLevelBytes = 100 << 20
)

// Reserve returns the free space below which uploads, and that below which all changes must be
// refused.
//
// Without any change of ours Badger may still write the memtable that it is flushing, and a merge of
// level 0, whose inputs stay until its output is on disk. Before that come changes which are no
// uploads, and the checkpoint of what was accepted: into one more log, and into tables. Blocks,
// totals and awards of a checkpoint take up to about three times its journal; if it is more, the
// second bound stops it.
func (c *Config) Reserve() (uploads, changes uint64) {
	memtable := uint64(c.MemTableBytes)
	changes = memtable + memtable/10 + levelZeroTables*memtable + baseLevelBytes
	uploads = changes + uint64(c.logBytes()) + 3*uint64(c.CheckpointBytes) + 2*uint64(c.GroupBytes)
	return uploads, changes
}

// diskSpace returns the free and the whole bytes of the file system that holds dir.
func diskSpace(dir string) (free, whole uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), nil
}

// diskFull looks at the disk and reports whether uploads must be refused; s.short tells afterwards
// whether everything must. It runs before every commit, since a second of uploads can be
// several hundred megabytes, and costs a microsecond. The caller is the committer.
func (s *Store) diskFull() bool {
	free, whole, err := s.space(s.cfg.Dir)
	if err != nil {
		if !s.full.Load() {
			s.log.Error("cannot read free disk space; uploads are refused", "dir", s.cfg.Dir, "err", err)
		}
		return true
	}
	uploads, changes := s.cfg.Reserve()
	uploads = max(uploads, min(s.cfg.MinFreeBytes, whole/100*15))
	full, short := below(free, uploads, s.full.Load()), below(free, changes, s.short.Load())
	if full != s.full.Load() || short != s.short.Load() {
		s.log.Warn("disk space", "refusing_uploads", full, "refusing_changes", short,
			"free_bytes", free, "uploads_need_bytes", uploads, "changes_need_bytes", changes, "dir", s.cfg.Dir)
	}
	s.short.Store(short)
	return full
}

// below compares with a bound that is a little higher for coming back than for going, so that the
// answer does not flutter.
func below(free, bound uint64, was bool) bool {
	if was {
		bound += bound / 16
	}
	return free < bound
}

// noRoom says why the disk has no room for a payload or another change, or returns nil.
func (s *Store) noRoom(payload bool) error {
	switch {
	case payload && s.full.Load():
		return steps.Errorf("queue for commit", steps.Unavailable,
			"the disk is nearly full (store.min_free_bytes); free some space, or give it more")
	case s.short.Load():
		return steps.Errorf("queue for commit", steps.Unavailable,
			"the disk is too full to change anything; free some space, or give it more")
	}
	return nil
}

// refuse gives the entries of a group for which there is no room their error, before anything of
// them is written.
func (s *Store) refuse(g *group) {
	if !s.full.Load() && !s.short.Load() {
		return
	}
	for i := range g.entries {
		g.entries[i].err = s.noRoom(g.entries[i].done != nil)
	}
}

// roomToOpen refuses to open a store on a disk where opening it would end the process: Badger makes
// a log, writes what an unclean stop left in the logs to tables, and goes on merging.
func roomToOpen(cfg *Config, space func(string) (free, whole uint64, err error)) error {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return steps.E("open store", steps.Unavailable, err)
	}
	free, _, err := space(cfg.Dir)
	if err != nil {
		return steps.E("open store", steps.Unavailable, err)
	}
	if _, need := cfg.Reserve(); free < need {
		return steps.Errorf("open store", steps.Unavailable, "%q: the disk has %d MiB free, and opening may need %d MiB; "+
			"free some space, or use smaller memtables (profile: small)", cfg.Dir, free>>20, need>>20)
	}
	return nil
}

// roomToClose reports whether Badger may be closed.
func (s *Store) roomToClose() bool {
	if s.full.Store(s.diskFull()); !s.short.Load() {
		return true
	}
	s.log.Warn("the disk is too full to close the database; the next start replays its log", "dir", s.cfg.Dir)
	return false
}
