package prize

import (
	"strings"
	"testing"

	"ayumi/steps"
)

func towel() steps.Prize {
	return steps.Prize{ID: "towel", NameJA: "タオル", NameEN: "Towel", Price: 100, Stock: 2, Days: steps.DayRange{From: 10, Until: 20}}
}

func TestCheck(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*steps.Prize)
		ok     bool
	}{
		{"as it is", func(*steps.Prize) {}, true},
		{"unlimited", func(p *steps.Prize) { p.Unlimited, p.Stock = true, 0 }, true},
		{"none yet", func(p *steps.Prize) { p.Stock = 0 }, true},
		{"without end", func(p *steps.Prize) { p.Days.Until = 0 }, true},
		{"no id", func(p *steps.Prize) { p.ID = "" }, false},
		{"no Japanese name", func(p *steps.Prize) { p.NameJA = "" }, false},
		{"no English name", func(p *steps.Prize) { p.NameEN = "" }, false},
		{"long name", func(p *steps.Prize) { p.NameEN = strings.Repeat("x", maxNameBytes+1) }, false},
		{"free", func(p *steps.Prize) { p.Price = 0 }, false},
		{"too dear", func(p *steps.Prize) { p.Price = steps.MaxPoints + 1 }, false},
		{"unlimited stock of two", func(p *steps.Prize) { p.Unlimited = true }, false},
		{"ends before it begins", func(p *steps.Prize) { p.Days.Until = 9 }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := towel()
			tc.change(&p)
			if err := Check(&p); (err == nil) != tc.ok || !tc.ok && steps.KindOf(err) != steps.Invalid {
				t.Errorf("Check: %v; want ok = %t", err, tc.ok)
			}
		})
	}
}

func TestTakeAndReturn(t *testing.T) {
	p := towel()
	for _, tc := range []struct {
		name  string
		price steps.Points
		today steps.Day
		want  string // in the error; "" takes one
	}{
		{"too early", 100, 9, "can be asked for in"},
		{"too late", 100, 21, "can be asked for in"},
		{"another price", 90, 10, "costs 100 points, not 90"},
		{"first", 100, 10, ""},
		{"second", 100, 20, ""},
		{"third", 100, 15, "out of stock"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			taken := p.Taken
			err := Take(&p, tc.price, tc.today)
			if tc.want == "" {
				if err != nil || p.Taken != taken+1 {
					t.Errorf("Take: %v, %d taken", err, p.Taken)
				}
				return
			}
			if steps.KindOf(err) != steps.Conflict || err == nil || !strings.Contains(err.Error(), tc.want) || p.Taken != taken {
				t.Errorf("Take: %v, %d taken; want a conflict: %s", err, p.Taken, tc.want)
			}
		})
	}
	if left, limited := p.Left(); left != 0 || !limited {
		t.Errorf("%d left", left)
	}
	for range 2 {
		if err := Return(&p); err != nil {
			t.Error(err)
		}
	}
	if err := Return(&p); steps.KindOf(err) != steps.Internal || err == nil {
		t.Errorf("returning what nobody took: %v", err)
	}
	unlimited := towel()
	unlimited.Unlimited, unlimited.Stock = true, 0
	for range 5 {
		if err := Take(&unlimited, 100, 10); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReplace(t *testing.T) {
	old := towel()
	old.Taken = 2
	fresh := towel()
	fresh.Stock, fresh.Price, fresh.Taken = 5, 120, 4
	got, err := Replace(&old, fresh)
	if err != nil || got.Taken != 2 || got.Stock != 5 || got.Price != 120 {
		t.Errorf("%+v, %v", got, err)
	}
	fresh.Stock = 1
	if _, err := Replace(&old, fresh); steps.KindOf(err) != steps.Conflict {
		t.Errorf("less stock than is given: %v", err)
	}
	if got, err := Replace(nil, fresh); err != nil || got.Taken != 0 {
		t.Errorf("a new prize: %+v, %v", got, err)
	}
}

func TestAdvance(t *testing.T) {
	const none = steps.Kind(255)
	requested, shipped, cancelled := steps.ExchangeRequested, steps.ExchangeShipped, steps.ExchangeCancelled
	for _, tc := range []struct {
		name     string
		from, to steps.ExchangeState
		by, why  string
		kind     steps.Kind
		again    bool
	}{
		{"ship", requested, shipped, "me", "", none, false},
		{"cancel", requested, cancelled, "me", "asked to", none, false},
		{"a parcel that came back", shipped, cancelled, "me", "returned", none, false},
		{"ship again", shipped, shipped, "me", "", none, true},
		{"cancel again", cancelled, cancelled, "me", "asked to", none, true},
		{"ship what is cancelled", cancelled, shipped, "me", "", steps.Conflict, false},
		{"back to requested", shipped, requested, "me", "", steps.Invalid, false},
		{"nobody ships", requested, shipped, "", "", steps.Invalid, false},
		{"cancel without a reason", requested, cancelled, "me", "", steps.Invalid, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x := steps.Exchange{ID: 7, State: tc.from}
			again, err := Advance(&x, &steps.ExchangeChange{ID: 7, State: tc.to, By: tc.by, Reason: tc.why}, 99)
			switch {
			case tc.kind != none:
				if err == nil || steps.KindOf(err) != tc.kind || x.State != tc.from {
					t.Errorf("%v, now %s; want %v", err, x.State, tc.kind)
				}
			case err != nil || again != tc.again || x.State != tc.to || !again && (x.ChangedAt != 99 || x.By != tc.by || x.Reason != tc.why):
				t.Errorf("%+v, again %t, %v", x, again, err)
			}
		})
	}
}
