package uplink

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"ayumi/problem"
	"ayumi/steps"
)

// Problem is an answer other than 200: an RFC 9457 problem document, or the bare status of a server
// that writes none.
type Problem struct {
	Status int    `json:"-"` // the answer's, which counts even if the document says otherwise
	Type   string `json:"type"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

// Error returns the status with the document's title and detail.
func (p *Problem) Error() string {
	s := fmt.Sprintf("server answered %d", p.Status)
	title := p.Title
	if title == "" {
		title = http.StatusText(p.Status)
	}
	if title != "" {
		s += " " + title
	}
	if p.Detail != "" {
		s += ": " + p.Detail
	}
	return s
}

// kind is the one table from HTTP status to kinds.
func (p *Problem) kind() steps.Kind {
	switch p.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return steps.Unauthorized
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone:
		return steps.NotFound
	case http.StatusConflict:
		return steps.Conflict
	case http.StatusTooManyRequests:
		return steps.Overload
	case http.StatusRequestTimeout, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return steps.Unavailable
	}
	if p.Status >= 500 {
		return steps.Internal
	}
	return steps.Invalid
}

func problemError(op string, resp *http.Response) error {
	p := &Problem{}
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err == nil && (media == problem.MediaType || media == typeJSON) {
		// A document that cannot be read says no more than the status does.
		if json.NewDecoder(io.LimitReader(resp.Body, maxProblem)).Decode(p) != nil {
			p = &Problem{}
		}
	}
	p.Status = resp.StatusCode
	e := steps.E(op, p.kind(), p)
	if after, ok := retryAfter(resp.Header); ok {
		e.Err = &Wait{After: after, Err: p}
	}
	return e
}

// retryAfter reads seconds or a date (RFC 9110, 10.2.3). A date is taken against the server's own
// clock where it sent that.
func retryAfter(h http.Header) (time.Duration, bool) {
	v := h.Get("Retry-After")
	if v == "" {
		return 0, false
	}
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second, true
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(0, at.Sub(now)), true
}
