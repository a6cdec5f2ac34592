package https

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"ayumi/ingest"
	"ayumi/steps"
)

// upload answers POST /v1/uploads.
func (x *exchange) upload() {
	f, refused := negotiate(x.r.Header)
	if refused != nil {
		x.problem(refused)
		return
	}
	body, refused := x.readBody(f.coding)
	if refused != nil {
		x.problem(refused)
		return
	}
	// Not the request's context: it ends when the client closes its sending half, or when ReadTimeout
	// passes during the commit, and either may still read the answer.
	ctx, cancel := context.WithTimeout(x.s.base, x.s.cfg.CommitTimeout)
	defer cancel()
	p := newPending(x.s, f.encoding)
	err := x.s.gw.Submit(ctx, &ingest.Envelope{
		Identity:   x.id,
		Transport:  steps.HTTPS,
		Encoding:   f.encoding,
		Bundle:     f.bundle,
		ReceivedAt: x.s.cfg.Now(),
		Body:       body.b,
		Allowance:  x.allowance,
	}, p)
	x.s.buffers.put(body)
	switch {
	case err == nil:
		x.settle(ctx, p)
	case ctx.Err() != nil && errors.Is(err, ctx.Err()) && steps.KindOf(err) == steps.Internal:
		x.unconfirmed()
	default:
		x.fail(err)
	}
}

// settle waits for the commit and answers its outcome.
func (x *exchange) settle(ctx context.Context, p *pending) {
	if !p.wait(ctx) {
		x.unconfirmed()
		return
	}
	switch {
	case p.err != nil:
		x.fail(p.err)
	case p.refusal != nil:
		x.problem(p.refusal)
	default:
		x.reply(http.StatusOK, contentType(p.encoding), p.receipt.b)
		x.s.buffers.put(p.receipt)
	}
}

func (x *exchange) unconfirmed() {
	x.s.m.timeouts.Inc()
	x.problem(newProblem(problemUnconfirmed, fmt.Sprintf("whether the upload was stored was not known within %v (CommitTimeout); "+
		"send the same again after the time in Retry-After, it counts once", x.s.cfg.CommitTimeout)))
}
