package https

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"ayumi/steps"
)

func TestOwnDays(t *testing.T) {
	today := steps.DateDay(2026, 11, 23)
	for _, c := range []struct {
		name, query string
		from, until steps.Day
		detail      string // set when refused
	}{
		{"defaults", "", today - 30, today, ""},
		{"both", "?from=2026-11-01&to=2026-11-30", steps.DateDay(2026, 11, 1), steps.DateDay(2026, 11, 30), ""},
		{"one day", "?to=2026-11-01&from=2026-11-01", steps.DateDay(2026, 11, 1), steps.DateDay(2026, 11, 1), ""},
		{"from alone", "?from=2026-11-20", today - 3, today, ""},
		{"to alone", "?to=2026-03-31", steps.DateDay(2026, 3, 1), steps.DateDay(2026, 3, 31), ""},
		{"400 days", "?from=2025-01-01&to=2026-02-04", steps.DateDay(2025, 1, 1), steps.DateDay(2026, 2, 4), ""},
		{"401 days", "?from=2025-01-01&to=2026-02-05", 0, 0, "401 days; ask for 400 at most"},
		{"reversed", "?from=2026-11-02&to=2026-11-01", 0, 0, "exchange them"},
		{"from after today", "?from=2026-12-01", 0, 0, "exchange them"},
		{"no date", "?from=yesterday", 0, 0, `"yesterday" is not a date; write it as 2026-11-23`},
		{"no such date", "?to=2026-02-30", 0, 0, "parameter to"},
		{"empty", "?from=", 0, 0, "parameter from"},
		{"twice", "?from=2026-11-01&from=2026-11-02", 0, 0, "given 2 times"},
		{"misspelt", "?form=2026-11-01", 0, 0, `"form" is unknown; use from and to`},
		{"malformed query", "?from=%zz", 0, 0, "malformed"},
		{"day zero, which would be open", "?to=1970-01-01", 0, 0, "before any step"},
		{"before day zero", "?from=1969-12-31&to=1970-01-02", 0, 0, "before any step"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var asked steps.DayRange
			days := fakeDays(func(_ context.Context, d steps.DeviceID, r steps.DayRange) ([]steps.Award, error) {
				if d != testDevice {
					t.Errorf("device %q", d)
				}
				asked = r
				return []steps.Award{
					{ParticipantDay: steps.ParticipantDay{Participant: "p-1", Day: today - 1}, Steps: 8123, Points: 10, RuleSet: "walk@2026-04-01"},
					{ParticipantDay: steps.ParticipantDay{Participant: "p-1", Day: today}, Steps: 5},
				}, nil
			})
			s, _ := newServer(t, testConfig(), &fakeGateway{}, days)
			w := answer(s.Handler(), prepare(httptest.NewRequest(http.MethodGet, "/v1/days"+c.query, nil)))
			if c.detail != "" {
				checkProblem(t, w, 400, "/problems/invalid", c.detail)
				return
			}
			const want = `{"days":[{"day":"2026-11-22","steps":8123,"points":10,"rule_set":"walk@2026-04-01"},` +
				`{"day":"2026-11-23","steps":5,"points":0,"rule_set":""}]}` + "\n"
			if got := readAll(t, w); w.StatusCode != 200 || got != want {
				t.Errorf("%d %s, want 200 %s", w.StatusCode, got, want)
			}
			if asked != (steps.DayRange{From: c.from, Until: c.until}) {
				t.Errorf("asked for %v, want %v..%v", asked, c.from, c.until)
			}
			for name, v := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
				if got := w.Header.Get(name); got != v {
					t.Errorf("%s: %q, want %q", name, got, v)
				}
			}
		})
	}
}

func TestOwnDaysEmpty(t *testing.T) {
	s, _ := newServer(t, testConfig(), &fakeGateway{}, fakeDays(noDays))
	if got := readAll(t, answer(s.Handler(), prepare(httptest.NewRequest(http.MethodGet, "/v1/days", nil)))); got != `{"days":[]}`+"\n" {
		t.Errorf("answer %q", got)
	}
}

func TestOwnDaysNeedsCredential(t *testing.T) {
	s, _ := newServer(t, testConfig(), &fakeGateway{}, fakeDays(noDays))
	checkProblem(t, answer(s.Handler(), httptest.NewRequest(http.MethodGet, "/v1/days", nil)), 401, "/problems/unauthorized")
}

func TestOwnDaysErrors(t *testing.T) {
	for kind, status := range map[steps.Kind]int{steps.NotFound: 404, steps.Unavailable: 503, steps.Internal: 500} {
		days := fakeDays(func(context.Context, steps.DeviceID, steps.DayRange) ([]steps.Award, error) {
			return nil, steps.Errorf("read days", kind, "device is bound to nobody")
		})
		s, _ := newServer(t, testConfig(), &fakeGateway{}, days)
		w := answer(s.Handler(), prepare(httptest.NewRequest(http.MethodGet, "/v1/days", nil)))
		if w.StatusCode != status {
			t.Errorf("%v: status %d, want %d", kind, w.StatusCode, status)
		}
	}
}

func TestOwnDaysTooSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		days := fakeDays(func(ctx context.Context, _ steps.DeviceID, _ steps.DayRange) ([]steps.Award, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		s, _ := newServer(t, testConfig(), &fakeGateway{}, days)
		checkProblem(t, answer(s.Handler(), prepare(httptest.NewRequest(http.MethodGet, "/v1/days", nil))), 503, "/problems/unavailable")
	})
}

func TestOwnDay(t *testing.T) {
	for _, c := range []struct {
		path, want, detail string
		status             int
	}{
		{"2026-11-20", `{"day":"2026-11-20","device":"` + string(testDevice) + `"}` + "\n", "", 200},
		{"1969-12-31", "", "nobody's on 1969-12-31", 404},
		{"yesterday", "", `"yesterday" is not a date`, 400},
		{"2026-11-20/more", "", "is not a date", 400},
		{"", "", "is not a date", 400},
	} {
		t.Run(c.path, func(t *testing.T) {
			s, _ := newServer(t, testConfig(), &fakeGateway{}, fakeDays(noDays))
			w := answer(s.Handler(), prepare(httptest.NewRequest(http.MethodGet, "/v1/days/"+c.path, nil)))
			if c.status == 200 {
				if got := readAll(t, w); w.StatusCode != 200 || got != c.want {
					t.Errorf("%d %s, want %s", w.StatusCode, got, c.want)
				}
				return
			}
			checkProblem(t, w, c.status, map[int]string{400: "/problems/invalid", 404: "/problems/not-found"}[c.status], c.detail)
		})
	}
}
