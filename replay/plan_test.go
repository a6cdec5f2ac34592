package replay

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ayumi/protocol"
	"ayumi/protocol/native"
	"ayumi/steps"
)

func tokyo(t testing.TB) steps.Calendar {
	t.Helper()
	cal, err := steps.NewCalendar("Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	return cal
}

// cell is what the merge law keeps of one minute of one device.
type cell struct {
	rev   steps.Revision
	count uint32
}

// merged is the merge law in its plainest form.
type merged map[int64]cell

func (m merged) take(u *steps.Upload) (conflicts int) {
	for _, s := range u.Series {
		for i, c := range s.Counts {
			at := s.Start + int64(i)*int64(s.Interval)
			old, ok := m[at]
			switch order := u.Revision.Compare(old.rev); {
			case !ok || order > 0:
				m[at] = cell{u.Revision, c}
			case order == 0 && c != old.count:
				conflicts++
				m[at] = cell{u.Revision, max(c, old.count)}
			}
		}
	}
	return conflicts
}

// truth is the person's minutes by UTC second.
func truth(p Person, cal steps.Calendar) map[int64]uint32 {
	out := map[int64]uint32{}
	hours, starts := placed(p, cal)
	for i := range hours {
		for m, c := range hours[i].Counts {
			out[starts[i]+int64(m)*60] = c
		}
	}
	return out
}

// checkPlan merges the plan as it stands and compares it with the person's minutes.
func checkPlan(t interface {
	Helper()
	Fatalf(string, ...any)
}, p Person, cal steps.Calendar, plan []Sending) {
	t.Helper()
	got, want := merged{}, truth(p, cal)
	for i := range plan {
		if plan[i].Label&BrokenClock != 0 {
			for _, s := range plan[i].Upload.Series {
				if y := time.Unix(s.Start, 0).UTC().Year(); y != 2000 && y != 2036 {
					t.Fatalf("broken clock of %d", y)
				}
			}
			continue // quarantined
		}
		if n := got.take(&plan[i].Upload); n > 0 {
			t.Fatalf("revision %s says two things of %d minutes", plan[i].Upload.Revision, n)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d minutes merged, want %d", len(got), len(want))
	}
	for at, c := range want {
		if g, ok := got[at]; !ok || g.count != c {
			t.Fatalf("minute %s is %d at %s, want %d", time.Unix(at, 0).UTC(), g.count, g.rev, c)
		}
	}
}

var personGen = rapid.Custom(func(t *rapid.T) Person {
	p := Person{ID: rapid.StringMatching(`[a-z]{1,4}`).Draw(t, "id")}
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "counts"), 1))
	// Around the days on which Lord Howe, Berlin and nobody at all changes the clocks.
	at := 24 * int(rapid.SampledFrom([]steps.Day{
		steps.DateDay(2026, time.March, 28), steps.DateDay(2026, time.April, 4), steps.DateDay(2026, time.October, 3),
		steps.DateDay(2026, time.October, 24), steps.DateDay(2026, time.November, 7),
	}).Draw(t, "first day"))
	for _, gap := range rapid.SliceOfN(rapid.SampledFrom([]int{1, 1, 1, 1, 1, 1, 2, 9, 30}), 0, 60).Draw(t, "gaps") {
		at += gap
		h := Hour{Day: steps.Day(at / 24), Hour: at % 24}
		if rng.IntN(4) > 0 {
			for m := range h.Counts {
				if rng.IntN(3) == 0 {
					h.Counts[m] = uint32(rng.IntN(221))
				}
			}
		}
		p.Hours = append(p.Hours, h)
	}
	return p
})

func TestAnyPermutationMergesToThePerson(t *testing.T) {
	zones := []string{"Asia/Tokyo", "UTC", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu"}
	rapid.Check(t, func(t *rapid.T) {
		cal, err := steps.NewCalendar(rapid.SampledFrom(zones).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		p := personGen.Draw(t, "person")
		plan := Plan(p, PlanOptions{
			Calendar: cal, Seed: rapid.Uint64().Draw(t, "seed"),
			Cadence: Cadence(rapid.IntRange(0, 2).Draw(t, "cadence")),
			Faults:  Faults(rapid.OneOf(rapid.Just(int(AllFaults)), rapid.IntRange(0, int(AllFaults))).Draw(t, "faults")),
		})
		checkPlan(t, p, cal, plan)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 2))
		rng.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
		checkPlan(t, p, cal, plan)
	})
}

// TestCorrectionsMatter makes sure that the plans would catch a gateway that keeps the largest or
// the latest count instead of the highest revision's.
func TestCorrectionsMatter(t *testing.T) {
	cal := tokyo(t)
	largest, latest := 0, 0
	for seed := range uint64(20) {
		p := Walkers(WalkerOptions{People: 1, First: 20_000, Last: 20_010, Seed: seed})[0].Person
		want := truth(p, cal)
		byMax, byTime := map[int64]uint32{}, map[int64]uint32{}
		for _, s := range Plan(p, PlanOptions{Calendar: cal, Seed: seed, Faults: AllFaults}) {
			for _, ser := range s.Upload.Series {
				for i, c := range ser.Counts {
					at := ser.Start + int64(i)*60
					byMax[at], byTime[at] = max(byMax[at], c), c
				}
			}
		}
		for at, c := range want {
			if byMax[at] != c {
				largest++
			}
			if byTime[at] != c {
				latest++
			}
		}
	}
	if largest == 0 || latest == 0 {
		t.Errorf("largest count goes wrong in %d minutes, latest in %d; both should", largest, latest)
	}
}

func TestPlanIsDeterministic(t *testing.T) {
	cal := tokyo(t)
	people := Walkers(WalkerOptions{People: 3, First: 20_000, Last: 20_009, Seed: 5})
	for _, w := range people {
		o := PlanOptions{Calendar: cal, Seed: 7, Faults: AllFaults, Status: true}
		a, b := Plan(w.Person, o), Plan(w.Person, o)
		if !reflect.DeepEqual(a, b) {
			t.Error("two plans of one seed differ")
		}
		o.Seed++
		if reflect.DeepEqual(a, Plan(w.Person, o)) {
			t.Error("another seed gave the same plan")
		}
	}
}

func TestPlainPlan(t *testing.T) {
	cal := tokyo(t)
	day0 := steps.DateDay(2026, time.November, 1)
	p := Person{ID: "p"}
	for _, h := range []int{0, 1, 2, 5, 6, 23} {
		p.Hours = append(p.Hours, Hour{Day: day0, Hour: h})
	}
	p.Hours = append(p.Hours, Hour{Day: day0 + 1, Hour: 0, Counts: [60]uint32{3: 9}})
	start, _ := cal.Bounds(day0)

	daily := Plan(p, PlanOptions{Calendar: cal, Cadence: Daily, Encoding: steps.JSON})
	if len(daily) != 2 {
		t.Fatalf("%d daily uploads, want 2", len(daily))
	}
	var shape []string
	for _, s := range daily[0].Upload.Series {
		shape = append(shape, fmt.Sprintf("%d+%d", (s.Start-start)/60, len(s.Counts)))
	}
	if want := []string{"0+180", "300+120", "1380+60"}; !slices.Equal(shape, want) {
		t.Errorf("series %v, want %v", shape, want)
	}
	hourly := Plan(p, PlanOptions{Calendar: cal, Cadence: Hourly})
	if len(hourly) != 7 {
		t.Fatalf("%d hourly uploads, want 7", len(hourly))
	}
	for i, s := range hourly {
		u := s.Upload
		end := u.Series[0].Start + 3600
		if u.Revision != (steps.Revision{Boot: 1, Seq: uint64(i + 1)}) || u.UTCOffset != 9*3600 || len(u.Series) != 1 ||
			len(u.Series[0].Counts) != 60 || s.Label != 0 || u.SentAt < end || u.SentAt > end+300 || u.SentAt != s.At {
			t.Errorf("upload %d: %+v", i, s)
		}
	}
	checkPlan(t, p, cal, daily)
	checkPlan(t, p, cal, hourly)
	if got := Plan(p, PlanOptions{Calendar: cal, Boot: 40})[0].Upload.Revision.Boot; got != 40 {
		t.Errorf("boot %d, want 40", got)
	}
	if got := Plan(Person{ID: "q"}, PlanOptions{Calendar: cal, Faults: AllFaults}); len(got) != 0 {
		t.Errorf("nobody sends %d uploads", len(got))
	}
}

func TestHoursOutsideCalendar(t *testing.T) {
	cal, err := steps.NewCalendar("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	p := Person{ID: "p"}
	for _, d := range []steps.Day{steps.DateDay(2026, time.March, 29), steps.DateDay(2026, time.October, 25)} {
		for h := range 24 {
			p.Hours = append(p.Hours, Hour{Day: d, Hour: h, Counts: [60]uint32{uint32(h + 1)}})
		}
	}
	plan := Plan(p, PlanOptions{Calendar: cal, Faults: AllFaults})
	checkPlan(t, p, cal, plan)
	var e Expectation
	e.Add(p, cal, plan)
	if e.Outside != 1 || e.Hours != 47 || e.Days[0].Steps != 300-3 || e.Days[1].Steps != 300 {
		t.Errorf("expectation %+v", e)
	}
}

// TestRealFileWithFaults plans all people of the real export and encodes what they send.
func TestRealFileWithFaults(t *testing.T) {
	cal, people := tokyo(t), realFile(t)
	Shift(people, steps.DateDay(2026, time.November, 22))
	var e Expectation
	dec := native.NewDecoder(protocol.DefaultLimits())
	labels := map[Label]bool{}
	for i, p := range people {
		plan := Plan(p, PlanOptions{Calendar: cal, Seed: 1, Faults: AllFaults})
		checkPlan(t, p, cal, plan)
		e.Add(p, cal, plan)
		copies := map[steps.Revision]int{}
		years := map[int]int{}
		for j, s := range plan {
			labels[s.Label&^Repeated] = true
			copies[s.Upload.Revision]++
			if s.Label&BrokenClock != 0 {
				years[time.Unix(s.Upload.Series[0].Start, 0).UTC().Year()]++
			}
			if s.Label&Late != 0 && plan[j-1].At > s.At {
				t.Error("sendings are not in order")
			}
			if i < 3 {
				var back steps.Upload
				if err := dec.Upload(&back, native.AppendUpload(nil, &s.Upload, s.Encoding), s.Encoding); err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(back.Series, s.Upload.Series) || back.Revision != s.Upload.Revision {
					t.Fatalf("decoded %+v, sent %+v", back, s.Upload)
				}
			}
		}
		for rev, n := range copies {
			if n < 2 {
				t.Errorf("%s: revision %s goes out once", p.ID, rev)
			}
		}
		if years[2000] == 0 || years[2036] == 0 {
			t.Errorf("%s: broken clocks in %v", p.ID, years)
		}
	}
	if len(e.Days) != 919 || e.Steps != 6_938_153 {
		t.Errorf("%d person-days with %d steps", len(e.Days), e.Steps)
	}
	if e.People != 33 || e.Hours != 21_645 || e.Outside != 0 || e.Repeats < e.Uploads || e.Splits == 0 ||
		e.Late < 33 || e.Superseded == 0 || e.BrokenClock < 66 || e.Restarts == 0 || e.Restarts > 33 {
		t.Errorf("tally %+v", e.Tally)
	}
	t.Logf("%d person-days, %+v, %d kinds", len(e.Days), e.Tally, len(labels))
}
