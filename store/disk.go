package store

import "golang.org/x/sys/unix"

// diskSpace returns the free and the whole bytes of the file system that holds dir.
func diskSpace(dir string) (free, whole uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), nil
}

// diskFull reports whether uploads must be refused. Badger maps its files, so a disk that is
// really full ends the process with SIGBUS.
func (s *Store) diskFull() bool {
	free, whole, err := s.space(s.cfg.Dir)
	if err != nil {
		s.log.Error("cannot read free disk space", "dir", s.cfg.Dir, "err", err)
		return true
	}
	full := free < min(s.cfg.MinFreeBytes, whole*15/100)
	if full != s.full.Load() {
		s.log.Warn("disk space", "refusing_uploads", full, "free_bytes", free, "dir", s.cfg.Dir)
	}
	return full
}
