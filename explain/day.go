package explain

import (
	"fmt"
	"time"

	"ayumi/merge"
	"ayumi/points"
	"ayumi/review"
	"ayumi/steps"
)

// Input is what a day is explained from.
type Input struct {
	steps.ParticipantDay
	Calendar steps.Calendar
	Score    *points.Explained
	Policy   merge.Config
	Sources  *merge.Day    // nil of a day that nobody reported
	Merged   *merge.Result // likewise
	Uploads  []Upload
	Standing Standing
	Review   *review.Review // nil of a day that nobody has to look at
}

// Day is a participant's day with everything that its points came from. Times are the day's own, as
// "07:05", or "24:00" for its end.
type Day struct {
	Participant steps.ParticipantID `json:"participant"`
	Day         steps.Day           `json:"day"`
	Zone        string              `json:"time_zone"`
	Steps       uint64              `json:"steps"`
	Points      steps.Points        `json:"points"` // as they are now; see Standing
	Standing    Standing            `json:"standing"`
	Review      *Review             `json:"review,omitempty"` // of a day that seemed wrong
	RuleSet     string              `json:"rule_set"`         // "" if none was in force
	Period      string              `json:"period,omitempty"`
	Excluded    string              `json:"excluded,omitempty"` // why the day, or its steps, could earn nothing
	Counted     uint64              `json:"counted_steps"`
	Person      Person              `json:"person"`
	Sent        bool                `json:"sent"`
	Activities  []Activity          `json:"activities,omitempty"`
	Lines       []Line              `json:"lines"`
	Text        Text                `json:"text"`

	Policy    merge.Config   `json:"policy"`
	Sources   []Source       `json:"sources"`
	Decisions []Decision     `json:"decisions"`
	NotUsed   merge.Excluded `json:"excluded_steps"` // of origins that do not count
	Minutes   []uint32       `json:"minutes"`        // counted, from the day's start
	Uploads   []Upload       `json:"uploads"`
}

// Text is the same in both languages.
type Text struct {
	Japanese string `json:"ja"`
	English  string `json:"en"`
}

// in returns the text in a language.
func (t Text) in(l Language) string {
	if l == Japanese {
		return t.Japanese
	}
	return t.English
}

// Standing is what the ledger has of the day.
type Standing struct {
	State    string       `json:"state"`               // open, closing or closed
	Points   steps.Points `json:"points"`              // awarded
	RuleSet  string       `json:"rule_set"`            // under which
	Waiting  bool         `json:"waiting,omitempty"`   // something changed that is not scored yet, or came after the day was closed
	ClosesOn *steps.Day   `json:"closes_on,omitempty"` // the last day on which late steps change an open day; nil once it is over
}

// Person is what the rules looked at.
type Person struct {
	Age      *int   `json:"age,omitempty"` // on the day; nil if the date of birth is not known
	Cohort   string `json:"cohort,omitempty"`
	Baseline uint64 `json:"baseline,omitempty"` // steps a day before the programme; 0 if unknown
}

// Activity is other healthy behaviour of the day.
type Activity struct {
	Kind      steps.ActivityKind `json:"kind"`
	At        time.Time          `json:"recorded_at"`
	By        string             `json:"by"`
	Cancelled bool               `json:"cancelled,omitempty"`
	Counts    bool               `json:"counts"` // not cancelled, and recorded in time
}

// Line is what one rule gave. Cap, Threshold and Tier say what they do in points.Line.
type Line struct {
	Rule      string       `json:"rule"`
	Kind      string       `json:"kind"`
	Points    steps.Points `json:"points"`
	Before    steps.Points `json:"before_caps"`
	Cap       string       `json:"cap,omitempty"` // that cut it, such as "day" or "rule month"
	Band      int          `json:"band"`
	Tier      int          `json:"tier"`
	Threshold uint64       `json:"threshold"`
	Figure    uint64       `json:"figure"`
	Unit      string       `json:"unit"` // of figure and threshold
	Text      Text         `json:"text"`
}

func lineOf(l *points.Line, s *points.Explained) Line {
	return Line{
		Rule: l.Name, Kind: l.Kind.String(), Points: l.Points, Before: l.Before, Cap: l.Cap.String(), Band: l.Band, Tier: l.Tier,
		Threshold: l.Threshold, Figure: l.Figure, Unit: l.Unit.String(),
		Text: Text{lineText(Japanese, l, s), lineText(English, l, s)},
	}
}

// Source is one device's day by itself.
type Source struct {
	Device  steps.DeviceID `json:"device"`
	Steps   uint64         `json:"steps"`   // that it reported
	Minutes int            `json:"minutes"` // that it reported
	Counted uint64         `json:"counted"` // that the day has from it
}

// Decision says which source decided a stretch of minutes.
type Decision struct {
	From     string         `json:"from"`
	To       string         `json:"to"`
	Device   steps.DeviceID `json:"device,omitempty"` // "" where nobody reported, or others had counted it
	Reason   string         `json:"reason"`
	Origin   string         `json:"origin,omitempty"`
	Interval uint32         `json:"interval_s,omitempty"`
	Steps    uint64         `json:"steps"`
	Excluded uint64         `json:"excluded,omitempty"`
	Others   []Other        `json:"others,omitempty"`

	FirstMinute int `json:"first_minute"` // of the day, counted from its start
	EndMinute   int `json:"end_minute"`   // the first one after
}

// Other is what another source has for the same minutes.
type Other struct {
	Device  steps.DeviceID `json:"device"`
	Steps   uint64         `json:"steps"`
	Minutes int            `json:"minutes"`
}

// Upload is what is left of one upload in the day: the cells in which no newer revision won.
type Upload struct {
	Device   steps.DeviceID `json:"device"`
	Boot     uint32         `json:"boot"`
	Seq      uint64         `json:"seq"`
	Origin   string         `json:"origin"`
	Interval uint32         `json:"interval_s"`
	Cells    int            `json:"cells"`
	Steps    uint64         `json:"steps"`
}

// New puts a day together.
func New(in *Input) *Day {
	s := in.Score
	d := &Day{
		Participant: in.Participant, Day: in.Day, Zone: in.Calendar.Location().String(),
		Steps: s.Steps, Points: s.Score.Points, Standing: in.Standing, RuleSet: s.Score.RuleSet, Period: s.Period,
		Excluded: s.Score.Excluded.String(), Counted: s.Score.Counted, Sent: s.Sent,
		Policy: in.Policy, Uploads: in.Uploads, Person: personOf(s),
	}
	for i := range s.Activities {
		a := &s.Activities[i]
		d.Activities = append(d.Activities, Activity{
			Kind: a.Kind, At: time.Unix(a.RecordedAt, 0).In(in.Calendar.Location()), By: a.By, Cancelled: a.Cancelled.At != 0,
			Counts: a.Cancelled.At == 0 && in.Calendar.Day(a.RecordedAt) <= s.Deadlines.Activities,
		})
	}
	d.merged(in)
	d.Review = reviewOf(in.Review)
	for i := range s.Score.Lines {
		d.Lines = append(d.Lines, lineOf(&s.Score.Lines[i], s))
	}
	d.Text = Text{d.summary(Japanese), d.summary(English)}
	return d
}

func personOf(s *points.Explained) Person {
	p := Person{Cohort: s.Person.Cohort, Baseline: s.Person.Baseline.Steps}
	if s.Age != points.UnknownAge {
		p.Age = &s.Age
	}
	return p
}

// merged enters what the merge decided.
func (d *Day) merged(in *Input) {
	if in.Merged == nil || in.Sources == nil {
		return
	}
	m := in.Merged
	d.Minutes, d.NotUsed = m.Minutes, m.Excluded
	for i := range in.Sources.Sources {
		src := &in.Sources.Sources[i]
		d.Sources = append(d.Sources, Source{Device: src.Device})
	}
	for i := range m.Runs {
		r := &m.Runs[i]
		dec := Decision{
			From: clock(r.From), To: clock(r.To), Reason: r.Reason.String(), Steps: r.Steps, Excluded: r.Excluded,
			FirstMinute: r.From, EndMinute: r.To,
		}
		if r.Source >= 0 {
			own := &d.Sources[r.Source]
			dec.Device, dec.Origin, dec.Interval = own.Device, r.Origin.String(), r.Interval
			own.Counted += r.Steps
			own.Steps += r.Steps + r.Excluded
			own.Minutes += r.To - r.From
		}
		for _, o := range r.Others {
			other := &d.Sources[o.Source]
			other.Steps += o.Steps
			other.Minutes += o.Minutes
			dec.Others = append(dec.Others, Other{Device: other.Device, Steps: o.Steps, Minutes: o.Minutes})
		}
		d.Decisions = append(d.Decisions, dec)
	}
}

// clock writes a minute of the day. On days on which clocks change it counts from the day's start.
func clock(minute int) string { return fmt.Sprintf("%02d:%02d", minute/60, minute%60) }
