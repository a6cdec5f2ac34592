package points

import (
	"encoding/csv"
	"errors"
	"hash/fnv"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"ayumi/steps"
)

// realMinutes is the minute export of the Fitbit Fitness Tracker Data (Zenodo 53894, CC0), which is
// not part of the tree.
const realMinutes = "../../shared/data/fitbit-53894/minuteStepsWide_merged.csv"

// realDays reads every person's days, by rising day. A row is a person's hour in 60 minutes.
func realDays(t *testing.T) map[steps.ParticipantID][]*Facts {
	f, err := os.Open(realMinutes)
	if errors.Is(err, os.ErrNotExist) && os.Getenv("CI") == "" {
		t.Skip("the Fitbit export is not there")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	if _, err := r.Read(); err != nil {
		t.Fatal(err)
	}
	days := map[steps.ParticipantDay]minuteCounts{}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return factsOf(days)
		}
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse("1/2/2006 15:04", row[1])
		if err != nil {
			t.Fatal(err)
		}
		key := steps.ParticipantDay{Participant: steps.ParticipantID(row[0]), Day: steps.DateDay(at.Date())}
		if days[key] == nil {
			days[key] = make(minuteCounts, maxMinutes)
		}
		for i, minute := range row[2:] {
			n, err := strconv.ParseUint(minute, 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			days[key][at.Hour()*60+i] = uint32(n)
		}
	}
}

func factsOf(days map[steps.ParticipantDay]minuteCounts) map[steps.ParticipantID][]*Facts {
	people := map[steps.ParticipantID][]*Facts{}
	for key, minutes := range days {
		f := &Facts{Day: key.Day, Minutes: minutes, Sent: true, NextSent: key.Day}
		for _, n := range minutes {
			f.Steps += uint64(n)
		}
		people[key.Participant] = append(people[key.Participant], f)
	}
	for _, facts := range people {
		slices.SortFunc(facts, func(a, b *Facts) int { return int(a.Day - b.Day) })
	}
	return people
}

// The published tables once more, as arithmetic. active is the number of minutes of 100 steps or more.

func yokohamaPoints(n, _ uint64) int64 { return int64(min(n/2000, 5)) }

func yamagataPoints(n, _ uint64) int64 {
	switch n /= 1000; {
	case n < 4:
		return 0
	case n < 8:
		return int64(n) * 10
	}
	return 100
}

func kamaishiPoints(n, _ uint64) int64 {
	return map[bool]int64{true: 1}[n >= 6000] + map[bool]int64{true: 2}[n >= 8000]
}

// kamaishiFrom65 is the same with targets 2,000 steps lower, tier by tier.
func kamaishiFrom65(n, _ uint64) int64 { return kamaishiPoints(n+2000, 0) }

func kobatonPoints(n, _ uint64) int64 { return int64(n / 10) }

func nagasakiPoints(n, _ uint64) int64 { return map[bool]int64{true: 20}[n >= 10_000] }

func singaporePoints(n, active uint64) int64 {
	give := func(figure, tier uint64) int64 {
		return []int64{0, 0, 10, 25, 40}[min(max(figure/tier, 1), 4)]
	}
	return give(n, 2500) + give(active+10, 10)
}

// TestRealDays folds every real person's days and compares each with the arithmetic, and the sums
// with figures that awk computed from the file.
func TestRealDays(t *testing.T) {
	people := realDays(t)
	var total, count uint64
	for _, facts := range people {
		for _, f := range facts {
			total += f.Steps
			count++
		}
	}
	if len(people) != 33 || count != 919 || total != 6_938_153 {
		t.Errorf("%d people, %d person-days, %d steps; want 33, 919, 6938153", len(people), count, total)
	}
	tests := []struct {
		preset, born string
		points       func(n, active uint64) int64
		sum          int64
	}{
		{"yokohama", "1980-01-01", yokohamaPoints, 2702},
		{"yamagata", "1980-01-01", yamagataPoints, 55810},
		{"kamaishi", "1980-01-01", kamaishiPoints, 1389},
		{"kamaishi", "1940-01-01", kamaishiFrom65, 1778},
		{"kobaton", "1980-01-01", kobatonPoints, 693445},
		{"nagasaki", "1980-01-01", nagasakiPoints, 5880},
		{"singapore", "1980-01-01", singaporePoints, 27740},
	}
	for _, tt := range tests {
		t.Run(tt.preset+" born "+tt.born, func(t *testing.T) {
			book, person := mustRules(t, tt.preset), &Person{Born: mustDay(t, tt.born), BornKnown: true}
			var sum int64
			for _, facts := range people {
				st := book.Begin()
				for _, f := range facts {
					score, err := book.Step(&st, f, person)
					if err != nil {
						t.Fatal(err)
					}
					if want := tt.points(f.Steps, activeOver(t, f)); int64(score.Points) != want {
						t.Errorf("%d steps on %s earn %d, want %d", f.Steps, f.Day, score.Points, want)
					}
					sum += int64(score.Points)
				}
			}
			if sum != tt.sum {
				t.Errorf("all days earn %d, want %d", sum, tt.sum)
			}
		})
	}
}

// activeOver counts the minutes of 100 steps or more by sorting them.
func activeOver(t *testing.T, f *Facts) uint64 {
	t.Helper()
	counts, err := f.Minutes.Counts()
	if err != nil {
		t.Fatal(err)
	}
	sorted := slices.Sorted(slices.Values(counts))
	below, _ := slices.BinarySearch(sorted, 100)
	return uint64(len(sorted) - below)
}

// TestRealWeeks compares a weekly cap, and walks that go on for 10 minutes, with figures that awk
// and a regular expression over the file's minutes gave.
func TestRealWeeks(t *testing.T) {
	people := realDays(t)
	book := mustRules(t, "vitality-uk")
	for born, want := range map[string]steps.Points{"1980-01-01": 1136, "1940-01-01": 2535} {
		var sum steps.Points
		for _, facts := range people {
			st := book.Begin()
			for _, f := range facts {
				score, err := book.Step(&st, f, &Person{Born: mustDay(t, born), BornKnown: true})
				if err != nil {
					t.Fatal(err)
				}
				sum += score.Points
			}
		}
		if sum != want {
			t.Errorf("born %s: all weeks earn %d, want %d", born, sum, want)
		}
	}
	var long, walked, reached uint64
	for f := range slices.Values(slices.Concat(slices.Collect(maps.Values(people))...)) {
		counts, err := f.Minutes.Counts()
		if err != nil {
			t.Fatal(err)
		}
		minutes, n := sustained(counts, 60, 10)
		long, walked = long+minutes, walked+n
		if n >= 2000 {
			reached++
		}
	}
	if long != 15_304 || walked != 1_693_046 || reached != 273 {
		t.Errorf("sustained walking: %d minutes, %d steps, %d days of 2000 steps; want %d, %d, %d",
			long, walked, reached, 15_304, 1_693_046, 273)
	}
}

// TestRealFoldsAgainstNaive folds the real days of made-up people (ages, dates, sendings and
// activities that depend on the person's number) under every preset and full.yaml, and compares
// every line with the naive scorer's.
func TestRealFoldsAgainstNaive(t *testing.T) {
	people := realDays(t)
	for _, name := range append(Presets(), "full.yaml") {
		t.Run(name, func(t *testing.T) {
			book := mustRules(t, name)
			shift := steps.Day(0)
			if name == "full.yaml" {
				shift = 3652 // its rules begin in 2026
			}
			earned := 0
			for id, facts := range people {
				person, facts := madeUp(book, id, facts, shift)
				st, scores := book.Begin(), map[steps.Day]DayScore{}
				for _, f := range facts {
					score, err := book.Explain(&st, f, person)
					if err != nil {
						t.Fatal(err)
					}
					scores[f.Day] = score
					earned += len(score.Lines)
				}
				n := newNaive(book, person, facts)
				n.holds = fullConditions
				n.scoreAll(facts[0].Day, facts[len(facts)-1].Day)
				compareNaive(t, n, facts, scores, name)
			}
			if earned == 0 {
				t.Error("nobody earned anything, so nothing was compared")
			}
		})
	}
}

// fullConditions are the conditions of full.yaml and what they mean.
var fullConditions = map[string]func(*Facts, *Person) bool{
	`cohort == "pilot"`: func(_ *Facts, p *Person) bool { return p.Cohort == "pilot" },
	"holiday or weekday in [saturday, sunday]": func(f *Facts, _ *Person) bool {
		return f.Day == steps.DateDay(2026, time.May, 5) || slices.Contains([]time.Weekday{time.Saturday, time.Sunday}, weekday(f.Day))
	},
}

// madeUp gives a real person's days a person, sendings and activities.
func madeUp(book *RuleBook, id steps.ParticipantID, real []*Facts, shift steps.Day) (*Person, []*Facts) {
	h := fnv.New32a()
	h.Write([]byte(id))
	n := int(h.Sum32())
	first := real[0].Day + shift
	p := &Person{
		Born: first - steps.Day(40+n%50)*365 - 10, BornKnown: n%7 > 0, Cohort: []string{"", "pilot", "other"}[n%3],
		Resident: []steps.DayRange{{From: first + steps.Day(n%5)}},
		Enrolled: []steps.DayRange{{From: first, Until: first + 25}, {From: first + 28}},
	}
	var facts []*Facts
	var totals []uint64
	for i, f := range real {
		c := *f
		c.Day += shift
		c.Sent, c.NextSent, c.SentUntil = (n+i)%4 == 0, 0, c.Day
		if next := i + (4-(n+i)%4)%4; next < len(real) {
			c.NextSent = real[next].Day + shift
			c.SentUntil = c.NextSent
		}
		for j, kind := range []string{"challenge", "checkup", "dental_checkup", "event", "stomach_screening", "weight"} {
			if (n+i)%(j+2) == 0 {
				c.Activities = append(c.Activities, Activity{kind, 1 + i%3})
			}
		}
		if c.Day < first+14 {
			totals = append(totals, c.Steps)
		}
		facts = append(facts, &c)
	}
	if set, ok := book.On(first); ok && set.Baseline != nil {
		window, _ := set.Baseline.Window(p)
		p.Baseline = set.Baseline.Measure(window, totals)
	}
	return p, facts
}
