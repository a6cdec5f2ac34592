package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"ayumi/steps"
)

// Traits are what points may depend on besides age and steps: which tables a participant is under, and
// on which days they count at all. They are shared and must not be modified.
type Traits struct {
	Cohort   string           // a group that rules may name; "" is none
	Resident []steps.DayRange // from moving in to moving out, both included; none stands for always
	Enrolled []steps.DayRange // none stands for from the registration on
	Baseline *Baseline        // as staff entered it; nil leaves it to be measured
}

// Baseline is what a participant walked a day before the programme.
type Baseline struct {
	Steps uint64    `json:"steps"`
	From  steps.Day `json:"from"` // the first day that is held against it
}

// The bounds of traits.
const (
	maxCohortBytes   = 64
	maxRanges        = 64
	maxBaselineSteps = 200_000
)

func (t *Traits) isZero() bool {
	return t.Cohort == "" && len(t.Resident) == 0 && len(t.Enrolled) == 0 && t.Baseline == nil
}

// check reports the first trait that makes no sense, as Invalid.
func (t *Traits) check() error {
	if len(t.Cohort) > maxCohortBytes || strings.ContainsFunc(t.Cohort, func(r rune) bool { return r < ' ' }) {
		return steps.Errorf("use cohort", steps.Invalid, "%q has more than %d bytes or a control character; give a short word", clip(t.Cohort), maxCohortBytes)
	}
	for _, list := range []struct {
		name   string
		ranges []steps.DayRange
	}{{"resident", t.Resident}, {"enrolled", t.Enrolled}} {
		if err := checkRanges(list.ranges); err != nil {
			return steps.Errorf("use "+list.name+" days", steps.Invalid, "%w", err)
		}
	}
	if b := t.Baseline; b != nil {
		if b.Steps > maxBaselineSteps {
			return steps.Errorf("use baseline", steps.Invalid, "%d steps a day; give at most %d", b.Steps, maxBaselineSteps)
		}
		return checkDay(b.From)
	}
	return nil
}

// checkRanges wants ranges that rise and do not overlap.
func checkRanges(ranges []steps.DayRange) error {
	if len(ranges) > maxRanges {
		return fmt.Errorf("there are %d ranges; give at most %d", len(ranges), maxRanges)
	}
	for i, r := range ranges {
		if err := checkDay(r.From); err != nil {
			return err
		}
		if r.Until != 0 {
			if err := checkDay(r.Until); err != nil {
				return err
			}
			if r.Until < r.From {
				return fmt.Errorf("%s ends before it begins; exchange its days", r)
			}
		}
		if i > 0 && (ranges[i-1].Until == 0 || r.From <= ranges[i-1].Until) {
			return fmt.Errorf("%s and %s overlap or are out of order; give ranges that rise", ranges[i-1], r)
		}
	}
	return nil
}

// SetTraits changes a participant's traits. edit is given a copy, whose slices it replaces and does not
// change. Points that depend on them are the caller's to compute again.
func (r *Registry) SetTraits(ctx context.Context, id steps.ParticipantID, edit func(*Traits)) error {
	const op = "update participant"
	return r.changeParticipant(ctx, op, id, func(p *participant) (bool, error) {
		var t Traits
		if p.traits != nil {
			t = *p.traits
		}
		edit(&t)
		if err := t.check(); err != nil {
			return false, steps.E(op, steps.Invalid, err)
		}
		t.Cohort, t.Resident, t.Enrolled = strings.Clone(t.Cohort), slices.Clone(t.Resident), slices.Clone(t.Enrolled)
		p.traits = &t
		if t.isZero() {
			p.traits = nil
		}
		return true, nil
	})
}

// Scored is what points depend on of a participant.
type Scored struct {
	Born      steps.Day
	BornKnown bool
	Since     steps.Day
	Traits    *Traits // nil for none
}

// Scored returns what points depend on, and false for somebody who is not registered. It allocates
// nothing.
func (r *Registry) Scored(id steps.ParticipantID) (Scored, bool) {
	p := r.participants.get(id)
	if p == nil {
		return Scored{}, false
	}
	return Scored{Born: p.born, BornKnown: p.born != unknownBorn, Since: p.since, Traits: p.traits}, true
}

// traitsRecord is how traits are stored.
type traitsRecord struct {
	Cohort   string        `json:"cohort,omitempty"`
	Resident []rangeRecord `json:"resident,omitempty"`
	Enrolled []rangeRecord `json:"enrolled,omitempty"`
	Baseline *Baseline     `json:"baseline,omitempty"`
}

type rangeRecord struct {
	From  steps.Day  `json:"from"`
	Until *steps.Day `json:"until,omitempty"`
}

func recordTraits(t *Traits) *traitsRecord {
	if t == nil {
		return nil
	}
	return &traitsRecord{Cohort: t.Cohort, Resident: recordRanges(t.Resident), Enrolled: recordRanges(t.Enrolled), Baseline: t.Baseline}
}

func recordRanges(ranges []steps.DayRange) (out []rangeRecord) {
	for _, r := range ranges {
		rec := rangeRecord{From: r.From}
		if r.Until != 0 {
			rec.Until = &r.Until
		}
		out = append(out, rec)
	}
	return out
}

func (rec *traitsRecord) traits() (*Traits, error) {
	if rec == nil {
		return nil, nil
	}
	t := &Traits{Cohort: rec.Cohort, Baseline: rec.Baseline}
	for _, list := range []struct {
		to   *[]steps.DayRange
		from []rangeRecord
	}{{&t.Resident, rec.Resident}, {&t.Enrolled, rec.Enrolled}} {
		for _, r := range list.from {
			days := steps.DayRange{From: r.From}
			if r.Until != nil {
				days.Until = *r.Until
			}
			*list.to = append(*list.to, days)
		}
	}
	return t, t.check()
}
