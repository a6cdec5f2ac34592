package admin

import (
	"context"
	"testing"

	"ayumi/steps"
)

func TestPrizes(t *testing.T) {
	ctx := context.Background()
	b := desk(t)
	from, until := today, today+30
	got, err := b.c.PutPrize(ctx, Prize{ID: "towel", NameJA: "手ぬぐい", NameEN: "towel", Price: 300, Stock: 20, From: &from, Until: &until})
	must(t, err)
	left := uint64(19)
	want := Prize{ID: "towel", NameJA: "手ぬぐい", NameEN: "towel", Price: 300, Stock: 20, Taken: 1, Left: &left, From: &from, Until: &until}
	same(t, got, want)
	_, err = b.c.PutPrize(ctx, Prize{ID: "stamp", NameJA: "スタンプ", NameEN: "stamp", Price: 5, Unlimited: true})
	must(t, err)
	var all []Prize
	must(t, b.c.EachPrize(ctx, func(p *Prize) error { all = append(all, *p); return nil }))
	same(t, all, []Prize{want, {ID: "stamp", NameJA: "スタンプ", NameEN: "stamp", Price: 5, Unlimited: true, Taken: 1}})
	b.refuse(t, map[string]refusal{
		"bad id":        {"PUT", "/v1/prizes/a%20b", `{}`, steps.Invalid, "use letters, digits"},
		"unknown field": {"PUT", "/v1/prizes/towel", `{"taken":0}`, steps.Invalid, `unknown field "taken"`},
		"negative":      {"PUT", "/v1/prizes/towel", `{"stock":-1}`, steps.Invalid, "stock"},
	})
}

func TestExchanges(t *testing.T) {
	ctx := context.Background()
	b := desk(t)
	x, err := b.c.Exchange(ctx, ExchangeRequest{Participant: "p1", Key: "k-1", Prize: "towel", Price: 300, By: "desk"})
	must(t, err)
	same(t, x, Exchange{ID: 1, Participant: "p1", Prize: "towel", Price: 300, RequestedAt: now, Entry: 3, State: "requested", ChangedAt: now, By: "desk"})
	same(t, b.requested, []steps.ExchangeRequest{{Participant: "p1", Key: "k-1", Prize: "towel", Price: 300, Today: today,
		Periods: []steps.Period{oldYear, year}, By: "desk"}})
	x, err = b.c.Ship(ctx, 5, "desk")
	must(t, err)
	if x.State != "shipped" {
		t.Errorf("%+v", x)
	}
	x, err = b.c.Cancel(ctx, 5, "desk", "moved away")
	must(t, err)
	if x.State != "cancelled" || x.Reason != "moved away" {
		t.Errorf("%+v", x)
	}
	same(t, b.changes, []steps.ExchangeChange{{ID: 5, State: steps.ExchangeShipped, By: "desk"},
		{ID: 5, State: steps.ExchangeCancelled, By: "desk", Reason: "moved away"}})
	b.exchanges = []steps.Exchange{{ID: 1, Participant: "p1", Prize: "towel", State: steps.ExchangeRequested},
		{ID: 2, Participant: "p2", Prize: "towel", State: steps.ExchangeShipped}, {ID: 3, Participant: "p1", Prize: "stamp", State: steps.ExchangeShipped}}
	for name, tc := range map[string]struct {
		f    steps.ExchangeFilter
		want []steps.ExchangeID
	}{
		"all":         {steps.ExchangeFilter{}, []steps.ExchangeID{1, 2, 3}},
		"participant": {steps.ExchangeFilter{Participant: "p1"}, []steps.ExchangeID{1, 3}},
		"prize":       {steps.ExchangeFilter{Prize: "towel"}, []steps.ExchangeID{1, 2}},
		"state":       {steps.ExchangeFilter{State: steps.ExchangeShipped}, []steps.ExchangeID{2, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []steps.ExchangeID
			must(t, b.c.EachExchange(ctx, tc.f, func(x *Exchange) error { got = append(got, x.ID); return nil }))
			same(t, got, tc.want)
		})
	}
	x, err = b.c.FindExchange(ctx, 2)
	must(t, err)
	if x.Participant != "p2" {
		t.Errorf("%+v", x)
	}
	_, err = b.c.FindExchange(ctx, 9)
	wantError(t, err, steps.NotFound, "there is no exchange 9")
	const path = "/v1/exchanges"
	b.refuse(t, map[string]refusal{
		"nobody":           {"POST", path, `{"key":"k","prize":"towel","price":1}`, steps.Invalid, "participant is empty"},
		"misspelt":         {"POST", path, `{"participant":"p9","key":"k","prize":"towel","price":1}`, steps.NotFound, "p9"},
		"no key":           {"POST", path, `{"participant":"p1","prize":"towel","price":1}`, steps.Invalid, "key is empty"},
		"no prize":         {"POST", path, `{"participant":"p1","key":"k","price":1}`, steps.Invalid, "parse prize id"},
		"no price":         {"POST", path, `{"participant":"p1","key":"k","prize":"towel"}`, steps.Invalid, "price is 0; give the points"},
		"unknown field":    {"POST", path, `{"participant":"p1","points":1}`, steps.Invalid, "unknown field"},
		"no number":        {"GET", path + "/one", "", steps.Invalid, `"one" is no number of an exchange`},
		"number 0":         {"GET", path + "/0", "", steps.Invalid, "they count from 1"},
		"nobody ships":     {"POST", path + "/1/ship", `{}`, steps.Invalid, "by is empty"},
		"ships for reason": {"POST", path + "/1/ship", `{"by":"b","reason":"r"}`, steps.Invalid, "reason is for cancellations"},
		"cancels for none": {"POST", path + "/1/cancel", `{"by":"b"}`, steps.Invalid, "reason is empty"},
		"unknown state":    {"GET", path + "?state=lost", "", steps.Invalid, `no state "lost"; use one of requested, shipped, cancelled`},
	})
}

func TestActivities(t *testing.T) {
	ctx := context.Background()
	b := desk(t)
	pd := steps.ParticipantDay{Participant: "p1", Day: today - 1}
	a, err := b.c.AddActivity(ctx, pd, "checkup", 1, "desk")
	must(t, err)
	want := Activity{Participant: "p1", Day: today - 1, Kind: "checkup", Times: 1, RecordedAt: now, By: "desk", Counts: true}
	same(t, a, want)
	a, err = b.c.AddActivity(ctx, pd, "chekcup", 1, "desk")
	must(t, err)
	if a.Counts {
		t.Error("no rule pays for a chekcup")
	}
	a, err = b.c.CancelActivity(ctx, pd, "checkup", "desk", "another person's")
	must(t, err)
	want.Counts, want.Cancelled = false, &Decision{now, "desk", "another person's"}
	same(t, a, want)
	all, err := b.c.Activities(ctx, "p1", steps.DayRange{})
	must(t, err)
	if len(all) != 2 || all[0].Cancelled == nil {
		t.Errorf("%+v", all)
	}
	_, err = b.c.CancelActivity(ctx, pd, "weight", "desk", "none")
	wantError(t, err, steps.NotFound, "there is no weight")
	const path = "/v1/participants/p1/activities"
	b.refuse(t, map[string]refusal{
		"nobody":          {"POST", "/v1/participants/p9/activities", `{}`, steps.NotFound, "p9"},
		"no day":          {"POST", path, `{"kind":"checkup","by":"b"}`, steps.Invalid, "day is missing"},
		"tomorrow":        {"POST", path, `{"day":"2026-11-24","kind":"checkup","by":"b"}`, steps.Invalid, "today is 2026-11-23; check the date"},
		"bad kind":        {"POST", path, `{"day":"2026-11-20","kind":"Checkup","by":"b"}`, steps.Invalid, "use lower-case letters"},
		"nobody records":  {"POST", path, `{"day":"2026-11-20","kind":"checkup"}`, steps.Invalid, "by is empty"},
		"a reason":        {"POST", path, `{"day":"2026-11-20","kind":"checkup","by":"b","reason":"r"}`, steps.Invalid, "reason is for cancellations"},
		"cancel for none": {"POST", path + "/cancel", `{"day":"2026-11-20","kind":"checkup","by":"b"}`, steps.Invalid, "reason is empty"},
	})
}
