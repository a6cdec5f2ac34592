package admin

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"ayumi/registry"
	"ayumi/steps"
)

const (
	typeCSV = "text/csv; charset=utf-8"
	// outcomeTrailer follows the CSV answer and tells whether it is complete: CSV has no place for it.
	outcomeTrailer = "Ayumi-Outcome"
)

// outcome is what outcomeTrailer holds.
type outcome struct {
	End bool `json:"end,omitempty"`
	registry.ProvisionSummary
	Error *document `json:"error,omitempty"`
}

// provision hands out the secrets of every chunk as soon as it is durable, so that a failure in
// between loses none of them.
func (s *Server) provision(w http.ResponseWriter, r *http.Request) error {
	q, err := params(r, "dry_run", "skip_existing")
	if err != nil {
		return err
	}
	var opt registry.ProvisionOptions
	if opt.DryRun, err = flag(q, "dry_run"); err != nil {
		return err
	}
	if opt.SkipExisting, err = flag(q, "skip_existing"); err != nil {
		return err
	}
	body := http.MaxBytesReader(w, r.Body, maxProvision)
	out := &secretSheet{s: s, w: w, rc: http.NewResponseController(w)}
	sum, err := s.d.Registry.Provision(r.Context(), body, opt, out.rows)
	if err == nil {
		err = out.rows(nil) // the header, if there were no rows
	}
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		err = steps.Errorf("provision", steps.Invalid, "the file has more than %d MB; split it", tooLarge.Limit>>20)
	}
	if out.csv == nil {
		// The rest is read, or the client would fail to send it before it sees the answer.
		_, _ = io.Copy(io.Discard, body)
		return err
	}
	o := outcome{End: err == nil, ProvisionSummary: sum}
	if err != nil {
		o.Error = problemOf(err)
		s.cfg.Logger.Warn("provisioning stopped", "devices", sum.Devices, "kind", steps.KindOf(err).String())
	}
	text, merr := json.Marshal(o)
	if merr != nil {
		panic("admin: an outcome cannot be marshalled: " + merr.Error())
	}
	w.Header().Set(outcomeTrailer, string(text))
	return nil
}

// secretSheet writes participant,device,secret.
type secretSheet struct {
	s   *Server
	w   http.ResponseWriter
	rc  *http.ResponseController
	csv *csv.Writer // nil until something is written
}

func (o *secretSheet) rows(rows []registry.Provisioned) error {
	if err := o.s.extend(o.w); err != nil {
		return err
	}
	if o.csv == nil {
		o.w.Header().Set("Content-Type", typeCSV)
		o.w.Header().Set("Cache-Control", "no-store")
		o.w.Header().Set("Trailer", outcomeTrailer)
		o.csv = csv.NewWriter(o.w)
		if err := o.csv.Write([]string{"participant", "device", "secret"}); err != nil {
			return err
		}
	}
	for _, p := range rows {
		if err := o.csv.Write([]string{string(p.Participant), string(p.Device), p.Secret.Reveal()}); err != nil {
			return err
		}
	}
	o.csv.Flush()
	if err := o.csv.Error(); err != nil {
		return err
	}
	return o.rc.Flush()
}

// ProvisionedRow is one row of the answer. Secret is empty after a dry run and for a device that
// was skipped.
type ProvisionedRow struct {
	Participant steps.ParticipantID
	Device      steps.DeviceID
	Secret      string
}

// Provision sends a CSV file and calls fn for every row of the answer as it comes. After an error
// the rows that fn has seen are registered, and perhaps some behind them; the file can be given
// again with SkipExisting, which passes them over with an empty secret.
// Faults of the file are a *registry.RowErrors in the error's chain.
func (c *Client) Provision(ctx context.Context, file io.Reader, opt registry.ProvisionOptions, fn func(ProvisionedRow) error) (registry.ProvisionSummary, error) {
	const op = "provision"
	var none registry.ProvisionSummary
	path := "/v1/provision" + query("dry_run", boolText(opt.DryRun), "skip_existing", boolText(opt.SkipExisting))
	resp, err := c.do(ctx, http.MethodPost, path, typeCSV, file)
	if err != nil {
		return none, err
	}
	defer resp.Body.Close()
	in := csv.NewReader(bufio.NewReader(resp.Body))
	in.FieldsPerRecord = 3
	in.ReuseRecord = true
	for n := 0; ; n++ {
		rec, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return none, brokenOff(op, err)
		}
		if n == 0 {
			continue // the header
		}
		if err := fn(ProvisionedRow{steps.ParticipantID(rec[0]), steps.DeviceID(rec[1]), rec[2]}); err != nil {
			return none, err
		}
	}
	var o outcome
	if err := json.Unmarshal([]byte(resp.Trailer.Get(outcomeTrailer)), &o); err != nil || !o.End && o.Error == nil {
		return none, brokenOff(op, io.ErrUnexpectedEOF)
	}
	if o.Error != nil {
		return o.ProvisionSummary, o.Error.err()
	}
	return o.ProvisionSummary, nil
}
