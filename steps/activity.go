package steps

import "fmt"

// ActivityKind names a healthy behaviour other than walking, such as checkup, weight or
// blood_pressure: 1 to 32 lower-case letters, digits and underscores, a letter first. Which kinds
// earn something is the rules' matter.
type ActivityKind string

// MaxKindLen is the length of the longest ActivityKind, in bytes.
const MaxKindLen = 32

// ParseActivityKind checks s against the alphabet and length.
func ParseActivityKind(s string) (ActivityKind, error) {
	if s == "" || len(s) > MaxKindLen {
		return "", Errorf("parse activity kind", Invalid, "kind has %d bytes; use 1 to %d", len(s), MaxKindLen)
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'a' <= c && c <= 'z' || i > 0 && ('0' <= c && c <= '9' || c == '_') {
			continue
		}
		return "", E("parse activity kind", Invalid,
			fmt.Errorf("kind %q has %q at byte %d; use lower-case letters, digits and _, a letter first", s, c, i))
	}
	return ActivityKind(s), nil
}

// Activity is a healthy behaviour other than walking that was recorded for a day. There is at most
// one of a kind a day.
type Activity struct {
	ParticipantDay
	Kind       ActivityKind
	Times      uint8  // how often that day; 0 and 1 are once
	RecordedAt int64  // UTC seconds
	By         string // who recorded it
	// Cancelled, when its At is set, says who took the activity back, and why. It then earns nothing.
	Cancelled Cancellation
}

// Cancellation says who took something back, and why.
type Cancellation struct {
	At     int64 // UTC seconds, 0 for what stands
	By     string
	Reason string
}
