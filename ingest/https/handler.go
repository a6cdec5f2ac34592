package https

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"ayumi/ingest"
	"ayumi/problem"
	"ayumi/steps"
)

// exchange is one request and its answer, which is written in one go at the end.
type exchange struct {
	s     *Server
	w     http.ResponseWriter
	r     *http.Request
	route string
	id    steps.Identity
	// What the device may still upload.
	allowance *ingest.Allowance
	code      int  // status of the answer, 0 before it
	bytes     int  // of the body as received
	whole     bool // the body was read to its end
}

// Handler returns the routes without the listener around them: no timeouts of the connection, and
// no bound on connections.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	x := &exchange{s: s, w: w, r: r, route: routeOther}
	start := s.cfg.Now()
	defer func() {
		cut := x.recovered(recover())
		if x.code == 0 { // net/http would answer 200
			x.fail(steps.Errorf("answer request", steps.Internal, "no answer was written"))
		}
		d := s.cfg.Now().Sub(start)
		s.m.observe(x.route, x.code, d)
		if s.log.Enabled(r.Context(), slog.LevelDebug) {
			s.log.LogAttrs(r.Context(), slog.LevelDebug, "https request", slog.String("route", x.route),
				slog.String("method", methodLabel(r.Method)), slog.Int("code", x.code), slog.String("device", string(x.id.Device)),
				slog.Int("bytes", x.bytes), slog.Duration("took", d))
		}
		if cut {
			panic(http.ErrAbortHandler)
		}
		x.linger()
	}()
	switch r.URL.Path {
	case "/v1/uploads":
		x.route = routeUploads
		x.dispatch("POST, OPTIONS", x.upload, r.Method == http.MethodPost)
	case "/v1/days":
		x.route = routeDays
		x.dispatch("GET, HEAD, OPTIONS", x.ownDays, r.Method == http.MethodGet || r.Method == http.MethodHead)
	default:
		if day, ok := strings.CutPrefix(r.URL.Path, "/v1/days/"); ok {
			x.route = routeDays
			x.dispatch("GET, HEAD, OPTIONS", func() { x.ownDay(day) }, r.Method == http.MethodGet || r.Method == http.MethodHead)
			return
		}
		x.problem(newProblem(problem.Of(steps.NotFound), "nothing is at this path; send uploads by POST to /v1/uploads, read your days by GET from /v1/days"))
	}
}

// recovered handles what a panic left behind and reports whether the connection must be cut off.
func (x *exchange) recovered(v any) (cut bool) {
	if v == nil {
		return false
	}
	if v == http.ErrAbortHandler {
		return true
	}
	x.s.m.panics.Inc()
	x.s.log.Error("https request panicked", "route", x.route, "panic", v, "stack", string(debug.Stack()))
	if x.code != 0 {
		return true // an answer has begun; nobody must take it for whole
	}
	x.problem(problemOf(nil))
	return false
}

// dispatch answers by handle if the method fits, holding one of the MaxInFlight places.
func (x *exchange) dispatch(allow string, handle func(), fits bool) {
	if x.r.Method == http.MethodOptions {
		x.w.Header().Set("Allow", allow)
		x.reply(http.StatusNoContent, "", nil)
		return
	}
	if !fits {
		x.problem(newProblem(problemMethod, "use one of "+allow).with("Allow", allow))
		return
	}
	if !x.authenticate() {
		return
	}
	x.allowance = x.s.cfg.Allowances.Hold(x.id)
	defer x.s.cfg.Allowances.Release(x.allowance)
	if !x.allowance.Begin(x.s.cfg.RequestsPerDevice) {
		x.throttled(0, "the device has "+strconv.Itoa(x.s.cfg.RequestsPerDevice)+" requests (RequestsPerDevice) under way")
		return
	}
	defer x.allowance.End()
	if wait := x.allowance.Wait(x.s.cfg.Now()); wait > 0 {
		x.throttled(wait, "the device has used up its allowance")
		return
	}
	if !x.s.enter(x.r.Context()) {
		x.s.m.shed.Inc()
		x.problem(newProblem(problemBusy, "more than "+strconv.Itoa(x.s.cfg.MaxInFlight)+
			" requests (MaxInFlight) are being handled; send the same again after the time in Retry-After"))
		return
	}
	defer x.s.leave()
	handle()
}

// throttled answers a device that asks for too much. Nothing of it was taken; it may come back after
// the wait. The answer is held back for up to MaxWait of that, which slows whoever comes back at once.
func (x *exchange) throttled(wait time.Duration, why string) {
	x.s.m.throttled.Inc()
	if wait > 0 {
		t := time.NewTimer(min(wait, x.s.cfg.MaxWait))
		defer t.Stop()
		select {
		case <-t.C:
		case <-x.r.Context().Done():
		case <-x.s.stopped.Done():
		}
	}
	x.problem(problemOf(steps.Errorf("take the request", steps.Overload,
		"%s; send the same again after the time in Retry-After", why)).with("Retry-After", x.s.retryAfter(wait)))
}

// enter takes a place, waiting for one up to MaxWait. As many as there are places may wait; so many
// at once are a stall, and who comes then is sent away at once.
func (s *Server) enter(ctx context.Context) bool {
	select {
	case s.places <- struct{}{}:
		s.m.inFlight.Inc()
		return true
	default:
	}
	select {
	case s.waiting <- struct{}{}:
		defer func() { <-s.waiting }()
	default:
		return false
	}
	t := time.NewTimer(s.cfg.MaxWait)
	defer t.Stop()
	select {
	case s.places <- struct{}{}:
		s.m.inFlight.Inc()
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

func (s *Server) leave() {
	s.m.inFlight.Dec()
	<-s.places
}

// authenticate sets the identity, or answers the refusal and returns false.
func (x *exchange) authenticate() bool {
	device, secret, ok := credential(x.r)
	if !ok {
		x.problem(problemOf(steps.E("authenticate", steps.Unauthorized, nil)))
		return false
	}
	id, err := x.s.gw.Authenticate(device, secret)
	if err == nil {
		x.id = id
		return true
	}
	switch steps.KindOf(err) {
	case steps.Invalid, steps.NotFound: // as Unauthorized: do not tell which devices exist
		err = steps.E("authenticate", steps.Unauthorized, err)
	}
	x.fail(err)
	return false
}

// credential reads HTTP Basic authentication (RFC 7617). The user-id is the device ID, in which a
// colon is written as %3A.
func credential(r *http.Request) (steps.DeviceID, []byte, bool) {
	if len(r.Header["Authorization"]) != 1 {
		return "", nil, false
	}
	user, password, ok := r.BasicAuth()
	if !ok || password == "" {
		return "", nil, false
	}
	if strings.Contains(user, "%") { // never part of an ID, so nothing is ambiguous
		var err error
		if user, err = url.PathUnescape(user); err != nil {
			return "", nil, false
		}
	}
	device, err := steps.ParseDeviceID(user)
	if err != nil {
		return "", nil, false
	}
	return device, []byte(password), true
}

// fail answers err by its kind. Our own bugs are logged here, since nobody else sees them.
func (x *exchange) fail(err error) {
	if steps.KindOf(err) == steps.Internal {
		x.s.log.Error("https request failed", "route", x.route, "device", x.id.Device, "error", err)
	}
	x.problem(problemOf(err))
}

// problem answers with a problem document.
func (x *exchange) problem(p *document) {
	h := x.w.Header()
	if p.Status == http.StatusTooManyRequests || p.Status == http.StatusServiceUnavailable {
		h.Set("Retry-After", x.s.retryAfter(0))
	}
	for _, f := range p.header {
		h.Set(f[0], f[1])
	}
	if !x.whole && x.r.ContentLength != 0 && x.r.ProtoMajor == 1 {
		// Without it, net/http reads what is left of the body before it sends the answer.
		h.Set("Connection", "close")
	}
	x.reply(p.Status, "application/problem+json", p.marshal())
}

// retryAfter returns seconds (RFC 9110 section 10.2.3), at least least, spread so that those who were
// turned away together do not come back together.
func (s *Server) retryAfter(least time.Duration) string {
	base := max(1, int64(s.cfg.RetryAfter/time.Second), int64((least+time.Second-1)/time.Second))
	return strconv.FormatInt(base+s.cfg.Rand(base+1), 10)
}

// reply writes the answer.
func (x *exchange) reply(status int, contentType string, body []byte) {
	h := x.w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if contentType != "" {
		h.Set("Content-Type", contentType)
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	x.code = status
	x.w.WriteHeader(status)
	if len(body) > 0 && x.r.Method != http.MethodHead {
		_, _ = x.w.Write(body) // a client that left sends again
	}
}

// linger lets an HTTP/2 client whose body was refused unread take the answer before net/http resets
// the stream. A client must not discard the answer for that reset (RFC 9113 section 8.1), but clients
// in the field do (curl 7.88 fails with "transfer closed"). HTTP/1 lingers in net/http, as long.
func (x *exchange) linger() {
	if x.whole || x.code < http.StatusBadRequest || x.r.ContentLength == 0 || x.r.ProtoMajor != 2 {
		return
	}
	c := http.NewResponseController(x.w)
	if c.Flush() == nil && c.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.Copy(io.Discard, x.r.Body)
	}
}

// gone ends an exchange whose client left. Merely returning would make net/http answer 200.
func (x *exchange) gone() {
	x.code = codeGone
	panic(http.ErrAbortHandler)
}

func methodLabel(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodOptions:
		return m
	}
	return "other"
}
