package explain

import (
	"strconv"

	"ayumi/plausibility"
	"ayumi/review"
	"ayumi/steps"
)

// Review says why staff look at a day, and what they decided.
type Review struct {
	State string `json:"state"` // open, held, cleared or upheld
	Flags []Flag `json:"flags"`
}

// Flag is one thing that seemed wrong.
type Flag struct {
	Kind   plausibility.Kind   `json:"kind"`
	From   string              `json:"from"`
	To     string              `json:"to"`
	Figure float64             `json:"figure"`
	Limit  float64             `json:"limit"`
	Other  steps.ParticipantID `json:"other,omitempty"` // whose day agrees; not in the text, which residents read
	Text   Text                `json:"text"`
}

func reviewOf(r *review.Review) *Review {
	if r == nil {
		return nil
	}
	out := &Review{State: r.State.String()}
	for i := range r.Flags {
		f := &r.Flags[i]
		out.Flags = append(out.Flags, Flag{Kind: f.Kind, From: clock(f.From), To: clock(f.To), Figure: f.Figure, Limit: f.Limit,
			Other: f.Other.Participant, Text: Text{flagText(Japanese, f), flagText(English, f)}})
	}
	return out
}

// reviewWords say what the state of a review means for the day.
var reviewWords = map[string][2]string{
	review.Open.String():    {"この日は職員が確認しています", "Staff are looking at this day"},
	review.Held.String():    {"この日は職員が確認しています。ポイントは確認が終わるまで保留です", "The day is being reviewed by staff; its points are pending until they have decided"},
	review.Cleared.String(): {"この日は職員が確認し、問題はありませんでした", "Staff have reviewed this day and found nothing wrong"},
	review.Upheld.String():  {"職員の確認の結果、この日のポイントは対象になりません。異議を申し立てることができます", "Staff decided that the points of this day do not count; this can be appealed once"},
}

// kindWords say what a kind of flag is about, and of what its figure and limit are.
var kindWords = map[plausibility.Kind]struct{ ja, en, unitJA, unitEN string }{
	plausibility.BusyDay:         {"1日の歩数がとても多い", "very many steps in a day", "歩", "steps"},
	plausibility.BusyHour:        {"1時間の歩数がとても多い", "very many steps in an hour", "歩", "steps"},
	plausibility.HighCadence:     {"続けられない速さの歩行", "a pace that nobody keeps up", "分", "minutes"},
	plausibility.LongActivity:    {"ほぼ一日中の活動", "activity almost all day and night", "時間", "hours"},
	plausibility.FlatCadence:     {"一定すぎる歩調", "steps as even as a machine's", "分", "minutes"},
	plausibility.Unbroken:        {"休みのない歩行", "walking without a rest", "分", "minutes"},
	plausibility.NoSmallMovement: {"小さな動きがない", "no small movements in between", "%", "%"},
	plausibility.RepeatedCounts:  {"同じ歩数の繰り返し", "the same count again and again", "%", "%"},
	plausibility.RoundCounts:     {"切りのよい歩数が多い", "mostly round counts", "%", "%"},
	plausibility.LateSteps:       {"夜に集中した歩数", "most steps late in the evening", "%", "%"},
	plausibility.CoarseSteps:     {"分ごとの記録がない歩数", "steps that no device counted by the minute", "歩", "steps"},
	plausibility.SharedPattern:   {"ほかの参加者と同じ記録", "the same record as another participant's", "%", "%"},
	plausibility.RepeatedPattern: {"別の日と同じ記録", "the same record as on another day", "%", "%"},
}

// flagText says what a flag rests on, without naming anybody.
func flagText(l Language, f *plausibility.Flag) string {
	w := kindWords[f.Kind]
	unit, what := w.unitEN, w.en
	if l == Japanese {
		unit, what = w.unitJA, w.ja
	}
	figure, limit := f.Figure, f.Limit
	if unit == "%" { // shares
		figure, limit = 100*figure, 100*limit
	}
	text := func(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }
	return l.say("%s(%s〜%s、%s%s、基準%s)", "%s (%s to %s, %s %s; limit %s)", what, clock(f.From), clock(f.To),
		text(round(figure)), unit, text(round(limit)))
}

// round keeps one digit behind the point.
func round(x float64) float64 { return float64(int64(x*10+0.5)) / 10 }

// writeReview writes what seemed wrong, unless staff found nothing in it.
func (d *Day) writeReview(p *printer, l Language) {
	if d.Review == nil || d.Review.State == review.Cleared.String() {
		return
	}
	p.line("")
	p.line("%s", l.say("確認の理由", "Why the day is reviewed"))
	for i := range d.Review.Flags {
		p.line("  %s", d.Review.Flags[i].Text.in(l))
	}
}
