package ingest

import (
	"context"

	"ayumi/steps"
)

// Release takes a quarantined payload out of quarantine and into the series, with staff vouching
// for samples that are old or implausible. It is refused if anything in the payload still cannot
// be accepted, because the cause has to be mended first: bind the device, register it, wait for
// the clock. Kinds: NotFound, Conflict, Invalid, Unavailable.
func (p *Pipeline) Release(ctx context.Context, id steps.QuarantineID, by, reason string) (*steps.Receipt, error) {
	q, err := p.journal.Quarantined(ctx, id)
	if err != nil {
		return nil, err
	}
	if q.Decision.State != steps.Open {
		return nil, steps.Errorf("release payload", steps.Conflict, "%s was %s by %s already", id, q.Decision.State, q.Decision.By)
	}
	if q.Topic != "" || q.Bundle {
		return nil, steps.Errorf("release payload", steps.Invalid,
			"%s came as a whole to the wrong place; let the device send it again, or discard it", id)
	}
	now := p.clock()
	result := make(waiter, 1)
	s := p.pool.Get().(*submission)
	defer s.free()
	s.release = true
	s.begin(&Envelope{Transport: steps.Staff, Encoding: q.Encoding, ReceivedAt: now, Body: q.Raw})
	s.retake(q)
	if f := s.receipt().Faults; len(f) > 0 {
		return nil, steps.Errorf("release payload", steps.Invalid, "series[%d] still %s: %s", f[0].Series, f[0].Reason, f[0].Detail)
	}
	s.commit.Resolve = &steps.Resolution{ID: id, Decision: decision(steps.Released, now.Unix(), by, reason)}
	if err := s.send(ctx, nil, result); err != nil {
		return nil, err
	}
	out := <-result // the store always answers
	return out.receipt, out.err
}

// retake judges a quarantined upload as it was judged when it came.
func (s *submission) retake(q *steps.QuarantineEntry) {
	err := s.decoder.Upload(&s.upload, q.Raw, q.Encoding)
	if q.Via == "" {
		s.takeUpload(q.Device, q.Raw, err)
		return
	}
	s.via = q.Via
	s.takeCarried(q.Raw, &s.upload, err)
}

// Discard closes a quarantined payload for good; the entry and its bytes stay to be looked up.
func (p *Pipeline) Discard(ctx context.Context, id steps.QuarantineID, by, reason string) error {
	return p.journal.Resolve(ctx, steps.Resolution{ID: id, Decision: decision(steps.Discarded, p.clock().Unix(), by, reason)})
}

func decision(state steps.DecisionState, at int64, by, reason string) steps.Decision {
	return steps.Decision{State: state, At: at, By: by, Reason: reason}
}

// waiter is a Completion that somebody waits for.
type waiter chan outcome

type outcome struct {
	receipt *steps.Receipt
	err     error
}

// Complete implements Completion.
func (w waiter) Complete(r *steps.Receipt, err error) steps.Flusher {
	own := *r
	own.Uploads = append([]steps.UploadReceipt(nil), r.Uploads...)
	for i := range own.Uploads {
		own.Uploads[i].Faults = append([]steps.Fault(nil), own.Uploads[i].Faults...)
	}
	w <- outcome{&own, err}
	return nil
}
