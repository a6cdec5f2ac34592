package https

import (
	"encoding/json"
	"errors"
	"net/http"

	"ayumi/problem"
	"ayumi/steps"
)

// The problems this listener answers with, besides those of an error's kind.
var (
	problemMalformed   = problem.Type{URI: "/problems/malformed", Title: "The payload cannot be decoded and was kept in quarantine", Status: http.StatusBadRequest}
	problemBody        = problem.Type{URI: "/problems/body", Title: "The body cannot be read", Status: http.StatusBadRequest}
	problemMethod      = problem.Type{URI: "/problems/method", Title: "The method does not fit the resource", Status: http.StatusMethodNotAllowed}
	problemSlow        = problem.Type{URI: "/problems/slow", Title: "The body took too long", Status: http.StatusRequestTimeout}
	problemTooLarge    = problem.Type{URI: "/problems/too-large", Title: "The body is too large", Status: http.StatusRequestEntityTooLarge}
	problemMediaType   = problem.Type{URI: "/problems/media-type", Title: "The media type is not accepted", Status: http.StatusUnsupportedMediaType}
	problemCoding      = problem.Type{URI: "/problems/content-coding", Title: "The content coding is not accepted", Status: http.StatusUnsupportedMediaType}
	problemBusy        = problem.Type{URI: "/problems/busy", Title: "The server is busy", Status: http.StatusServiceUnavailable}
	problemUnconfirmed = problem.Type{URI: "/problems/unconfirmed", Title: "The upload was not confirmed in time", Status: http.StatusServiceUnavailable}
)

// document is an RFC 9457 problem document. Quarantine and Record are extension members (section 3.2).
type document struct {
	Type       string `json:"type"`
	Title      string `json:"title"`
	Status     int    `json:"status"`
	Detail     string `json:"detail"`
	Quarantine string `json:"quarantine,omitempty"` // the quarantined payload's ID
	Record     string `json:"record,omitempty"`     // the durable record's ID

	header [][2]string // further fields of the response
}

func newProblem(t problem.Type, detail string) *document {
	return &document{Type: t.URI, Title: t.Title, Status: t.Status, Detail: detail}
}

// with adds a field to the response.
func (p *document) with(name, value string) *document {
	p.header = append(p.header, [2]string{name, value})
	return p
}

func (p *document) marshal() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic("https: a problem of strings and an integer cannot be marshalled: " + err.Error())
	}
	return append(b, '\n')
}

// kindDetails are what clients are told instead of the error's text where the cause is the
// operator's business and not theirs.
var kindDetails = map[steps.Kind]string{
	steps.Internal:     "the server failed to handle the request; send it again later, and tell the operator if it happens again",
	steps.Unauthorized: "the credential is not accepted; send the device's ID and secret by HTTP Basic authentication",
	steps.Unavailable:  "uploads cannot be stored at present; send the same again after the time in Retry-After",
}

// problemOf maps an error by its kind.
func problemOf(err error) *document {
	k := steps.KindOf(err)
	t := problem.Of(k)
	p := newProblem(t, kindDetails[problem.Kind(t.URI)])
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
