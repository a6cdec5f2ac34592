// Package problem holds what the project's HTTP interfaces share about RFC 9457 problem documents:
// the media type and the one table from an error's kind to type, title and status.
//
// Invariant: a type's URI, once published, keeps its meaning; clients decide by it.
package problem

import (
	"net/http"

	"ayumi/steps"
)

// MediaType is that of a problem document (RFC 9457 section 3).
const MediaType = "application/problem+json"

// Type is a kind of problem document: its type member, a relative reference that stays the same,
// the title that goes with it, and its status (RFC 9457 section 3.1).
type Type struct {
	URI    string
	Title  string
	Status int
}

var kinds = [...]Type{
	steps.Internal:     {"/problems/internal", "The server failed", http.StatusInternalServerError},
	steps.Invalid:      {"/problems/invalid", "The request is wrong", http.StatusBadRequest},
	steps.Unauthorized: {"/problems/unauthorized", "The credential is missing, wrong or revoked", http.StatusUnauthorized},
	steps.NotFound:     {"/problems/not-found", "There is no such thing", http.StatusNotFound},
	steps.Conflict:     {"/problems/conflict", "The request contradicts what exists", http.StatusConflict},
	steps.Overload:     {"/problems/overload", "Too much at once", http.StatusTooManyRequests},
	steps.Unavailable:  {"/problems/unavailable", "The server cannot do it now", http.StatusServiceUnavailable},
}

// Of returns the type of an error's kind.
func Of(k steps.Kind) Type {
	if int(k) >= len(kinds) {
		k = steps.Internal
	}
	return kinds[k]
}

// Kind is the inverse of Of; an unknown URI is Internal.
func Kind(uri string) steps.Kind {
	for k, t := range kinds {
		if t.URI == uri {
			return steps.Kind(k)
		}
	}
	return steps.Internal
}
