package points

import (
	"fmt"
	"math"
	"time"

	"ayumi/steps"
)

// Span is a stretch of the calendar within which caps hold and counts are kept. The numbers are
// stored with explanations and never change.
type Span uint8

const (
	DaySpan    Span = 1
	WeekSpan   Span = 2 // from the day that week_starts names, Monday unless it does
	MonthSpan  Span = 3 // a calendar month
	YearSpan   Span = 4 // from the date that year_starts names
	PeriodSpan Span = 5 // a point period of the rule book

	spanCount = 6
)

// spanKeys are the words for spans in a rules file, by Span.
var spanKeys = [spanCount]string{
	DaySpan: "day", WeekSpan: "week", MonthSpan: "month", YearSpan: "year", PeriodSpan: "period",
}

// String returns the span as a rules file names it, "" for none.
func (s Span) String() string {
	if int(s) >= len(spanKeys) {
		return fmt.Sprintf("span %d", uint8(s))
	}
	return spanKeys[s]
}

// noEnd is later than every day.
const noEnd = steps.Day(math.MaxInt32)

// calendar says where weeks and years begin.
type calendar struct {
	WeekStarts time.Weekday
	YearStarts date // the zero date if the rules have no years
}

// weekday returns the day of the week of d. 1970-01-01 was a Thursday.
func weekday(d steps.Day) time.Weekday {
	w := (int(d) + int(time.Thursday)) % 7
	if w < 0 {
		w += 7
	}
	return time.Weekday(w)
}

// span returns the first and last day of the week, month or year that d lies in.
func (c calendar) span(s Span, d steps.Day) (first, last steps.Day) {
	switch s {
	case WeekSpan:
		since := (int(weekday(d)) - int(c.WeekStarts) + 7) % 7
		first = d - steps.Day(since)
		return first, first + 6
	case MonthSpan:
		y, m, day := d.Date()
		first = d - steps.Day(day-1)
		return first, steps.DateDay(y, m+1, 1) - 1
	case YearSpan:
		y, _, _ := d.Date()
		if first = c.YearStarts.in(y); first > d {
			y--
			first = c.YearStarts.in(y)
		}
		return first, c.YearStarts.in(y+1) - 1
	}
	return d, d
}

// date is a date of one year, or of every year when Year is 0.
type date struct {
	Year  int
	Month time.Month
	Day   int
}

// in returns the date's day in a year. 29 February is the last day of February in every year.
func (d date) in(year int) steps.Day {
	if d.Month == time.February && d.Day == 29 {
		return steps.DateDay(year, time.March, 1) - 1
	}
	return steps.DateDay(year, d.Month, d.Day)
}

// from returns the first day on or after day on which the date falls, or the date itself if it
// names its year.
func (d date) from(day steps.Day) steps.Day {
	if d.Year != 0 {
		return d.in(d.Year)
	}
	y, _, _ := day.Date()
	if at := d.in(y); at >= day {
		return at
	}
	return d.in(y + 1)
}

func (d date) isZero() bool { return d.Month == 0 }
