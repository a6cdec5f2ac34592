package explain

import (
	"bytes"
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ayumi/merge"
	"ayumi/points"
	"ayumi/steps"
)

// rules have one rule of each kind, and caps that cut two of them.
const rules = `
programme: all
year_starts: 04-01
rule_sets:
  - effective: 2026-04-01
    max_counted_steps: 11000
    weekly_cap: 200
    baseline: {first_days: 14, take: mean}
    bands:
      - tiers: [{steps: 8000, points: 4}]
    rules:
      - {name: rate, steps: {bands: [{rate: {steps: 1000, points: 1}}]}, caps: {day: 3}}
      - {name: brisk, active_minutes: {cadence: 100, tiers: [{minutes: 10, points: 10}]}}
      - {name: walk, sustained_walking: {cadence: 60, minutes: 10, tiers: [{minutes: 10, points: 3}]}}
      - {name: far, sustained_walking: {cadence: 60, minutes: 10, tiers: [{steps: 1000, points: 2}]}}
      - {name: goal, personal_goal: {tiers: [{above: 1000, points: 5}]}}
      - {name: row, streak: {goal: {steps: 8000}, days: 2, points: 7}}
      - {name: days, goal_days: {goal: {steps: 8000}, days: 2, in: month, points: 50}}
      - {name: sending, sending: {points: 1}}
      - {name: others, activity: {kinds: [checkup, weight], points: 150, once: year}}
`

var day = steps.DateDay(2026, 5, 20)

// counts is a day with a walk of 1,250 steps at 100 and more a minute, and 10,000 more.
func counts() []uint32 {
	minutes := make([]uint32, 1440)
	for i := 480; i < 492; i++ {
		minutes[i] = 104
	}
	for i := 600; i < 1100; i++ {
		minutes[i] = 20
	}
	return minutes
}

type minutes []uint32

func (m minutes) Counts() ([]uint32, error) { return m, nil }

// everything is a day on which every rule of rules gave something.
func everything(t *testing.T) *Input {
	t.Helper()
	book, err := points.ParseRules("rules.yaml", strings.NewReader(rules))
	if err != nil {
		t.Fatal(err)
	}
	cal, err := steps.NewCalendar("Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	in := &Input{
		ParticipantDay: steps.ParticipantDay{Participant: "p-1", Day: day}, Calendar: cal, Policy: merge.DefaultConfig(),
		Sources: &merge.Day{Length: 1440, Sources: []merge.Source{source("ped-7", counts(), 0, 1440), source("phone", counts(), 470, 600)}},
		Uploads: []Upload{{Device: "ped-7", Boot: 2, Seq: 9, Origin: "sensor", Interval: 60, Cells: 1440, Steps: 11248}},
	}
	m, err := merge.New(in.Policy)
	if err != nil {
		t.Fatal(err)
	}
	merged := m.Explain(in.Sources)
	in.Merged = &merged
	person := points.Person{Baseline: points.PersonalBaseline{Known: true, Steps: 5200, From: day}}
	st := book.Begin()
	before := points.Facts{Day: day - 1, Steps: 9000, Minutes: make(minutes, 1440)} // earns 4 and 3
	if _, err := book.Step(&st, &before, &person); err != nil {
		t.Fatal(err)
	}
	score, err := book.Explain(&st, &points.Facts{
		Day: day, Steps: merged.Steps, Minutes: minutes(merged.Minutes), Sent: true,
		Activities: []points.Activity{{Kind: "checkup", Times: 1}},
	}, &person)
	if err != nil {
		t.Fatal(err)
	}
	set, _ := book.On(day)
	in.Score = &points.Explained{
		Score: score, Set: set, Person: person, Age: points.UnknownAge, Steps: merged.Steps, Sent: true,
		Deadlines:  points.Deadlines{Steps: day + 7, Activities: day + 7},
		Activities: []steps.Activity{{ParticipantDay: in.ParticipantDay, Kind: "checkup", RecordedAt: int64(day) * 86400, By: "desk"}},
	}
	last := day + 7
	in.Standing = Standing{State: open, Points: score.Points, RuleSet: score.RuleSet, ClosesOn: &last}
	return in
}

// source reports counts from one minute to another.
func source(device steps.DeviceID, counts []uint32, from, to int) merge.Source {
	l := merge.Lane{Interval: 60, Counts: make([]uint32, len(counts)), Marks: make([]uint16, len(counts))}
	for i := from; i < to; i++ {
		l.Counts[i], l.Marks[i] = counts[i], 1
	}
	return merge.Source{Device: device, Lanes: []merge.Lane{l}, Origins: []steps.Origin{0, steps.OriginSensor}}
}

// TestLines explains every kind of rule.
func TestLines(t *testing.T) {
	d := New(everything(t))
	want := map[string][2]string{
		"steps":   {"11,000歩、8,000歩以上 → 4ポイント", "11,000 steps, which is 8,000 steps or more: 4 points"},
		"rate":    {"11,000歩、1,000歩ごとに → 3ポイント(1日の上限3(この項目)のため、11ポイントから減りました)", "11,000 steps, for every 1,000 steps: 3 points (at most 3 a day by this rule; it was 11 points before)"},
		"brisk":   {"1分100歩以上の運動12分、10分以上 → 10ポイント", "12 minutes of at least 100 steps, which is 10 minutes or more: 10 points"},
		"walk":    {"しっかり歩数(10分以上続けて1分60歩以上) 12分、10分以上 → 3ポイント", "walks of 10 minutes and more at 60 steps a minute or faster, 12 minutes, which is 10 minutes or more: 3 points"},
		"far":     {"しっかり歩数(10分以上続けて1分60歩以上) 1,248歩、1,000歩以上 → 2ポイント", "walks of 10 minutes and more at 60 steps a minute or faster, 1,248 steps, which is 1,000 steps or more: 2 points"},
		"goal":    {"11,000歩。ふだんの5,200歩から決まる目標6,200歩に届きました → 5ポイント", "11,000 steps; usual are 5,200, and the goal of 6,200 is reached: 5 points"},
		"row":     {"目標を2日続けて達成 → 7ポイント", "the goal reached on 2 days in a row: 7 points"},
		"days":    {"目標を達成した日が2日 → 50ポイント", "2 days on which the goal is reached: 50 points"},
		"sending": {"この日にデータを送信 → 1ポイント", "data was sent on this day: 1 point"},
		"others": {"その他の健康行動(checkup) 1回 → 108ポイント(1週間の上限200のため、150ポイントから減りました)",
			"other healthy behaviour (checkup), 1 times: 108 points (at most 200 a week; it was 150 points before)"},
	}
	var sum steps.Points
	for _, l := range d.Lines {
		sum += l.Points
		w, ok := want[l.Rule]
		if !ok {
			t.Errorf("rule %s gave %+v", l.Rule, l)
		}
		if got := [2]string{l.Text.Japanese, l.Text.English}; got != w {
			t.Errorf("rule %s is\n%q, want\n%q", l.Rule, got, w)
		}
		delete(want, l.Rule)
	}
	if len(want) > 0 || sum != d.Points || sum != 193 {
		t.Errorf("rules without a line: %v; %d points, lines add up to %d", want, d.Points, sum)
	}
}

// TestConservation compares what is shown of the steps with what they are.
func TestConservation(t *testing.T) {
	d := New(everything(t))
	var decided, bars, counted uint64
	next := 0
	for _, c := range d.Decisions {
		decided += c.Steps
		if c.FirstMinute != next || c.From != clock(c.FirstMinute) || c.To != clock(c.EndMinute) {
			t.Errorf("decision %+v does not follow minute %d", c, next)
		}
		next = c.EndMinute
	}
	for _, n := range d.bars() {
		bars += n
	}
	for _, s := range d.Sources {
		counted += s.Counted
	}
	if d.Steps != 11_248 || decided != d.Steps || bars != d.Steps || counted != d.Steps || next != 1440 {
		t.Errorf("%d steps; decided %d, drawn %d, of sources %d, to minute %d", d.Steps, decided, bars, counted, next)
	}
	if phone := d.Sources[1]; phone.Device != "phone" || phone.Steps != 1248 || phone.Minutes != 130 || phone.Counted != 0 {
		t.Errorf("the phone is %+v", phone)
	}
}

var digits = regexp.MustCompile(`[0-9]+(,[0-9]{3})*`)

// numbers returns the numbers of a text, sorted.
func numbers(s string) []string {
	out := digits.FindAllString(s, -1)
	slices.Sort(out)
	return out
}

// TestLanguagesAgree wants the same numbers in both languages, and no hole in either.
func TestLanguagesAgree(t *testing.T) {
	days := map[string]*Day{"everything": New(everything(t))}
	for _, why := range []points.Exclusion{points.NoRules, points.OutsidePeriod, points.NotResident, points.NotEnrolled, points.NotSent} {
		in := everything(t)
		in.Score.Score = points.DayScore{Day: day, Excluded: why}
		days[why.String()] = New(in)
	}
	in := everything(t)
	in.Standing = Standing{State: closed, Points: 7}
	in.Merged.Excluded = merge.Excluded{Manual: 300, Unknown: 7}
	days["closed"] = New(in)
	in = everything(t)
	in.Standing.ClosesOn = nil
	days["about to close"] = New(in)
	in = everything(t)
	in.Sources, in.Merged, in.Uploads = nil, nil, nil
	days["no steps"] = New(in)
	for name, d := range days {
		texts := []Text{d.Text}
		for _, l := range d.Lines {
			texts = append(texts, l.Text)
		}
		for _, text := range texts {
			month := strings.NewReplacer("5月", "", "May", "")
			ja, en := numbers(month.Replace(text.Japanese)), numbers(month.Replace(text.English))
			ja = slices.DeleteFunc(ja, func(s string) bool { return s == "1" }) // "a day" has no number in English
			en = slices.DeleteFunc(en, func(s string) bool { return s == "1" })
			if !slices.Equal(ja, en) || text.Japanese == "" || strings.ContainsAny(text.Japanese+text.English, "%{}") {
				t.Errorf("%s:\n%s\n%s", name, text.Japanese, text.English)
			}
		}
		for _, l := range []Language{Japanese, English} {
			var b bytes.Buffer
			if err := d.WriteText(&b, l); err != nil {
				t.Fatal(err)
			}
			if err := d.WritePicture(&b, l); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(b.String(), "%!") {
				t.Errorf("%s:\n%s", name, b.String())
			}
			for line := range strings.Lines(b.String()) {
				if n := len([]rune(line)); strings.ContainsAny(line, "█░·") && !strings.Contains(line, "20") && n > 81 {
					t.Errorf("%s: the picture is %d columns wide: %q", name, n-1, line)
				}
			}
		}
	}
}

// TestReasonsHaveWords goes through every reason of the merge.
func TestReasonsHaveWords(t *testing.T) {
	for r := merge.OnlySource; r <= merge.Unreported; r++ {
		if words := reasonWords[r.String()]; words[0] == "" || words[1] == "" {
			t.Errorf("%s has no words", r)
		}
	}
}

// TestJSON reads a day back as it was written.
func TestJSON(t *testing.T) {
	d := New(everything(t))
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var again Day
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	again.Activities[0].At = d.Activities[0].At // the same time in another zone's guise
	if !reflect.DeepEqual(&again, d) {
		t.Errorf("read back as\n%+v, want\n%+v", again, *d)
	}
}

func TestPicture(t *testing.T) {
	var b bytes.Buffer
	if err := New(everything(t)).WritePicture(&b, English); err != nil {
		t.Fatal(err)
	}
	want := "" +
		"        0        3        6        9        12       15       18       21\n" +
		"  1,248                         █\n"
	if !strings.HasPrefix(b.String(), want) {
		t.Errorf("the picture begins\n%s\nwant\n%s", b.String(), want)
	}
	for _, lane := range []string{
		"\nped-7   " + strings.Repeat("·", 24) + "█" + strings.Repeat("·", 5) + strings.Repeat("█", 25) + strings.Repeat("·", 17) + "\n",
		"\nphone   " + strings.Repeat("·", 23) + strings.Repeat("░", 7) + strings.Repeat("·", 42) + "\n",
	} {
		if !strings.Contains(b.String(), lane) {
			t.Errorf("the picture\n%s has no lane%s", b.String(), lane)
		}
	}
}
