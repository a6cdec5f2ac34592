package registry

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"

	"ayumi/steps"
)

// The columns of a provisioning file, by their names in the header. Their order is free.
const (
	colParticipant = "participant"
	colDevice      = "device"
	colKind        = "kind"
	colFrom        = "from"
	colBorn        = "born"
)

var columns = [...]string{colParticipant, colDevice, colKind, colFrom, colBorn}

// RowError is one fault of a provisioning file.
type RowError struct {
	Line   int    `json:"line"`             // in the file, from 1
	Column string `json:"column,omitempty"` // header name, empty when the whole line is at fault
	Detail string `json:"detail"`           // what is wrong and what to do
}

// Error returns "line N, column C: DETAIL".
func (e RowError) Error() string {
	if e.Column == "" {
		return fmt.Sprintf("line %d: %s", e.Line, e.Detail)
	}
	return fmt.Sprintf("line %d, column %s: %s", e.Line, e.Column, e.Detail)
}

// maxRowErrors bounds what a report lists; its count goes on.
const maxRowErrors = 100

// RowErrors is the report on a provisioning file that cannot be applied.
type RowErrors struct {
	Errors []RowError `json:"errors"` // in the order of lines, the first 100
	Count  int        `json:"count"`  // of all
}

// Error returns the count and every listed fault, a line each.
func (e *RowErrors) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the file has %d fault(s) and nothing of it was applied", e.Count)
	for _, f := range e.Errors {
		b.WriteString("\n")
		b.WriteString(f.Error())
	}
	if more := e.Count - len(e.Errors); more > 0 {
		fmt.Fprintf(&b, "\nand %d more", more)
	}
	return b.String()
}

func (e *RowErrors) add(f RowError) {
	if e.Count++; len(e.Errors) < maxRowErrors {
		e.Errors = append(e.Errors, f)
	}
}

// cells is one line of the file, by column; a column that the header lacks is empty.
type cells struct {
	line                                  int
	participant, device, kind, from, born string
}

// rowReader reads the lines of a provisioning file.
type rowReader struct {
	csv *csv.Reader
	col []int // of columns: the field's position, -1 when absent
	n   int   // fields a line
}

// newRowReader reads the header. A byte order mark is skipped, CRLF is a line end.
func newRowReader(r io.Reader) (*rowReader, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	switch head, _ := br.Peek(3); {
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		_, _ = br.Discard(3) // peeked, so it is there
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		return nil, RowError{Line: 1, Detail: "the file is UTF-16; save it as CSV UTF-8"}
	}
	rr := &rowReader{csv: csv.NewReader(br)}
	rr.csv.ReuseRecord = true
	rr.csv.FieldsPerRecord = -1 // counted here, with a better message
	header, err := rr.csv.Read()
	if errors.Is(err, io.EOF) {
		return nil, RowError{Line: 1, Detail: "the file is empty; its first line is " + strings.Join(columns[:], ",")}
	}
	if err != nil {
		return nil, syntaxError(err)
	}
	return rr, rr.header(header)
}

func (rr *rowReader) header(fields []string) error {
	line, _ := rr.csv.FieldPos(0)
	rr.n = len(fields)
	rr.col = make([]int, len(columns))
	for i := range rr.col {
		rr.col[i] = -1
	}
	for i, f := range fields {
		name := strings.TrimSpace(f)
		at := -1
		for c := range columns {
			if columns[c] == name {
				at = c
			}
		}
		switch {
		case at < 0:
			return RowError{Line: line, Column: clip(name), Detail: "no such column; use " + strings.Join(columns[:], ",") + ", separated by commas"}
		case rr.col[at] >= 0:
			return RowError{Line: line, Column: name, Detail: "the column is there twice; remove one"}
		}
		rr.col[at] = i
	}
	if rr.col[1] < 0 {
		return RowError{Line: line, Column: colDevice, Detail: "the column is missing; add it to the header"}
	}
	return nil
}

// next returns the next line, io.EOF at the end, a RowError for a line that can be skipped, or
// what the underlying reader failed with.
func (rr *rowReader) next() (cells, error) {
	rec, err := rr.csv.Read()
	if err != nil {
		return cells{}, syntaxError(err)
	}
	line, _ := rr.csv.FieldPos(0)
	if len(rec) != rr.n {
		return cells{}, RowError{Line: line, Detail: fmt.Sprintf("has %d cells and the header has %d; check the commas", len(rec), rr.n)}
	}
	cell := func(c int) string {
		if rr.col[c] < 0 {
			return ""
		}
		return strings.TrimSpace(rec[rr.col[c]])
	}
	return cells{line: line, participant: cell(0), device: cell(1), kind: cell(2), from: cell(3), born: cell(4)}, nil
}

// syntaxError turns a fault of the CSV syntax into a RowError and leaves other errors alone.
func syntaxError(err error) error {
	var p *csv.ParseError
	if !errors.As(err, &p) {
		return err
	}
	return RowError{Line: p.Line, Detail: fmt.Sprintf("is no CSV at byte %d: %v; write a quote inside quotes twice", p.Column, p.Err)}
}

// row is one line of the file, parsed.
type row struct {
	line        int
	device      steps.DeviceID
	participant steps.ParticipantID // "" for a reader
	kind        Kind
	from        steps.Day
	born        steps.Day // unknownBorn when empty
}

// parse turns cells into a row. Faults go to report, and ok tells whether there were none.
func (c *cells) parse(today steps.Day, report func(column, detail string)) (out row, ok bool) {
	ok = true
	fault := func(column string, err error) {
		ok = false
		report(column, cause(err))
	}
	out = row{line: c.line, kind: Pedometer, from: today, born: unknownBorn}
	var err error
	if c.kind != "" {
		if out.kind, err = ParseKind(c.kind); err != nil {
			fault(colKind, err)
		}
	}
	if c.device == "" {
		fault(colDevice, errors.New("is empty; every line names a device"))
	} else if id, err := steps.ParseDeviceID(c.device); err != nil {
		fault(colDevice, err)
	} else {
		out.device = steps.DeviceID(strings.Clone(string(id))) // not a piece of a whole line
	}
	if out.kind == Reader {
		c.parseReader(fault)
		return out, ok
	}
	if c.participant == "" && out.kind != 0 {
		fault(colParticipant, fmt.Errorf("is empty; name whose steps the device counts, or make its kind %s", Reader))
	} else if id, err := steps.ParseParticipantID(c.participant); err != nil && c.participant != "" {
		fault(colParticipant, err)
	} else {
		out.participant = steps.ParticipantID(strings.Clone(string(id)))
	}
	if c.from != "" {
		if out.from, err = parseDate(c.from, checkDay); err != nil {
			fault(colFrom, err)
		}
	}
	if c.born != "" {
		if out.born, err = parseDate(c.born, func(d steps.Day) error { return checkBorn(d, today) }); err != nil {
			fault(colBorn, err)
		}
	}
	return out, ok
}

// parseReader refuses what a reader terminal cannot have.
func (c *cells) parseReader(fault func(column string, err error)) {
	for _, cell := range [...]struct{ column, text string }{
		{colParticipant, c.participant}, {colFrom, c.from}, {colBorn, c.born},
	} {
		if cell.text != "" {
			fault(cell.column, errors.New("a reader is bound to nobody; leave the cell empty"))
		}
	}
}

func parseDate(s string, check func(steps.Day) error) (steps.Day, error) {
	d, err := steps.ParseDay(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a date; write it as 2026-11-23", clip(s))
	}
	return d, check(d)
}

// cause returns an error's text without the operation in front.
func cause(err error) string {
	var e *steps.Error
	if errors.As(err, &e) && e.Err != nil {
		return e.Err.Error()
	}
	return err.Error()
}
