package points

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"ayumi/steps"
)

// date reads a date of one year, such as 2026-04-01, or of every year, such as 04-01.
func (r *reader) date(n node) value[date] {
	out := value[date]{line: n.Line, field: n.field}
	text, every := n.Value, len(n.Value) == len("04-01")
	if every {
		text = "2024-" + text // a leap year: 29 February is the last day of February
	}
	at, err := time.Parse("2006-01-02", text)
	if n.Kind != yaml.ScalarNode || err != nil {
		r.mistake(n.Line, n.field, "is %s; write a date such as 2026-04-01, or 04-01 for every year", describe(n.Node))
		return out
	}
	out.v, out.ok = date{Year: at.Year(), Month: at.Month(), Day: at.Day()}, true
	if every {
		out.v.Year = 0
	}
	return out
}

// periodDraft is a period with what is needed to check it against the others.
type periodDraft struct {
	periodRule
	node
	from  value[date]
	sound bool // its days are known
}

func (p *parser) periods(list node) []periodRule {
	var drafts []periodDraft
	names := map[string]int{}
	for _, n := range p.list(list) {
		d := p.period(n)
		if line, taken := names[d.Name]; taken && d.Name != "" {
			p.mistake(n.Line, join(n.field, "name"), "%s is the name of the period in line %d too; choose another", d.Name, line)
		}
		names[d.Name] = n.Line
		drafts = append(drafts, d)
	}
	if !slices.ContainsFunc(drafts, func(d periodDraft) bool { return !d.sound }) {
		p.checkPeriods(drafts)
	}
	rules := make([]periodRule, len(drafts))
	for i := range drafts {
		rules[i] = drafts[i].periodRule
	}
	slices.SortStableFunc(rules, func(a, b periodRule) int {
		return cmp.Or(cmp.Compare(a.From.Year, b.From.Year), cmp.Compare(a.From.Month, b.From.Month), cmp.Compare(a.From.Day, b.From.Day))
	})
	return rules
}

func (p *parser) period(n node) periodDraft {
	d := periodDraft{node: n}
	keys, ok := p.object(n, "name", "from", "until", "grace", "activity_grace", "expires", "threshold", "points_per_entry")
	if !ok {
		return d
	}
	if v, ok := p.required(n, keys, "name", "name the period"); ok {
		d.Name = p.name(v).v
	}
	var until value[date]
	if v, ok := p.required(n, keys, "from", "write its first day"); ok {
		d.from = p.date(v)
		d.From = d.from.v
	}
	if v, ok := p.required(n, keys, "until", "write its last day"); ok {
		until = p.date(v)
		d.Until = until.v
	}
	if d.from.ok && until.ok {
		d.sound = p.inOrder(until, d.From, "from", 366)
		if d.sound {
			p.afterwards(keys, &d)
		}
	}
	if v, ok := keys["threshold"]; ok {
		d.Threshold = steps.Points(p.number(v, 1, maxPoints).v)
	}
	if v, ok := keys["points_per_entry"]; ok {
		each := p.number(v, 1, maxPoints)
		d.PointsAnEntry = steps.Points(each.v)
		if each.ok && d.Threshold > 0 && d.Threshold < d.PointsAnEntry {
			p.doubt(each.line, each.field, "%d is more than threshold, which is %d, so reaching it gives no entry; correct one of them",
				each.v, d.Threshold)
		}
	}
	return d
}

// afterwards reads the dates that follow the end of a period.
func (p *parser) afterwards(keys map[string]node, d *periodDraft) {
	for _, after := range []struct {
		key string
		to  *date
	}{{"grace", &d.Grace}, {"activity_grace", &d.ActivityGrace}, {"expires", &d.Expires}} {
		v, ok := keys[after.key]
		if !ok {
			continue
		}
		if at := p.date(v); at.ok && p.inOrder(at, d.Until, "until", 200) {
			*after.to = at.v
		}
	}
	if d.Expires.isZero() || d.Grace.isZero() {
		return
	}
	_, until, _ := d.near(d.From.in(max(d.From.Year, 2024)))
	if expires, grace := d.Expires.from(until), d.Grace.from(until); expires < grace {
		v := keys["expires"]
		p.doubt(v.Line, v.field, "is %s, before grace ends on %s, so points may expire before they are final; let it be later", expires, grace)
	}
}

// inOrder sees to it that a date is written like the one before it and comes no earlier, nor, if it
// is of every year, so many days later that the one of the year before must be meant.
func (p *parser) inOrder(at value[date], before date, name string, most int) bool {
	if (at.v.Year == 0) != (before.Year == 0) {
		p.mistake(at.line, at.field, "names %s, and %s %s; write both the same way",
			yearWord(at.v), name, yearWord(before))
		return false
	}
	year := max(before.Year, 2024)
	first := before.in(year)
	switch last := at.v.from(first); {
	case last < first:
		p.mistake(at.line, at.field, "is before %s, which is %s; exchange them", name, first)
		return false
	case at.v.Year == 0 && int(last-first) > most:
		p.mistake(at.line, at.field, "is %d days after %s; write a day soon after it", last-first, name)
		return false
	}
	return true
}

func yearWord(d date) string {
	if d.Year == 0 {
		return "no year"
	}
	return "a year"
}

// occurrence is one time that a period takes place.
type occurrence struct {
	*periodDraft
	first, last steps.Day
}

// occurrences returns the periods of the years that the dates speak of, by rising date; of years
// with and without 29 February if they speak of none.
func occurrences(drafts []periodDraft) []occurrence {
	low, high := 2023, 2029
	for i := range drafts {
		if y := drafts[i].From.Year; y != 0 {
			low, high = min(low, y-1), max(high, y+2)
		}
	}
	var all []occurrence
	for i := range drafts {
		d := &drafts[i]
		if d.From.Year != 0 {
			all = append(all, occurrence{d, d.From.in(d.From.Year), d.Until.in(d.Until.Year)})
			continue
		}
		for y := low; y <= high; y++ {
			first := d.From.in(y)
			all = append(all, occurrence{d, first, d.Until.from(first)})
		}
	}
	slices.SortStableFunc(all, func(a, b occurrence) int { return cmp.Compare(a.first, b.first) })
	return all
}

// checkPeriods sees to it that no day is in two periods, and doubts short gaps between them.
func (p *parser) checkPeriods(drafts []periodDraft) {
	all := occurrences(drafts)
	told := map[string]bool{}
	for i := 1; i < len(all); i++ {
		before, next := all[i-1], all[i]
		pair := strings.Join([]string{before.field, next.field}, " ")
		gap := int(next.first - before.last - 1)
		if told[pair] {
			continue
		}
		switch {
		case gap < 0:
			p.mistake(next.from.line, next.from.field, "%s overlaps %s, which lasts until %s; give each day one period",
				next.first, before.field, before.last)
			told[pair] = true
		case gap > 0 && gap <= shortGap:
			p.doubt(next.from.line, next.from.field, "%s to %s are in no period, so nothing is earned then; let the periods adjoin if that is not meant",
				before.last+1, next.first-1)
			told[pair] = true
		}
		if before.last > next.last {
			all[i] = before // it reaches further than the one inside it
		}
	}
}

// shortGap is how many days between two periods look like a slip of the pen.
const shortGap = 7
