package https

import (
	"math/rand/v2"
	"time"

	"ayumi/ingest"
	"ayumi/steps"
)

// Config holds the listener's bounds and the functions it is given. A zero field takes its default,
// except EncodeReceipt, which is required.
type Config struct {
	MaxBodyBytes  int64         // of one payload after decompression; default 1 MiB, answered with 413
	CommitTimeout time.Duration // from a complete body to its durable commit; default 10 s, answered with 503
	ReadTimeout   time.Duration // from the first byte of a request to the last of its body; default 30 s
	IdleTimeout   time.Duration // of a kept-alive connection between two requests; default 2 min
	MaxInFlight   int           // requests handled at once; default 1024
	MaxWait       time.Duration // for one of the MaxInFlight places, then 503; default 1 s
	MaxConns      int           // open connections; further ones wait unaccepted; default 16384
	RetryAfter    time.Duration // least Retry-After of 429 and 503, up to as much again is added; default 5 s

	// RequestsPerDevice is how many requests of one device are handled at once; default 64, answered
	// with 429. It needs Allowances.
	RequestsPerDevice int
	// Allowances say how much each device may upload, answered with 429; nil: as much as it can.
	Allowances *ingest.Allowances
	// EncodeReceipt appends r in the request's encoding to dst. It runs on the store's committer,
	// so it must be quick, and it must not keep r.
	EncodeReceipt func(dst []byte, r *steps.Receipt, enc steps.Encoding) []byte
	// Calendar says which day is today. The zero Calendar is UTC.
	Calendar steps.Calendar
	Now      func() time.Time    // default time.Now
	Rand     func(n int64) int64 // uniform in [0, n), for the spread of Retry-After; default math/rand/v2
}

// The bounds that nobody needs to turn.
const (
	readHeaderTimeout = 10 * time.Second // also the TLS handshake's
	writeSlack        = 10 * time.Second // for the answer itself, on top of everything it may wait for
	lingerTime        = 500 * time.Millisecond
	maxHeaderBytes    = 16 << 10
	maxStreams        = 64        // concurrent HTTP/2 requests of one connection
	maxUnread         = 128 << 10 // bytes of HTTP/2 bodies that wait to be read, of one connection
)

func (c Config) withDefaults() (Config, error) {
	setDefault(&c.MaxBodyBytes, 1<<20)
	setDefault(&c.CommitTimeout, 10*time.Second)
	setDefault(&c.ReadTimeout, 30*time.Second)
	setDefault(&c.IdleTimeout, 2*time.Minute)
	setDefault(&c.MaxInFlight, 1024)
	setDefault(&c.MaxWait, time.Second)
	setDefault(&c.MaxConns, 16384)
	setDefault(&c.RetryAfter, 5*time.Second)
	setDefault(&c.RequestsPerDevice, maxStreams)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Int64N
	}
	if c.EncodeReceipt == nil {
		return c, steps.Errorf("configure https", steps.Invalid, "EncodeReceipt is nil; pass the protocol's receipt encoder")
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"MaxBodyBytes", c.MaxBodyBytes}, {"CommitTimeout", int64(c.CommitTimeout)},
		{"ReadTimeout", int64(c.ReadTimeout)}, {"IdleTimeout", int64(c.IdleTimeout)},
		{"MaxInFlight", int64(c.MaxInFlight)}, {"MaxWait", int64(c.MaxWait)},
		{"MaxConns", int64(c.MaxConns)}, {"RetryAfter", int64(c.RetryAfter)},
		{"RequestsPerDevice", int64(c.RequestsPerDevice)},
	} {
		if f.value < 0 {
			return c, steps.Errorf("configure https", steps.Invalid, "%s is %d; use a positive value or leave it out", f.name, f.value)
		}
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
