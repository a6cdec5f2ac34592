package https

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"ayumi/steps"
)

const (
	defaultDays = 31
	maxDays     = 400
)

// dayAnswer is one day as it is sent.
type dayAnswer struct {
	Day     steps.Day    `json:"day"`
	Steps   uint64       `json:"steps"`
	Points  steps.Points `json:"points"`
	RuleSet string       `json:"rule_set"`
}

// ownDays answers GET /v1/days.
func (x *exchange) ownDays() {
	x.allowance.Spend(1, x.s.cfg.Now())
	days, err := x.s.dayRange(x.r.URL.RawQuery)
	if err != nil {
		x.fail(err)
		return
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), x.s.cfg.CommitTimeout)
	defer cancel()
	awards, err := x.s.days.OwnDays(ctx, x.id.Device, days)
	if err != nil {
		if ctx.Err() != nil {
			err = steps.E("read days", steps.Unavailable, err)
		}
		x.fail(err)
		return
	}
	answer := struct {
		Days []dayAnswer `json:"days"`
	}{make([]dayAnswer, len(awards))}
	for i, a := range awards {
		answer.Days[i] = dayAnswer{a.Day, a.Steps, a.Points, a.RuleSet}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		panic("https: days cannot be marshalled: " + err.Error())
	}
	x.reply(http.StatusOK, typeJSON, append(body, '\n'))
}

// ownDay answers GET /v1/days/DAY: what the day earned and why, in Japanese and English and as data.
func (x *exchange) ownDay(text string) {
	x.allowance.Spend(1, x.s.cfg.Now())
	day, err := steps.ParseDay(text)
	if err != nil {
		x.fail(steps.E("read the day in the path", steps.Invalid, err))
		return
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), x.s.cfg.CommitTimeout)
	defer cancel()
	explained, err := x.s.days.ExplainDay(ctx, x.id.Device, day)
	if err != nil {
		if ctx.Err() != nil {
			err = steps.E("explain day", steps.Unavailable, err)
		}
		x.fail(err)
		return
	}
	body, err := json.Marshal(explained)
	if err != nil {
		panic("https: an explanation cannot be marshalled: " + err.Error())
	}
	x.reply(http.StatusOK, typeJSON, append(body, '\n'))
}

// dayRange reads from and to, both inclusive. Without to the range ends today; without from it
// covers 31 days.
func (s *Server) dayRange(query string) (steps.DayRange, error) {
	const op = "read the range of days"
	q, err := url.ParseQuery(query)
	if err != nil {
		return steps.DayRange{}, steps.Errorf(op, steps.Invalid, "the query is malformed; write it as from=2026-11-01&to=2026-11-30")
	}
	for name := range q {
		if name != "from" && name != "to" {
			return steps.DayRange{}, steps.Errorf(op, steps.Invalid, "the query parameter %q is unknown; use from and to", name)
		}
	}
	until, err := dayParam(q, "to", s.cfg.Calendar.Day(s.cfg.Now().Unix()))
	if err != nil {
		return steps.DayRange{}, err
	}
	from, err := dayParam(q, "from", until-defaultDays+1)
	if err != nil {
		return steps.DayRange{}, err
	}
	switch {
	case from > until:
		return steps.DayRange{}, steps.Errorf(op, steps.Invalid, "from (%s) is after to (%s); exchange them", from, until)
	case until-from >= maxDays:
		return steps.DayRange{}, steps.Errorf(op, steps.Invalid, "%s to %s are %d days; ask for %d at most", from, until, until-from+1, maxDays)
	}
	return steps.DayRange{From: from, Until: until}, nil
}

// dayParam reads one date. Dates up to 1970-01-01 are refused, because a DayRange that ends on day
// zero is open.
func dayParam(q url.Values, name string, absent steps.Day) (steps.Day, error) {
	values := q[name]
	if len(values) == 0 {
		return absent, nil
	}
	d, err := steps.ParseDay(values[0])
	if err == nil && len(values) > 1 {
		err = fmt.Errorf("it is given %d times; give it once", len(values))
	}
	if err == nil && d <= 0 {
		err = fmt.Errorf("%s is before any step was counted; use a later date", d)
	}
	if err != nil {
		return 0, steps.Errorf("read the query parameter "+name, steps.Invalid, "%w", err)
	}
	return d, nil
}
