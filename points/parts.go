package points

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"slices"

	"ayumi/steps"
)

// part says what a rule, or one kind of activity of it, gave on a day and used up, as far as later days depend on it.
// Rules go by their names: a closed day keeps its parts when the book is edited.
type part struct {
	rule, activity string       // no rule: all that the rule set's caps do not hold for, where they gave anything
	points         steps.Points // that count against the rule's caps
	used           uint64       // 1 where a bonus was paid, or the activity counted; or what a rate has left over; or,
	// without a rule, the points under the rule set's caps
}

// keeps reports whether points of a day may depend on what other days were awarded, or used up.
func (b *RuleBook) keeps() bool {
	return b.counted != [spanCount]bool{} ||
		slices.ContainsFunc(b.sets, func(s RuleSet) bool { return len(s.slots) > 0 })
}

// note notes what a rule granted and used up.
func (e *eval) note(i int, r *Rule, granted steps.Points) {
	if e.parts == nil {
		return
	}
	if r.Exempt && e.book.counted != [spanCount]bool{} {
		e.free += granted
	}
	p := part{rule: r.Name}
	if r.Caps.spans() {
		p.points = granted
	}
	fresh := false
	switch {
	case r.goals():
		p.used = uint64(e.paid >> i & 1)
	case r.Kind == KindActivity && r.Once > DaySpan:
		counted := e.st.slots[r.slots.own] &^ e.before.slots[r.slots.own]
		for ; counted > 0; counted &= counted - 1 {
			e.parts = appendPart(e.parts, &part{rule: r.Name, activity: r.Activities[bits.TrailingZeros32(counted)], used: 1})
		}
	case r.Table.carry() > 0:
		p.used = uint64(e.st.slots[r.slots.carry])
		fresh = p.used != uint64(e.before.slots[r.slots.carry]) // also that nothing is left over
	}
	if p.points > 0 || p.used > 0 || fresh {
		e.parts = appendPart(e.parts, &p)
	}
}

// goals reports whether the rule pays for days that reach a goal.
func (r *Rule) goals() bool { return r.Kind == KindStreak || r.Kind == KindGoalDays }

// spans reports whether there is a cap on more than a day.
func (c *Caps) spans() bool {
	return slices.ContainsFunc(c[WeekSpan:], func(most steps.Points) bool { return most > 0 })
}

// appendPart encodes a part: string rule, string activity, uvarint points, uvarint used.
func appendPart(dst []byte, p *part) []byte {
	for _, s := range [...]string{p.rule, p.activity} {
		dst = append(binary.AppendUvarint(dst, uint64(len(s))), s...)
	}
	return binary.AppendUvarint(binary.AppendUvarint(dst, uint64(p.points)), p.used) //nolint:gosec // not negative
}

var errParts = errors.New("the parts of its award cannot be read; check the store")

// parseParts decodes parts.
func parseParts(encoded steps.Parts) (parts []part, err error) {
	b, ok := []byte(encoded), true
	number := func() uint64 {
		n, size := binary.Uvarint(b)
		if ok = ok && size > 0; !ok {
			return 0
		}
		b = b[size:]
		return n
	}
	text := func() string {
		n := number()
		if ok = ok && n <= uint64(len(b)); !ok {
			return ""
		}
		s := string(b[:n])
		b = b[n:]
		return s
	}
	for ok && len(b) > 0 {
		p := part{rule: text(), activity: text()}
		p.points, p.used = steps.Points(min(number(), uint64(steps.MaxPoints))), number()
		parts = append(parts, p)
	}
	if !ok {
		return nil, errParts
	}
	return parts, nil
}

// keep makes the state that of a closed day which has what it was awarded. Caps count that; a bonus was paid, an
// activity counted and a rate has left over what it was then, whatever came since. Only whether a day reaches a goal
// goes by its steps now.
func (e *eval) keep() error {
	parts, err := parseParts(e.facts.Parts)
	if err != nil {
		return steps.Errorf("score day", steps.Internal, "%s: %w", e.facts.Day, err)
	}
	capped := e.facts.Awarded
	for i := range parts {
		if p := &parts[i]; p.rule == "" {
			capped = p.capped(capped)
		}
	}
	for span := WeekSpan; span <= PeriodSpan; span++ {
		if e.book.counted[span] {
			e.st.sums[span] = e.before.sums[span]
			add(&e.st.sums[span], capped)
		}
	}
	if e.set == nil {
		return nil
	}
	for i := range e.set.Rules {
		e.keepRule(i, &e.set.Rules[i], parts)
	}
	return nil
}

// capped returns how many of a day's points count against the rule set's caps. What staff added does; what they took
// may have been other points, so that no cap is passed by it.
func (p *part) capped(awarded steps.Points) steps.Points {
	under := steps.Points(min(p.used, uint64(steps.MaxPoints)))
	if more := awarded - p.points - under; more > 0 {
		return under + more
	}
	return min(under, awarded)
}

// keepRule is keep for the counters of one rule.
func (e *eval) keepRule(i int, r *Rule, parts []part) {
	var own part
	for j := range parts {
		if parts[j].rule == r.Name && parts[j].activity == "" {
			own = parts[j]
		}
	}
	for span := WeekSpan; span <= PeriodSpan; span++ {
		if r.Caps[span] > 0 {
			sum := e.restore(r.slots.caps[span])
			add(sum, own.points)
		}
	}
	switch {
	case r.goals():
		e.keepGoals(r, own.used > 0, e.paid>>i&1 != 0)
	case r.Kind == KindActivity && r.Once > DaySpan:
		seen := e.restore(r.slots.own)
		for j := range parts {
			if kind, ok := slices.BinarySearch(r.Activities, parts[j].activity); ok && parts[j].rule == r.Name {
				*seen |= 1 << kind
			}
		}
	case r.Table.carry() > 0:
		if left := e.restore(r.slots.carry); own.rule != "" {
			*left = uint32(min(own.used, math.MaxUint32))
		}
	}
}

// restore makes a counter what it was before the day.
func (e *eval) restore(slot int8) *uint32 {
	e.st.slots[slot] = e.before.slots[slot]
	return &e.st.slots[slot]
}

// keepGoals has goal days used up if they were paid for when the day was closed. Those that would be paid for only
// now are not: the next goal day is.
func (e *eval) keepGoals(r *Rule, was, now bool) {
	days := &e.st.slots[r.slots.own]
	switch within := r.Kind == KindGoalDays && r.Window == 0; {
	case within && was:
		*days |= paid
	case was:
		*days = 0
	case within && now:
		*days &^= paid
	case now && r.Kind == KindStreak:
		e.restore(r.slots.own)
		e.streakDay(r, true)
	case now:
		e.restore(r.slots.own)
		e.goalDay(r, true)
	}
}
