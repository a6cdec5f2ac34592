package points

import (
	"encoding/csv"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"ayumi/steps"
)

// realMinutes is the minute export of the Fitbit Fitness Tracker Data (Zenodo 53894, CC0), which is
// not part of the tree.
const realMinutes = "../../shared/data/fitbit-53894/minuteStepsWide_merged.csv"

// realDays reads the total of every person-day. A row is a person's hour in 60 minutes.
func realDays(t *testing.T) map[steps.ParticipantDay]uint64 {
	f, err := os.Open(realMinutes)
	if errors.Is(err, os.ErrNotExist) && os.Getenv("CI") == "" {
		t.Skip("the Fitbit export is not there")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	if _, err := r.Read(); err != nil {
		t.Fatal(err)
	}
	days := map[steps.ParticipantDay]uint64{}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return days
		}
		if err != nil {
			t.Fatal(err)
		}
		date, _, _ := strings.Cut(row[1], " ")
		at, err := time.Parse("1/2/2006", date)
		if err != nil {
			t.Fatal(err)
		}
		key := steps.ParticipantDay{Participant: steps.ParticipantID(row[0]), Day: steps.DateDay(at.Date())}
		for _, minute := range row[2:] {
			n, err := strconv.ParseUint(minute, 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			days[key] += n
		}
	}
}

// The published tables once more, as arithmetic.

func yokohamaPoints(n uint64, _ bool) int64 { return int64(min(n/2000, 5)) }

func yamagataPoints(n uint64, _ bool) int64 {
	switch n /= 1000; {
	case n < 4:
		return 0
	case n < 8:
		return int64(n) * 10
	}
	return 100
}

func kamaishiPoints(n uint64, from65 bool) int64 {
	if from65 {
		n += 2000 // the target is 2,000 steps lower, tier by tier
	}
	return map[bool]int64{true: 1}[n >= 6000] + map[bool]int64{true: 2}[n >= 8000]
}

// TestRealDays scores every real person-day and compares it with the arithmetic, and the sums with
// figures that awk computed from the file.
func TestRealDays(t *testing.T) {
	days := realDays(t)
	var total uint64
	for _, n := range days {
		total += n
	}
	if len(days) != 919 || total != 6_938_153 {
		t.Errorf("%d person-days with %d steps, want 919 with 6938153", len(days), total)
	}
	tests := []struct {
		preset string
		born   string
		from65 bool
		points func(n uint64, from65 bool) int64
		sum    int64
	}{
		{"yokohama", "1980-01-01", false, yokohamaPoints, 2702},
		{"yamagata", "1980-01-01", false, yamagataPoints, 55810},
		{"kamaishi", "1980-01-01", false, kamaishiPoints, 1389},
		{"kamaishi", "1940-01-01", true, kamaishiPoints, 1778},
	}
	for _, tt := range tests {
		t.Run(tt.preset+" born "+tt.born, func(t *testing.T) {
			book, born := mustRules(t, tt.preset), mustDay(t, tt.born)
			var sum int64
			for key, n := range days {
				set, ok := book.On(key.Day)
				if !ok {
					t.Fatalf("no rule set on %s", key.Day)
				}
				got := int64(set.Score(n, Age(born, key.Day)).Points)
				if want := tt.points(n, tt.from65); got != want {
					t.Errorf("%d steps on %s earn %d, want %d", n, key.Day, got, want)
				}
				sum += got
			}
			if sum != tt.sum {
				t.Errorf("all days earn %d, want %d", sum, tt.sum)
			}
		})
	}
}
