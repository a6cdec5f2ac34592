package explain

import (
	"fmt"
	"io"
	"strings"
)

// The picture has a column for every 20 minutes, 72 of an ordinary day, so that it fits into 80.
const (
	columnMinutes = 20
	barHeight     = 6
	labelWidth    = 7
)

// eighths are bars of rising height.
var eighths = []rune(" ▁▂▃▄▅▆▇█")

// WritePicture draws the day: how many steps were counted in each 20 minutes, and for every source
// whether it decided them (█), reported them without deciding (░), or was silent (·).
func (d *Day) WritePicture(w io.Writer, l Language) error {
	p := printer{w: w}
	if len(d.Minutes) == 0 {
		p.line("%s", l.say("この日の記録はありません", "nothing was reported on this day"))
		return p.err
	}
	bars := d.bars()
	most := uint64(1)
	for _, n := range bars {
		most = max(most, n)
	}
	p.line("%*s %s", labelWidth, "", hours(len(bars)))
	for row := barHeight; row > 0; row-- {
		label := ""
		if row == barHeight {
			label = number(most)
		}
		p.line("%*s %s", labelWidth, label, strings.TrimRight(barRow(bars, most, row), " "))
	}
	for i := range d.Sources {
		p.line("%-*s %s", labelWidth, clip(string(d.Sources[i].Device), labelWidth), d.lane(i, bars))
	}
	p.line("%s", l.say("棒は20分ごとの歩数。█ 数えた ░ 記録はあるが他の機器を数えた · 記録なし",
		"Bars: steps in 20 minutes. █ counted  ░ reported, another device counted  · nothing"))
	return p.err
}

// bars returns the counted steps of each column.
func (d *Day) bars() []uint64 {
	bars := make([]uint64, (len(d.Minutes)+columnMinutes-1)/columnMinutes)
	for i, n := range d.Minutes {
		bars[i/columnMinutes] += uint64(n)
	}
	return bars
}

// hours is a scale: every third hour at its column.
func hours(columns int) string {
	scale := []rune(strings.Repeat(" ", columns+2))
	for hour := 0; hour*60/columnMinutes < columns; hour += 3 {
		copy(scale[hour*60/columnMinutes:], []rune(fmt.Sprint(hour)))
	}
	return strings.TrimRight(string(scale), " ")
}

// barRow draws one row of the bars, the first at the bottom.
func barRow(bars []uint64, most uint64, row int) string {
	var b strings.Builder
	for _, n := range bars {
		height := int(n * barHeight * 8 / most)
		if n > 0 {
			height = max(height, 1)
		}
		b.WriteRune(eighths[min(max(height-8*(row-1), 0), 8)])
	}
	return b.String()
}

// lane draws what one source had, but for the columns in which nothing was counted anyway.
func (d *Day) lane(source int, bars []uint64) string {
	lane := []rune(strings.Repeat("·", len(bars)))
	device := d.Sources[source].Device
	for i := range d.Decisions {
		c := &d.Decisions[i]
		mark := rune(0)
		if c.Device == device && c.Steps > 0 {
			mark = '█'
		} else if c.Device == device && c.Excluded > 0 {
			mark = '░'
		}
		for j := range c.Others {
			if o := &c.Others[j]; o.Device == device && o.Steps > 0 && mark == 0 {
				mark = '░'
			}
		}
		for at := c.FirstMinute / columnMinutes; mark != 0 && at*columnMinutes < c.EndMinute && at < len(bars); at++ {
			if lane[at] != '█' && (mark == '░' || bars[at] > 0) {
				lane[at] = mark
			}
		}
	}
	return string(lane)
}

// clip shortens a label.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n-1] + "…"
}
