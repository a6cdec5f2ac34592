package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"ayumi/problem"
	"ayumi/registry"
	"ayumi/steps"
)

const (
	maxBody         = 1 << 20   // of a JSON request or a problem document
	maxProvision    = 256 << 20 // of a provisioning file
	defaultSettle   = 30 * time.Second
	defaultWrite    = 30 * time.Second
	headerWait      = 10 * time.Second
	idleWait        = 2 * time.Minute
	shutdownWait    = 500 * time.Millisecond
	typeJSON        = "application/json"
	defaultPageSize = 100
)

// Config says where and as what the server appears.
type Config struct {
	DataDir   string
	Version   string
	Addresses map[string]string // by listener, for status
	CAFile    string            // for status; empty when the certificate is not of our making
	Calendar  steps.Calendar
	// For status: uploads a second that one device, and one reader, may keep up; 0 is no limit.
	DeviceRate, ReaderRate int
	Clock                  func() time.Time // time.Now when nil
	Logger                 *slog.Logger     // slog.Default when nil
	// SettleWait bounds how long a listing of days waits for points; 0 is 30 s.
	SettleWait time.Duration
	// WriteWait bounds how long a client may leave an answer unread; 0 is 30 s.
	WriteWait time.Duration
}

// Deps is what the server serves. All are needed.
type Deps struct {
	Registry   Registry
	Days       Days
	Quarantine Quarantine
	Devices    Devices
	Explain    Explainer
	Rules      Rules
	Ledger     Ledger
	Closing    Closing
	Closed     ClosedDays
	Reviews    Reviews
	Reviewer   Reviewer
	Prizes     Prizes
	Exchanges  Exchanges
	Activities Activities
	// Pays reports whether the rules of a day pay for an activity.
	Pays func(day steps.Day, kind steps.ActivityKind) bool
	// Rescore computes a participant's points anew after the date of birth changed.
	Rescore func(ctx context.Context, p steps.ParticipantID) error
	// Reorder totals a participant's days anew in an order of sources that update stores.
	Reorder func(ctx context.Context, p steps.ParticipantID, update func(context.Context) error) error
}

// Server is the API on admin.sock.
type Server struct {
	cfg     Config
	d       Deps
	started time.Time
	l       net.Listener
	socket  fs.FileInfo
	http    *http.Server
	close   func() error
}

// New opens the socket; clients can connect from here on and are answered by Run. It fails with
// Conflict if another gateway answers on the socket. Close must be called in any case.
func New(cfg Config, d Deps) (*Server, error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.SettleWait <= 0 {
		cfg.SettleWait = defaultSettle
	}
	if cfg.WriteWait <= 0 {
		cfg.WriteWait = defaultWrite
	}
	s := &Server{cfg: cfg, d: d, started: cfg.Clock()}
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: headerWait,
		IdleTimeout:       idleWait,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn),
	}
	var err error
	if s.l, s.socket, err = listen(cfg.DataDir); err != nil {
		return nil, err
	}
	s.close = sync.OnceValue(func() error {
		err := errors.Join(unlink(cfg.DataDir, s.socket), s.http.Close())
		if lerr := s.l.Close(); lerr != nil && !errors.Is(lerr, net.ErrClosed) {
			err = errors.Join(err, lerr)
		}
		return err
	})
	return s, nil
}

// Run serves until ctx ends, waits a few seconds for answers under way and closes the socket.
func (s *Server) Run(ctx context.Context) error {
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownWait)
		defer cancel()
		stopped <- s.http.Shutdown(wait)
	})
	err := s.http.Serve(s.l)
	if !stop() {
		err = <-stopped
	}
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, context.DeadlineExceeded) {
		err = nil // closed by Close, or cut off those that did not finish
	}
	return errors.Join(err, s.Close())
}

// Close ends all connections and removes the socket. It may be called more than once.
func (s *Server) Close() error { return s.close() }

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range s.handlers() {
		mux.HandleFunc(pattern, s.handle(pattern, h))
	}
	return mux
}

// handlers is the API, by method and path.
func (s *Server) handlers() map[string]func(http.ResponseWriter, *http.Request) error {
	return map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /v1/participants":                             s.listParticipants,
		"POST /v1/participants":                            s.addParticipant,
		"GET /v1/participants/{id}":                        s.participant,
		"PATCH /v1/participants/{id}":                      s.updateParticipant,
		"GET /v1/devices":                                  s.listDevices,
		"POST /v1/devices":                                 s.addDevice,
		"GET /v1/devices/{id}":                             s.device,
		"POST /v1/devices/{id}/rotate":                     s.rotate,
		"POST /v1/devices/{id}/revoke":                     s.revoke,
		"POST /v1/devices/{id}/restore":                    s.restore,
		"POST /v1/devices/{id}/bind":                       s.bind,
		"POST /v1/devices/{id}/unbind":                     s.unbind,
		"POST /v1/provision":                               s.provision,
		"GET /v1/days":                                     s.listDays,
		"GET /v1/participants/{id}/days/{day}/explanation": s.explanation,
		"GET /v1/quarantine":                               s.listQuarantine,
		"GET /v1/quarantine/{id}":                          s.quarantined,
		"POST /v1/quarantine/{id}/release":                 s.release,
		"POST /v1/quarantine/{id}/discard":                 s.discard,

		"GET /v1/participants/{id}/balance":                   s.balance,
		"GET /v1/participants/{id}/statement":                 s.statement,
		"POST /v1/participants/{id}/entries":                  s.postEntry,
		"GET /v1/participants/{id}/activities":                s.listActivities,
		"POST /v1/participants/{id}/activities":               s.addActivity,
		"POST /v1/participants/{id}/activities/cancel":        s.cancelActivity,
		"GET /v1/balances":                                    s.listBalances,
		"GET /v1/totals":                                      s.totals,
		"GET /v1/closed":                                      s.listClosed,
		"POST /v1/closed":                                     s.closeDays,
		"GET /v1/late":                                        s.listLate,
		"POST /v1/late/discard":                               s.discardLate,
		"GET /v1/reviews":                                     s.listReviews,
		"POST /v1/reviews/run":                                s.runReview,
		"GET /v1/participants/{id}/days/{day}/review":         s.review,
		"POST /v1/participants/{id}/days/{day}/review/clear":  s.clearReview,
		"POST /v1/participants/{id}/days/{day}/review/uphold": s.upholdReview,
		"POST /v1/participants/{id}/days/{day}/review/appeal": s.appealReview,
		"GET /v1/periods":                                     s.listPeriods,
		"POST /v1/periods/{id}/expire":                        s.expire,
		"GET /v1/prizes":                                      s.listPrizes,
		"PUT /v1/prizes/{id}":                                 s.putPrize,
		"GET /v1/exchanges":                                   s.listExchanges,
		"POST /v1/exchanges":                                  s.requestExchange,
		"GET /v1/exchanges/{id}":                              s.exchange,
		"POST /v1/exchanges/{id}/ship":                        s.ship,
		"POST /v1/exchanges/{id}/cancel":                      s.cancel,

		"GET /v1/rules":         s.showRules,
		"POST /v1/rules/try":    s.tryRules,
		"POST /v1/rules/reload": s.reloadRules,

		"GET /v1/calendar": s.calendar,
		"GET /v1/status":   s.status,
		"/":                s.unknown,
	}
}

// handle answers a handler's error as a problem and notes the request without its content.
func (s *Server) handle(pattern string, h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil {
			s.cfg.Logger.Debug("admin request", "route", pattern)
			return
		}
		if steps.KindOf(err) == steps.Internal {
			s.cfg.Logger.Error("admin request failed", "route", pattern, "error", err)
		}
		p := problemOf(err)
		w.Header().Set("Content-Type", problem.MediaType)
		s.write(w, p.Status, p)
	}
}

func (s *Server) unknown(_ http.ResponseWriter, r *http.Request) error {
	return steps.Errorf("find route", steps.NotFound, "there is no %s %s in version %s", r.Method, r.URL.Path, s.cfg.Version)
}

// reply answers with a JSON document.
func (s *Server) reply(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", typeJSON)
	w.Header().Set("Cache-Control", "no-store")
	s.write(w, status, v)
	return nil
}

// write sends a document. A client that has left cannot be told anything, so errors end here.
func (s *Server) write(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic("admin: an answer cannot be marshalled: " + err.Error())
	}
	if err := s.extend(w); err != nil {
		return
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

// extend gives the client WriteWait from now to take what is written next.
func (s *Server) extend(w http.ResponseWriter) error {
	return http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.cfg.WriteWait))
}

func (s *Server) today() steps.Day { return s.cfg.Calendar.Day(s.cfg.Clock().Unix()) }

func (s *Server) calendar(w http.ResponseWriter, _ *http.Request) error {
	return s.reply(w, http.StatusOK, Calendar{Zone: s.cfg.Calendar.Location().String(), Today: s.today()})
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) error {
	return s.reply(w, http.StatusOK, Status{Version: s.cfg.Version, Addresses: s.cfg.Addresses,
		DataDir: s.cfg.DataDir, CAFile: s.cfg.CAFile, StartedAt: s.started.UTC(),
		DeviceRate: s.cfg.DeviceRate, ReaderRate: s.cfg.ReaderRate})
}

// decode reads a JSON request strictly. An empty body is an empty object.
func decode(w http.ResponseWriter, r *http.Request, v any) error {
	const op = "read request"
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return steps.Errorf(op, steps.Invalid, "%w", err)
	}
	if len(bytes.TrimSpace(body)) == 0 {
		body = []byte("{}")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		var e *steps.Error
		if errors.As(err, &e) {
			return e // a date or a kind, with its own remedy
		}
		return steps.Errorf(op, steps.Invalid, "the body is not the JSON expected here: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return steps.Errorf(op, steps.Invalid, "there is something behind the JSON document; send one")
	}
	return nil
}

// params reads a query strictly.
func params(r *http.Request, allowed ...string) (url.Values, error) {
	const op = "read query"
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, steps.E(op, steps.Invalid, err)
	}
	for name, values := range q {
		if !slices.Contains(allowed, name) {
			return nil, steps.Errorf(op, steps.Invalid, "there is no parameter %q; use %s", name, strings.Join(allowed, ", "))
		}
		if len(values) > 1 {
			return nil, steps.Errorf(op, steps.Invalid, "parameter %q is given %d times; give it once", name, len(values))
		}
	}
	return q, nil
}

// page reads after and limit.
func page(r *http.Request) (after string, limit int, err error) {
	q, err := params(r, "after", "limit")
	if err != nil {
		return "", 0, err
	}
	limit = defaultPageSize
	if s := q.Get("limit"); s != "" {
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 || limit > registry.MaxPage {
			return "", 0, steps.Errorf("read query", steps.Invalid, "limit %q is no number from 1 to %d", s, registry.MaxPage)
		}
	}
	return q.Get("after"), limit, nil
}

func flag(q url.Values, name string) (bool, error) {
	s := q.Get(name)
	if s == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, steps.E("read query", steps.Invalid, fmt.Errorf("%s is %q; use true or false", name, s))
	}
	return b, nil
}
