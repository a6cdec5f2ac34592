package explain

import (
	"fmt"
	"io"
	"strings"

	"ayumi/review"
	"ayumi/steps"
)

// summary says in a few sentences what the day earned.
func (d *Day) summary(l Language) string {
	var b strings.Builder
	b.WriteString(l.say("%s歩で%sです。", "%s steps earn %s.", number(d.Steps), l.amount(d.Points)))
	sentence := func(japanese, english string, values ...any) {
		if l == English {
			b.WriteByte(' ')
		}
		b.WriteString(l.say(japanese+"。", english+".", values...))
	}
	if d.Excluded != "" {
		sentence("%s", "%s", l.say(exclusionText(Japanese, d.Excluded), upper(exclusionText(English, d.Excluded))))
	}
	if d.Excluded == "" && d.Counted < d.Steps {
		sentence("1日に数える歩数の上限は%s歩です", "At most %s steps of a day count", number(d.Counted))
	}
	if n := d.NotUsed.Manual + d.NotUsed.Unknown; n > 0 {
		sentence("手入力などの%s歩は対象になりません", "%s steps that were typed in, or of which the device does not say how they were counted, do not count", number(n))
	}
	switch {
	case d.Standing.State == closed && d.Standing.Points != d.Points:
		sentence("この日は%sで確定しています。確定後のデータは職員が確認します", "The day is final with %s; what came after that is looked at by staff",
			l.amount(d.Standing.Points))
	case d.Standing.State == closed && d.Review != nil && d.Review.State == review.Held.String():
		// what is final is not yet what counts
	case d.Standing.State == closed:
		sentence("確定しています", "This is final")
	case d.Standing.State != open:
	case d.Standing.ClosesOn == nil:
		sentence("まもなく確定します", "It is about to become final")
	default:
		sentence("%sまでに届いたデータで変わることがあります", "Data that arrives by %s may change this", dateText(l, *d.Standing.ClosesOn))
	}
	if d.Review != nil {
		words := reviewWords[d.Review.State]
		sentence(words[0], words[1])
	}
	return b.String()
}

// The states of a day. Open is every day that nobody has begun to close.
const open = "open"

var closed = steps.DayClosed.String()

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// dateText writes a date as residents read it.
func dateText(l Language, d steps.Day) string {
	y, m, day := d.Date()
	if l == Japanese {
		return fmt.Sprintf("%d年%d月%d日", y, m, day)
	}
	return fmt.Sprintf("%d %s %d", day, m, y)
}

// WriteText writes the day for a reader of a language: what it earned, by which rules, where the steps
// came from.
func (d *Day) WriteText(w io.Writer, l Language) error {
	p := printer{w: w}
	p.line("%s  %s", dateText(l, d.Day), d.Participant)
	p.line("%s", d.Text.in(l))
	p.line("")
	if d.RuleSet != "" {
		p.line("%s %s", l.say("規則", "Rules"), d.RuleSet)
	}
	for i := range d.Lines {
		p.line("  %+3d  %s", d.Lines[i].Points, d.Lines[i].Text.in(l))
	}
	if len(d.Lines) == 0 {
		p.line("  %s", l.say("ポイントになった項目はありません", "no rule gave points"))
	}
	for i := range d.Activities {
		if a := &d.Activities[i]; !a.Counts {
			p.line("       %s", l.say("%sは取り消されたか、期限後の登録です", "%s was cancelled, or recorded too late", string(a.Kind)))
		}
	}
	d.writeReview(&p, l)
	d.writeSources(&p, l)
	return p.err
}

// writeSources writes where the steps came from.
func (d *Day) writeSources(p *printer, l Language) {
	if len(d.Sources) == 0 {
		return
	}
	p.line("")
	p.line("%s", l.say("歩数の出どころ", "Where the steps came from"))
	for i := range d.Sources {
		s := &d.Sources[i]
		p.line("  %s", l.say("%s: 記録%s歩のうち%s歩を数えました", "%s: %s steps recorded, %s of them counted",
			string(s.Device), number(s.Steps), number(s.Counted)))
	}
	for i := range d.Decisions {
		c := &d.Decisions[i]
		if c.Device == "" || c.Steps == 0 && c.Excluded == 0 {
			continue
		}
		p.line("  %s–%s  %6s  %s  %s", c.From, c.To, number(c.Steps), c.Device, reasonText(l, c.Reason))
	}
	if len(d.Uploads) > 0 {
		p.line("")
		p.line("%s", l.say("届いたデータ(送信番号、歩数のあるもの)", "Uploads that brought steps, by boot and sequence number"))
	}
	for i := range d.Uploads {
		u := &d.Uploads[i]
		if u.Steps == 0 {
			continue
		}
		p.line("  %s  %d/%d  %s", u.Device, u.Boot, u.Seq, l.say("%s区間、%s歩(%s秒ごと、%s)", "%s intervals, %s steps (of %s s, %s)",
			number(u.Cells), number(u.Steps), number(u.Interval), u.Origin))
	}
}

// printer keeps the first error of many lines.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}
