package explain

import (
	"cmp"
	"strings"

	"ayumi/points"
	"ayumi/steps"
)

// spanWords are the words for spans of the calendar.
var spanWords = [...][2]string{
	points.DaySpan: {"1日", "a day"}, points.WeekSpan: {"1週間", "a week"}, points.MonthSpan: {"1か月", "a month"},
	points.YearSpan: {"1年", "a year"}, points.PeriodSpan: {"期間", "a period"},
}

func (l Language) span(s points.Span) string { return l.say(spanWords[s][0], spanWords[s][1]) }

// lineText says what a rule gave and for what.
func lineText(l Language, line *points.Line, s *points.Explained) string {
	r := &s.Set.Rules[line.Rule]
	text := figureText(l, line, r, s) + l.say(" → ", ": ") + l.amount(line.Points)
	if line.Cap == points.NoCap {
		return text
	}
	most, span, own := capOf(line.Cap, r, s.Set)
	limit := l.say("%sの上限%s", "at most %[2]s %[1]s", l.span(span), number(most))
	if own {
		limit += l.say("(この項目)", " by this rule")
	}
	return text + l.say("(%sのため、%sから減りました)", " (%s; it was %s before)", limit, l.amount(line.Before))
}

// capOf returns the cap that cut a line, and whether it is the rule's own.
func capOf(c points.Cap, r *points.Rule, set *points.RuleSet) (most steps.Points, span points.Span, own bool) {
	if c <= points.RulePeriodCap {
		span = points.Span(c)
		return r.Caps[span], span, true
	}
	span = points.Span(c - (points.DayCap - points.RuleDayCap))
	return set.Caps[span], span, false
}

// figureText says what a line was computed from.
func figureText(l Language, line *points.Line, r *points.Rule, s *points.Explained) string {
	figure, threshold := number(line.Figure), number(line.Threshold)
	switch r.Kind {
	case points.KindSteps:
		return tableText(l, line, l.say("%s歩", "%s steps", figure), l.say("%s歩", "%s steps", threshold))
	case points.KindActiveMinutes:
		what := l.say("1分%s歩以上の運動%s分", "%[2]s minutes of at least %[1]s steps", number(r.Cadence), figure)
		return tableText(l, line, what, l.say("%s分", "%s minutes", threshold))
	case points.KindSustainedWalking:
		unit := l.say("%s分", "%s minutes", figure)
		need := l.say("%s分", "%s minutes", threshold)
		if line.Unit == points.UnitSteps {
			unit, need = l.say("%s歩", "%s steps", figure), l.say("%s歩", "%s steps", threshold)
		}
		what := l.say("しっかり歩数(%s分以上続けて1分%s歩以上) %s", "walks of %s minutes and more at %s steps a minute or faster, %s",
			number(r.Least), number(r.Cadence), unit)
		return tableText(l, line, what, need)
	case points.KindPersonalGoal:
		return l.say("%s歩。ふだんの%s歩から決まる目標%s歩に届きました", "%s steps; usual are %s, and the goal of %s is reached",
			figure, number(s.Person.Baseline.Steps), threshold)
	case points.KindStreak:
		return l.say("目標を%s日続けて達成", "the goal reached on %s days in a row", threshold)
	case points.KindGoalDays:
		return l.say("目標を達成した日が%s日", "%s days on which the goal is reached", threshold)
	case points.KindSending:
		return l.say("この日にデータを送信", "data was sent on this day")
	case points.KindActivity:
		return l.say("その他の健康行動(%s) %s回", "other healthy behaviour (%s), %s times", activitiesText(r, s), figure)
	}
	return line.Name
}

// tableText says which row of a table was reached, or what a rate gives.
func tableText(l Language, line *points.Line, what, need string) string {
	if line.Tier < 0 {
		return l.say("%s、%sごとに", "%s, for every %s", what, need)
	}
	return l.say("%s、%s以上", "%s, which is %s or more", what, need)
}

// activitiesText names the day's activities that a rule counts.
func activitiesText(r *points.Rule, s *points.Explained) string {
	var kinds []string
	for i := range s.Activities {
		a := &s.Activities[i]
		for _, kind := range r.Activities {
			if string(a.Kind) == kind && a.Cancelled.At == 0 {
				kinds = append(kinds, kind)
			}
		}
	}
	return cmp.Or(strings.Join(kinds, ", "), r.Name)
}

// exclusionText says why a day could earn nothing, or its steps could not.
func exclusionText(l Language, why string) string {
	switch why {
	case points.NoRules.String():
		return l.say("この日には、まだポイントの規則がありません", "no rules were in force on this day yet")
	case points.OutsidePeriod.String():
		return l.say("この日は、ポイントの対象期間ではありません", "the day lies outside the programme's periods")
	case points.NotResident.String():
		return l.say("この日は、住民として登録されていません", "the day lies outside the registered residency")
	case points.NotEnrolled.String():
		return l.say("この日は、参加期間ではありません", "the day lies outside the enrolment")
	case points.NotSent.String():
		return l.say("期限までにデータが送信されなかったため、歩数は対象になりません", "nothing was sent in time, so the steps do not count")
	}
	return why
}

// reasonText says why a source decided a stretch of minutes.
func reasonText(l Language, reason string) string {
	words, ok := reasonWords[reason]
	if !ok {
		return reason
	}
	return l.say(words[0], words[1])
}

// reasonWords are the words for merge.Reason, by its name.
var reasonWords = map[string][2]string{
	"only_source":     {"この機器だけが記録", "recorded by this device alone"},
	"priority":        {"優先順位が先の機器", "this device comes first"},
	"not_carried":     {"先の機器は持ち歩かれていない", "the devices before it were not carried"},
	"not_reported":    {"先の機器に記録がない", "the devices before it did not report"},
	"whole_walk":      {"先の機器は歩行の一部しか記録していない", "the devices before it missed part of the walk"},
	"filled_walk":     {"先の機器が数えなかった分", "what the devices before it did not count"},
	"already_counted": {"すでに数えた歩数", "counted already"},
	"maximum":         {"最も多い記録", "the largest count"},
	"apportioned":     {"長い時間の記録から按分", "a share of a longer record"},
	"chosen":          {"選ばれた機器", "the chosen device"},
	"origin_excluded": {"この記録方法は対象外", "how it was entered does not count"},
	"origin_capped":   {"この記録方法の上限に達した", "how it was entered counts up to a cap only"},
	"unreported":      {"記録なし", "nobody reported"},
}
