package ingest

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/protocol"
	"ayumi/protocol/native"
	"ayumi/steps"
)

// Directory is what the pipeline needs from the registry. It is asked for every upload.
type Directory interface {
	// Current reports whether the credential has been neither rotated nor revoked since.
	Current(id steps.Identity) bool
	// Active reports whether a device is registered and not revoked.
	Active(device steps.DeviceID) bool
	// Binding returns whose steps the device counted on a day.
	Binding(device steps.DeviceID, day steps.Day) (steps.ParticipantID, bool)
}

// Journal is what the pipeline needs from the store.
type Journal interface {
	// Append queues a commit, which it reads until it returns. While the queue is full it waits, and
	// calls beforeWait first unless that is nil. See Completion for what done is told.
	Append(ctx context.Context, c *steps.Commit, beforeWait func(), done steps.Completion) error
	// Quarantined returns one quarantined payload with its raw bytes.
	Quarantined(ctx context.Context, id steps.QuarantineID) (*steps.QuarantineEntry, error)
	// Resolve closes a quarantined payload without adding anything.
	Resolve(ctx context.Context, r steps.Resolution) error
}

// Limits are the programme's bounds on what a sample may be.
type Limits struct {
	Protocol       protocol.Limits
	MaxFuture      time.Duration // how far ahead of our clock an interval may start
	MaxAgeDays     int           // how many days back a sample may lie; 0 is no limit
	StepsPerMinute uint32        // more than this in a minute, or its multiple in a longer interval, is implausible
}

// DefaultLimits are those of docs/wire.md.
func DefaultLimits() Limits {
	return Limits{
		Protocol: protocol.DefaultLimits(), MaxFuture: 10 * time.Minute, MaxAgeDays: 42, StepsPerMinute: 300,
	}
}

// Pipeline turns payloads into durable commits. It is safe for concurrent use.
type Pipeline struct {
	limits   Limits
	calendar steps.Calendar
	dir      Directory
	journal  Journal
	clock    func() time.Time
	metrics  *metrics
	pool     sync.Pool // of *submission
	waiting  sync.Pool // of *waiting
}

// New returns a pipeline.
func New(limits Limits, cal steps.Calendar, dir Directory, j Journal, clock func() time.Time, reg prometheus.Registerer) *Pipeline {
	p := &Pipeline{limits: limits, calendar: cal, dir: dir, journal: j, clock: clock, metrics: newMetrics(reg)}
	p.pool.New = func() any {
		return &submission{p: p, decoder: native.NewDecoder(limits.Protocol)}
	}
	p.waiting.New = func() any { return &waiting{metrics: p.metrics} }
	return p
}

// Submit decodes and validates a payload and queues it for the store. done is told the outcome,
// unless Submit returns an error. It blocks while the store's queue is full, until ctx ends.
//
// Kinds: Unauthorized when the credential was rotated or revoked, Overload, Unavailable.
func (p *Pipeline) Submit(ctx context.Context, env *Envelope, done Completion) error {
	if !p.dir.Current(env.Identity) {
		return steps.Errorf("accept payload", steps.Unauthorized, "the credential of %s was rotated or revoked", env.Identity.Device)
	}
	s := p.pool.Get().(*submission)
	defer s.free()
	s.begin(env)
	s.take(env)
	env.Allowance.Spend(units(len(env.Body), len(s.commit.Receipt.Uploads), len(s.commit.Quarantine)), env.ReceivedAt)
	return s.send(ctx, env.BeforeWait, done)
}

// submission is one payload until it is queued. It is pooled with all the memory that it needs, so
// a goroutine that submits mostly finds the same in its processor's cache.
type submission struct {
	p       *Pipeline
	decoder *native.Decoder
	upload  steps.Upload
	counts  []uint32 // memory of the counts that are not the payload's own
	commit  steps.Commit
	days    [2]dayCache // of today, and of the last sample

	transport steps.Transport
	encoding  steps.Encoding
	via       steps.DeviceID // the reader that carries the current upload
	release   bool           // staff vouch for samples that are old or implausible
	now       int64
	today     steps.Day
	samples   int

	intervalsLeft int // that the payload's series may still have
}

func (s *submission) begin(env *Envelope) {
	s.transport, s.encoding = env.Transport, env.Encoding
	s.intervalsLeft = protocol.IntervalsPerPayload
	s.now = env.ReceivedAt.Unix()
	s.today, _, _ = s.days[0].at(s.p.calendar, s.now)
	s.commit.Receipt.ReceivedAt = s.now
	s.p.metrics.bytes[env.Transport].Add(float64(len(env.Body)))
}

// take decodes the payload and judges each upload in it.
func (s *submission) take(env *Envelope) {
	switch {
	case env.Topic != "":
		s.refuseAll(env, steps.ReasonTopic, "topic is none of the device's; publish to ayumi/v1/"+
			string(env.Identity.Device)+"/up/pb or up/json")
	case env.Bundle && !env.Identity.Reader:
		s.refuseAll(env, steps.ReasonNotReader, "the credential is no reader's; send single uploads")
	case env.Bundle:
		s.via = env.Identity.Device
		err := s.decoder.Bundle(&s.upload, env.Body, env.Encoding, s.takeCarried)
		if err != nil {
			s.refuseAll(env, steps.ReasonMalformed, err.Error())
		}
	default:
		err := s.decoder.Upload(&s.upload, env.Body, env.Encoding)
		s.takeUpload(env.Identity.Device, env.Body, err)
	}
}

// takeUpload judges a device's own upload.
func (s *submission) takeUpload(device steps.DeviceID, raw []byte, err error) {
	if err == nil && s.upload.Device != "" && s.upload.Device != device {
		err = steps.Errorf("accept upload", steps.Invalid,
			"device: %q is not the credential's device; leave the field out", s.upload.Device)
	}
	s.judge(device, raw, err)
}

// takeCarried judges one upload of a reader's bundle.
func (s *submission) takeCarried(raw []byte, u *steps.Upload, err error) {
	device := u.Device
	if device == "" {
		device = s.via // nobody else can be asked about it
		if err == nil {
			err = steps.Errorf("accept upload", steps.Invalid, "device is missing; a bundle names the device of each upload")
		}
	}
	s.judge(device, raw, err)
}

// judge turns a decoded upload of a device into runs and faults.
func (s *submission) judge(device steps.DeviceID, raw []byte, err error) {
	s.answer(device)
	s.receipt().Revision = s.upload.Revision // as far as it could be read
	if err != nil {
		s.fault(-1, steps.ReasonMalformed, err.Error())
		s.seal(raw)
		return
	}
	if (s.via != "" || s.release) && !s.p.dir.Active(device) { // otherwise the credential was just looked at
		s.fault(-1, steps.ReasonUnknownDevice, "device is not registered or was revoked; register it first")
		s.seal(raw)
		return
	}
	if !s.release {
		s.commit.Contacts = append(s.commit.Contacts, steps.Contact{
			Upload: len(s.commit.Receipt.Uploads) - 1, Device: device, SentAt: s.upload.SentAt, Status: s.upload.Status,
		})
	}
	for i := range s.upload.Series {
		s.place(device, i, &s.upload.Series[i])
	}
	s.seal(raw)
}

// refuseAll quarantines the payload as a whole.
func (s *submission) refuseAll(env *Envelope, reason steps.Reason, detail string) {
	s.answer(env.Identity.Device)
	s.fault(-1, reason, detail)
	s.seal(env.Body)
	q := &s.commit.Quarantine[len(s.commit.Quarantine)-1]
	q.Topic, q.Bundle, q.Via = clip(env.Topic), env.Bundle, ""
}

// clip bounds a topic that goes into a record.
func clip(topic string) string { return topic[:min(len(topic), 256)] }

// answer opens the receipt of the next upload.
func (s *submission) answer(device steps.DeviceID) {
	r := &s.commit.Receipt
	if len(r.Uploads) < cap(r.Uploads) {
		r.Uploads = r.Uploads[:len(r.Uploads)+1]
	} else {
		r.Uploads = append(r.Uploads, steps.UploadReceipt{})
	}
	u := s.receipt()
	*u = steps.UploadReceipt{Device: device, Verdict: steps.Stored, Faults: u.Faults[:0]}
}

// receipt returns the current upload's receipt.
func (s *submission) receipt() *steps.UploadReceipt {
	u := s.commit.Receipt.Uploads
	return &u[len(u)-1]
}

// fault notes why a series, or with -1 the whole upload, is not accepted. A series gets one fault.
func (s *submission) fault(series int, reason steps.Reason, detail string) {
	u := s.receipt()
	if n := len(u.Faults); n > 0 && u.Faults[n-1].Series == series && series >= 0 {
		return
	}
	u.Faults = append(u.Faults, steps.Fault{Series: series, Reason: reason, Detail: detail})
}

// seal closes the current upload: what has a fault goes to quarantine, with its raw bytes.
func (s *submission) seal(raw []byte) {
	u := s.receipt()
	if len(u.Faults) == 0 {
		return
	}
	if n := len(s.commit.Runs); n == 0 || s.commit.Runs[n-1].Upload != len(s.commit.Receipt.Uploads)-1 {
		u.Verdict = steps.Quarantined
	}
	u.Quarantine = steps.NewQuarantineID(u.Device, raw)
	s.commit.Quarantine = append(s.commit.Quarantine, steps.QuarantineEntry{
		ID: u.Quarantine, ReceivedAt: s.now, Device: u.Device, Via: s.via,
		Transport: s.transport, Encoding: s.encoding,
		Faults: append([]steps.Fault(nil), u.Faults...), Raw: append([]byte(nil), raw...),
	})
}

// send queues the commit. Without an error, done will be told the outcome.
func (s *submission) send(ctx context.Context, beforeWait func(), done Completion) error {
	w := s.p.waiting.Get().(*waiting)
	w.p, w.done, w.transport, w.samples = s.p, done, s.transport, s.samples
	err := s.p.journal.Append(ctx, &s.commit, beforeWait, w)
	if err != nil {
		s.p.metrics.failures[s.transport].Inc()
		w.free()
	}
	return err
}

// waiting is what is left of a payload while it is queued.
type waiting struct {
	p         *Pipeline
	metrics   *metrics
	done      Completion
	transport steps.Transport
	samples   int
}

// Complete counts the outcome and passes it on.
func (w *waiting) Complete(r *steps.Receipt, err error) steps.Flusher {
	w.metrics.count(w.transport, w.samples, r, err)
	done := w.done
	w.free()
	return done.Complete(r, err)
}

func (w *waiting) free() {
	w.done = nil
	w.p.waiting.Put(w)
}

// Memory that one unusually large payload needed is not kept.
const (
	maxPooledCounts = 16 << 10
	maxPooledRuns   = 1 << 10
)

func (s *submission) free() {
	c := &s.commit
	held := cap(s.counts)
	for _, series := range s.upload.Series[:cap(s.upload.Series)] {
		held += cap(series.Counts)
	}
	if held > maxPooledCounts || cap(c.Runs) > maxPooledRuns || cap(s.upload.Series) > maxPooledRuns {
		return // to the garbage collector
	}
	clear(c.Quarantine)
	clear(c.Runs)
	clear(c.Contacts)
	s.commit = steps.Commit{
		Runs: c.Runs[:0], Contacts: c.Contacts[:0], Quarantine: c.Quarantine[:0],
		Receipt: steps.Receipt{Uploads: c.Receipt.Uploads[:0]},
	}
	s.counts, s.via, s.release, s.samples = s.counts[:0], "", false, 0
	s.p.pool.Put(s)
}
