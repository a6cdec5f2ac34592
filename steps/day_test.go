package steps

import (
	"testing"
	"time"
)

// TestCalendarBounds walks years of zones with unusual changes second by candidate second: days
// follow each other without gap or overlap, and Bounds is where Day changes.
func TestCalendarBounds(t *testing.T) {
	for _, zone := range []string{
		"Asia/Tokyo", "UTC", "Europe/Berlin", "America/Havana", "America/Santiago", "Atlantic/Azores",
		"Australia/Lord_Howe", "Asia/Amman", "Asia/Beirut", "Africa/Casablanca", "America/Sao_Paulo",
		"Pacific/Apia", "Asia/Kathmandu", "America/St_Johns",
	} {
		t.Run(zone, func(t *testing.T) {
			cal, err := NewCalendar(zone)
			if err != nil {
				t.Fatal(err)
			}
			for d := DateDay(2008, 1, 1); d < DateDay(2027, 1, 1); d++ {
				start, end := cal.Bounds(d)
				if next, _ := cal.Bounds(d + 1); next != end {
					t.Fatalf("%s ends at %d and the next day begins at %d", d, end, next)
				}
				if start == end {
					if zone != "Pacific/Apia" {
						t.Fatalf("%s is empty", d)
					}
					continue
				}
				if cal.Day(start) != d || cal.Day(start-1) >= d || cal.Day(end-1) > d || cal.Day(end) <= d {
					t.Fatalf("%s is [%d, %d), but Day says %s %s %s %s", d, start, end,
						cal.Day(start-1), cal.Day(start), cal.Day(end-1), cal.Day(end))
				}
				if hours := (end - start) / 3600; hours < 22 || hours > 26 {
					t.Fatalf("%s has %d hours", d, hours)
				}
			}
		})
	}
}

func TestDayText(t *testing.T) {
	for _, s := range []string{"1969-12-31", "1970-01-01", "2024-02-29", "2026-11-23"} {
		d, err := ParseDay(s)
		if err != nil || d.String() != s {
			t.Errorf("ParseDay(%q) = %v, %v", s, d, err)
		}
	}
	for _, s := range []string{"", "2026-02-29", "2026-1-1", "23.11.2026", "2026-11-23T00:00:00Z"} {
		if d, err := ParseDay(s); KindOf(err) != Invalid {
			t.Errorf("ParseDay(%q) = %v, %v; want Invalid", s, d, err)
		}
	}
	if d := DateDay(2026, time.November, 23); d.String() != "2026-11-23" {
		t.Errorf("DateDay = %s", d)
	}
}

func TestDayRange(t *testing.T) {
	for _, tc := range []struct {
		name     string
		a, b     DayRange
		overlaps bool
	}{
		{"apart", DayRange{1, 5}, DayRange{6, 9}, false},
		{"touching", DayRange{1, 5}, DayRange{5, 9}, true},
		{"open and later", DayRange{1, 0}, DayRange{6, 9}, true},
		{"open after the end", DayRange{6, 0}, DayRange{1, 5}, false},
		{"both open", DayRange{6, 0}, DayRange{1, 0}, true},
		{"cancelled", DayRange{6, 5}, DayRange{1, 0}, false},
	} {
		if tc.a.Overlaps(tc.b) != tc.overlaps || tc.b.Overlaps(tc.a) != tc.overlaps {
			t.Errorf("%s: Overlaps is not %t", tc.name, tc.overlaps)
		}
	}
}

func TestParseIDs(t *testing.T) {
	long := string(make([]byte, MaxIDLen+1))
	for _, s := range []string{"a", "p-0001", "A.b_c:d-9", "1503960366"} {
		if _, err := ParseDeviceID(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", long, "a/b", "a+b", "#", "ä", "a b", "a\x00", "歩"} {
		if _, err := ParseParticipantID(s); KindOf(err) != Invalid {
			t.Errorf("%q: %v; want Invalid", s, err)
		}
	}
}

func TestRevisionOrder(t *testing.T) {
	order := []Revision{{0, 0}, {0, 9}, {1, 0}, {1, 1}, {1, 1 << 60}, {2, 0}}
	for i, a := range order {
		for j, b := range order {
			if got, want := a.Compare(b), min(1, max(-1, i-j)); got != want {
				t.Errorf("%v.Compare(%v) = %d; want %d", a, b, got, want)
			}
		}
	}
}
