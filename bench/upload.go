package bench

import (
	"math/rand/v2"

	"ayumi/protocol/native"
	"ayumi/steps"
)

// varint5 is the smallest number whose protobuf varint has five bytes. Whatever is patched into a
// message lies between it and 2^35, so that no message changes its length.
const varint5 = 1 << 28

// firstCounts is how many values the first count of an upload takes in turn.
const firstCounts = 100

// plan is the order in which every device fills its days: upload n of a device carries revision
// (boot, varint5+n) and covers the stretch n mod slots.
type plan struct {
	first   int64 // UTC seconds
	stretch int64 // seconds an upload covers
	slots   uint64
}

func newPlan(c *Config) plan {
	if c.Raw > 0 {
		return plan{}
	}
	return plan{c.First, int64(c.Samples) * steps.DefaultInterval, uint64(c.Days * minutesPerDay / c.Samples)}
}

// firstSum returns the sum of the first counts that a device's days hold after n uploads.
func (p *plan) firstSum(n uint64) (sum uint64) {
	for slot := range min(n, p.slots) {
		last := (n - 1 - slot) / p.slots // the lap that wrote the slot last
		sum += (last*p.slots + slot) % firstCounts
	}
	return sum
}

// template is a message of which few bytes change from one to the next.
type template struct {
	plan  plan
	body  []byte
	seq   []int // offsets of the uploads' sequence numbers, five bytes each
	start []int // of their series' starts, five bytes each
	count []int // of their first counts, one byte each

	rest uint64 // sum of all uploads' counts but the first, of one message
}

// newTemplate encodes the message of a client: one upload, or a bundle of those it carries.
func newTemplate(c *Config, client *Client, random *rand.Rand) *template {
	if c.Raw > 0 {
		return &template{body: make([]byte, c.Raw)}
	}
	t := &template{plan: newPlan(c)}
	us := []steps.Upload{{}}
	if n := len(client.Carries); n > 0 {
		us = make([]steps.Upload, n)
	}
	for i := range us {
		us[i] = steps.Upload{
			Revision: steps.Revision{Boot: c.Boot, Seq: varint5}, SentAt: c.First, UTCOffset: 9 * 3600,
			Series: []steps.Series{{
				Start: varint5, Interval: steps.DefaultInterval, Counts: minutes(c.Samples, random), Origin: steps.OriginSensor,
			}},
		}
		if len(client.Carries) > 0 {
			us[i].Device = client.Carries[i]
		}
		for _, n := range us[i].Series[0].Counts[1:] {
			t.rest += uint64(n)
		}
	}
	encode := func() []byte {
		if len(client.Carries) > 0 {
			return native.AppendBundle(nil, us, steps.Protobuf)
		}
		return native.AppendUpload(nil, &us[0], steps.Protobuf)
	}
	t.body = encode()
	const other = 1<<35 - 1 // differs from varint5 in each of five bytes
	t.seq = changed(t.body, encode, us, func(u *steps.Upload) { u.Revision.Seq = other })
	t.start = changed(t.body, encode, us, func(u *steps.Upload) { u.Series[0].Start = other })
	t.count = changed(t.body, encode, us, func(u *steps.Upload) { u.Series[0].Counts[0] = 1 })
	return t
}

// newRandom returns the source of one connection's counts, the same in every run.
func newRandom(index int) *rand.Rand { return rand.New(rand.NewPCG(uint64(index), 1)) }

// minutes invents counts: half of the minutes at rest, the others with up to 127 steps, which is
// a brisk walk and one byte.
func minutes(n int, random *rand.Rand) []uint32 {
	counts := make([]uint32, n)
	for i := range counts[1:] {
		if random.IntN(2) == 1 {
			counts[1+i] = random.Uint32N(128)
		}
	}
	return counts
}

// changed returns where the encoding's bytes begin to differ when change is applied to each upload.
func changed(was []byte, encode func() []byte, us []steps.Upload, change func(*steps.Upload)) (at []int) {
	saved := make([]steps.Upload, len(us))
	for i := range us {
		saved[i] = us[i]
		saved[i].Series = []steps.Series{us[i].Series[0]}
		saved[i].Series[0].Counts = append([]uint32(nil), us[i].Series[0].Counts...)
		change(&us[i])
	}
	is := encode()
	copy(us, saved)
	for i := range was {
		if was[i] != is[i] && (i == 0 || was[i-1] == is[i-1]) {
			at = append(at, i)
		}
	}
	return at
}

// patch makes body, a copy of t.body, the client's message number n.
func (t *template) patch(body []byte, n uint64) {
	if len(t.seq) == 0 {
		return
	}
	slot := n % t.plan.slots
	start := uint64(t.plan.first) + slot*uint64(t.plan.stretch)
	for i := range t.seq {
		putVarint5(body[t.seq[i]:], varint5+n)
		putVarint5(body[t.start[i]:], start)
		body[t.count[i]] = byte(n % firstCounts)
	}
}

// steps returns what a gateway holds of the client's devices after its first n messages.
func (t *template) steps(n uint64) uint64 {
	if len(t.seq) == 0 {
		return 0
	}
	return uint64(len(t.seq))*t.plan.firstSum(n) + min(n, t.plan.slots)*t.rest
}

// putVarint5 writes v, which must lie in [varint5, 1<<35).
func putVarint5(b []byte, v uint64) {
	_ = b[4]
	b[0], b[1], b[2], b[3], b[4] = byte(v)|0x80, byte(v>>7)|0x80, byte(v>>14)|0x80, byte(v>>21)|0x80, byte(v>>28)
}
