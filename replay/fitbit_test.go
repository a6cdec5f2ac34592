package replay

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ayumi/steps"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func fitbitHeader() string {
	var b strings.Builder
	b.WriteString("Id,ActivityHour")
	for m := range 60 {
		fmt.Fprintf(&b, ",Steps%02d", m)
	}
	return b.String()
}

// fitbitLine has the count n in minute 7 and zeros elsewhere.
func fitbitLine(id, at, n string) string {
	return id + "," + at + strings.Repeat(",0", 7) + "," + n + strings.Repeat(",0", 52)
}

func TestReadFitbitMinutes(t *testing.T) {
	text := strings.Join([]string{
		"\ufeff" + fitbitHeader(),
		fitbitLine("77", "4/13/2016 0:00", "5"),
		fitbitLine("88", "12/31/2016 11:00:00 PM", "6"),
		fitbitLine("77", "4/13/2016 12:00:00 AM", "7"),
	}, "\r\n")
	if _, err := ReadFitbitMinutes(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "line 4, column 4") {
		t.Errorf("midnight twice in two spellings: %v", err)
	}
	people, err := ReadFitbitMinutes(strings.NewReader(strings.Replace(text, "4/13/2016 12:00:00 AM", "4/14/2016 12:00:00 PM", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if len(people) != 2 || people[0].ID != "77" || people[1].ID != "88" || len(people[0].Hours) != 2 {
		t.Fatalf("read %+v", people)
	}
	for _, tc := range []struct {
		h    Hour
		day  steps.Day
		hour int
		n    uint32
	}{
		{people[0].Hours[0], steps.DateDay(2016, time.April, 13), 0, 5},
		{people[0].Hours[1], steps.DateDay(2016, time.April, 14), 12, 7},
		{people[1].Hours[0], steps.DateDay(2016, time.December, 31), 23, 6},
	} {
		if tc.h.Day != tc.day || tc.h.Hour != tc.hour || tc.h.Counts[7] != tc.n || tc.h.Steps() != uint64(tc.n) {
			t.Errorf("hour %+v", tc.h)
		}
	}
}

func TestReadFitbitMinutesErrors(t *testing.T) {
	good := fitbitLine("77", "4/13/2016 1:00", "5")
	for _, tc := range []struct{ name, text, want string }{
		{"empty", "", "empty"},
		{"no minutes", "Id,ActivityHour\n", "no column Steps00"},
		{"one minute missing", strings.Replace(fitbitHeader(), ",Steps42", "", 1), "no column Steps42"},
		{"no id", strings.Replace(fitbitHeader(), "Id", "Who", 1), "no column Id"},
		{"column twice", strings.Replace(fitbitHeader(), "Steps01", "Steps00", 1), "line 1, column 25: the header names Steps00 twice"},
		{"short line", fitbitHeader() + "\n" + good[:len(good)-2], "line 2"},
		{"long line", fitbitHeader() + "\n" + good + ",0", "line 2"},
		{"fraction", fitbitHeader() + "\n" + fitbitLine("77", "4/13/2016 1:00", "1.5"), `line 2, column 33: Steps07: "1.5"`},
		{"negative", fitbitHeader() + "\n" + fitbitLine("77", "4/13/2016 1:00", "-1"), "Steps07"},
		{"blank count", fitbitHeader() + "\n" + fitbitLine("77", "4/13/2016 1:00", ""), "Steps07"},
		{"huge count", fitbitHeader() + "\n" + fitbitLine("77", "4/13/2016 1:00", "4294967295"), "Steps07"},
		{"half an hour", fitbitHeader() + "\n" + fitbitLine("77", "4/13/2016 1:30", "1"), "line 2, column 4: ActivityHour"},
		{"no such day", fitbitHeader() + "\n" + fitbitLine("77", "2/30/2016 1:00", "1"), "ActivityHour"},
		{"ISO time", fitbitHeader() + "\n" + fitbitLine("77", "2016-04-13T01:00:00Z", "1"), "ActivityHour"},
		{"bad id", fitbitHeader() + "\n" + fitbitLine("a/b", "4/13/2016 1:00", "1"), "line 2, column 1: Id"},
		{"twice", fitbitHeader() + "\n" + good + "\n" + good, "line 3, column 4: ActivityHour: 77 has 2016-04-13 01:00 twice"},
		{"backwards", fitbitHeader() + "\n" + good + "\n" + fitbitLine("77", "4/13/2016 0:00", "5"), "line 3, column 4"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ReadFitbitMinutes(strings.NewReader(tc.text))
			if err == nil || steps.KindOf(err) != steps.Invalid || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v; want %q", err, tc.want)
			}
		})
	}
}

func FuzzReadFitbitMinutes(f *testing.F) {
	f.Add(fitbitHeader() + "\n" + fitbitLine("77", "4/13/2016 1:00", "5"))
	f.Add(fitbitHeader() + "\n" + fitbitLine("77", "4/13/2016 1:00:00 PM", "x"))
	f.Fuzz(func(t *testing.T, text string) {
		people, err := ReadFitbitMinutes(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, p := range people {
			for i := 1; i < len(p.Hours); i++ {
				if p.Hours[i-1].compare(&p.Hours[i]) >= 0 {
					t.Fatal("hours do not ascend")
				}
			}
		}
	})
}

// realFile reads the export of 33 people that this package was written for.
func realFile(t testing.TB) []Person {
	t.Helper()
	f, err := os.Open("../../shared/data/fitbit-53894/minuteStepsWide_merged.csv")
	if errors.Is(err, fs.ErrNotExist) && os.Getenv("CI") == "" {
		t.Skip("the export is not here")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	people, err := ReadFitbitMinutes(f)
	if err != nil {
		t.Fatal(err)
	}
	return people
}

func TestRealFile(t *testing.T) {
	people := realFile(t)
	hours, most := 0, uint32(0)
	for _, p := range people {
		hours += len(p.Hours)
		for i := range p.Hours {
			for _, c := range p.Hours[i].Counts {
				most = max(most, c)
			}
		}
	}
	if len(people) != 33 || hours != 21_645 || most != 220 {
		t.Errorf("%d people, %d hours, at most %d a minute; want 33, 21645, 220", len(people), hours, most)
	}
	last := steps.DateDay(2026, time.November, 22)
	n := Shift(people, last)
	if want := int(last - steps.DateDay(2016, time.May, 13)); n != want {
		t.Errorf("shifted by %d days, want %d", n, want)
	}
	end := people[0].Hours[0].Day
	for _, p := range people {
		end = max(end, p.Hours[len(p.Hours)-1].Day)
	}
	if end != last {
		t.Errorf("last day %s, want %s", end, last)
	}
	if Shift(people, last) != 0 {
		t.Error("a second shift moved the days")
	}
}

func TestShiftNobody(t *testing.T) {
	if n := Shift([]Person{{ID: "a"}}, 7); n != 0 {
		t.Errorf("shifted nobody by %d days", n)
	}
}
