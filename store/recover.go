package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

const (
	formatVersion  = 2
	metaFormat     = "format"
	metaRetired    = "retired"
	metaRules      = "rules"
	metaRescore    = "rescore"
	metaTxns       = "transactions"
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

// checkFormat refuses a store of another format, brings one of the format before up to this one, and
// marks a new one. The key of a new store is made first, so that no store is without one.
func (s *Store) checkFormat() error {
	old := false
	err := s.db.Update(func(txn *badger.Txn) error {
		v, err := s.get(txn, metaKey(metaFormat))
		if err != nil {
			return err
		}
		if s.auth, err = openAuth(s.cfg.Dir, v == nil); err != nil {
			return err
		}
		if v == nil {
			return txn.Set(metaKey(metaFormat), []byte{formatVersion})
		}
		if old = bytes.Equal(v, []byte{formatWithoutPages}); !old && !bytes.Equal(v, []byte{formatVersion}) {
			return fmt.Errorf("format %v; this build reads %d and %d", v, formatWithoutPages, formatVersion)
		}
		return nil
	})
	if err == nil && old {
		err = s.makePages()
	}
	if err != nil {
		return steps.Errorf("open store", steps.Unavailable, "%q: %w", s.cfg.Dir, err)
	}
	return os.Chmod(s.cfg.Dir, 0o700)
}

// loadTables reads the small tables that are kept in memory.
func (s *Store) loadTables() error {
	err := s.db.View(func(txn *badger.Txn) error {
		retired, err := s.get(txn, metaKey(metaRetired))
		if err != nil {
			return err
		}
		if len(retired) == 8 {
			s.retired = binary.BigEndian.Uint64(retired)
		}
		txns, err := s.get(txn, metaKey(metaTxns))
		if err != nil {
			return err
		}
		if len(txns) == 8 {
			s.txns = binary.BigEndian.Uint64(txns)
		}
		err = scan(txn, []byte{prefixDirty}, nil, false, func(key, _ []byte) error {
			if pd, ok := splitDayKey(key); ok {
				s.markSeq++
				s.dirty[pd] = dirtyState{mark: s.markSeq, persisted: true}
			}
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
		if err := s.loadLedger(txn); err != nil {
			return err
		}
		rescore, err := s.get(txn, metaKey(metaRescore))
		s.rescoring = rescore != nil
		return err
	})
	if err != nil {
		return steps.E("open store", steps.Internal, err)
	}
	if s.rescoring {
		return s.markStoredDirty()
	}
	return nil
}

// replay merges the journal into the head. Groups must follow each other without a gap.
func (s *Store) replay() (err error) {
	if s.segments, err = openSegments(filepath.Join(s.cfg.Dir, "journal"), s.auth); err != nil {
		return steps.E("replay journal", steps.Unavailable, err)
	}
	groups := 0
	last, err := s.segments.replay(s.retired, func(group uint64, body []byte) error {
		groups++
		s.journalBytes.Add(int64(len(body)))
		return s.tolerate(s.replayGroup(body, group))
	})
	if err := s.tolerate(err); err != nil {
		return steps.E("replay journal", steps.Internal, err)
	}
	s.next, s.merged = last+1, last
	if groups > 0 {
		s.log.Info("journal replayed", "groups", groups, "participant_days", len(s.head))
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

// replayGroup merges a group that an earlier process had made durable.
func (s *Store) replayGroup(b []byte, group uint64) error {
	commits, body, err := parseFrame(b, group)
	if err != nil {
		return err
	}
	r := reader{b: body}
	var days []dayRef
	for range commits {
		if days, err = s.replayDays(r, days[:0]); err != nil {
			return err
		}
		s.apply(&r, days, group, &s.receipt, false)
		unpin(days)
	}
	if err := r.done(); err != nil {
		return fmt.Errorf("%w: group %d: %w", errJournal, group, err)
	}
	return nil
}

// replayDays reads ahead which days the next commit is about and brings them into the head.
func (s *Store) replayDays(r reader, days []dayRef) ([]dayRef, error) {
	r.varint()
	var run journalRun
	for range r.count(len(r.b)) {
		u := parseUpload(&r)
		for range u.runs {
			parseRun(&r, &run)
			if r.err != nil {
				break
			}
			ref := dayRef{pd: steps.ParticipantDay{Participant: steps.ParticipantID(run.participant), Day: run.day}}
			if err := s.locateDay(&ref); err != nil {
				return days, err
			}
			days = append(days, ref)
		}
	}
	if r.err != nil {
		return days, fmt.Errorf("%w: %w", errJournal, r.err)
	}
	return days, nil
}
