package points

import (
	"errors"
	"fmt"

	"ayumi/steps"
)

// activeMinutes counts the minutes of at least cadence steps.
func activeMinutes(minutes []uint32, cadence uint32) (n uint64) {
	for _, count := range minutes {
		if count >= cadence {
			n++
		}
	}
	return n
}

// sustained adds up the minutes and steps of walks: stretches of at least least minutes that have
// cadence steps or more each. One slower minute ends a walk, and so does midnight. The measure is
// what pedometers sold in Japan count as しっかり歩数: 60 steps a minute for 10 minutes
// (mrfujii.jp/topic/2016/counter.htm).
func sustained(minutes []uint32, cadence uint32, least int) (long, walked uint64) {
	run, counts := 0, uint64(0)
	end := func() {
		if run >= least {
			long += uint64(run)
			walked += counts
		}
		run, counts = 0, 0
	}
	for _, count := range minutes {
		if count < cadence {
			end()
			continue
		}
		run++
		counts += uint64(count)
	}
	end()
	return long, walked
}

// walking lets active minutes or sustained walking earn.
func (e *eval) walking(r *Rule, got *earned) error {
	minutes, err := e.theMinutes(r)
	if err != nil {
		return err
	}
	if r.Kind == KindActiveMinutes {
		e.table(r, got, activeMinutes(minutes, r.Cadence), UnitMinutes)
		return nil
	}
	long, walked := sustained(minutes, r.Cadence, r.Least)
	if r.Table.Of == OfSteps {
		e.table(r, got, walked, UnitSteps)
	} else {
		e.table(r, got, long, UnitMinutes)
	}
	return nil
}

// theMinutes reads the day's minutes for a rule, once. A day without steps that count has none.
func (e *eval) theMinutes(r *Rule) ([]uint32, error) {
	if e.read || e.steps == 0 {
		return e.minutes, nil
	}
	if e.facts.Minutes == nil {
		return nil, e.fault(r, steps.Internal, errors.New("the day's minutes are not there; give them where NeedsMinutes says so"))
	}
	minutes, err := e.facts.Minutes.Counts()
	if err != nil {
		return nil, e.fault(r, steps.KindOf(err), err)
	}
	e.minutes, e.read = minutes, true
	return minutes, nil
}

// fault names the rule and the day of what went wrong.
func (e *eval) fault(r *Rule, kind steps.Kind, err error) error {
	return steps.E(fmt.Sprintf("score %s by rule %s of %s", e.facts.Day, r.Name, e.set.id), kind, err)
}
