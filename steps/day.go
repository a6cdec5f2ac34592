package steps

import (
	"fmt"
	"time"
)

// Day is a date of the programme's calendar, counted from 1970-01-01 = 0.
type Day int32

const (
	dayLayout     = "2006-01-02"
	secondsPerDay = 86400
)

// DateDay returns the Day of a calendar date.
func DateDay(year int, month time.Month, day int) Day {
	return Day(floorDiv(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix(), secondsPerDay))
}

// ParseDay reads an ISO 8601 date such as 2026-11-23.
func ParseDay(s string) (Day, error) {
	t, err := time.Parse(dayLayout, s)
	if err != nil {
		return 0, Errorf("parse date", Invalid, "%q is not a date; write it as 2026-11-23", s)
	}
	return Day(floorDiv(t.Unix(), secondsPerDay)), nil
}

// String returns the ISO 8601 date.
func (d Day) String() string { return d.utc().Format(dayLayout) }

// Date returns the calendar date.
func (d Day) Date() (year int, month time.Month, day int) { return d.utc().Date() }

func (d Day) utc() time.Time { return time.Unix(int64(d)*secondsPerDay, 0).UTC() }

// MarshalText writes the ISO 8601 date.
func (d Day) MarshalText() ([]byte, error) { return d.utc().AppendFormat(nil, dayLayout), nil }

// UnmarshalText reads an ISO 8601 date.
func (d *Day) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDay(string(b))
	return err
}

// Calendar cuts UTC time into the programme's days. The zero Calendar is UTC.
type Calendar struct{ loc *time.Location }

// NewCalendar returns the calendar of an IANA time zone such as "Asia/Tokyo".
func NewCalendar(zone string) (Calendar, error) {
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return Calendar{}, Errorf("load time zone", Invalid, "%q: %w; use an IANA name such as Asia/Tokyo", zone, err)
	}
	return Calendar{loc: loc}, nil
}

// Location returns the calendar's time zone.
func (c Calendar) Location() *time.Location {
	if c.loc == nil {
		return time.UTC
	}
	return c.loc
}

// Day returns the day on which the UTC second unix falls.
func (c Calendar) Day(unix int64) Day {
	_, offset := time.Unix(unix, 0).In(c.Location()).Zone()
	return Day(floorDiv(unix+int64(offset), secondsPerDay))
}

// Bounds returns the UTC seconds [start, end) of d: the first at which Day is d, and the first at
// which it is later. They are 86,400 apart except where the zone changes its offset; a day that the
// zone left out is empty.
func (c Calendar) Bounds(d Day) (start, end int64) { return c.begin(d), c.begin(d + 1) }

// begin returns the first UTC second whose day is d or later. Around midnight the zone may skip or
// repeat an hour, so midnight under the offset before, under the one after, and the change itself
// are candidates.
func (c Calendar) begin(d Day) int64 {
	y, m, day := d.Date()
	noon := time.Date(y, m, day, 12, 0, 0, 0, c.Location())
	_, after := noon.Zone()
	first := int64(d)*secondsPerDay - int64(after)
	change, _ := noon.ZoneBounds()
	if change.IsZero() || change.Unix() < first-secondsPerDay {
		return first
	}
	_, before := change.Add(-time.Second).Zone()
	first = noon.Unix()
	for _, at := range [...]int64{
		int64(d)*secondsPerDay - int64(after), int64(d)*secondsPerDay - int64(before), change.Unix(),
	} {
		if at < first && c.Day(at) >= d {
			first = at
		}
	}
	return first
}

// DayRange is an inclusive range of days. A zero Until is open.
type DayRange struct{ From, Until Day }

// Contains reports whether d lies in r.
func (r DayRange) Contains(d Day) bool { return d >= r.From && (r.Until == 0 || d <= r.Until) }

// Overlaps reports whether r and o share a day. A range that ends before it begins has none.
func (r DayRange) Overlaps(o DayRange) bool {
	return !r.empty() && !o.empty() && (r.Until == 0 || o.From <= r.Until) && (o.Until == 0 || r.From <= o.Until)
}

func (r DayRange) empty() bool { return r.Until != 0 && r.Until < r.From }

// String returns "FROM..UNTIL", UNTIL empty when open.
func (r DayRange) String() string {
	if r.Until == 0 {
		return fmt.Sprintf("%s..", r.From)
	}
	return fmt.Sprintf("%s..%s", r.From, r.Until)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
