package ingest

import (
	"time"

	"ayumi/steps"
)

// Envelope is a payload with what its listener knows about it.
type Envelope struct {
	Identity   steps.Identity // the authenticated credential
	Transport  steps.Transport
	Encoding   steps.Encoding // 0 when the topic is unknown
	Bundle     bool
	Topic      string // set when the payload came to a topic that is none of the device's
	ReceivedAt time.Time
	Body       []byte // read until Submit returns, not afterwards
	// Allowance is what the payload is charged to; nil charges nobody. The listener has asked it.
	Allowance *Allowance
	// BeforeWait, unless nil, is called by Submit before it waits for room in the store's queue. It is
	// for a listener one goroutine of which serves many connections.
	BeforeWait func()
}

// Completion is told the outcome of one submitted payload: exactly once for every Submit that
// returned nil, in the order of submission. With an error the connection closes, or HTTP answers by
// the error's kind.
type Completion = steps.Completion
