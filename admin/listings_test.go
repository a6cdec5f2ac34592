package admin

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"ayumi/steps"
)

func award(p steps.ParticipantID, d steps.Day, n uint64) steps.Award {
	return steps.Award{ParticipantDay: steps.ParticipantDay{Participant: p, Day: d}, Steps: n, Points: steps.Points(n / 1000), RuleSet: "demo@2026-04-01"}
}

func TestDays(t *testing.T) {
	ctx := context.Background()
	b := start(t, t.TempDir(), nil)
	_, err := b.c.AddParticipant(ctx, "p2", nil)
	must(t, err)
	for d := range steps.Day(40) {
		for _, p := range []steps.ParticipantID{"p1", "p2"} {
			for range 20 { // enough for several flushes
				b.days = append(b.days, award(p, today+d, uint64(d)*500))
			}
		}
	}
	settled := 0
	b.settle = func(context.Context) error { settled++; return nil }
	collect := func(r steps.DayRange, p steps.ParticipantID) (out []steps.Award, err error) {
		err = b.c.EachDay(ctx, r, p, func(a steps.Award) error { out = append(out, a); return nil })
		return out, err
	}
	all, err := collect(steps.DayRange{}, "")
	must(t, err)
	if !slices.Equal(all, b.days) || settled != 1 {
		t.Errorf("%d of %d days, settled %d times", len(all), len(b.days), settled)
	}
	some, err := collect(steps.DayRange{From: today + 3, Until: today + 4}, "p2")
	must(t, err)
	if len(some) != 40 || some[0].Day != today+3 || some[39].Day != today+4 || some[0].Participant != "p2" {
		t.Errorf("%d narrowed days", len(some))
	}
	none, err := collect(steps.DayRange{From: today + 1000}, "")
	if err != nil || len(none) != 0 {
		t.Errorf("%d days: %v", len(none), err)
	}
	_, err = collect(steps.DayRange{From: today, Until: today - 1}, "")
	wantError(t, err, steps.Invalid, "holds no day")
	_, err = collect(steps.DayRange{}, "misspelt")
	wantError(t, err, steps.NotFound, "misspelt")
	stop := errors.New("enough")
	if err := b.c.EachDay(ctx, steps.DayRange{}, "", func(steps.Award) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
}

func TestListingThatFails(t *testing.T) {
	ctx := context.Background()
	corrupt := steps.Errorf("read day block", steps.Internal, "block 17 is damaged")
	for name, rows := range map[string]int{"before the first row": 0, "after a few": 3, "after flushes": 5000} {
		t.Run(name, func(t *testing.T) {
			b := start(t, t.TempDir(), nil)
			for range rows {
				b.days = append(b.days, award("p1", today, 1))
			}
			b.daysErr = corrupt
			err := b.c.EachDay(ctx, steps.DayRange{}, "", func(steps.Award) error { return nil })
			wantError(t, err, steps.Internal, "cannot read day block: block 17 is damaged")
		})
	}
}

func TestListingThatBreaksOff(t *testing.T) {
	row := `{"participant":"p1","day":"2026-11-23","steps":1,"points":0,"rule_set":""}` + "\n"
	for name, tc := range map[string]struct {
		body, text string
		kind       steps.Kind
	}{
		"complete":         {row + row + `{"end":true,"count":2}`, "", 0},
		"nothing":          {"", "after 0 rows", steps.Unavailable},
		"no last line":     {row + row, "after 2 rows", steps.Unavailable},
		"half a last line": {row + `{"end":tr`, "broke off", steps.Unavailable},
		"half a row":       {row + row[:20], "row 2 is not understood", steps.Internal},
		"a row missing":    {row + `{"end":true,"count":2}`, "does not fit its rows", steps.Unavailable},
		"an error":         {row + `{"error":{"type":"/problems/overload","detail":"cannot list: busy","op":"list"}}`, "cannot list: busy", steps.Overload},
	} {
		t.Run(name, func(t *testing.T) {
			err := readStream("list days", strings.NewReader(tc.body), func(*dayLine) error { return nil })
			if tc.text == "" {
				must(t, err)
				return
			}
			wantError(t, err, tc.kind, tc.text)
		})
	}
}

func TestSettleIsBounded(t *testing.T) {
	b := start(t, t.TempDir(), func(c *Config, _ *Deps) { c.SettleWait = time.Millisecond })
	b.settle = func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	err := b.c.EachDay(context.Background(), steps.DayRange{}, "", func(steps.Award) error { return nil })
	wantError(t, err, steps.Unavailable, "not computed up to date within 1ms (settle_wait); try again later")
}

func TestQuarantine(t *testing.T) {
	ctx := context.Background()
	b := start(t, t.TempDir(), nil)
	raw := []byte{0, 1, 2, 255}
	b.entries = []*steps.QuarantineEntry{
		{ID: "q1", ReceivedAt: now.Unix(), Device: "d1", Via: "r1", Transport: steps.MQTT, Encoding: steps.Protobuf, Raw: raw,
			Faults: []steps.Fault{{Series: -1, Reason: steps.ReasonMalformed, Detail: "no"}}},
		{ID: "q2", Device: "d2", Transport: steps.HTTPS, Faults: []steps.Fault{{Reason: steps.ReasonFuture}}},
	}
	ids := func(f steps.QuarantineFilter) string {
		t.Helper()
		var out []string
		must(t, b.c.EachQuarantined(ctx, f, func(e *QuarantineEntry) error {
			if e.Raw != nil {
				t.Error("a listing with raw bytes")
			}
			out = append(out, string(e.ID)+" "+e.State)
			return nil
		}))
		return strings.Join(out, ", ")
	}
	if got := ids(steps.QuarantineFilter{}); got != "q1 open, q2 open" {
		t.Errorf("all: %s", got)
	}
	if got := ids(steps.QuarantineFilter{Device: "d2", Reason: steps.ReasonFuture, Limit: 5}); got != "q2 open" {
		t.Errorf("narrowed: %s", got)
	}
	e, err := b.c.Quarantined(ctx, "q1")
	must(t, err)
	if !bytes.Equal(e.Raw, raw) || e.Size != 4 || e.Via != "r1" || e.Transport != "mqtt" || e.Encoding != "pb" ||
		e.Faults[0] != (Fault{-1, "malformed", "no"}) || e.Decision != nil {
		t.Errorf("entry %+v", e)
	}
	_, err = b.c.Release(ctx, "q1", "sato", " ")
	wantError(t, err, steps.Invalid, "reason is empty; say why")
	_, err = b.c.Discard(ctx, "q1", "", "test")
	wantError(t, err, steps.Invalid, "by is empty")
	rec, err := b.c.Release(ctx, "q1", "sato", "battery was changed")
	must(t, err)
	if rec.Record != "7.1" || len(rec.Uploads) != 1 || rec.Uploads[0].Verdict != "stored" || rec.Uploads[0].Seq != 9 || rec.Uploads[0].Conflicts != 3 {
		t.Errorf("receipt %+v", rec)
	}
	_, err = b.c.Discard(ctx, "q1", "sato", "again")
	wantError(t, err, steps.Conflict, "released already")
	e, err = b.c.Discard(ctx, "q2", "sato", "clock never set")
	must(t, err)
	if e.State != "discarded" || *e.Decision != (Decision{now, "sato", "clock never set"}) {
		t.Errorf("discarded %+v", e)
	}
	open := steps.Open
	if got := ids(steps.QuarantineFilter{State: &open}); got != "" {
		t.Errorf("open: %s", got)
	}
	_, err = b.c.Quarantined(ctx, "q9")
	wantError(t, err, steps.NotFound, "q9")
}
