package https

import (
	"encoding/json"
	"errors"
	"net/http"

	"ayumi/steps"
)

// problemType is a kind of problem document: its type member, a relative reference that stays the
// same, the title that goes with it, and its status (RFC 9457 section 3.1).
type problemType struct {
	uri    string
	title  string
	status int
}

// The problems this listener answers with.
var (
	problemMalformed    = problemType{"/problems/malformed", "The payload cannot be decoded and was kept in quarantine", http.StatusBadRequest}
	problemInvalid      = problemType{"/problems/invalid", "The request is wrong", http.StatusBadRequest}
	problemBody         = problemType{"/problems/body", "The body cannot be read", http.StatusBadRequest}
	problemUnauthorized = problemType{"/problems/unauthorized", "The credential is missing, wrong or revoked", http.StatusUnauthorized}
	problemNotFound     = problemType{"/problems/not-found", "There is no such thing", http.StatusNotFound}
	problemMethod       = problemType{"/problems/method", "The method does not fit the resource", http.StatusMethodNotAllowed}
	problemSlow         = problemType{"/problems/slow", "The body took too long", http.StatusRequestTimeout}
	problemConflict     = problemType{"/problems/conflict", "The request contradicts what exists", http.StatusConflict}
	problemTooLarge     = problemType{"/problems/too-large", "The body is too large", http.StatusRequestEntityTooLarge}
	problemMediaType    = problemType{"/problems/media-type", "The media type is not accepted", http.StatusUnsupportedMediaType}
	problemCoding       = problemType{"/problems/content-coding", "The content coding is not accepted", http.StatusUnsupportedMediaType}
	problemOverload     = problemType{"/problems/overload", "Too much at once", http.StatusTooManyRequests}
	problemInternal     = problemType{"/problems/internal", "The server failed", http.StatusInternalServerError}
	problemUnavailable  = problemType{"/problems/unavailable", "The server cannot accept now", http.StatusServiceUnavailable}
	problemBusy         = problemType{"/problems/busy", "The server is busy", http.StatusServiceUnavailable}
	problemUnconfirmed  = problemType{"/problems/unconfirmed", "The upload was not confirmed in time", http.StatusServiceUnavailable}
)

// problem is an RFC 9457 problem document. Quarantine and Record are extension members (section 3.2).
type problem struct {
	Type       string `json:"type"`
	Title      string `json:"title"`
	Status     int    `json:"status"`
	Detail     string `json:"detail"`
	Quarantine string `json:"quarantine,omitempty"` // the quarantined payload's ID
	Record     string `json:"record,omitempty"`     // the durable record's ID

	header [][2]string // further fields of the response
}

func newProblem(t problemType, detail string) *problem {
	return &problem{Type: t.uri, Title: t.title, Status: t.status, Detail: detail}
}

// with adds a field to the response.
func (p *problem) with(name, value string) *problem {
	p.header = append(p.header, [2]string{name, value})
	return p
}

func (p *problem) marshal() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic("https: a problem of strings and an integer cannot be marshalled: " + err.Error())
	}
	return append(b, '\n')
}

// kindProblems is the table from an error's kind to HTTP. An empty detail takes the error's text;
// the others are fixed, since the cause is the operator's business and not the client's.
var kindProblems = [...]struct {
	problem problemType
	detail  string
}{
	steps.Internal:     {problemInternal, "the server failed to handle the request; send it again later, and tell the operator if it happens again"},
	steps.Invalid:      {problemInvalid, ""},
	steps.Unauthorized: {problemUnauthorized, "the credential is not accepted; send the device's ID and secret by HTTP Basic authentication"},
	steps.NotFound:     {problemNotFound, ""},
	steps.Conflict:     {problemConflict, ""},
	steps.Overload:     {problemOverload, ""},
	steps.Unavailable:  {problemUnavailable, "uploads cannot be stored at present; send the same again after the time in Retry-After"},
}

// problemOf maps an error by its kind.
func problemOf(err error) *problem {
	k := steps.KindOf(err)
	if int(k) >= len(kindProblems) {
		k = steps.Internal
	}
	row := kindProblems[k]
	p := newProblem(row.problem, row.detail)
	if p.Detail == "" {
		p.Detail = errorText(err)
	}
	if p.Status == http.StatusUnauthorized {
		p.with("Www-Authenticate", `Basic realm="ayumi"`)
	}
	return p
}

// errorText returns the text of the classified error alone: what was wrapped around it on the way
// names our own rooms.
func errorText(err error) string {
	var e *steps.Error
	if errors.As(err, &e) {
		return e.Error()
	}
	return err.Error()
}
