package steps

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Transport says which listener an upload came through.
type Transport uint8

// The transports, as stored.
const (
	MQTT   Transport = 1
	HTTPS  Transport = 2
	Broker Transport = 3
	Staff  Transport = 4 // released from quarantine
)

var transportNames = [...]string{"", "mqtt", "https", "broker", "staff"}

// String returns the transport's name.
func (t Transport) String() string {
	if t > 0 && int(t) < len(transportNames) {
		return transportNames[t]
	}
	return fmt.Sprintf("transport(%d)", uint8(t))
}

// Encoding says how a payload is written.
type Encoding uint8

// The encodings, as stored.
const (
	Protobuf Encoding = 1
	JSON     Encoding = 2
)

var encodingNames = [...]string{"", "pb", "json"}

// String returns the encoding's name as it stands in a topic.
func (e Encoding) String() string {
	if e > 0 && int(e) < len(encodingNames) {
		return encodingNames[e]
	}
	return fmt.Sprintf("encoding(%d)", uint8(e))
}

// Run is a stretch of counts inside one day of one participant and one device: what the store
// merges. Each of its intervals is one cell (participant, device, day, interval, index) and the
// merge law is applied cell by cell. Device and revision are those of the upload's receipt.
type Run struct {
	Participant ParticipantID
	Day         Day
	Interval    uint32 // seconds, a multiple of 60 that divides 86,400
	First       int    // index of the first interval in the day
	Origin      Origin
	Counts      []uint32
	Upload      int // index of the upload in the commit's receipt
}

// Contact is the trace that an upload leaves on its device, whatever became of its samples.
type Contact struct {
	Upload int // index of the upload in the commit's receipt
	Device DeviceID
	SentAt int64 // device clock, UTC seconds, 0 when absent
	Status DeviceStatus
}

// QuarantineEntry is a payload, or one upload of a bundle, of which something was not accepted.
type QuarantineEntry struct {
	ID         QuarantineID
	ReceivedAt int64    // UTC seconds
	Device     DeviceID // whose data it is
	Via        DeviceID // the reader that carried it, empty otherwise
	Transport  Transport
	Encoding   Encoding
	Bundle     bool   // Raw is a whole bundle rather than one upload
	Topic      string // MQTT topic, when it is the fault
	Faults     []Fault
	Raw        []byte
	Decision   Decision
}

// Decision is what staff decided about a quarantined payload. The zero Decision is open.
type Decision struct {
	State  DecisionState
	At     int64  // UTC seconds
	By     string // who decided
	Reason string
}

// DecisionState is the state of a quarantined payload.
type DecisionState uint8

// The states, as stored.
const (
	Open      DecisionState = 0
	Released  DecisionState = 1
	Discarded DecisionState = 2
)

var decisionNames = [...]string{"open", "released", "discarded"}

// String returns the state's name.
func (s DecisionState) String() string {
	if int(s) < len(decisionNames) {
		return decisionNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// NewQuarantineID derives the ID of a device's raw payload: 128 bits of SHA-256, in hex.
func NewQuarantineID(device DeviceID, raw []byte) QuarantineID {
	h := sha256.New()
	h.Write([]byte(device))
	h.Write([]byte{0})
	h.Write(raw)
	return QuarantineID(hex.EncodeToString(h.Sum(nil)[:16]))
}

// Completion is told the outcome of one payload.
type Completion interface {
	// Complete is called exactly once, from the store's committer: it must not block and must not
	// keep r. With err == nil the payload is on disk, stored or quarantined, and may be
	// acknowledged; otherwise it may not be. An acknowledgement that waits for others to go with
	// it is returned, and flushed soon; nil is none.
	Complete(r *Receipt, err error) Flusher
}

// Flusher holds what completions have left to be sent. Flush sends it, without blocking; whoever
// called Complete calls it after the completions that follow at once.
type Flusher interface{ Flush() }

// Commit is all that one payload adds to the store. It becomes durable as a whole or not at all.
type Commit struct {
	Runs       []Run     // ascending by Upload
	Contacts   []Contact // ascending by Upload, at most one each
	Quarantine []QuarantineEntry
	// Resolve, when set, closes a quarantined payload together with the runs that its release adds.
	Resolve *Resolution
	// Receipt comes with every upload's provisional verdict. The store fills in Record, turns
	// Stored into Duplicate where no cell changed, and counts conflicts.
	Receipt Receipt
}

// Resolution is a decision about one quarantined payload.
type Resolution struct {
	ID       QuarantineID
	Decision Decision
}

// ParticipantDay is the unit in which steps are kept and points are awarded.
type ParticipantDay struct {
	Participant ParticipantID
	Day         Day
}

// DayTotal is the merged count of a participant's day.
type DayTotal struct {
	ParticipantDay
	Steps uint64
	// Coarse says that some of the day's records are longer than a minute. Who reads totals alone does not learn it.
	Coarse bool
}

// Points is an amount of points.
type Points int64

// DirtyDay is a day of which something changed since it was scored: steps, activities, what was sent.
type DirtyDay struct {
	ParticipantDay
	Mark uint64 // rises with every change of the day
}

// Award is what a participant's day earned.
type Award struct {
	ParticipantDay
	Steps   uint64 // the total it was computed from
	Points  Points
	RuleSet string // programme@effective date of the rule set, "" when none was in force
	Parts   Parts
	// None of these is stored. Mark is the DirtyDay's, 0 for a day that is scored because others
	// changed. Unreported says that nobody reported steps: such a day is kept only if it earned. Open says that
	// other days may have been scored in the belief that this one is open.
	Mark       uint64
	Unreported bool
	Open       bool
}

// Parts are what single rules gave of a day's points and what they used up, as far as later days depend on it, in
// the encoding of the points engine. "" is nothing.
type Parts string

// Scoring says how far the stored awards are up to date, but for dirty days.
type Scoring struct {
	Rules   string // fingerprint of the rule book under which all days were scored
	Through Day    // the last calendar day whose end has been taken into account
}

// Binding says whose steps a device counts on which days.
type Binding struct {
	Device      DeviceID
	Participant ParticipantID
	Days        DayRange
}

// Change sets or, with a nil Value, deletes one record of a durable table.
type Change struct {
	Key   string
	Value []byte
}

// QuarantineFilter narrows a listing. Zero fields do not narrow.
type QuarantineFilter struct {
	Device DeviceID
	Reason Reason
	State  *DecisionState
	Limit  int // entries; 0 is no limit
}

// DeviceContact is the last that was heard of a device.
type DeviceContact struct {
	Contact
	ReceivedAt int64  // our clock, UTC seconds
	Uploads    uint64 // uploads received since the device was registered, repeats included
}

// UploadShare is what is left of one upload in a day: the cells in which no newer revision won.
type UploadShare struct {
	Device   DeviceID
	Revision Revision
	Origin   Origin
	Interval uint32 // of the cells, in seconds
	Cells    int
	Steps    uint64
}
