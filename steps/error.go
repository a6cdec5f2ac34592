package steps

import (
	"errors"
	"fmt"
)

// Kind classifies an error by what the caller can do about it. Each transport has one table from
// Kind to its own codes.
type Kind uint8

// The kinds. Values are stored in no file and sent on no wire.
const (
	Internal     Kind = 0 // our own bug, or an error nobody classified
	Invalid      Kind = 1 // the input is wrong and stays wrong when repeated
	Unauthorized Kind = 2 // the credential is missing, wrong, revoked or not entitled
	NotFound     Kind = 3 // what was named does not exist
	Conflict     Kind = 4 // it contradicts what exists
	Overload     Kind = 5 // a bound was reached; try again later
	Unavailable  Kind = 6 // the store cannot accept now; try again later
)

var kindNames = [...]string{"internal", "invalid", "unauthorized", "not found", "conflict", "overload", "unavailable"}

// String returns the kind's name in English.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Error is the one error type that crosses room boundaries.
type Error struct {
	Op   string // what was attempted, such as "commit group"
	Kind Kind
	Err  error // the cause; may be nil
}

// E makes an *Error.
func E(op string, kind Kind, err error) *Error { return &Error{Op: op, Kind: kind, Err: err} }

// Errorf makes an *Error whose cause is formatted like fmt.Errorf.
func Errorf(op string, kind Kind, format string, args ...any) *Error {
	return E(op, kind, fmt.Errorf(format, args...))
}

// Error returns "cannot OP: CAUSE".
func (e *Error) Error() string {
	if e.Err == nil {
		return "cannot " + e.Op + ": " + e.Kind.String()
	}
	return "cannot " + e.Op + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the outermost *Error in err's chain, or Internal.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}
