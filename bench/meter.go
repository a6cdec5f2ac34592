package bench

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// meter takes what connections observe. Times are durations since the run's start.
type meter struct {
	begin, end time.Duration // of the measured part
	bundle     uint64
	shards     []shard
	series     []atomic.Uint64 // uploads acknowledged, by second of the measured part

	refused  atomic.Uint64 // uploads that the server took and refused
	unacked  atomic.Uint64 // uploads sent and not acknowledged
	acked    atomic.Uint64 // uploads acknowledged over the whole run
	lost     atomic.Uint64 // connections
	mu       sync.Mutex
	firstErr error
}

// shard keeps cores from sharing a histogram's cache lines all the time.
type shard struct {
	latency histogram
}

const maxShards = 16

func newMeter(c *Config) *meter {
	return &meter{
		begin: c.Warmup, end: c.Warmup + c.Duration, bundle: uint64(c.bundle()),
		shards: make([]shard, min(len(c.Clients), maxShards)),
		series: make([]atomic.Uint64, int((c.Duration+time.Second-1)/time.Second)),
	}
}

// ack counts messages acknowledged at a moment.
func (m *meter) ack(at time.Duration, messages uint64) {
	n := messages * m.bundle
	m.acked.Add(n)
	if m.measured(at) {
		m.series[int((at-m.begin)/time.Second)].Add(n)
	}
}

// latency notes how long messages took that were acknowledged at a moment.
func (m *meter) latency(conn int, at, took time.Duration, messages uint64) {
	if m.measured(at) {
		m.shards[conn%len(m.shards)].latency.add(took, messages)
	}
}

func (m *meter) measured(at time.Duration) bool { return at >= m.begin && at < m.end }

// fail notes a connection that was lost with messages unacknowledged.
func (m *meter) fail(conn int, err error, unacked uint64) {
	m.lost.Add(1)
	m.unacked.Add(unacked * m.bundle)
	m.note(fmt.Errorf("connection %d: %w", conn, err))
}

// refuse notes uploads that the server took and did not store.
func (m *meter) refuse(uploads uint64, err error) {
	m.refused.Add(uploads)
	m.note(err)
}

// note keeps the first error, which mostly explains the others.
func (m *meter) note(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.firstErr == nil {
		m.firstErr = err
	}
}

func (m *meter) latencies() *histogram {
	h := new(histogram)
	for i := range m.shards {
		h.merge(&m.shards[i].latency)
	}
	return h
}

// pace says when the messages of one connection are due, as durations since the run's start.
type pace struct {
	step  float64 // nanoseconds between two messages of the connection; 0 is at once
	first float64
	end   time.Duration
	n     uint64 // messages handed out
}

func newPace(c *Config, conn int) pace {
	p := pace{end: c.Warmup + c.Duration}
	if c.Rate > 0 {
		each := float64(time.Second) * float64(c.bundle()) / c.Rate // between two messages of all connections
		p.step, p.first = each*float64(len(c.Clients)), each*float64(conn)
	}
	return p
}

// due returns when the next message is due, and false when none is left.
func (p *pace) due(now time.Duration) (time.Duration, bool) {
	at := now
	if p.step > 0 {
		at = time.Duration(p.first + float64(p.n)*p.step)
	}
	return at, at < p.end
}
