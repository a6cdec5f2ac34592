package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// format is how a verb prints data.
type format string

const (
	formatTable format = "table"
	formatJSON  format = "json"
	formatCSV   format = "csv"
)

func outputFlag(cmd *cobra.Command, to *string, formats []format) {
	cmd.Flags().StringVar(to, "output", string(formatTable), fmt.Sprintf("print as `FORMAT`, one of %v", formats))
}

func parseFormat(s string, allowed []format) (format, error) {
	if slices.Contains(allowed, format(s)) {
		return format(s), nil
	}
	return "", usageError{fmt.Errorf("--output %q is none of %v", s, allowed)}
}

// rows prints records of named columns one by one, so that a million of them need no memory.
type rows interface {
	row(cells ...any) error
	end() error
}

// newRows prints in the given format. JSON is an array of objects with the columns as keys.
func newRows(w io.Writer, f format, columns ...string) (rows, error) {
	switch f {
	case formatCSV:
		c := csvRows{csv.NewWriter(w)}
		return c, c.w.Write(columns)
	case formatJSON:
		return &jsonRows{w: w, columns: columns}, nil
	default:
		t := tableRows{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
		upper := make([]any, len(columns))
		for i, c := range columns {
			upper[i] = strings.ToUpper(c)
		}
		return t, t.row(upper...)
	}
}

type csvRows struct{ w *csv.Writer }

func (r csvRows) row(cells ...any) error {
	text := make([]string, len(cells))
	for i, c := range cells {
		text[i] = fmt.Sprint(c)
	}
	return r.w.Write(text)
}

func (r csvRows) end() error {
	r.w.Flush()
	return r.w.Error()
}

type tableRows struct{ w *tabwriter.Writer }

func (r tableRows) row(cells ...any) error {
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(r.w, "\t")
		}
		if c == "" && i > 0 { // an empty cell would look like a shifted row
			c = "-"
		}
		fmt.Fprint(r.w, c)
	}
	_, err := fmt.Fprintln(r.w)
	return err
}

func (r tableRows) end() error { return r.w.Flush() }

type jsonRows struct {
	w       io.Writer
	columns []string
	n       int
}

func (r *jsonRows) row(cells ...any) error {
	var b strings.Builder
	b.WriteString(map[bool]string{true: "[\n", false: ",\n"}[r.n == 0])
	r.n++
	for i, c := range cells {
		value, err := json.Marshal(c)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s%q: %s", map[bool]string{true: "  {", false: ", "}[i == 0], r.columns[i], value)
	}
	b.WriteString("}")
	_, err := io.WriteString(r.w, b.String())
	return err
}

func (r *jsonRows) end() error {
	closing := "\n]\n"
	if r.n == 0 {
		closing = "[]\n"
	}
	_, err := io.WriteString(r.w, closing)
	return err
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
