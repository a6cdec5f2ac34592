package uplink

import (
	"errors"
	"fmt"
	"time"

	"ayumi/steps"
)

// Refusal is the reason code with which an MQTT server turned something down.
type Refusal struct {
	Packet  string // CONNACK or DISCONNECT
	Version byte   // 4 or 5: their CONNACK codes differ
	Code    byte
	Reason  string // the server's own words, often empty
}

// Error names the packet, the code and the server's words.
func (r *Refusal) Error() string {
	if r.Reason == "" {
		return fmt.Sprintf("server answered %s 0x%02X", r.Packet, r.Code)
	}
	return fmt.Sprintf("server answered %s 0x%02X %q", r.Packet, r.Code, r.Reason)
}

// kind is the one table from MQTT codes to kinds (MQTT 3.1.1, table 3.1; MQTT 5.0, 2.4).
func (r *Refusal) kind() steps.Kind {
	if r.Version == 4 {
		switch r.Code {
		case 1, 2: // protocol version, client identifier
			return steps.Invalid
		case 4, 5:
			return steps.Unauthorized
		}
		return steps.Unavailable
	}
	switch r.Code {
	case 0x81, 0x82, 0x84, 0x85, 0x90, 0x93, 0x94, 0x95, 0x99, 0x9A, 0x9B:
		return steps.Invalid
	case 0x86, 0x87, 0x8A, 0x8C:
		return steps.Unauthorized
	case 0x8E:
		return steps.Conflict // the session was taken over
	case 0x89, 0x96, 0x97, 0x9F:
		return steps.Overload
	}
	return steps.Unavailable
}

// Wait is an error whose sender said when to try again.
type Wait struct {
	After time.Duration
	Err   error
}

// Error names the cause and the time to wait.
func (w *Wait) Error() string { return fmt.Sprintf("%v; try again in %s", w.Err, w.After) }

// Unwrap returns the cause.
func (w *Wait) Unwrap() error { return w.Err }

// RetryAfter returns how long the server asked to wait, and whether it asked.
func RetryAfter(err error) (time.Duration, bool) {
	var w *Wait
	if errors.As(err, &w) {
		return w.After, true
	}
	return 0, false
}
