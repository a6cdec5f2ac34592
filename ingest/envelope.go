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
}

// Completion is told the outcome of one submitted payload.
type Completion interface {
	// Complete is called exactly once for every Submit that returned nil, in the order of
	// submission, from the store's committer: it must not block and must not keep r.
	//
	// With err == nil the payload is on disk, stored or quarantined, and may be acknowledged.
	// Otherwise it may not be: the connection closes, or HTTP answers by the error's kind.
	Complete(r *steps.Receipt, err error)
}
