package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"

	"ayumi/registry"
	"ayumi/steps"
)

// Client talks to the gateway that runs on a data directory. It is safe for concurrent use. Its
// errors are *steps.Error of the kind that the gateway answered; Unavailable when it cannot be
// reached.
type Client struct {
	dir  string
	http *http.Client
}

// Dial finds the gateway that runs on dataDir. Close releases the connections.
func Dial(dataDir string) (*Client, error) {
	conn, err := dial(dataDir)
	if err != nil {
		return nil, unreachable(dataDir, err)
	}
	if err := conn.Close(); err != nil {
		return nil, unreachable(dataDir, err)
	}
	c := &Client{dir: dataDir}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return dial(dataDir) },
		DisableCompression: true,
		MaxIdleConns:       4,
		IdleConnTimeout:    idleWait / 2, // before the server closes them
	}}
	return c, nil
}

// Close releases idle connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// unreachable says why the socket cannot be connected to, and the remedy.
func unreachable(dir string, err error) error {
	const op = "reach the gateway"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return steps.Errorf(op, steps.Unavailable, "no %s in %q; is ayumi serve running with --data-dir %s?", SocketName, dir, dir)
	case errors.Is(err, syscall.ECONNREFUSED):
		return steps.Errorf(op, steps.Unavailable, "%s in %q is left over from a gateway that was killed; start ayumi serve with --data-dir %s", SocketName, dir, dir)
	case errors.Is(err, fs.ErrPermission):
		return steps.Errorf(op, steps.Unauthorized, "%w; run this as the user that runs ayumi serve", err)
	}
	return steps.E(op, steps.Unavailable, err)
}

// do sends a request and returns a successful response, whose body the caller closes.
func (c *Client) do(ctx context.Context, method, path, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://admin"+path, body)
	if err != nil {
		return nil, steps.E("build request", steps.Internal, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return nil, unreachable(c.dir, err)
		}
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the URL is of our making and tells nothing
		}
		return nil, steps.Errorf("reach the gateway", steps.Unavailable, "%w", err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, answerError(resp)
	}
	return resp, nil
}

// call sends in as JSON, nil for no body, and reads the answer into out.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	body, err := encode(in)
	if err != nil {
		return err
	}
	resp, err := c.do(ctx, method, path, typeJSON, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return brokenOff("read answer", err)
	}
	return nil
}

// encode makes a body of a document, none of nil.
func encode(in any) (io.Reader, error) {
	if in == nil {
		return nil, nil
	}
	b, err := json.Marshal(in)
	if err != nil {
		return nil, steps.E("build request", steps.Internal, err)
	}
	return bytes.NewReader(b), nil
}

// get reads a document.
func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	var out T
	err := c.call(ctx, http.MethodGet, path, nil, &out)
	return out, err
}

// post sends a document and reads another.
func post[T any](ctx context.Context, c *Client, path string, in any) (T, error) {
	var out T
	err := c.call(ctx, http.MethodPost, path, in, &out)
	return out, err
}

// list reads a stream.
func list[T any](ctx context.Context, c *Client, op, path string, fn func(*T) error) error {
	resp, err := c.do(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return readStream(op, resp.Body, fn)
}

// query builds a query from pairs of name and value, leaving out empty values.
func query(pairs ...string) string {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

func boolText(b bool) string {
	if !b {
		return ""
	}
	return "true"
}

func intText(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// segment makes an ID one segment of a path. "." and ".." are IDs and must not be taken for
// directories.
func segment[T ~string](id T) string {
	if s := string(id); strings.Trim(s, ".") == "" {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	return url.PathEscape(string(id))
}

// Participants returns one page by ID: up to limit participants above after. Limit 0 is 100. Next
// is what to give as after for the next page, empty on the last.
func (c *Client) Participants(ctx context.Context, after steps.ParticipantID, limit int) (out []Participant, next steps.ParticipantID, err error) {
	p, err := get[participantPage](ctx, c, "/v1/participants"+query("after", string(after), "limit", intText(limit)))
	return p.Participants, p.Next, err
}

// EachParticipant calls fn for every participant by ID.
func (c *Client) EachParticipant(ctx context.Context, fn func(Participant) error) error {
	for after := steps.ParticipantID(""); ; {
		list, next, err := c.Participants(ctx, after, registry.MaxPage)
		if err != nil {
			return err
		}
		for _, p := range list {
			if err := fn(p); err != nil {
				return err
			}
		}
		if after = next; next == "" {
			return nil
		}
	}
}

// AddParticipant registers a participant; born may be nil.
func (c *Client) AddParticipant(ctx context.Context, id steps.ParticipantID, born *steps.Day) (Participant, error) {
	return post[Participant](ctx, c, "/v1/participants", newParticipant{id, born})
}

// Participant returns one participant with bindings.
func (c *Client) Participant(ctx context.Context, id steps.ParticipantID) (Participant, error) {
	return get[Participant](ctx, c, "/v1/participants/"+segment(id))
}

// SetSources sets a participant's order of devices, and has the days totalled anew. An empty order is that
// of the IDs.
func (c *Client) SetSources(ctx context.Context, id steps.ParticipantID, order []steps.DeviceID) (Participant, error) {
	var out Participant
	in := map[string][]steps.DeviceID{"sources": order}
	return out, c.call(ctx, http.MethodPatch, "/v1/participants/"+segment(id), in, &out)
}

// ChooseSource sets which device alone counts for a participant where the programme lets one a day, nil for
// the first that counted, and has the days totalled anew.
func (c *Client) ChooseSource(ctx context.Context, id steps.ParticipantID, device *steps.DeviceID) (Participant, error) {
	var out Participant
	in := map[string]*steps.DeviceID{"chosen_source": device}
	return out, c.call(ctx, http.MethodPatch, "/v1/participants/"+segment(id), in, &out)
}

// SetBorn sets a participant's date of birth, nil for unknown, and has the points computed anew.
func (c *Client) SetBorn(ctx context.Context, id steps.ParticipantID, born *steps.Day) (Participant, error) {
	return c.UpdateParticipant(ctx, id, map[string]any{"born": born})
}

// UpdateParticipant changes what points depend on, and has them computed anew. The keys of patch are born,
// cohort, resident, enrolled and baseline; null takes a value away.
func (c *Client) UpdateParticipant(ctx context.Context, id steps.ParticipantID, patch map[string]any) (Participant, error) {
	var out Participant
	return out, c.call(ctx, http.MethodPatch, "/v1/participants/"+segment(id), patch, &out)
}
