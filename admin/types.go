package admin

import (
	"context"
	"io"
	"time"

	"ayumi/registry"
	"ayumi/steps"
)

// ParticipantRegistry is what the participant routes need of the registry.
type ParticipantRegistry interface {
	AddParticipant(ctx context.Context, p registry.Participant) error
	UpdateParticipant(ctx context.Context, id steps.ParticipantID, born *steps.Day) error
	SetTraits(ctx context.Context, id steps.ParticipantID, edit func(*registry.Traits)) error
	UpdateSources(ctx context.Context, id steps.ParticipantID, order []steps.DeviceID, chosen steps.DeviceID) error
	Participant(id steps.ParticipantID) (registry.Participant, bool)
	Participants(after steps.ParticipantID, limit int) []registry.Participant
}

// DeviceRegistry is what the device routes need of the registry.
type DeviceRegistry interface {
	AddDevice(ctx context.Context, d registry.Device) (registry.Secret, error)
	Device(id steps.DeviceID) (registry.Device, bool)
	Devices(after steps.DeviceID, limit int) []registry.Device
}

// CredentialRegistry is what rotate, revoke and restore need of the registry.
type CredentialRegistry interface {
	RotateSecret(ctx context.Context, id steps.DeviceID) (registry.Secret, error)
	Revoke(ctx context.Context, id steps.DeviceID) error
	Restore(ctx context.Context, id steps.DeviceID) error
}

// BindingRegistry is what bind, unbind and the views of a device need of the registry.
type BindingRegistry interface {
	Bind(ctx context.Context, id steps.DeviceID, to steps.ParticipantID, from steps.Day) error
	Unbind(ctx context.Context, id steps.DeviceID, last steps.Day) error
	Binding(id steps.DeviceID, day steps.Day) (steps.ParticipantID, bool)
	Bindings(id steps.DeviceID) []steps.Binding
	BindingsOf(id steps.ParticipantID) []steps.Binding
}

// Provisioner registers people and devices in bulk.
type Provisioner interface {
	Provision(ctx context.Context, file io.Reader, opt registry.ProvisionOptions,
		emit func([]registry.Provisioned) error) (registry.ProvisionSummary, error)
}

// Registry is all of them; *registry.Registry satisfies it.
type Registry interface {
	ParticipantRegistry
	DeviceRegistry
	CredentialRegistry
	BindingRegistry
	Provisioner
}

// Days answers what people walked and earned.
type Days interface {
	// Settle waits until points reflect everything acknowledged so far.
	Settle(ctx context.Context) error
	// EachDay calls fn for every participant-day in range, ordered by day then participant, narrowed
	// to one participant when p != "".
	EachDay(ctx context.Context, r steps.DayRange, p steps.ParticipantID, fn func(steps.Award) error) error
}

// Quarantine looks up what was not accepted and decides on it.
type Quarantine interface {
	EachQuarantined(ctx context.Context, f steps.QuarantineFilter, fn func(*steps.QuarantineEntry) error) error
	Quarantined(ctx context.Context, id steps.QuarantineID) (*steps.QuarantineEntry, error)
	Release(ctx context.Context, id steps.QuarantineID, by, reason string) (*steps.Receipt, error)
	Discard(ctx context.Context, id steps.QuarantineID, by, reason string) error
}

// Devices answers what was last heard of a device; false when nothing was.
type Devices interface {
	Contact(device steps.DeviceID) (steps.DeviceContact, bool, error)
}

// Participant is a person who takes part.
type Participant struct {
	ID       steps.ParticipantID `json:"participant"`
	Born     *steps.Day          `json:"born,omitempty"`
	Since    steps.Day           `json:"since"`
	Cohort   string              `json:"cohort,omitempty"`
	Resident []DaySpan           `json:"resident,omitempty"`      // none is always
	Enrolled []DaySpan           `json:"enrolled,omitempty"`      // none is from Since on
	Baseline *registry.Baseline  `json:"baseline,omitempty"`      // as staff entered it
	Sources  []steps.DeviceID    `json:"sources,omitempty"`       // in the participant's order; those not named follow by ID
	Chosen   steps.DeviceID      `json:"chosen_source,omitempty"` // where one device a day counts
	Bindings []Binding           `json:"bindings,omitempty"`      // of one participant, not in a listing
}

// DaySpan is consecutive days, both ends included.
type DaySpan struct {
	From  steps.Day  `json:"from"`
	Until *steps.Day `json:"until,omitempty"` // nil is open
}

// Device is one credential.
type Device struct {
	ID          steps.DeviceID      `json:"device"`
	Kind        registry.Kind       `json:"kind"`
	Since       steps.Day           `json:"since"`
	Revoked     bool                `json:"revoked"`
	Participant steps.ParticipantID `json:"participant,omitempty"` // whose steps it counts today
	Contact     *Contact            `json:"contact,omitempty"`     // nil when nothing was heard of it
	Bindings    []Binding           `json:"bindings,omitempty"`    // of one device, not in a listing
}

// Binding says whose steps a device counts on which days.
type Binding struct {
	Device      steps.DeviceID      `json:"device"`
	Participant steps.ParticipantID `json:"participant"`
	From        steps.Day           `json:"from"`
	Until       *steps.Day          `json:"until,omitempty"` // inclusive; nil is open; before From is cancelled
}

// Contact is the last that was heard of a device.
type Contact struct {
	ReceivedAt time.Time  `json:"received_at"`
	SentAt     *time.Time `json:"sent_at,omitempty"` // by the device's clock
	Uploads    uint64     `json:"uploads"`
	Battery    uint8      `json:"battery,omitempty"` // percent
	Firmware   string     `json:"firmware,omitempty"`
	Signal     int32      `json:"signal,omitempty"` // dBm
}

// Credential hands out a secret, once.
type Credential struct {
	Device steps.DeviceID `json:"device"`
	Secret string         `json:"secret"`
}

// QuarantineEntry is a payload of which something was not accepted.
type QuarantineEntry struct {
	ID         steps.QuarantineID `json:"id"`
	ReceivedAt time.Time          `json:"received_at"`
	Device     steps.DeviceID     `json:"device"`
	Via        steps.DeviceID     `json:"via,omitempty"` // the reader that carried it
	Transport  string             `json:"transport"`
	Encoding   string             `json:"encoding,omitempty"`
	Bundle     bool               `json:"bundle,omitempty"`
	Topic      string             `json:"topic,omitempty"`
	Faults     []Fault            `json:"faults"`
	Size       int                `json:"size"` // bytes of the payload
	State      string             `json:"state"`
	Decision   *Decision          `json:"decision,omitempty"` // nil while open
	Raw        []byte             `json:"raw,omitempty"`      // of one entry, not in a listing
}

// Fault is what was not accepted and why.
type Fault struct {
	Series int    `json:"series"` // -1 for the whole upload
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

// Decision is what staff decided.
type Decision struct {
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
}

// Receipt is what became of a released payload.
type Receipt struct {
	Record     string          `json:"record"`
	ReceivedAt time.Time       `json:"received_at"`
	Uploads    []UploadReceipt `json:"uploads"`
}

// UploadReceipt is what became of one upload.
type UploadReceipt struct {
	Device     steps.DeviceID     `json:"device"`
	Boot       uint32             `json:"boot"`
	Seq        uint64             `json:"seq"`
	Verdict    string             `json:"verdict"`
	Conflicts  int                `json:"conflicts,omitempty"`
	Quarantine steps.QuarantineID `json:"quarantine,omitempty"`
	Faults     []Fault            `json:"faults,omitempty"`
}

// Calendar is the programme's calendar.
type Calendar struct {
	Zone  string    `json:"zone"` // IANA name
	Today steps.Day `json:"today"`
}

// Status says what is running.
type Status struct {
	Version   string            `json:"version"`
	Addresses map[string]string `json:"addresses"` // by listener, such as "mqtts": "127.0.0.1:8883"
	DataDir   string            `json:"data_dir"`
	CAFile    string            `json:"ca_file,omitempty"` // of the gateway's own CA, when it has one
	StartedAt time.Time         `json:"started_at"`
	// Uploads a second that one device, and one reader, may keep up; 0 is no limit.
	DeviceRate int `json:"device_rate"`
	ReaderRate int `json:"reader_rate"`
}

// participantPage and devicePage are one page of a listing. Next is empty on the last.
type participantPage struct {
	Participants []Participant       `json:"participants"`
	Next         steps.ParticipantID `json:"next,omitempty"`
}

type devicePage struct {
	Devices []Device       `json:"devices"`
	Next    steps.DeviceID `json:"next,omitempty"`
}

// The bodies of requests.
type (
	newParticipant struct {
		ID   steps.ParticipantID `json:"participant"`
		Born *steps.Day          `json:"born,omitempty"`
	}
	newDevice struct {
		ID   steps.DeviceID `json:"device"`
		Kind registry.Kind  `json:"kind"`
	}
	bindRequest struct {
		Participant steps.ParticipantID `json:"participant"`
		From        *steps.Day          `json:"from,omitempty"` // today when absent
	}
	unbindRequest struct {
		Until *steps.Day `json:"until,omitempty"` // the last day; today when absent
	}
	decisionRequest struct {
		By     string `json:"by"`
		Reason string `json:"reason"`
	}
)

// dayLine is a steps.Award on the wire.
type dayLine struct {
	Participant steps.ParticipantID `json:"participant"`
	Day         steps.Day           `json:"day"`
	Steps       uint64              `json:"steps"`
	Points      steps.Points        `json:"points"`
	RuleSet     string              `json:"rule_set"`
}

func instant(unix int64) time.Time { return time.Unix(unix, 0).UTC() }

func bindingsOf(in []steps.Binding) []Binding {
	out := make([]Binding, len(in))
	for i, b := range in {
		out[i] = Binding{Device: b.Device, Participant: b.Participant, From: b.Days.From}
		if b.Days.Until != 0 {
			until := b.Days.Until
			out[i].Until = &until
		}
	}
	return out
}

func faultsOf(in []steps.Fault) []Fault {
	out := make([]Fault, len(in))
	for i, f := range in {
		out[i] = Fault{Series: f.Series, Reason: f.Reason.String(), Detail: f.Detail}
	}
	return out
}
