package points

import (
	"math"

	"ayumi/steps"
)

// OpenAge is the To of a band that has no upper end.
const OpenAge = math.MaxInt32

// Table says what a figure of a day earns: steps, minutes, steps above a baseline. Every age, or
// every cohort, the unknown one included, has exactly one band.
type Table struct {
	Of      Measure
	Cohorts bool   `json:",omitzero"` // the bands are for cohorts, not ages
	Bands   []Band // by rising age, from 0 to OpenAge without gap or overlap; or by cohort
}

// Measure says what the thresholds of a table are compared with.
type Measure uint8

const (
	OfSteps        Measure = 1
	OfMinutes      Measure = 2
	OfStepsAbove   Measure = 3 // steps above the person's baseline
	OfPercentAbove Measure = 4 // the same in percent of the baseline
)

// measureKeys are the keys of thresholds in a rules file, by Measure.
var measureKeys = [...]string{
	OfSteps: "steps", OfMinutes: "minutes", OfStepsAbove: "above", OfPercentAbove: "above_percent",
}

// Band is the table for the ages From to To, both included, or for some cohorts. It has tiers or a
// rate.
type Band struct {
	From, To int
	Cohorts  []string `json:",omitzero"` // sorted; in a table by cohort only
	Default  bool     // also for participants whose age is unknown, or whose cohort no band names
	Tiers    []Tier   `json:",omitzero"` // by rising At
	Rate     Rate     `json:",omitzero"`
}

// Tier is one row of a table: a figure of at least At earns Points.
type Tier struct {
	At     uint64
	Points steps.Points
}

// Rate gives Points for every Per of a figure.
type Rate struct {
	Per    uint64 // 0 if the band has tiers instead
	Points steps.Points
	Carry  Span // what is left over is kept for later days within it; 0 drops it
}

// reach returns the points of the highest tier that the figure reaches, and its index, -1 if none.
func (b *Band) reach(figure uint64) (tier int, points steps.Points) {
	for i := len(b.Tiers) - 1; i >= 0; i-- {
		if b.Tiers[i].At <= figure {
			return i, b.Tiers[i].Points
		}
	}
	return -1, 0
}

// byAge returns the index of the band for an age, -1 if there is none. A negative age is unknown.
func (t *Table) byAge(age int) int {
	for i := range t.Bands {
		b := &t.Bands[i]
		if age < 0 && b.Default || age >= 0 && b.From <= age && age <= b.To {
			return i
		}
	}
	return -1
}

// ofCohort returns the index of the band for a cohort, -1 if there is none.
func (t *Table) ofCohort(cohort string) int {
	fallback := -1
	for i := range t.Bands {
		for _, c := range t.Bands[i].Cohorts {
			if c == cohort {
				return i
			}
		}
		if t.Bands[i].Default {
			fallback = i
		}
	}
	return fallback
}

// carry returns the widest span within which a rate of the table keeps what is left over, 0 for none.
func (t *Table) carry() Span {
	var widest Span
	for i := range t.Bands {
		widest = max(widest, t.Bands[i].Rate.Carry)
	}
	return widest
}

// band returns the index of the person's band.
func (e *eval) band(t *Table) int {
	switch {
	case t.Cohorts:
		return t.ofCohort(e.person.Cohort)
	case len(t.Bands) == 1:
		return 0
	}
	return t.byAge(e.ageToday())
}

// table looks a figure up.
func (e *eval) table(r *Rule, got *earned, figure uint64, unit Unit) {
	got.band, got.figure, got.unit = e.band(&r.Table), figure, unit
	band := &r.Table.Bands[got.band]
	if band.Rate.Per > 0 {
		e.rate(r, got, &band.Rate)
		return
	}
	got.tier, got.points = band.reach(figure)
	if got.tier >= 0 {
		got.threshold = band.Tiers[got.tier].At
	}
}

// maxRated bounds the figure of a rate and what it gives, so that no sum can overflow.
const maxRated = 1_000_000_000_000

// rate gives points for the figure and what earlier days left over. A day without a figure earns
// nothing, even if a new rate makes what is left over worth a point: it may not be folded at all.
func (e *eval) rate(r *Rule, got *earned, rate *Rate) {
	got.threshold = rate.Per
	figure := min(got.figure, maxRated)
	if figure == 0 {
		return
	}
	if rate.Carry > 0 {
		figure += uint64(e.st.slots[r.slots.carry])
		e.st.slots[r.slots.carry] = uint32(figure % rate.Per)
	}
	got.points = rate.of(figure / rate.Per)
}

// of returns what the rate gives for having its figure so many times.
func (r *Rate) of(times uint64) steps.Points {
	return r.Points * steps.Points(min(times, maxRated/uint64(r.Points)))
}
