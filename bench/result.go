package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Result is what a run measured. Rates and latencies are those of the measured part; the tallies
// below them are of the whole run, warm-up and drain included.
type Result struct {
	Connections int     `json:"connections"`
	Window      int     `json:"window"`
	Samples     int     `json:"samples"` // an upload
	Bundle      int     `json:"bundle"`  // uploads a message
	Bytes       int     `json:"bytes"`   // of a message's payload
	Rate        float64 `json:"rate,omitempty"`
	Seconds     float64 `json:"seconds"`

	UploadsPerSecond float64   `json:"uploads_per_second"`
	SamplesPerSecond float64   `json:"samples_per_second"`
	Latency          Latency   `json:"latency_ms"`
	Series           []float64 `json:"uploads_by_second"` // the last one scaled up if it is part of a second

	Acknowledged   uint64 `json:"acknowledged"`   // uploads
	Refused        uint64 `json:"refused"`        // uploads: into quarantine, or answered with an error
	Unacknowledged uint64 `json:"unacknowledged"` // uploads sent on connections that were lost
	Lost           uint64 `json:"connections_lost"`
	FirstError     string `json:"first_error,omitempty"`
	// Steps is what the devices' days must hold now, if nothing was refused or left unacknowledged
	// and nobody else reported those days with a higher revision.
	Steps uint64 `json:"steps"`

	Server    *Usage `json:"server,omitempty"` // of Config.ServerPID
	Generator *Usage `json:"generator,omitempty"`
}

// Latency holds quantiles in milliseconds, from due to acknowledged.
type Latency struct {
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99_9"`
	Max  float64 `json:"max"`
}

// Usage is what a process took during the measured part.
type Usage struct {
	CPUSeconds float64 `json:"cpu_seconds"`
	RSSBytes   uint64  `json:"rss_bytes"` // at its end
}

// Clean reports whether everything sent was acknowledged and nothing refused.
func (r *Result) Clean() bool { return r.Refused == 0 && r.Unacknowledged == 0 && r.Lost == 0 }

func newResult(c *Config, m *meter, u marks) *Result {
	h := m.latencies()
	r := &Result{
		Connections: len(c.Clients), Window: c.Window, Samples: c.Samples, Bundle: c.bundle(), Rate: c.Rate,
		Bytes:   len(newTemplate(c, &c.Clients[0], newRandom(0)).body),
		Seconds: c.Duration.Seconds(),
		Latency: Latency{
			P50: millis(h.quantile(0.5)), P99: millis(h.quantile(0.99)), P999: millis(h.quantile(0.999)),
			Max: millis(time.Duration(h.most.Load())),
		},
		Acknowledged: m.acked.Load(), Refused: m.refused.Load(), Unacknowledged: m.unacked.Load(), Lost: m.lost.Load(),
		Server: used(u.begin.server, u.end.server), Generator: used(u.begin.generator, u.end.generator),
	}
	if m.firstErr != nil {
		r.FirstError = m.firstErr.Error()
	}
	if c.Raw > 0 {
		r.Samples = 0
	}
	total := 0.0
	for i := range m.series {
		n := float64(m.series[i].Load())
		total += n
		if part := c.Duration - time.Duration(i)*time.Second; part < time.Second {
			n /= part.Seconds()
		}
		r.Series = append(r.Series, n)
	}
	r.UploadsPerSecond = total / r.Seconds
	r.SamplesPerSecond = r.UploadsPerSecond * float64(r.Samples)
	return r
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// usages are both processes' at one moment; nil where they cannot be told.
type usages struct{ server, generator *Usage }

type marks struct{ begin, end usages }

func (c *Config) usages() usages {
	u := usages{generator: usageOf(os.Getpid())}
	if c.ServerPID > 0 {
		u.server = usageOf(c.ServerPID)
	}
	return u
}

func used(begin, end *Usage) *Usage {
	if begin == nil || end == nil {
		return nil
	}
	return &Usage{CPUSeconds: end.CPUSeconds - begin.CPUSeconds, RSSBytes: end.RSSBytes}
}

// usageOf reads what a process took so far from /proc (proc(5)); nil where there is none.
func usageOf(pid int) *Usage {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	// The name, in parentheses, may hold anything; fields are counted from behind it.
	_, rest, ok := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	f := strings.Fields(rest)
	if !ok || len(f) < 22 {
		return nil
	}
	const ticks = 100 // USER_HZ, the same on every Linux that Go runs on
	user, err1 := strconv.ParseUint(f[11], 10, 64)
	system, err2 := strconv.ParseUint(f[12], 10, 64)
	pages, err3 := strconv.ParseUint(f[21], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return nil
	}
	return &Usage{CPUSeconds: float64(user+system) / ticks, RSSBytes: pages * uint64(os.Getpagesize())}
}
