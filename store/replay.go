package store

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
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
// The merge law allows any order. So the journal is read in windows: one goroutine verifies and parses
// the groups of a window and sorts their runs by the head's shards, while others merge the window before,
// shard by shard, each into days that it finds decoded.
func (s *Store) replay() (err error) {
	if s.segments, err = openSegments(filepath.Join(s.cfg.Dir, "journal"), s.auth); err != nil {
		return steps.E("replay journal", steps.Unavailable, err)
	}
	p := newReplayer(s)
	last, err := s.segments.replay(s.retired, p.take, func(group uint64, body []byte) error {
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
	now     *window    // being read
	spare   *window    // empty
	merging *window    // in the hands of a merge; nil between two
	merged  chan error // the outcome of the merge, capacity 1
	err     error      // of a merge
	groups  int
	run     journalRun // memory of the run at hand
	mergers []merger
}

// window is a stretch of the journal with its runs by shard.
type window struct {
	records []byte
	runs    [headShards][]replayRun
	missing [headShards][]*headDay // days of the runs that the head did not hold
}

// windowBytes is how much of the journal is read before it is merged: enough that most days of a
// window get several runs, if devices report a few times an hour.
const windowBytes = 32 << 20

// replayRun is where in a window's records to find a run, and what stands before it.
type replayRun struct {
	at, participant, device uint32
	day                     steps.Day
	revision                steps.Revision
}

func newReplayer(s *Store) *replayer {
	p := &replayer{
		s: s, now: new(window), spare: new(window), merged: make(chan error, 1),
		mergers: make([]merger, runtime.GOMAXPROCS(0)),
	}
	for i := range p.mergers {
		p.mergers[i] = merger{s: s, share: headShards / len(p.mergers)}
	}
	return p
}

// take returns room for a record, in the window.
func (p *replayer) take(n int) []byte {
	w := p.now
	if len(w.records)+n > cap(w.records) {
		p.turn()
		w = p.now
		if cap(w.records) < n {
			w.records = make([]byte, 0, max(n, windowBytes))
		}
	}
	at := len(w.records)
	w.records = w.records[:at+n]
	return w.records[at:]
}

// group sorts the runs of a group and notes its contacts.
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
	end := len(p.now.records) - tagBytes // of b in the window
	for range commits {
		p.commit(&r, group, end)
	}
	if err := r.done(); err != nil {
		return fmt.Errorf("%w: group %d: %w", errJournal, group, err)
	}
	return nil
}

// commit sorts the runs of one commit. What is left to read ends at end of the window.
func (p *replayer) commit(r *reader, group uint64, end int) {
	receivedAt := r.varint()
	on := p.s.sentDay(receivedAt)
	participant := 0
	for range r.count(len(r.b)) {
		ref := replayRun{device: uint32(end - len(r.b) + 1)} // behind the flags
		u := parseUpload(r)
		ref.revision = u.revision
		var c *contactState
		if u.flags&withContact != 0 && r.err == nil {
			c = p.s.contacts.of(steps.DeviceID(u.device)).note(&u, receivedAt, group)
		}
		for range u.runs {
			at := end - len(r.b)
			parseRun(r, &p.run)
			if r.err != nil {
				return
			}
			if p.now.records[at] != 0 {
				participant = at
			}
			ref.at, ref.participant, ref.day = uint32(at), uint32(participant), p.run.day
			shard := maphash.Bytes(p.s.head.seed, p.run.participant) % headShards
			p.now.runs[shard] = append(p.now.runs[shard], ref)
			if c != nil && (c.sentOn != on || string(c.sentFor) != string(p.run.participant)) {
				p.s.send(c, steps.ParticipantID(p.run.participant), on)
			}
		}
	}
}

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
	w.records = w.records[:0]
	for i := range w.runs {
		w.runs[i], w.missing[i] = w.runs[i][:0], w.missing[i][:0]
	}
}

// finish merges the last window. All days that the journal changed wait to be scored.
func (p *replayer) finish() error {
	p.turn()
	p.wait()
	for i := range p.s.head.shards {
		for _, day := range p.s.head.shards[i].unflushed {
			p.s.markDirty(day.ParticipantDay)
		}
	}
	return p.err
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
	return p.eachShard((*merger).merge)
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

// load reads the missing days of a window, in the order of their table.
func (p *replayer) load(w *window) error {
	days := slices.Concat(w.missing[:]...)
	slices.SortFunc(days, func(a, b *headDay) int { return compareDays(a.ParticipantDay, b.ParticipantDay) })
	var work errgroup.Group
	for part := range slices.Chunk(days, len(days)/len(p.mergers)+1) {
		work.Go(func() error {
			return p.s.db.View(func(txn *badger.Txn) error { return p.s.loadDays(txn, part) })
		})
	}
	return work.Wait()
}

// merger merges runs of a window, shard by shard.
type merger struct {
	s     *Store
	w     *window
	run   journalRun
	spare []*hotDay
	share int // how many shards' memory for hot days it has
}

// at reads from a place in the window on.
func (m *merger) at(place uint32) reader { return reader{b: m.w.records[place:]} }

// day returns a run's day, nil if the shard does not hold it, and whose it is.
func (m *merger) day(sh *headShard, ref *replayRun) (day *headDay, participant []byte) {
	r := m.at(ref.participant)
	participant = r.bytes()
	return sh.days[steps.ParticipantDay{Participant: steps.ParticipantID(participant), Day: ref.day}], participant
}

// find looks which days of a shard are missing.
func (m *merger) find(shard int) error {
	sh := &m.s.head.shards[shard]
	for i := range m.w.runs[shard] {
		ref := &m.w.runs[shard][i]
		day, participant := m.day(sh, ref)
		if day != nil {
			continue
		}
		day = &headDay{ParticipantDay: steps.ParticipantDay{Participant: steps.ParticipantID(participant), Day: ref.day}}
		sh.days[day.ParticipantDay] = day // of which head.add makes a whole one
		m.w.missing[shard] = append(m.w.missing[shard], day)
	}
	return nil
}

// merge merges the runs of a shard. Meanwhile the shard has the merger's part of the memory for hot days,
// and the merger takes over those that it needs no more.
func (m *merger) merge(shard int) (err error) {
	sh := &m.s.head.shards[shard]
	for _, day := range m.w.missing[shard] {
		if day.damaged {
			delete(sh.days, day.ParticipantDay)
		} else {
			m.s.head.add(day)
		}
	}
	limit := sh.hotLimit
	sh.hotLimit, sh.spareLimit, sh.spare = limit*m.share, replaySpares, m.spare
	for i := range m.w.runs[shard] {
		if err = m.s.tolerate(m.mergeRun(sh, &m.w.runs[shard][i])); err != nil {
			break
		}
	}
	sh.cool(limit)
	m.spare, sh.spare = sh.spare, nil
	sh.hotLimit, sh.spareLimit = limit, spareDays
	return err
}

// replaySpares is how many empty hot days a merger keeps.
const replaySpares = 4096

func (m *merger) mergeRun(sh *headShard, ref *replayRun) error {
	day, _ := m.day(sh, ref)
	if day == nil {
		return nil // it cannot be read, which was tolerated
	}
	if err := sh.thaw(day); err != nil {
		return corrupt("day block", fmt.Sprintf("%s %s", day.Participant, day.Day), err)
	}
	run, device := m.at(ref.at), m.at(ref.device)
	parseRun(&run, &m.run)
	m.run.source.revision = ref.revision
	sh.merge(day, device.bytes(), &m.run.cellRun)
	return nil
}
