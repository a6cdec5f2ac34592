package admin

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"ayumi/points"
	"ayumi/steps"
)

const typeYAML = "application/yaml"

// Rules are the programme's rules of points.
type Rules interface {
	// TryRules compares what the rules in a file would award in a range of days with what is awarded.
	TryRules(ctx context.Context, name string, file io.Reader, r steps.DayRange) (*points.Trial, []points.TrialRow, error)
	// ReloadRules puts the configured rules file into force again. A file with a mistake changes nothing.
	ReloadRules(ctx context.Context) (RulesInForce, error)
	// RulesInForce returns the rules that days are scored by.
	RulesInForce() RulesInForce
}

// RulesInForce names the rules that days are scored by.
type RulesInForce struct {
	Programme   string   `json:"programme"`
	RuleSets    []string `json:"rule_sets"` // by rising date
	Fingerprint string   `json:"fingerprint"`
}

// tryRow is a row of a trial: the summary first, and then those for whom something changes.
type tryRow struct {
	Trial *points.Trial    `json:"trial,omitempty"`
	Row   *points.TrialRow `json:"row,omitempty"`
}

func (s *Server) tryRules(w http.ResponseWriter, r *http.Request) error {
	q, err := params(r, "from", "to", "name")
	if err != nil {
		return err
	}
	days, err := dayRange(q)
	if err != nil {
		return err
	}
	if days.From == 0 {
		return steps.Errorf("try rules", steps.Invalid, "from is missing; give the first day to compare")
	}
	body := http.MaxBytesReader(w, r.Body, maxBody)
	trial, rows, err := s.d.Rules.TryRules(r.Context(), q.Get("name"), body, days)
	if err != nil {
		return err
	}
	st := s.newStream(w)
	err = st.row(tryRow{Trial: trial})
	for i := range rows {
		if err == nil && rows[i].Days > 0 {
			err = st.row(tryRow{Row: &rows[i]})
		}
	}
	return st.end(err)
}

func (s *Server) reloadRules(w http.ResponseWriter, r *http.Request) error {
	now, err := s.d.Rules.ReloadRules(r.Context())
	if err != nil {
		return err
	}
	return s.reply(w, http.StatusOK, now)
}

func (s *Server) showRules(w http.ResponseWriter, _ *http.Request) error {
	return s.reply(w, http.StatusOK, s.d.Rules.RulesInForce())
}

// TryRules compares what the rules in a file would award with what is awarded, and calls fn for everybody
// for whom something changes, by participant.
func (c *Client) TryRules(ctx context.Context, name string, file []byte, r steps.DayRange, fn func(points.TrialRow) error) (*points.Trial, error) {
	const op = "try rules"
	path := "/v1/rules/try" + query("from", dayText(r.From), "to", dayText(r.Until), "name", name)
	resp, err := c.do(ctx, http.MethodPost, path, typeYAML, bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var trial *points.Trial
	err = readStream(op, resp.Body, func(row *tryRow) error {
		if row.Trial != nil {
			trial = row.Trial
			return nil
		}
		return fn(*row.Row)
	})
	return trial, err
}

// ReloadRules puts the configured rules file into force again.
func (c *Client) ReloadRules(ctx context.Context) (RulesInForce, error) {
	return post[RulesInForce](ctx, c, "/v1/rules/reload", nil)
}

// RulesInForce returns the rules that days are scored by.
func (c *Client) RulesInForce(ctx context.Context) (RulesInForce, error) {
	return get[RulesInForce](ctx, c, "/v1/rules")
}
