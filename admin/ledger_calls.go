package admin

import (
	"context"
	"net/http"
	"strconv"

	"ayumi/steps"
)

func participantPath(p steps.ParticipantID, what string) string {
	return "/v1/participants/" + segment(p) + "/" + what
}

// Balance returns what a participant has. Points reflect everything acknowledged before the call.
func (c *Client) Balance(ctx context.Context, p steps.ParticipantID) (Balance, error) {
	return get[Balance](ctx, c, participantPath(p, "balance"))
}

// EachBalance calls fn with what everybody has, by ID: all who were ever scored or have an entry.
func (c *Client) EachBalance(ctx context.Context, fn func(*Balance) error) error {
	return list(ctx, c, "list balances", "/v1/balances", fn)
}

// EachEntry calls fn for every line of a participant's ledger in the order of time.
func (c *Client) EachEntry(ctx context.Context, p steps.ParticipantID, fn func(*Entry) error) error {
	return list(ctx, c, "show statement", participantPath(p, "statement"), fn)
}

// Totals returns the trial balance.
func (c *Client) Totals(ctx context.Context) (Totals, error) {
	return get[Totals](ctx, c, "/v1/totals")
}

// PostEntry makes a bonus, a correction, a hold or a release. The same request again is answered with the
// entry that is there.
func (c *Client) PostEntry(ctx context.Context, p steps.ParticipantID, r EntryRequest) (Entry, error) {
	return post[Entry](ctx, c, participantPath(p, "entries"), r)
}

// EachClosedDay calls fn for every closed day in range, in order.
func (c *Client) EachClosedDay(ctx context.Context, r steps.DayRange, fn func(*ClosedDay) error) error {
	return list(ctx, c, "list closed days", "/v1/closed"+query("from", dayText(r.From), "to", dayText(r.Until)), fn)
}

// CloseDays closes a day, or all through one, and returns what it closed; a day that was closed before is
// returned as it was. It may be called again after any failure.
func (c *Client) CloseDays(ctx context.Context, r CloseRequest) ([]ClosedDay, error) {
	out, err := post[closedDays](ctx, c, "/v1/closed", r)
	return out.Days, err
}

// EachLate calls fn for the closed days whose data changed afterwards, by day and participant.
func (c *Client) EachLate(ctx context.Context, f steps.LateFilter, fn func(*LateDay) error) error {
	return list(ctx, c, "list late days", "/v1/late"+query("from", dayText(f.Days.From), "to", dayText(f.Days.Until),
		"participant", string(f.Participant), "undecided", boolText(f.Undecided)), fn)
}

// DiscardLate leaves a closed day as it is. By and reason are kept for good and may not be empty.
func (c *Client) DiscardLate(ctx context.Context, pd steps.ParticipantDay, by, reason string) (LateDay, error) {
	return post[LateDay](ctx, c, "/v1/late/discard", lateDecision{pd.Participant, &pd.Day, by, reason})
}

// EachPeriod calls fn for the current point period and all others that hold points, the newest first.
func (c *Client) EachPeriod(ctx context.Context, fn func(*PeriodBalance) error) error {
	return list(ctx, c, "list periods", "/v1/periods", fn)
}

// Expire takes what participants have available of a period that is over.
func (c *Client) Expire(ctx context.Context, id steps.PeriodID) (Expiry, error) {
	return post[Expiry](ctx, c, "/v1/periods/"+segment(id)+"/expire", nil)
}

// PutPrize adds an item to the catalogue or changes it. Taken and Left are kept by the gateway.
func (c *Client) PutPrize(ctx context.Context, p Prize) (Prize, error) {
	var out Prize
	in := newPrize{NameJA: p.NameJA, NameEN: p.NameEN, Price: p.Price, Unlimited: p.Unlimited, Stock: p.Stock, From: p.From, Until: p.Until}
	return out, c.call(ctx, http.MethodPut, "/v1/prizes/"+segment(p.ID), in, &out)
}

// EachPrize calls fn for every item of the catalogue by ID.
func (c *Client) EachPrize(ctx context.Context, fn func(*Prize) error) error {
	return list(ctx, c, "list prizes", "/v1/prizes", fn)
}

// Exchange asks for a prize. The same request again is answered with the exchange that is there.
func (c *Client) Exchange(ctx context.Context, r ExchangeRequest) (Exchange, error) {
	return post[Exchange](ctx, c, "/v1/exchanges", r)
}

// FindExchange returns one exchange.
func (c *Client) FindExchange(ctx context.Context, id steps.ExchangeID) (Exchange, error) {
	return get[Exchange](ctx, c, exchangePath(id))
}

// Ship notes that the prize was handed out.
func (c *Client) Ship(ctx context.Context, id steps.ExchangeID, by string) (Exchange, error) {
	return post[Exchange](ctx, c, exchangePath(id)+"/ship", exchangeChange{By: by})
}

// Cancel returns the prize to the stock and the points to the participant.
func (c *Client) Cancel(ctx context.Context, id steps.ExchangeID, by, reason string) (Exchange, error) {
	return post[Exchange](ctx, c, exchangePath(id)+"/cancel", exchangeChange{by, reason})
}

func exchangePath(id steps.ExchangeID) string {
	return "/v1/exchanges/" + strconv.FormatUint(uint64(id), 10)
}

// EachExchange calls fn for the exchanges that f asks for, in the order in which they were made.
func (c *Client) EachExchange(ctx context.Context, f steps.ExchangeFilter, fn func(*Exchange) error) error {
	state := ""
	if f.State != 0 {
		state = f.State.String()
	}
	return list(ctx, c, "list exchanges", "/v1/exchanges"+query("participant", string(f.Participant), "prize", string(f.Prize), "state", state), fn)
}

// AddActivity records an activity; one that stands already is kept as it was recorded first.
func (c *Client) AddActivity(ctx context.Context, pd steps.ParticipantDay, kind steps.ActivityKind, times uint8, by string) (Activity, error) {
	return post[Activity](ctx, c, participantPath(pd.Participant, "activities"), newActivity{Day: &pd.Day, Kind: kind, Times: times, By: by})
}

// CancelActivity takes an activity back. By and reason are kept for good and may not be empty.
func (c *Client) CancelActivity(ctx context.Context, pd steps.ParticipantDay, kind steps.ActivityKind, by, reason string) (Activity, error) {
	return post[Activity](ctx, c, participantPath(pd.Participant, "activities/cancel"), newActivity{Day: &pd.Day, Kind: kind, By: by, Reason: reason})
}

// Activities returns a participant's activities in range, by day and kind, cancelled ones included.
func (c *Client) Activities(ctx context.Context, p steps.ParticipantID, r steps.DayRange) ([]Activity, error) {
	out, err := get[activityList](ctx, c, participantPath(p, "activities")+query("from", dayText(r.From), "to", dayText(r.Until)))
	return out.Activities, err
}
