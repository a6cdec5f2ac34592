package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"ayumi/problem"
	"ayumi/registry"
	"ayumi/steps"
)

// document is an RFC 9457 problem document. Op and Rows are extension members (section 3.2): with
// them the client builds the same error that the server had.
type document struct {
	Type   string              `json:"type"`
	Title  string              `json:"title"`
	Status int                 `json:"status"`
	Detail string              `json:"detail"`
	Op     string              `json:"op,omitempty"`   // what could not be done
	Rows   *registry.RowErrors `json:"rows,omitempty"` // the faults of a provisioning file
}

// problemOf maps an error by its kind. The text goes out as it is, Internal ones included: the
// client is the operator.
func problemOf(err error) *document {
	t := problem.Of(steps.KindOf(err))
	p := &document{Type: t.URI, Title: t.Title, Status: t.Status, Detail: err.Error()}
	var e *steps.Error
	if errors.As(err, &e) && strings.HasPrefix(p.Detail, opPrefix(e.Op)) {
		p.Op = e.Op
	}
	errors.As(err, &p.Rows)
	return p
}

func opPrefix(op string) string { return "cannot " + op + ": " }

// err builds the error that the problem was made of.
func (p *document) err() error {
	c := &remoteCause{text: strings.TrimPrefix(p.Detail, opPrefix(p.Op))}
	if p.Rows != nil {
		c.err = p.Rows
	}
	op := p.Op
	if op == "" {
		op = "carry out the request"
	}
	return steps.E(op, problem.Kind(p.Type), c)
}

// remoteCause is the cause that the server told.
type remoteCause struct {
	text string
	err  error
}

// Error returns the server's text.
func (c *remoteCause) Error() string { return c.text }

// Unwrap returns the report on a provisioning file, or nil.
func (c *remoteCause) Unwrap() error { return c.err }

// answerError reads a response that is no success.
func answerError(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return brokenOff("read answer", err)
	}
	var p document
	if strings.HasPrefix(resp.Header.Get("Content-Type"), problem.MediaType) && json.Unmarshal(body, &p) == nil {
		return p.err()
	}
	return steps.E("carry out the request", steps.Internal,
		fmt.Errorf("the gateway answered %s without a reason; is it of another version?", resp.Status))
}

func brokenOff(op string, err error) error {
	return steps.Errorf(op, steps.Unavailable, "the gateway's answer broke off: %w; look at its log, then try again", err)
}
