package replay

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"ayumi/steps"
)

const (
	idColumn   = "Id"
	hourColumn = "ActivityHour"
)

// hourLayouts are how exports write an hour, both without a zone.
var hourLayouts = [...]string{"1/2/2006 15:04", "1/2/2006 3:04:05 PM"}

// ReadFitbitMinutes reads a wide minute export (minuteStepsWide): a line an hour with the columns
// Id, ActivityHour and Steps00 to Steps59, other columns ignored. Times are M/D/YYYY with H:mm or h:mm:ss AM; they name no
// zone and are kept as they stand. The lines of one person must ascend, other people's may stand in
// between. People come in the order of their first line.
//
// Errors are Invalid and name the line and, where there is one, the column.
func ReadFitbitMinutes(r io.Reader) ([]Person, error) {
	rd := &fitbitReader{csv: csv.NewReader(r), index: map[string]int{}}
	rd.csv.ReuseRecord = true
	if err := rd.header(); err != nil {
		return nil, steps.E("read Fitbit minutes", steps.Invalid, err)
	}
	for {
		err := rd.line()
		if errors.Is(err, io.EOF) {
			return rd.people, nil
		}
		if err != nil {
			return nil, steps.E("read Fitbit minutes", steps.Invalid, err)
		}
	}
}

type fitbitReader struct {
	csv     *csv.Reader
	columns map[string]int
	counts  [60]int // column of each minute
	people  []Person
	index   map[string]int
}

func (r *fitbitReader) header() error {
	names, err := r.csv.Read()
	if errors.Is(err, io.EOF) {
		return errors.New("the file is empty; expected a header with Id, ActivityHour, Steps00 to Steps59")
	}
	if err != nil {
		return err
	}
	r.columns = make(map[string]int, len(names))
	for i, name := range names {
		if i == 0 {
			name = strings.TrimPrefix(name, "\ufeff") // byte order mark
		}
		name = strings.Clone(name)
		if _, twice := r.columns[name]; twice {
			return r.at(i, fmt.Errorf("the header names %s twice", name))
		}
		r.columns[name] = i
	}
	for _, name := range []string{idColumn, hourColumn} {
		if _, ok := r.columns[name]; !ok {
			return fmt.Errorf("line 1: the header has no column %s", name)
		}
	}
	for m := range r.counts {
		name := fmt.Sprintf("Steps%02d", m)
		i, ok := r.columns[name]
		if !ok {
			return fmt.Errorf("line 1: the header has no column %s", name)
		}
		r.counts[m] = i
	}
	return nil
}

// at adds the place of field i in the line that was read last.
func (r *fitbitReader) at(i int, err error) error {
	line, column := r.csv.FieldPos(i)
	return fmt.Errorf("line %d, column %d: %w", line, column, err)
}

func (r *fitbitReader) line() error {
	fields, err := r.csv.Read()
	if err != nil {
		return err // csv names line and column itself
	}
	id := fields[r.columns[idColumn]]
	if _, err := steps.ParseParticipantID(id); err != nil {
		return r.at(r.columns[idColumn], fmt.Errorf("%s: %w", idColumn, err))
	}
	h, err := parseHour(fields[r.columns[hourColumn]])
	if err != nil {
		return r.at(r.columns[hourColumn], fmt.Errorf("%s: %w", hourColumn, err))
	}
	for m, i := range r.counts {
		n, err := strconv.ParseUint(fields[i], 10, 32)
		if err != nil || uint32(n) == steps.CountOverflow {
			return r.at(i, fmt.Errorf("Steps%02d: %q is not a count of steps", m, fields[i]))
		}
		h.Counts[m] = uint32(n)
	}
	if err := r.add(id, h); err != nil {
		return r.at(r.columns[hourColumn], fmt.Errorf("%s: %w", hourColumn, err))
	}
	return nil
}

func (r *fitbitReader) add(id string, h Hour) error {
	i, ok := r.index[id]
	if !ok {
		i = len(r.people)
		id = strings.Clone(id)
		r.index[id] = i
		r.people = append(r.people, Person{ID: id})
	}
	p := &r.people[i]
	if len(p.Hours) > 0 {
		switch last := &p.Hours[len(p.Hours)-1]; h.compare(last) {
		case 0:
			return fmt.Errorf("%s has %s %02d:00 twice", id, h.Day, h.Hour)
		case -1:
			return fmt.Errorf("%s has %s %02d:00 after %s %02d:00; sort each person's lines by time", id, h.Day, h.Hour, last.Day, last.Hour)
		}
	}
	p.Hours = append(p.Hours, h)
	return nil
}

func parseHour(s string) (Hour, error) {
	for _, layout := range hourLayouts {
		t, err := time.Parse(layout, s)
		if err != nil {
			continue
		}
		if t.Minute() != 0 || t.Second() != 0 {
			return Hour{}, fmt.Errorf("%q is not a full hour", s)
		}
		return Hour{Day: steps.DateDay(t.Date()), Hour: t.Hour()}, nil
	}
	return Hour{}, fmt.Errorf("%q is not a time; write it as 4/13/2016 15:00 or 4/13/2016 3:00:00 PM", s)
}
