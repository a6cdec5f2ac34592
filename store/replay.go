package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sync/errgroup"

	"ayumi/steps"
)

// replay merges the journal into the head. Groups must follow each other without a gap.
//
// The merge law allows any order. So the journal is taken in windows: one goroutine reads, verifies and
// parses the groups of a window and deals out what is in them to the shards of the head and of the
// contacts, while others merge the window before, shard by shard, and the runs of a day together.
func (s *Store) replay() (err error) {
	s.segments, err = openSegments(filepath.Join(s.cfg.Dir, "journal"), s.auth, segmentBytes, s.cfg.CheckpointBytes)
	if err != nil {
		return steps.E("replay journal", steps.Unavailable, err)
	}
	size, err := s.segments.size()
	if err != nil {
		return steps.E("replay journal", steps.Unavailable, err)
	}
	p := newReplayer(s, size)
	last, err := s.segments.replay(s.retired.Load(), func(group uint64, body []byte) error {
		s.journalBytes.Add(int64(len(body)))
		return s.tolerate(p.group(group, body))
	})
	err = errors.Join(err, p.finish())
	if err := s.tolerate(err); err != nil {
		return steps.E("replay journal", steps.Internal, err)
	}
	s.next, s.merged = last+1, last
	if p.groups > 0 {
		s.log.Info("journal replayed", "groups", p.groups, "participant_days", s.head.len())
	}
	return nil
}

// replayer is the journal on its way into the head.
type replayer struct {
	s       *Store
	now     *window    // being filled
	spare   *window    // empty
	merging *window    // in the hands of a merge; nil between two
	merged  chan error // the outcome of the merge, capacity 1
	err     error      // of a merge
	groups  int
	full    int        // bytes of a window that is full
	run     journalRun // memory of the run at hand
	mergers []merger
	blocks  map[steps.Day]bool // whether there are any of a day
}

// window is a stretch of the journal, dealt out to the shards.
type window struct {
	bytes  int // of the journal
	shards [headShards]windowShard
}

// windowShard is a shard's part of a window. What it holds stands as in the journal, each run and each
// contact complete in itself.
type windowShard struct {
	runs     []byte     // contact(1), varint day of receipt, run, string device, uvarint boot, uvarint seq
	order    []uint64   // of each run: hash of its day, and in the lower half where it begins
	days     []*headDay // of each run, in the sorted order
	missing  []*headDay // those of them that the head did not hold
	contacts []byte     // uvarint group, varint received at, upload without its runs
}

// windowBytes is how much of the journal is dealt out before it is merged: enough that most days of a
// window get several runs, if devices report a few times an hour.
const windowBytes = 32 << 20

// newReplayer prepares for a journal of so many bytes.
func newReplayer(s *Store, bytes int64) *replayer {
	p := &replayer{
		s: s, now: newWindow(bytes), spare: newWindow(bytes - windowBytes), full: windowBytes,
		merged: make(chan error, 1), mergers: make([]merger, runtime.GOMAXPROCS(0)), blocks: make(map[steps.Day]bool),
	}
	for i := range p.mergers {
		p.mergers[i].s = s
	}
	return p
}

// newWindow has room for what a shard gets of so many bytes, or of a full window, when uploads are small.
// What is not needed of it is never touched.
func newWindow(bytes int64) *window {
	w := new(window)
	n := int(min(max(bytes, 0), windowBytes) / headShards)
	for i := range w.shards {
		w.shards[i] = windowShard{
			runs: make([]byte, 0, n), contacts: make([]byte, 0, n/2), order: make([]uint64, 0, n/uploadBytes),
		}
	}
	return w
}

// uploadBytes is what a small upload takes in the journal.
const uploadBytes = 64

// group deals out a group.
func (p *replayer) group(group uint64, b []byte) error {
	commits, body, err := parseFrame(b, group)
	if err != nil {
		return err
	}
	p.groups++
	if p.err != nil {
		return p.err
	}
	r := reader{b: body}
	for range commits {
		p.commit(&r, group)
	}
	if err := r.done(); err != nil {
		return fmt.Errorf("%w: group %d: %w", errJournal, group, err)
	}
	if p.now.bytes += len(b); p.now.bytes >= p.full {
		p.turn()
	}
	return nil
}

// commit deals out one commit.
func (p *replayer) commit(r *reader, group uint64) {
	receivedAt := r.varint()
	on := p.s.sentDay(receivedAt)
	p.run.participant = nil
	for range r.count(len(r.b)) {
		all := r.b
		u := parseUpload(r)
		if r.err != nil {
			return
		}
		upload := all[:len(all)-len(r.b)]
		if u.flags&withContact != 0 {
			sh := &p.now.shards[p.s.contacts.shardOf(u.device)]
			sh.contacts = binary.AppendVarint(binary.AppendUvarint(sh.contacts, group), receivedAt)
			sh.contacts = append(sh.contacts, upload...)
		}
		for range u.runs {
			all := r.b
			parseRun(r, &p.run)
			if r.err != nil {
				return
			}
			p.deal(all[:len(all)-len(r.b)], &u, on)
		}
	}
}

// deal hands p.run to its shard. b is the run in the journal, on the calendar day of its receipt.
func (p *replayer) deal(b []byte, u *journalUpload, on steps.Day) {
	own := reader{b: b}
	own.bytes() // of the participant, which may be missing
	sum := maphash.Bytes(p.s.head.seed, p.run.participant)
	sh := &p.now.shards[sum%headShards]
	day := sum>>32 + uint64(p.run.day)*dayHash
	sh.order = append(sh.order, day<<32|uint64(len(sh.runs)))
	sh.runs = binary.AppendVarint(append(sh.runs, u.flags&withContact), int64(on))
	sh.runs = append(binary.AppendUvarint(sh.runs, uint64(len(p.run.participant))), p.run.participant...)
	sh.runs = append(sh.runs, own.b...)
	sh.runs = append(binary.AppendUvarint(sh.runs, uint64(len(u.device))), u.device...)
	sh.runs = binary.AppendUvarint(sh.runs, uint64(u.revision.Boot))
	sh.runs = binary.AppendUvarint(sh.runs, u.revision.Seq)
}

// dayHash spreads the days of a participant.
const dayHash = 0x9e3779b1

// turn waits for the window before and has the present one merged.
func (p *replayer) turn() {
	p.wait()
	w := p.now
	p.now, p.spare, p.merging = p.spare, nil, w
	go func() { p.merged <- p.merge(w) }()
}

// wait waits until the window before is merged.
func (p *replayer) wait() {
	if p.merging == nil {
		return
	}
	p.err = cmp.Or(p.err, <-p.merged)
	p.merging.reset()
	p.spare, p.merging = p.merging, nil
}

func (w *window) reset() {
	w.bytes = 0
	for i := range w.shards {
		sh := &w.shards[i]
		*sh = windowShard{sh.runs[:0], sh.order[:0], sh.days[:0], sh.missing[:0], sh.contacts[:0]}
	}
}

// finish merges the last window. All days that the journal changed wait to be scored, and those on which
// something was sent.
func (p *replayer) finish() error {
	p.turn()
	p.wait()
	p.s.makeRoomForDirty()
	for i := range p.s.head.shards {
		sh := &p.s.head.shards[i]
		for _, day := range sh.unflushed {
			p.s.markDirty(day.ParticipantDay)
		}
		for participant, days := range sh.sent {
			for _, on := range days {
				pd := steps.ParticipantDay{Participant: participant, Day: on}
				if day := sh.days[pd]; day == nil || !day.unflushed {
					p.s.markDirty(pd)
				}
			}
		}
	}
	return p.err
}

// makeRoomForDirty makes room for the days that the journal changed, if they are more than those that are dirty
// already: growing day by day takes twice the memory.
func (s *Store) makeRoomForDirty() {
	n := 0
	for i := range s.head.shards {
		n += len(s.head.shards[i].unflushed)
	}
	if n > len(s.dirty) {
		s.fresh = slices.Grow(s.fresh, n)
		dirty := make(map[steps.ParticipantDay]dirtyState, n)
		maps.Copy(dirty, s.dirty)
		s.dirty = dirty
	}
}

// merge merges a window into the head.
func (p *replayer) merge(w *window) error {
	for i := range p.mergers {
		p.mergers[i].w = w
	}
	if err := p.eachShard((*merger).find); err != nil {
		return err
	}
	if err := p.load(w); err != nil {
		return err
	}
	return p.eachShard((*merger).mergeLoaded)
}

// eachShard calls fn for every shard, each merger from a goroutine of its own.
func (p *replayer) eachShard(fn func(m *merger, shard int) error) error {
	var next atomic.Int32
	var work errgroup.Group
	for i := range p.mergers {
		work.Go(func() error {
			for shard := int(next.Add(1)) - 1; shard < headShards; shard = int(next.Add(1)) - 1 {
				if err := fn(&p.mergers[i], shard); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return work.Wait()
}

// load reads the missing days of a window, in the order of their table, but for those days of which nobody
// has a block.
func (p *replayer) load(w *window) error {
	var days []*headDay
	for i := range w.shards {
		for _, day := range w.shards[i].missing {
			if p.written(day.Day) {
				days = append(days, day)
			}
		}
	}
	slices.SortFunc(days, func(a, b *headDay) int { return compareDays(a.ParticipantDay, b.ParticipantDay) })
	var work errgroup.Group
	for part := range slices.Chunk(days, len(days)/len(p.mergers)+1) {
		work.Go(func() error {
			return p.s.db.View(func(txn *badger.Txn) error { return p.s.loadDays(txn, part) })
		})
	}
	return work.Wait()
}

// written reports whether there are blocks of a day.
func (p *replayer) written(day steps.Day) bool {
	found, known := p.blocks[day]
	if known {
		return found
	}
	prefix := appendDay([]byte{prefixDay}, day)
	_ = p.s.db.View(func(txn *badger.Txn) error { // it returns what the function does
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
		defer it.Close()
		it.Rewind()
		p.blocks[day] = it.Valid()
		return nil
	})
	return p.blocks[day]
}

// merger merges a window, shard by shard.
type merger struct {
	s   *Store
	w   *window
	run journalRun // memory of the run at hand
	hot hotDay     // and of the day
}

// find notes the contacts and the sendings of a shard, looks up the days of its runs, and merges them if none is
// missing: what it has just read is in the processor's cache.
func (m *merger) find(shard int) error {
	w, sh := &m.w.shards[shard], &m.s.head.shards[shard]
	for r := (reader{b: w.contacts}); len(r.b) > 0; {
		group, receivedAt := r.uvarint(), r.varint()
		u := parseUpload(&r)
		m.s.contacts.shards[shard].note(&u, receivedAt, group)
	}
	slices.Sort(w.order)
	var day *headDay
	for _, at := range w.order {
		r := reader{b: w.runs[uint32(at):]}
		contact, receivedOn := r.byte() != 0, steps.Day(r.varint())
		participant, on := r.bytes(), steps.Day(r.varint())
		if day == nil || day.Day != on || string(day.Participant) != string(participant) {
			day = m.day(shard, participant, on)
		}
		w.days = append(w.days, day)
		if contact {
			sh.send(day.Participant, receivedOn)
		}
	}
	if len(w.missing) > 0 {
		return nil
	}
	return m.merge(shard)
}

// day returns a day of a shard. One that the shard does not hold is missing from here on.
func (m *merger) day(shard int, participant []byte, on steps.Day) *headDay {
	sh := &m.s.head.shards[shard]
	day := sh.days[steps.ParticipantDay{Participant: steps.ParticipantID(participant), Day: on}]
	if day == nil {
		day = &headDay{
			ParticipantDay: steps.ParticipantDay{Participant: steps.ParticipantID(participant), Day: on},
			shard:          uint8(shard),
		}
		sh.enter(day)
		m.w.shards[shard].missing = append(m.w.shards[shard].missing, day)
	}
	return day
}

// mergeLoaded merges the runs of a shard of which days were missing.
func (m *merger) mergeLoaded(shard int) error {
	w, sh := &m.w.shards[shard], &m.s.head.shards[shard]
	if len(w.missing) == 0 {
		return nil
	}
	for _, day := range w.missing {
		if day.damaged {
			delete(sh.days, day.ParticipantDay)
		} else {
			sh.settle(day)
		}
	}
	return m.merge(shard)
}

// merge merges the runs of a shard.
func (m *merger) merge(shard int) error {
	w, sh := &m.w.shards[shard], &m.s.head.shards[shard]
	for i := 0; i < len(w.days); {
		day, first := w.days[i], i
		for i < len(w.days) && w.days[i] == day {
			i++
		}
		if day.damaged {
			continue // it cannot be read, which was tolerated
		}
		if err := m.s.tolerate(m.mergeDay(sh, day, w.runs, w.order[first:i])); err != nil {
			return err
		}
	}
	return nil
}

// mergeDay merges runs of a day.
func (m *merger) mergeDay(sh *headShard, day *headDay, runs []byte, order []uint64) error {
	m.hot.reset()
	if day.block != nil {
		if err := m.hot.parse(day.block); err != nil {
			return corrupt("day block", nameOf(day.ParticipantDay), err)
		}
	}
	day.touched = true
	changed := false
	for _, at := range order {
		r := reader{b: runs[uint32(at):]}
		r.byte()
		r.varint() // of the sending, which find noted
		parseRun(&r, &m.run)
		device := r.bytes()
		m.run.source.revision = steps.Revision{Boot: r.uint32(), Seq: r.uvarint()}
		if len(m.run.counts) > 0 && m.hot.part(device).cells.merge(&m.run.cellRun).changed {
			changed = true
		}
	}
	if changed {
		sh.replace(day, &m.hot)
	}
	return nil
}
