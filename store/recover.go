package store

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

const (
	formatVersion  = 4
	metaFormat     = "format"
	metaRetired    = "retired"
	metaRules      = "rules"
	metaThrough    = "through"
	metaTxns       = "transactions"
	metaSources    = "sources"
	metaRetotal    = "retotal"
	repairLostTail = "restore the newest backup into an empty directory, or accept the loss with " +
		"'ayumi check-store --accept-loss'"
)

// LostTailError says that something which had been acknowledged is gone.
type LostTailError struct {
	What      string // "journal" or "database"
	Found     uint64 // newest group or transaction in it
	Watermark uint64 // newest known to have been durable
}

// Error names what is missing and the remedy.
func (e *LostTailError) Error() string {
	return fmt.Sprintf("%s ends at %d, but %d had been acknowledged; %s", e.What, e.Found, e.Watermark, repairLostTail)
}

// recover brings the memory up to what is on disk.
func (s *Store) recover() error {
	if err := s.checkFormat(); err != nil {
		return err
	}
	if err := s.loadTables(); err != nil {
		return err
	}
	if err := s.openTotals(); err != nil {
		return steps.E("open store", steps.KindOf(err), err)
	}
	if err := s.replay(); err != nil {
		return err
	}
	var err error
	if s.logs, err = newPreallocation(&s.cfg); err != nil {
		return err
	}
	mark, err := openWatermark(s.cfg.Dir)
	if err != nil {
		return steps.E("open store", steps.Unavailable, err)
	}
	s.watermark = mark
	for _, tail := range []LostTailError{
		{"journal", s.next - 1, mark.group},
		{"database", s.txns, mark.txns},
	} {
		if tail.Watermark > tail.Found {
			if err := s.tolerate(&tail); err != nil {
				return steps.E("open store", steps.Internal, err)
			}
		}
	}
	if mark.group > s.next-1 || mark.txns > s.txns {
		return mark.reset(s.next-1, s.txns)
	}
	mark.group = s.next - 1
	// What was just created must keep its name through a power loss, and so must the directory.
	for _, dir := range []string{s.cfg.Dir, filepath.Dir(s.cfg.Dir)} {
		if err := syncDir(dir); err != nil {
			return steps.E("open store", steps.Unavailable, err)
		}
	}
	return nil
}

// checkFormat refuses a store of another format and marks a new one, whose key is made first, so that no
// store is without one.
func (s *Store) checkFormat() error {
	var version []byte
	err := s.db.Update(func(txn *badger.Txn) (err error) {
		if version, err = s.get(txn, metaKey(metaFormat)); err != nil {
			return err
		}
		if s.auth, err = openAuth(s.cfg.Dir, version == nil); err != nil || version != nil {
			return err
		}
		version = []byte{formatVersion}
		if s.cfg.Sources != nil {
			if err := setMeta(txn, metaSources, s.cfg.Sources); err != nil {
				return err
			}
		}
		return txn.Set(metaKey(metaFormat), version)
	})
	if err == nil && (len(version) != 1 || version[0] != formatVersion) {
		err = fmt.Errorf("format %v; this build reads %d, so open it with the build that wrote it", version, formatVersion)
	}
	if err != nil {
		return steps.Errorf("open store", steps.Unavailable, "%q: %w", s.cfg.Dir, err)
	}
	return os.Chmod(s.cfg.Dir, 0o700)
}

// openTotals finds out how days are totalled, before any is.
func (s *Store) openTotals() (err error) {
	if s.cfg.Orders != nil {
		if s.totals.orders, err = s.cfg.Orders(s.Table()); err != nil {
			return err
		}
	}
	return s.loadPolicy()
}

// loadTables reads the small tables that are kept in memory.
func (s *Store) loadTables() error {
	var lost [][]byte
	err := s.db.View(func(txn *badger.Txn) error {
		retired, err := s.get(txn, metaKey(metaRetired))
		if err != nil {
			return err
		}
		if len(retired) == 8 {
			s.retired.Store(binary.BigEndian.Uint64(retired))
		}
		txns, err := s.get(txn, metaKey(metaTxns))
		if err != nil {
			return err
		}
		if len(txns) == 8 {
			s.txns = binary.BigEndian.Uint64(txns)
		}
		if lost, err = s.loadLists(txn); err != nil {
			return err
		}
		err = scan(txn, []byte{prefixOrder}, nil, false, func(key, _ []byte) error {
			p := steps.ParticipantID(key[1:])
			s.reordered[p] = struct{}{}
			s.orderless = append(s.orderless, p)
			return nil
		})
		if err != nil {
			return err
		}
		if err := s.loadContacts(txn); err != nil {
			return err
		}
		if err := s.loadQuarantine(txn); err != nil {
			return err
		}
		return s.loadLedger(txn)
	})
	if err == nil {
		err = s.giveUpLists(lost)
	}
	if err != nil {
		return steps.E("open store", steps.Internal, err)
	}
	return nil
}

// tolerate lets an operator who accepted the loss get past damage that was reported.
func (s *Store) tolerate(err error) error {
	if err == nil || !s.cfg.AcceptLoss {
		return err
	}
	s.log.Error("accepting a loss", "err", err)
	return nil
}
