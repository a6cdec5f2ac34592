package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"ayumi/steps"
)

// Report is what Check found.
type Report struct {
	ParticipantDays int    `json:"participant_days"`
	Steps           uint64 `json:"steps"`
	Awards          int    `json:"awards"`
	Waiting         int    `json:"awards_waiting"` // days that changed and are not scored yet
	Quarantined     int    `json:"quarantined"`
	JournalGroups   uint64 `json:"journal_groups"`

	ClosedDays int                     `json:"closed_days"`
	Balances   int                     `json:"balances"`
	Entries    int                     `json:"entries"`
	Exchanges  int                     `json:"exchanges"`
	Late       int                     `json:"late_days"`
	Reviews    int                     `json:"reviews"`
	Points     map[string]steps.Points `json:"points"` // by account

	// Retotalling says that the gateway has yet to total all days anew under another merge policy.
	Retotalling bool                  `json:"retotalling"`
	reordering  []steps.ParticipantID // whose days it has yet to total in another order
	// Rescoring says that it has yet to score all days anew, because nobody knows which days wait for it.
	Rescoring bool `json:"rescoring"`

	Problems     []string `json:"problems"` // the first of them
	ProblemCount int      `json:"problem_count"`
}

const maxProblems = 100

func (r *Report) problem(format string, args ...any) {
	r.ProblemCount++
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// Check reads the whole store and verifies what must hold: Badger's checksums; every day block
// decodes; the total of a day is the sum of its merged minutes; every day has an award that was
// computed from the current total, or waits to be scored, and none is gone that did; every
// balance is the sum of its postings, all accounts together are zero, and no prize is given twice; every
// quarantined payload has its bytes. progress, if not nil, is told how many participant-days
// were read. Call it while no uploads come in.
func (s *Store) Check(ctx context.Context, progress func(days int)) (*Report, error) {
	r := &Report{JournalGroups: s.next - 1 - s.retired.Load()}
	if err := s.db.VerifyChecksum(); err != nil {
		r.problem("badger: %v", err)
	}
	err := s.db.View(func(txn *badger.Txn) error {
		if err := s.checkTotals(txn, r); err != nil {
			return err
		}
		if err := s.checkBlocks(ctx, txn, r, progress); err != nil {
			return err
		}
		if err := s.checkMarks(ctx, txn, r); err != nil {
			return err
		}
		if err := s.checkAwards(ctx, txn, r); err != nil {
			return err
		}
		if err := s.checkLedger(ctx, txn, r); err != nil {
			return err
		}
		return s.checkQuarantine(ctx, txn, r)
	})
	s.checkHead(r)
	if err != nil {
		return r, steps.E("check store", steps.KindOf(err), err)
	}
	return r, nil
}

// checkBlocks sums every stored day anew and compares its total.
func (s *Store) checkBlocks(ctx context.Context, txn *badger.Txn, r *Report, progress func(int)) error {
	pages := s.newSheetCursor(txn)
	defer pages.close()
	return scan(txn, []byte{prefixDay}, nil, false, func(key, _ []byte) error {
		pd, ok := splitDayKey(key)
		if !ok {
			r.problem("day block with the unreadable key %x", key)
			return nil
		}
		r.ParticipantDays++
		if progress != nil && r.ParticipantDays%1000 == 0 {
			progress(r.ParticipantDays)
		}
		day, err := s.dayOf(txn, pd)
		if err != nil {
			r.problem("%v", err)
			return nil
		}
		r.Steps += s.head.steps(day)
		if n, _, err := s.totalOf(txn, pd); err != nil || n != s.head.steps(day) && !r.awaitsTotal(pd.Participant) {
			r.problem("day %s has the total %d; its minutes sum to %d: %v", nameOf(pd), n, s.head.steps(day), err)
		}
		if !r.Rescoring && !s.waits(pd) {
			if _, found, err := pages.find(pd); err != nil || !found {
				r.problem("day %s %s has no award and does not wait for one: %v", pd.Participant, pd.Day, err)
			}
		}
		return ctx.Err()
	})
}

// checkTotals finds out which days still wait for their totals, and whether all wait to be scored.
func (s *Store) checkTotals(txn *badger.Txn, r *Report) error {
	job, err := s.get(txn, metaKey(metaRetotal))
	if err != nil {
		return err
	}
	sources, err := s.get(txn, metaKey(metaSources))
	if err != nil {
		return err
	}
	rules, err := s.get(txn, metaKey(metaRules))
	r.Retotalling, r.Rescoring = job != nil || sources == nil, string(rules) == rulesLost
	if err != nil {
		return err
	}
	return scan(txn, []byte{prefixOrder}, nil, false, func(key, _ []byte) error {
		r.reordering = append(r.reordering, steps.ParticipantID(key[1:]))
		return nil
	})
}

// awaitsTotal reports whether a participant's days may still have the total, and so the award, of another
// policy or order. They are dirty once they are totalled.
func (r *Report) awaitsTotal(p steps.ParticipantID) bool {
	return r.Retotalling || slices.Contains(r.reordering, p)
}

// waits reports whether a day waits to be scored.
func (s *Store) waits(pd steps.ParticipantDay) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, waits := s.dirty[pd]
	return waits
}

// checkMarks looks for days that wait to be scored, or did when a list was written, and are gone.
func (s *Store) checkMarks(ctx context.Context, txn *badger.Txn, r *Report) error {
	return scan(txn, []byte{prefixDirtyList}, nil, true, func(key, value []byte) error {
		l, err := s.openList(key, value)
		if err != nil {
			r.problem("%v", err)
			return nil
		}
		for i := range l.days {
			d := &l.days[i]
			if _, found, err := s.Total(d.ParticipantDay); err != nil || !found && !d.unreported {
				r.problem("day %s waits to be scored, or did, but there is none: %v", nameOf(d.ParticipantDay), err)
			}
		}
		return ctx.Err()
	})
}

// checkAwards compares the steps that each day was scored from with its total.
func (s *Store) checkAwards(ctx context.Context, txn *badger.Txn, r *Report) error {
	var codec sheetCodec
	return scan(txn, []byte{prefixSheet}, nil, true, func(key, value []byte) error {
		day, upTo, ok := splitSheetKey(key)
		body, err := s.auth.open(key, value)
		if err == nil && !ok {
			err = errKey
		}
		var pages []sheetPage
		if err == nil {
			pages, err = codec.parse(body)
		}
		if err != nil {
			r.problem("award sheet %s: %v", nameOfSheet(day, upTo), err)
			return ctx.Err()
		}
		r.Awards += len(pages)
		for i := range pages {
			pd := steps.ParticipantDay{Participant: pages[i].participant, Day: day}
			if err := s.checkAward(txn, r, pd, pages[i].steps); err != nil {
				r.problem("%v", err)
			}
		}
		return ctx.Err()
	})
}

// checkAward compares the steps that a day was scored from with its total.
func (s *Store) checkAward(txn *badger.Txn, r *Report, pd steps.ParticipantDay, scored uint64) error {
	now, found, err := s.Total(pd)
	if err != nil {
		return err
	}
	if !found && scored == 0 {
		if found, err = s.withoutSteps(txn, pd); err != nil {
			return err
		}
	}
	if !found || scored != now && !r.Rescoring && !s.waits(pd) && !r.awaitsTotal(pd.Participant) {
		return fmt.Errorf("award %s was computed from %d steps; the day has %d", nameOf(pd), scored, now)
	}
	return nil
}

// checkQuarantine reads every quarantined payload back.
func (s *Store) checkQuarantine(ctx context.Context, txn *badger.Txn, r *Report) error {
	return scan(txn, []byte{prefixQuarantine}, nil, true, func(key, value []byte) error {
		r.Quarantined++
		id := steps.QuarantineID(key[1:])
		record, err := parseRecord(id, value)
		if err == nil {
			err = readRaw(txn, record.entry(id), record.RawLen)
		}
		if err != nil {
			r.problem("%v", err)
		}
		return ctx.Err()
	})
}

// checkHead verifies the days in memory against themselves and counts those that wait to be scored.
func (s *Store) checkHead(r *Report) {
	s.mu.RLock()
	r.Waiting = len(s.dirty)
	s.mu.RUnlock()
	for i := range s.head.shards {
		s.mu.RLock()
		for pd, day := range s.head.shards[i].days {
			if day.block == nil {
				continue
			}
			if err := s.checkBlock(pd.Participant, day.block); err != nil {
				r.problem("day %s %s in memory: %v", pd.Participant, pd.Day, err)
			}
		}
		s.mu.RUnlock()
	}
}
