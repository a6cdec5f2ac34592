package store

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"ayumi/steps"
)

// head holds recent participant-days: what is on disk merged with what the journal holds. It is cut
// into shards by participant, so that a pass over all of it holds the store's lock for one of them at
// a time, and so that the journal is replayed into several at once.
//
// A day is hot while it is decoded, which uploads can be merged into and which takes ten kilobytes
// when it is full. When the hot days of a shard take too much, those that have not been touched for
// the longest time are encoded. A day that is encoded, and on disk, is idle: it leaves the head when
// the whole shard takes too much.
type head struct {
	seed   maphash.Seed
	totals *totals
	shards [headShards]headShard

	sorting sync.WaitGroup // the senders that a checkpoint has taken
}

// headShards is small enough to look at each of them after every group.
const headShards = 64

// headShard is the days of some participants. The committer alone changes it, holding the store's mu,
// so the committer reads it without a lock and others under mu.
type headShard struct {
	mu   sync.RWMutex // guards days, seen and left, for those who do without the store's mu
	days map[steps.ParticipantDay]*headDay
	seen map[steps.Day]struct{} // every day that was ever in days
	// sent are the calendar days on which something was sent for a participant and that are not on disk yet.
	sent map[steps.ParticipantID][]steps.Day
	// left counts how often one of the days whose hash is that of the slot left the head.
	left [leftSlots]atomic.Uint32
	// ahead holds days on their way to the head, each in its slot.
	ahead [leftSlots]atomic.Pointer[aheadDay]

	hot, idle dayList    // the days of either kind, in the order of their turn to lose it
	unflushed []*headDay // the days whose flag is set, for the next checkpoint
	bytes     int        // what the days take, hot cells apart
	idleBytes int        // those of idle days
	hotBytes  int        // bytes of hot cells
	hotLimit  int
	limit     int       // of bytes and hotBytes together
	spare     []*hotDay // empty ones
	scratch   []byte
	totals    *totals
}

// leftSlots is a power of two.
const leftSlots = 256

// headDay is one participant-day in memory.
type headDay struct {
	steps.ParticipantDay
	block      []byte  // encoded; nil of a day without cells, and while hot is newer
	hot        *hotDay // decoded; nil while the day is not hot
	prev, next *headDay
	pins       int32 // groups under way that will merge into it; the committer's
	shard      uint8
	unflushed  bool // not yet written as it is
	touched    bool // since its turn came the last time
	damaged    bool // it cannot be read; the replay's
}

// hotDay is what a decoded day takes.
type hotDay struct {
	parts []part // by device ID
	bytes int    // as counted in the shard's hotBytes
}

func newHead(bytes int64, t *totals) *head {
	h := &head{seed: maphash.MakeSeed(), totals: t}
	for i := range h.shards {
		sh := &h.shards[i]
		sh.days, sh.seen = make(map[steps.ParticipantDay]*headDay), make(map[steps.Day]struct{})
		sh.sent = make(map[steps.ParticipantID][]steps.Day)
		sh.totals = t
		sh.limit, sh.hotLimit = int(bytes/headShards), int(bytes/headShards/hotShare)
	}
	return h
}

// hotShare is the part of the head's memory, one in so many, that decoded days may take.
const hotShare = 8

// place returns a participant's shard and a day's slot in it.
func (h *head) place(pd steps.ParticipantDay) (shard, slot int) {
	sum := maphash.String(h.seed, string(pd.Participant))
	return int(sum % headShards), int((sum/headShards + uint64(pd.Day)) % leftSlots)
}

// shardOf returns a participant's shard.
func (h *head) shardOf(p steps.ParticipantID) *headShard {
	return &h.shards[maphash.String(h.seed, string(p))%headShards]
}

// find returns a day, or nil. It is for the committer, or under the store's mu.
func (h *head) find(pd steps.ParticipantDay) *headDay {
	shard, _ := h.place(pd)
	return h.shards[shard].days[pd]
}

// lookup reports whether the head holds a day, and a number that is the same as long as the day has
// not left the head. Any goroutine may ask.
func (h *head) lookup(pd steps.ParticipantDay) (left uint32, found bool) {
	shard, slot := h.place(pd)
	sh := &h.shards[shard]
	left = sh.left[slot].Load()
	sh.mu.RLock()
	_, found = sh.days[pd]
	sh.mu.RUnlock()
	return left, found
}

// stays reports whether a day has not left the head since lookup returned the number.
func (h *head) stays(pd steps.ParticipantDay, left uint32) bool {
	shard, slot := h.place(pd)
	return h.shards[shard].left[slot].Load() == left
}

// add puts a day in, as it is on disk. The caller holds mu.
func (h *head) add(day *headDay) {
	shard, _ := h.place(day.ParticipantDay)
	day.shard = uint8(shard)
	h.shards[shard].enter(day)
	h.shards[shard].settle(day)
}

// enter gives a day its place.
func (sh *headShard) enter(day *headDay) {
	sh.mu.Lock()
	sh.days[day.ParticipantDay] = day
	sh.seen[day.Day] = struct{}{}
	sh.mu.Unlock()
}

// settle counts a day that was entered and is as it is on disk.
func (sh *headShard) settle(day *headDay) {
	sh.bytes += day.memory()
	sh.setIdle(day)
}

// of returns a day's shard.
func (h *head) of(day *headDay) *headShard { return &h.shards[day.shard] }

// len returns how many days there are. The caller holds mu, or is the committer.
func (h *head) len() (n int) {
	for i := range h.shards {
		n += len(h.shards[i].days)
	}
	return n
}

// takeUnflushed returns the days that a checkpoint has to write, and forgets them. The caller holds mu.
func (h *head) takeUnflushed() []*headDay {
	return takeLists(h.shards[:], func(sh *headShard) *[]*headDay { return &sh.unflushed })
}

// takeLists empties a list that each shard has, and returns what was in all of them.
func takeLists[S, T any](shards []S, list func(*S) *[]T) []T {
	n := 0
	for i := range shards {
		n += len(*list(&shards[i]))
	}
	all := make([]T, 0, n)
	for i := range shards {
		own := list(&shards[i])
		all = append(all, *own...)
		*own = nil
	}
	return all
}

// memory returns about how many bytes the head takes, and how many of them it cannot do without
// before a checkpoint has written the days.
func (h *head) memory() (all, held int) {
	for i := range h.shards {
		sh := &h.shards[i]
		all += sh.bytes + sh.hotBytes
		held += sh.bytes + sh.hotBytes - sh.idleBytes
	}
	return all, held
}

// memory returns about how many bytes a day takes that is not hot: itself, its place in the map, its
// participant's ID and its block.
func (d *headDay) memory() int { return dayBytes + len(d.Participant) + cap(d.block) }

// What a day takes besides IDs, blocks and cells.
const (
	dayBytes     = 80 + 56
	hotDayBytes  = 48
	hotPartBytes = 48
)

// empty reports whether nobody has reported anything.
func (d *headDay) empty() bool { return d.block == nil && (d.hot == nil || len(d.hot.parts) == 0) }

// steps returns a day's total.
func (h *head) steps(d *headDay) uint64 {
	if d.block != nil || d.hot == nil {
		total, _, _ := parseBlockTotal(d.block) // 0 of an empty day
		return total
	}
	return h.totals.steps(d.Participant, d.hot)
}

// forget makes stays deny every day of a participant that somebody looked up before.
func (h *head) forget(p steps.ParticipantID) {
	shard, _ := h.place(steps.ParticipantDay{Participant: p})
	for i := range h.shards[shard].left {
		h.shards[shard].left[i].Add(1)
	}
}

// merge adds a run of a device to a day. The caller holds mu.
func (sh *headShard) merge(day *headDay, device []byte, r *cellRun) outcome {
	if len(r.counts) == 0 {
		return outcome{}
	}
	if err := sh.thaw(day); err != nil { // it was parsed when it was read, or encoded by us
		panic("store: a day block in memory does not decode: " + err.Error())
	}
	hot := day.hot
	out := hot.part(device).cells.merge(r)
	if !out.changed {
		return out
	}
	sh.bytes -= cap(day.block)
	day.block = nil
	sh.count(hot)
	sh.setUnflushed(day)
	return out
}

// setUnflushed notes that a day is not on disk as it is.
func (sh *headShard) setUnflushed(day *headDay) {
	if !day.unflushed {
		day.unflushed = true
		sh.unflushed = append(sh.unflushed, day)
	}
}

// thaw makes a day hot.
func (sh *headShard) thaw(day *headDay) error {
	day.touched = true
	if day.hot != nil {
		return nil
	}
	sh.cool(sh.hotLimit)
	hot := sh.spareDay()
	if day.block != nil {
		if err := hot.parse(day.block); err != nil {
			return err
		}
	}
	if !day.unflushed {
		sh.unsetIdle(day)
	}
	day.hot = hot
	sh.hot.push(day)
	sh.count(hot)
	return nil
}

// count brings hotBytes up to what a hot day takes now.
func (sh *headShard) count(hot *hotDay) {
	n := hotDayBytes
	for i := range hot.parts {
		n += hotPartBytes + hot.parts[i].cells.memory()
	}
	sh.hotBytes += n - hot.bytes
	hot.bytes = n
}

// cool encodes hot days until the others take at most limit bytes. A day that was touched since its
// last turn gets another.
func (sh *headShard) cool(limit int) {
	for sh.hotBytes > limit && sh.hot.first != nil {
		day := sh.hot.first
		if day.touched {
			day.touched = false
			sh.hot.remove(day)
			sh.hot.push(day)
			continue
		}
		sh.freeze(day)
	}
}

// freeze ends a day's being hot.
func (sh *headShard) freeze(day *headDay) {
	if day.block == nil && len(day.hot.parts) > 0 {
		sh.scratch = appendBlock(sh.scratch[:0], sh.totals.steps(day.Participant, day.hot), day.hot)
		day.block = slices.Clone(sh.scratch)
		sh.bytes += cap(day.block)
	}
	sh.hot.remove(day)
	sh.hotBytes -= day.hot.bytes
	if len(sh.spare) < spareDays && day.hot.bytes <= spareBytes {
		day.hot.reset()
		sh.spare = append(sh.spare, day.hot)
	}
	day.hot = nil
	if !day.unflushed {
		sh.setIdle(day)
	}
}

// setIdle lists a day that is encoded and on disk.
func (sh *headShard) setIdle(day *headDay) {
	sh.idle.push(day)
	sh.idleBytes += day.memory()
}

func (sh *headShard) unsetIdle(day *headDay) {
	sh.idle.remove(day)
	sh.idleBytes -= day.memory()
}

// replace gives a day that is not hot the cells of hot, which is the caller's. It overwrites the day's
// block where that has room, so nobody else may have it.
func (sh *headShard) replace(day *headDay, hot *hotDay) {
	if !day.unflushed {
		sh.unsetIdle(day)
	}
	sh.setUnflushed(day)
	sh.bytes -= cap(day.block)
	sh.scratch = appendBlock(sh.scratch[:0], sh.totals.steps(day.Participant, hot), hot)
	if len(sh.scratch) > cap(day.block) {
		day.block = slices.Clone(sh.scratch)
	} else {
		day.block = append(day.block[:0], sh.scratch...)
	}
	sh.bytes += cap(day.block)
}

// retotal gives an encoded day the block that it has with another total. The caller holds mu.
func (sh *headShard) retotal(day *headDay, block []byte) {
	grown := cap(block) - cap(day.block)
	day.block = block
	sh.bytes += grown
	if day.hot == nil && !day.unflushed {
		sh.idleBytes += grown
	}
}

// flushed notes that a day is on disk as it is, and ends its being hot. The caller holds mu.
func (sh *headShard) flushed(day *headDay) {
	day.unflushed = false
	if day.hot != nil {
		sh.freeze(day)
		return
	}
	sh.setIdle(day)
}

// evict drops idle days of a shard while it takes more than its limit, looking at most at so many. The
// caller holds the store's mu.
func (h *head) evict(sh *headShard, most int) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for ; most > 0 && sh.overfull() && sh.idle.first != nil; most-- {
		day := sh.idle.first
		sh.idle.remove(day)
		if day.touched || day.pins > 0 {
			day.touched = false
			sh.idle.push(day)
			continue
		}
		sh.idleBytes -= day.memory()
		sh.bytes -= day.memory()
		_, slot := h.place(day.ParticipantDay)
		sh.left[slot].Add(1)
		delete(sh.days, day.ParticipantDay)
	}
}

func (sh *headShard) overfull() bool { return sh.bytes+sh.hotBytes > sh.limit }

// A shard keeps so many empty hot days, if their memory is not unusually large.
const (
	spareDays  = 8
	spareBytes = 16 << 10
)

func (sh *headShard) spareDay() *hotDay {
	n := len(sh.spare)
	if n == 0 {
		return new(hotDay)
	}
	hot := sh.spare[n-1]
	sh.spare = sh.spare[:n-1]
	return hot
}

// part returns a device's part of the day, an empty one if it had none.
func (h *hotDay) part(id []byte) *part {
	i := 0
	for i < len(h.parts) && string(h.parts[i].device) < string(id) {
		i++
	}
	if i == len(h.parts) || string(h.parts[i].device) != string(id) {
		h.insert(i, steps.DeviceID(id))
	}
	return &h.parts[i]
}

// insert adds an empty part, with the memory of one that was there before a reset.
func (h *hotDay) insert(i int, device steps.DeviceID) {
	var cells *deviceDay
	if n := len(h.parts); n < cap(h.parts) {
		cells = h.parts[:n+1][n].cells
	}
	if cells == nil {
		cells = new(deviceDay)
	}
	h.parts = slices.Insert(h.parts, i, part{device, cells})
}

// reset makes the day empty and keeps its memory.
func (h *hotDay) reset() {
	for i := range h.parts {
		h.parts[i].cells.reset()
	}
	h.parts, h.bytes = h.parts[:0], 0
}

// dayList is a list of days in the order of their turn.
type dayList struct {
	first, last *headDay
	n           int
}

func (l *dayList) push(day *headDay) {
	l.n++
	day.prev, day.next = l.last, nil
	if l.last == nil {
		l.first = day
	} else {
		l.last.next = day
	}
	l.last = day
}

func (l *dayList) remove(day *headDay) {
	l.n--
	if day.prev == nil {
		l.first = day.next
	} else {
		day.prev.next = day.next
	}
	if day.next == nil {
		l.last = day.prev
	} else {
		day.next.prev = day.prev
	}
	day.prev, day.next = nil, nil
}
