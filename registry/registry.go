package registry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ayumi/steps"
)

// Records is what the registry needs from the store: a small durable key-value table.
type Records interface {
	// Load calls fn for every record of the table in key order. The value is valid during fn only.
	Load(fn func(key string, value []byte) error) error
	// Apply makes all changes durable together, or none. A nil value deletes. An error means that
	// nothing was changed.
	Apply(ctx context.Context, changes []steps.Change) error
}

// Config holds what the registry takes from its surroundings.
type Config struct {
	Rand       io.Reader             // source of secrets; crypto/rand when nil
	Clock      func() time.Time      // time.Now when nil
	Calendar   steps.Calendar        // cuts the clock into programme days
	Registerer prometheus.Registerer // receives the metrics; none when nil
}

// Kind says what a device is.
type Kind uint8

// The kinds, as stored.
const (
	Pedometer Kind = 1 // a communicating pedometer
	App       Kind = 2 // one installation of the smartphone app
	Reader    Kind = 3 // a terminal that carries other devices' uploads
)

var kindNames = [...]string{"", "pedometer", "app", "reader"}

// String returns the kind's name.
func (k Kind) String() string {
	if k > 0 && int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// ParseKind reads a kind's name.
func ParseKind(s string) (Kind, error) {
	for i, n := range kindNames {
		if i > 0 && n == s {
			return Kind(i), nil
		}
	}
	return 0, steps.Errorf("parse device kind", steps.Invalid, "%q is none; use pedometer, app or reader", clip(s))
}

// MarshalText writes the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the kind's name.
func (k *Kind) UnmarshalText(b []byte) (err error) {
	*k, err = ParseKind(string(b))
	return err
}

// Device is one credential.
type Device struct {
	ID         steps.DeviceID
	Kind       Kind
	Since      steps.Day // day of registration
	Revoked    bool
	Generation uint64
}

// Participant is a person who takes part.
type Participant struct {
	ID    steps.ParticipantID
	Born  *steps.Day // nil when unknown
	Since steps.Day  // day of registration
	Traits

	Sources []steps.DeviceID // the participant's order of devices; empty: by ID
	Chosen  steps.DeviceID   // the one device that counts where one may; "": the first that counted
}

// unknownBorn stands for a birth date that is not known. Day 0 is a birthday like any other.
const unknownBorn steps.Day = math.MinInt32

// device is the memory of one device. It is replaced, never changed, so a reader may keep it
// without a lock.
type device struct {
	hash       [sha256.Size]byte
	generation uint64
	since      steps.Day
	kind       Kind
	revoked    bool
	bindings   []binding // in the order they were made; ascending and disjoint but for cancelled ones
}

type binding struct {
	participant steps.ParticipantID
	days        steps.DayRange
}

// participant is the memory of one participant; replaced, never changed.
type participant struct {
	born    steps.Day
	since   steps.Day
	devices []steps.DeviceID // every device that was ever bound to the participant
	traits  *Traits          // nil for none, as of most
	sources []steps.DeviceID // the participant's order of them
	chosen  steps.DeviceID
}

// Registry is safe for concurrent use.
type Registry struct {
	rec     Records
	rand    io.Reader
	now     func() time.Time
	cal     steps.Calendar
	metrics *metrics

	write        chan struct{} // held by the one writer
	devices      *table[steps.DeviceID, device]
	participants *table[steps.ParticipantID, participant]
	nobody       device // stands in for an unknown device, so that it costs the same work
}

// Open reads all records into memory.
func Open(rec Records, cfg Config) (*Registry, error) {
	r := &Registry{
		rec: rec, rand: cfg.Rand, now: cfg.Clock, cal: cfg.Calendar,
		metrics:      newMetrics(),
		write:        make(chan struct{}, 1),
		devices:      newTable[steps.DeviceID, device](),
		participants: newTable[steps.ParticipantID, participant](),
	}
	if r.rand == nil {
		r.rand = rand.Reader
	}
	if r.now == nil {
		r.now = time.Now
	}
	// A hash that nobody knows a preimage of: no secret ever matches it.
	if _, err := io.ReadFull(r.rand, r.nobody.hash[:]); err != nil {
		return nil, steps.Errorf("open registry", steps.Internal, "read randomness: %w", err)
	}
	if err := r.load(); err != nil {
		return nil, steps.E("open registry", steps.KindOf(err), err)
	}
	r.count()
	if cfg.Registerer != nil {
		if err := r.metrics.register(cfg.Registerer); err != nil {
			return nil, steps.Errorf("open registry", steps.Internal, "register metrics: %w", err)
		}
	}
	return r, nil
}

// load fills the memory. Devices come before participants in key order, so what refers to a
// participant is linked afterwards.
func (r *Registry) load() error {
	var bound []steps.DeviceID
	err := r.rec.Load(func(key string, value []byte) error {
		switch id, table := splitKey(key); table {
		case deviceKeys:
			d, err := decodeDevice(value)
			if err != nil {
				return fmt.Errorf("record %q: %w", key, err)
			}
			r.devices.put(steps.DeviceID(id), d)
			if len(d.bindings) > 0 {
				bound = append(bound, steps.DeviceID(id))
			}
		case participantKeys:
			p, err := decodeParticipant(value)
			if err != nil {
				return fmt.Errorf("record %q: %w", key, err)
			}
			r.participants.put(steps.ParticipantID(id), p)
		default:
			return fmt.Errorf("record %q belongs to no table of this version; open it with the ayumi that wrote it", key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.link(bound)
}

// link fills in every participant's devices. It writes in place, which is safe before Open returns.
func (r *Registry) link(bound []steps.DeviceID) error {
	for _, id := range bound {
		bindings := r.devices.get(id).bindings
		for i := range bindings {
			b := &bindings[i]
			p, name := r.participants.find(b.participant)
			if p == nil {
				return fmt.Errorf("record %q is bound to participant %q, who is not on record; restore the registry from a backup",
					deviceKey(id), b.participant)
			}
			b.participant = name // share one copy of the string
			p.devices = withDevice(p.devices, id)
		}
	}
	return nil
}

func (r *Registry) count() {
	r.metrics.devices.Set(float64(r.devices.len()))
	r.metrics.participants.Set(float64(r.participants.len()))
}

// Today returns the programme day of the clock.
func (r *Registry) Today() steps.Day { return r.cal.Day(r.now().Unix()) }

// clip shortens what somebody typed before it goes into a message.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
