package https

import (
	"context"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/steps"
)

// The states of a pending upload. Whoever leaves stateWaiting first decides: the committer claims
// the outcome or the handler abandons it, never both.
const (
	stateWaiting   = 0
	stateClaimed   = 1
	stateAbandoned = 2
)

// pending is one submitted upload that waits for its commit. It is made anew for every request and
// not pooled: a completion that comes late, or twice, must never reach another request.
type pending struct {
	encode   func(dst []byte, r *steps.Receipt, enc steps.Encoding) []byte
	encoding steps.Encoding
	buffers  *bufferPool
	late     prometheus.Counter
	state    atomic.Uint32
	done     chan struct{} // closed once the outcome below is set

	err     error
	refusal *document
	receipt *buffer
}

func newPending(s *Server, enc steps.Encoding) *pending {
	return &pending{encode: s.cfg.EncodeReceipt, encoding: enc, buffers: &s.buffers, late: s.m.late, done: make(chan struct{})}
}

// Complete implements ingest.Completion. The receipt is encoded here, because it is valid only
// during the call.
func (p *pending) Complete(r *steps.Receipt, err error) steps.Flusher {
	if !p.state.CompareAndSwap(stateWaiting, stateClaimed) {
		p.late.Inc()
		return nil
	}
	switch {
	case err != nil:
		p.err = err
	case r == nil:
		p.err = steps.Errorf("complete upload", steps.Internal, "no receipt")
	default:
		if p.refusal = refusalOf(r); p.refusal == nil {
			p.receipt = p.buffers.get()
			p.receipt.b = p.encode(p.receipt.b, r, p.encoding)
		}
	}
	close(p.done)
	return nil
}

// wait returns true when the outcome is there, and false when ctx ended first: Complete then leaves
// the outcome alone.
func (p *pending) wait(ctx context.Context) bool {
	select {
	case <-p.done:
		return true
	case <-ctx.Done():
	}
	if p.state.CompareAndSwap(stateWaiting, stateAbandoned) {
		return false
	}
	<-p.done // claimed: the committer is encoding the receipt right now
	return true
}

// refusalOf returns the problem to answer with when nothing of the payload could be decoded, else
// nil. Other reasons are answered with the receipt.
func refusalOf(r *steps.Receipt) *document {
	if len(r.Uploads) == 0 {
		return nil
	}
	for i := range r.Uploads {
		if undecodable(&r.Uploads[i]) == nil {
			return nil
		}
	}
	first := &r.Uploads[0]
	p := newProblem(problemMalformed, undecodable(first).Detail)
	p.Quarantine, p.Record = string(first.Quarantine), r.Record.String()
	return p
}

// undecodable returns the fault that says that u as a whole is malformed, or nil.
func undecodable(u *steps.UploadReceipt) *steps.Fault {
	if u.Verdict != steps.Quarantined {
		return nil
	}
	for i := range u.Faults {
		if f := &u.Faults[i]; f.Series == -1 && f.Reason == steps.ReasonMalformed {
			return f
		}
	}
	return nil
}
