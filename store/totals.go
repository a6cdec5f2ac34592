package store

import (
	"sync"

	"ayumi/merge"
	"ayumi/steps"
)

// Orders says in which order a participant's sources count. It is asked for every day of several sources,
// by any goroutine, and answers from memory.
type Orders interface {
	// SourceOrder returns the participant's devices, the first of them counting first; those that it does not
	// name follow by ID. chosen is the device that counts alone under merge.OneDevice, "" if the participant
	// chose none. The caller changes neither.
	SourceOrder(p steps.ParticipantID) (order []steps.DeviceID, chosen steps.DeviceID)
}

// totals computes what days add up to: by the programme's merge policy, in the participants' own order. What
// it computes follows from a day's cells, the policy and the order alone.
type totals struct {
	cfg      merge.Config
	orders   Orders // nil: nobody has an order of their own
	accepted [originCount]bool
	spare    sync.Pool // of *reckoner
}

// originCount is how many origins there are; one of a later version counts as unknown.
const originCount = int(steps.OriginManual) + 1

// use sets the policy, which must be valid.
func (t *totals) use(cfg merge.Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	t.cfg = cfg
	for origin, rule := range map[steps.Origin]merge.OriginRule{
		steps.OriginSensor:  {Treatment: merge.Accept},
		steps.OriginManual:  cfg.Manual,
		steps.OriginUnknown: cfg.Unknown,
	} {
		t.accepted[origin] = rule.Treatment == merge.Accept
	}
	t.spare.New = func() any {
		m, err := merge.New(cfg)
		if err != nil {
			panic("store: a merge policy that was valid is not: " + err.Error())
		}
		return &reckoner{merger: m}
	}
	return nil
}

// steps returns a day's total.
func (t *totals) steps(p steps.ParticipantID, h *hotDay) uint64 {
	if n, ok := t.plain(h); ok {
		return n
	}
	r := t.reckon(p, h)
	defer t.release(r)
	return r.merger.Steps(&r.day)
}

// plain returns the total of the commonest day by far: one device with minutes only, all of which count.
// Every policy takes it as it is, but for one device a day, where the participant may have chosen another.
func (t *totals) plain(h *hotDay) (n uint64, ok bool) {
	if len(h.parts) != 1 || t.cfg.Policy == merge.OneDevice {
		return 0, false
	}
	d := h.parts[0].cells
	if len(d.lanes) != 1 || d.lanes[0].interval != 60 {
		return 0, false
	}
	for i := 1; i < len(d.sources); i++ {
		if !t.accepted[known(d.sources[i].origin)] {
			return 0, false
		}
	}
	return sum(d.lanes[0].counts), true
}

// known returns an origin that has a treatment.
func known(o steps.Origin) steps.Origin {
	if int(o) >= originCount {
		return steps.OriginUnknown
	}
	return o
}

// indifferent reports whether a day has the same minutes under every policy and order that give it the
// same total.
func indifferent(h *hotDay) bool {
	if len(h.parts) != 1 || len(h.parts[0].cells.lanes) != 1 || h.parts[0].cells.lanes[0].interval != 60 {
		return false
	}
	for i := 1; i < len(h.parts[0].cells.sources); i++ {
		if h.parts[0].cells.sources[i].origin != steps.OriginSensor {
			return false
		}
	}
	return true
}

// reckoner is a Merger with the memory of the day that it is given.
type reckoner struct {
	merger *merge.Merger
	day    merge.Day
	counts []uint32 // lanes with the cells before their first
	marks  []uint16
}

// reckon prepares a day for merging. It is good for as long as h does not change, until release.
func (t *totals) reckon(p steps.ParticipantID, h *hotDay) *reckoner {
	r := t.spare.Get().(*reckoner)
	r.counts, r.marks = r.counts[:0], r.marks[:0]
	r.day.Length, r.day.Chosen = secondsPerDay/60, ""
	r.day.Sources = r.day.Sources[:0]
	for i := range h.parts {
		r.add(&h.parts[i])
	}
	if t.orders != nil && (len(h.parts) > 1 || t.cfg.Policy == merge.OneDevice) {
		order, chosen := t.orders.SourceOrder(p)
		if len(order) > 0 {
			merge.Arrange(r.day.Sources, order)
		}
		r.day.Chosen = chosen
	}
	r.day.Elapsed = elapsed(h)
	return r
}

// release takes a reckoner back. It forgets the day's cells, which may be changed from here on.
func (t *totals) release(r *reckoner) {
	for i := range r.day.Sources {
		clear(r.day.Sources[i].Lanes)
	}
	t.spare.Put(r)
}

// add appends a device to the day.
func (r *reckoner) add(p *part) {
	n := len(r.day.Sources)
	if n < cap(r.day.Sources) {
		r.day.Sources = r.day.Sources[:n+1]
	} else {
		r.day.Sources = append(r.day.Sources, merge.Source{})
	}
	s := &r.day.Sources[n]
	s.Device, s.Lanes, s.Origins = p.device, s.Lanes[:0], s.Origins[:0]
	for i := range p.cells.sources {
		s.Origins = append(s.Origins, p.cells.sources[i].origin)
	}
	for i := range p.cells.lanes {
		s.Lanes = append(s.Lanes, r.lane(&p.cells.lanes[i]))
	}
}

// lane returns a lane from the day's first cell on.
func (r *reckoner) lane(l *lane) merge.Lane {
	if l.base == 0 {
		return merge.Lane{Interval: l.interval, Counts: l.counts, Marks: l.sources}
	}
	return merge.Lane{
		Interval: l.interval,
		Counts:   pad(&r.counts, l.base, l.counts),
		Marks:    pad(&r.marks, l.base, l.sources),
	}
}

// pad appends n zeros and s to room, and returns them.
func pad[T any](room *[]T, n int, s []T) []T {
	start := len(*room)
	*room = append(append(*room, make([]T, n)...), s...) // compiled without allocating the zeros
	return (*room)[start:len(*room):len(*room)]
}

// gentlePace is the number of steps a minute that nobody keeps up from midnight on.
const gentlePace = 60

// elapsed returns how many minutes of the day had begun when its newest record came, as far as the cells
// tell: to the end of the newest cell that is shorter than the day. It matters to records of a whole day
// alone, which may have come while the day was not over; a day that has nothing else is taken to be over. So
// many minutes are not enough for a record of more steps than gentlePace gives: the device with the finer
// cells went silent, and the record grew on.
func elapsed(h *hotDay) int {
	end, most, whole := 0, uint32(0), false
	for i := range h.parts {
		for j := range h.parts[i].cells.lanes {
			l := &h.parts[i].cells.lanes[j]
			if l.interval < secondsPerDay {
				end = max(end, (l.base+len(l.counts))*int(l.interval/60))
				continue
			}
			whole = true
			for _, n := range l.counts {
				most = max(most, n)
			}
		}
	}
	if !whole || end == 0 {
		return 0
	}
	return max(end, int(most/gentlePace)+1)
}
