package steps

import "fmt"

// Verdict is what became of an upload.
type Verdict uint8

// The verdicts, as stored and sent. All of them mean that the upload is durable.
const (
	Stored      Verdict = 1 // merged; at least one series was accepted
	Duplicate   Verdict = 2 // everything in it was known already at the same or a newer revision
	Quarantined Verdict = 3 // nothing in it was accepted; the raw bytes wait for staff
)

var verdictNames = [...]string{"", "stored", "duplicate", "quarantined"}

// String returns the verdict's wire name.
func (v Verdict) String() string {
	if v > 0 && int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// Reason says why something was quarantined.
type Reason uint8

// The reasons, as stored and sent.
const (
	ReasonMalformed     Reason = 1  // the payload cannot be decoded
	ReasonTopic         Reason = 2  // published to a topic that is none of the device's
	ReasonUnknownDevice Reason = 3  // a bundle names a device that is not registered or was revoked
	ReasonUnbound       Reason = 4  // the device belonged to nobody on the sample's day
	ReasonFuture        Reason = 5  // samples lie in the future
	ReasonTooOld        Reason = 6  // samples are older than the programme accepts
	ReasonImplausible   Reason = 7  // a count is beyond what a person can walk
	ReasonInterval      Reason = 8  // the interval is none that is accepted
	ReasonMisaligned    Reason = 9  // an interval longer than a minute does not start on its boundary
	ReasonEmptyCounter  Reason = 10 // a cumulative series with fewer than two readings
	ReasonNotReader     Reason = 11 // a bundle from a credential that is no reader
)

var reasonNames = [...]string{"", "malformed", "topic", "unknown_device", "unbound", "future", "too_old",
	"implausible", "interval", "misaligned", "empty_counter", "not_reader"}

// String returns the reason's wire name.
func (r Reason) String() string {
	if r > 0 && int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// ParseReason reads a reason's wire name.
func ParseReason(s string) (Reason, bool) {
	for i, n := range reasonNames {
		if i > 0 && n == s {
			return Reason(i), true
		}
	}
	return 0, false
}

// Reasons returns every reason in ascending order.
func Reasons() []Reason {
	out := make([]Reason, 0, len(reasonNames)-1)
	for i := 1; i < len(reasonNames); i++ {
		out = append(out, Reason(i))
	}
	return out
}

// RecordID names the durable record of a payload: the journal group that was fsynced and the
// position in it.
type RecordID struct {
	Group uint64
	Index uint32
}

// String returns "group.index".
func (r RecordID) String() string { return fmt.Sprintf("%d.%d", r.Group, r.Index) }

// QuarantineID names a quarantined payload. It is derived from the device and the raw bytes, so a
// repeated bad upload is one entry.
type QuarantineID string

// Fault is one series (or a whole upload) that was not accepted.
type Fault struct {
	Series int // index in the upload; -1 for the whole upload
	Reason Reason
	Detail string // English, names the field and the remedy
}

// UploadReceipt is the answer to one upload.
type UploadReceipt struct {
	Device     DeviceID
	Revision   Revision
	Verdict    Verdict
	Conflicts  int          // minutes that an equal revision had given another count
	Quarantine QuarantineID // set when Faults is not empty
	Faults     []Fault
}

// Receipt is the answer to one payload: a single upload or a reader's bundle.
type Receipt struct {
	Record     RecordID
	ReceivedAt int64 // our clock, UTC seconds
	Uploads    []UploadReceipt
}

// Refusal returns the first fault's reason if nothing in the payload was accepted, else 0.
func (r *Receipt) Refusal() Reason {
	for i := range r.Uploads {
		if r.Uploads[i].Verdict != Quarantined {
			return 0
		}
	}
	for i := range r.Uploads {
		if f := r.Uploads[i].Faults; len(f) > 0 {
			return f[0].Reason
		}
	}
	return 0
}
