package steps

import "fmt"

// ParticipantID names a person who takes part in the programme. It is a pseudonym: names and
// addresses are kept elsewhere.
type ParticipantID string

// DeviceID names one credential: a pedometer, an app installation or a reader terminal.
type DeviceID string

// MaxIDLen is the longest participant or device ID, in bytes.
const MaxIDLen = 64

// ParseDeviceID checks s against the ID alphabet and length.
func ParseDeviceID(s string) (DeviceID, error) {
	if err := checkID(s); err != nil {
		return "", E("parse device id", Invalid, err)
	}
	return DeviceID(s), nil
}

// ParseParticipantID checks s against the ID alphabet and length.
func ParseParticipantID(s string) (ParticipantID, error) {
	if err := checkID(s); err != nil {
		return "", E("parse participant id", Invalid, err)
	}
	return ParticipantID(s), nil
}

func checkID(s string) error {
	if s == "" || len(s) > MaxIDLen {
		return fmt.Errorf("id has %d bytes; use 1 to %d", len(s), MaxIDLen)
	}
	for i := 0; i < len(s); i++ {
		if !idByte(s[i]) {
			return fmt.Errorf("id %q has %q at byte %d; use letters, digits and . _ : -", s, s[i], i)
		}
	}
	return nil
}

func idByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c == '.' || c == '_' || c == ':' || c == '-'
}

// Identity is who a credential proved to be. Nothing in a payload can change it.
type Identity struct {
	Device DeviceID
	// Reader says that the credential may carry other registered devices' uploads in a bundle.
	Reader bool
	// Generation rises whenever the credential is rotated or revoked, so that a connection
	// opened with the old one can be told apart.
	Generation uint64
}
