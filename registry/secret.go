package registry

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"

	"ayumi/steps"
)

const (
	secretBytes = 32
	// SecretLen is the length of a secret's text form: 32 bytes in base64url without padding.
	SecretLen = 43
)

// Secret is a device's credential in the moment it is handed out. It prints as "[secret]"; only
// Reveal gives the text.
type Secret struct{ text string }

// Reveal returns the 43 characters that the device presents as its password.
func (s Secret) Reveal() string { return s.text }

// String returns a placeholder, so that a secret that reaches a log or a message stays one.
func (s Secret) String() string { return "[secret]" }

// GoString returns the placeholder.
func (s Secret) GoString() string { return s.String() }

// LogValue returns the placeholder.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// newSecret draws a secret and returns it with the hash that is kept.
func (r *Registry) newSecret() (Secret, [sha256.Size]byte, error) {
	var raw [secretBytes]byte
	if _, err := io.ReadFull(r.rand, raw[:]); err != nil {
		return Secret{}, [sha256.Size]byte{}, steps.E("draw secret", steps.Internal, fmt.Errorf("read randomness: %w", err))
	}
	text := make([]byte, SecretLen)
	base64.RawURLEncoding.Encode(text, raw[:])
	return Secret{text: string(text)}, hashSecret(text), nil
}

// hashSecret hashes a secret as it is presented, in its text form.
//
// A plain fast hash is right here. Slow, salted password hashes exist because people choose
// passwords that can be guessed; a secret of 256 random bits cannot be, however fast the guesses
// are, and no two devices share one, so there is nothing for a salt to tell apart. A slow hash
// would only let a few thousand reconnecting pedometers exhaust the processor.
func hashSecret(presented []byte) [sha256.Size]byte { return sha256.Sum256(presented) }
