package replay

import (
	"cmp"
	"hash/fnv"
	"math/rand/v2"
	"slices"

	"ayumi/steps"
)

// Faults is a set of what goes wrong between a device and the gateway.
type Faults uint8

// The faults. None of them changes what the gateway must end up with.
const (
	Repeats      Faults = 1 << iota // every upload goes out twice or more, the same bytes
	Shuffling                       // every sending is delayed by up to a week
	Splitting                       // some uploads come as two with other series boundaries
	Delays                          // some uploads arrive about a month late, after all others
	Corrections                     // some uploads are preceded by an older revision with other counts
	Restarts                        // some devices restart midway: boot rises, seq starts at 1
	BrokenClocks                    // some uploads come once more with samples in 2000 or 2036

	AllFaults = Repeats | Shuffling | Splitting | Delays | Corrections | Restarts | BrokenClocks
)

// Cadence is how often a device uploads.
type Cadence uint8

// The cadences.
const (
	AnyCadence Cadence = iota // hourly or daily, by the seed
	Hourly                    // sixty counts an upload
	Daily                     // up to a day in an upload, hours that touch joined into one series
)

// PlanOptions says how a device uploads its person's hours.
type PlanOptions struct {
	Calendar steps.Calendar // whose wall clock the person's hours are on
	Seed     uint64
	Encoding steps.Encoding // 0 is one of both a device, by the seed
	Cadence  Cadence
	Faults   Faults
	Boot     uint32 // the device's boot id at first; 1 when 0
	Status   bool   // uploads say battery, firmware and signal
}

const (
	week  = 7 * day
	month = 30 * day

	// One in so many of a device's uploads meets each fault; at least one does.
	splitOneIn, lateOneIn, correctOneIn, brokenOneIn = 7, 12, 8, 15

	// maxWrong is the most that an overcounted minute says: below what any gateway doubts.
	maxWrong = 240
)

// Plan returns what a device sends so that a gateway learns exactly the person's minutes, zeros
// included, in the order in which it goes out. Hours that the calendar's zone skips are left out
// (Expectation counts them). The same arguments give the same plan.
func Plan(p Person, o PlanOptions) []Sending {
	pl := newPlanner(p, o)
	for _, part := range pl.parts(p) {
		pl.acts = append(pl.acts, act{stretches: part, at: pl.sendTime(part)})
	}
	if len(pl.acts) > 0 {
		pl.last = pl.acts[len(pl.acts)-1].at
		pl.spoil()
	}
	return pl.number()
}

// act is one upload before it has a number. Acts are numbered in the order of their times.
type act struct {
	stretches []stretch
	at        int64 // when the device sends it, UTC seconds
	label     Label
	shift     int64 // of a broken clock, seconds
}

type planner struct {
	o        PlanOptions
	rng      *rand.Rand
	acts     []act
	last     int64 // time of the last regular upload: no device claims to send later
	rebootAt int64 // what is sent from then on has the next boot id; 0 is never
}

func newPlanner(p Person, o PlanOptions) *planner {
	h := fnv.New64a()
	_, _ = h.Write([]byte(p.ID)) // a hash never fails
	rng := rand.New(rand.NewPCG(o.Seed, h.Sum64()))
	// Drawn whether they are needed or not, so that an option does not change what others draw.
	cadence, encoding := Cadence(1+rng.IntN(2)), steps.Encoding(1+rng.IntN(2)) //nolint:gosec // 1 or 2
	if o.Cadence == AnyCadence {
		o.Cadence = cadence
	}
	if o.Encoding == 0 {
		o.Encoding = encoding
	}
	o.Boot = max(o.Boot, 1)
	return &planner{o: o, rng: rng}
}

// parts cuts the person's hours into what one upload holds.
func (pl *planner) parts(p Person) [][]stretch {
	hours, starts := placed(p, pl.o.Calendar)
	var out [][]stretch
	for i := range hours {
		s := stretch{start: starts[i], counts: hours[i].Counts[:]}
		if pl.o.Cadence == Hourly || i == 0 || hours[i].Day != hours[i-1].Day {
			out = append(out, []stretch{s})
			continue
		}
		last := &out[len(out)-1]
		if tail := &(*last)[len(*last)-1]; tail.end() == s.start {
			tail.counts = append(tail.counts, s.counts...) // an hour's slice is full, so this copies it
		} else {
			*last = append(*last, s)
		}
	}
	return out
}

// sendTime is up to five minutes after the last minute.
func (pl *planner) sendTime(part []stretch) int64 {
	return part[len(part)-1].end() + 5 + pl.rng.Int64N(295)
}

// some picks one in n of the first size indices, at least k of them where there are so many.
func (pl *planner) some(size, n, k int) []int {
	return pl.rng.Perm(size)[:min(size, max(k, size/n))]
}

func (pl *planner) has(f Faults) bool { return pl.o.Faults&f != 0 }

// spoil adds the faults to the plain acts. Every fault keeps the invariant: what is true is sent
// after whatever contradicts it.
func (pl *planner) spoil() {
	n := len(pl.acts)
	if pl.has(Restarts) && n > 1 && pl.rng.IntN(2) == 0 {
		pl.rebootAt = pl.acts[n/4+pl.rng.IntN(n-n/4-1)+1].at
	}
	if pl.has(BrokenClocks) {
		pl.breakClocks(pl.some(n, brokenOneIn, 1))
	}
	if pl.has(Corrections) {
		for _, i := range pl.some(n, correctOneIn, 1) {
			pl.correct(i)
		}
	}
	if pl.has(Splitting) {
		for _, i := range pl.some(n, splitOneIn, 1) {
			pl.split(i)
		}
	}
	if pl.has(Delays) {
		for _, i := range pl.some(n, lateOneIn, 1) {
			pl.acts[i].label |= Late
		}
	}
}

// number sorts the acts by their time, gives them revisions and returns their sendings.
func (pl *planner) number() []Sending {
	slices.SortStableFunc(pl.acts, func(a, b act) int { return cmp.Compare(a.at, b.at) })
	var plan []Sending
	rev := steps.Revision{Boot: pl.o.Boot}
	for i := range pl.acts {
		a := &pl.acts[i]
		if pl.rebootAt != 0 && a.at >= pl.rebootAt && rev.Boot == pl.o.Boot {
			rev = steps.Revision{Boot: pl.o.Boot + 1}
			a.label |= Restarted
		}
		rev.Seq++
		plan = append(plan, pl.copies(a, rev)...)
	}
	arrange(plan)
	return plan
}

// copies are the sendings of one act.
func (pl *planner) copies(a *act, rev steps.Revision) []Sending {
	s := Sending{Upload: pl.upload(a, rev), Encoding: pl.o.Encoding, Label: a.label}
	n := 1
	if pl.has(Repeats) {
		if n = 2; pl.rng.IntN(4) == 0 {
			n = 3
		}
	}
	out := make([]Sending, n)
	for i := range out {
		s.At = a.at
		if pl.has(Shuffling) {
			s.At += pl.rng.Int64N(week)
		}
		if a.label&Late != 0 {
			s.At = max(s.At+month, pl.acts[len(pl.acts)-1].at+week+pl.rng.Int64N(day))
		}
		out[i] = s
	}
	return out
}

func (pl *planner) upload(a *act, rev steps.Revision) steps.Upload {
	u := steps.Upload{Revision: rev, SentAt: min(a.at, pl.last) + a.shift, UTCOffset: pl.offset(a.stretches[0].start)}
	for _, s := range a.stretches {
		u.Series = append(u.Series, steps.Series{
			Start: s.start + a.shift, Interval: minute, Counts: s.counts, Origin: steps.OriginSensor,
		})
	}
	if pl.o.Status {
		// The battery loses a percent a day and is charged when it would fall below ten.
		age := a.at / day
		u.Status = steps.DeviceStatus{
			Battery: uint8(100 - age%90), Firmware: "replay 1", Signal: -60 - int32(rev.Seq%30), //nolint:gosec // small
		}
	}
	return u
}
