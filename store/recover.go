package store

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

const (
	formatVersion  = 1
	metaFormat     = "format"
	metaRetired    = "retired"
	metaRules      = "rules"
	metaRescore    = "rescore"
	repairLostTail = "restore the newest backup into an empty directory, or accept the loss with " +
		"'ayumi check-store --accept-loss'"
)

// LostTailError says that journal groups which had been acknowledged are gone.
type LostTailError struct {
	Found     uint64 // newest group in the journal
	Watermark uint64 // newest group known to have been durable
}

// Error names what is missing and the remedy.
func (e *LostTailError) Error() string {
	return fmt.Sprintf("journal ends at group %d, but group %d had been acknowledged; %s",
		e.Found, e.Watermark, repairLostTail)
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
	mark, err := openWatermark(s.cfg.Dir)
	if err != nil {
		return steps.E("open store", steps.Unavailable, err)
	}
	s.watermark = mark
	found := s.next - 1
	if mark.group <= found {
		return nil
	}
	lost := &LostTailError{Found: found, Watermark: mark.group}
	if !s.cfg.AcceptLoss {
		return steps.E("open store", steps.Internal, lost)
	}
	s.log.Error("accepting the loss of acknowledged uploads", "found", found, "watermark", mark.group)
	return mark.reset(found)
}

// checkFormat refuses a store of another format and marks a new one. The key of a new store is
// made first, so that no store is without one.
func (s *Store) checkFormat() error {
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
		if len(v) != 1 || v[0] != formatVersion {
			return fmt.Errorf("format %v; this build reads %d", v, formatVersion)
		}
		return nil
	})
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
func (s *Store) replay() error {
	last := s.retired // newest group seen
	var value []byte  // its parts so far
	groups := 0
	apply := func() error {
		if value == nil {
			return nil
		}
		groups++
		s.journalBytes.Add(int64(len(value)))
		body, err := s.auth.open(journalKey(last, 0), value)
		if err != nil {
			return s.tolerate(fmt.Errorf("%w: group %d: %w", errJournal, last, err))
		}
		return s.tolerate(s.replayGroup(body, last))
	}
	err := s.db.View(func(txn *badger.Txn) error {
		err := scan(txn, []byte{prefixJournal}, nil, true, func(key, v []byte) error {
			group := journalGroup(key)
			switch {
			case group <= s.retired: // a checkpoint had begun to delete it
				return nil
			case group == last:
				value = append(value, v...)
				return nil
			}
			if err := apply(); err != nil {
				return err
			}
			previous := last
			last, value = group, append([]byte(nil), v...)
			if group != previous+1 {
				return s.tolerate(fmt.Errorf("%w: group %d follows group %d", errJournal, group, previous))
			}
			return nil
		})
		if err != nil {
			return err
		}
		return apply()
	})
	if err != nil {
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
	s.log.Error("accepting a loss in the journal", "err", err)
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
