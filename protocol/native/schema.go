package native

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of ayumi.proto. Both encodings use them to tell fields apart.
const (
	uploadDevice    = 1
	uploadBoot      = 2
	uploadSeq       = 3
	uploadSentAt    = 4
	uploadUTCOffset = 5
	uploadSeries    = 6
	uploadStatus    = 7

	seriesStart      = 1
	seriesInterval   = 2
	seriesSteps      = 3
	seriesOrigin     = 4
	seriesWindowEnd  = 5
	seriesCumulative = 6

	statusBattery  = 1
	statusFirmware = 2
	statusSignal   = 3

	bundleUploads = 1
)

// fieldSpec is one field of a message that the gateway reads.
type fieldSpec struct {
	name     string
	wire     protowire.Type
	repeated bool
	packable bool // wire is that of the packed form, varints are accepted too
}

// message lists the fields of a message. The index is the field number, so entry 0 is empty.
type message []fieldSpec

var (
	uploadMessage = message{
		uploadDevice:    {name: "device", wire: protowire.BytesType},
		uploadBoot:      {name: "boot", wire: protowire.VarintType},
		uploadSeq:       {name: "seq", wire: protowire.VarintType},
		uploadSentAt:    {name: "sent_at", wire: protowire.VarintType},
		uploadUTCOffset: {name: "utc_offset_s", wire: protowire.VarintType},
		uploadSeries:    {name: "series", wire: protowire.BytesType, repeated: true},
		uploadStatus:    {name: "status", wire: protowire.BytesType},
	}
	seriesMessage = message{
		seriesStart:      {name: "start", wire: protowire.VarintType},
		seriesInterval:   {name: "interval_s", wire: protowire.VarintType},
		seriesSteps:      {name: "steps", wire: protowire.BytesType, repeated: true, packable: true},
		seriesOrigin:     {name: "origin", wire: protowire.VarintType},
		seriesWindowEnd:  {name: "window_end", wire: protowire.VarintType},
		seriesCumulative: {name: "cumulative", wire: protowire.VarintType},
	}
	statusMessage = message{
		statusBattery:  {name: "battery", wire: protowire.VarintType},
		statusFirmware: {name: "firmware", wire: protowire.BytesType},
		statusSignal:   {name: "signal", wire: protowire.VarintType},
	}
	bundleMessage = message{
		bundleUploads: {name: "uploads", wire: protowire.BytesType, repeated: true},
	}
)

// lookup returns the number of the field called key, or 0.
func (m message) lookup(key []byte) int {
	for i := 1; i < len(m); i++ {
		if string(key) == m[i].name {
			return i
		}
	}
	return 0
}

// names lists the message's fields for people.
func (m message) names() string {
	var b strings.Builder
	for i := 1; i < len(m); i++ {
		if i > 1 {
			b.WriteString(", ")
		}
		b.WriteString(m[i].name)
	}
	return b.String()
}

// fieldSet holds the numbers of the fields that a message has had so far.
type fieldSet uint32

func (s fieldSet) has(num int) bool { return s&(1<<num) != 0 }

// add notes num and reports whether it is new.
func (s *fieldSet) add(num int) bool {
	fresh := !s.has(num)
	*s |= 1 << num
	return fresh
}

var errTwice = errors.New("appears twice; send a field once")

// pathError is an error with the path of the field it lies in, such as "series[2].steps[7]".
type pathError struct {
	path string
	err  error
}

func (e *pathError) Error() string { return e.path + ": " + e.err.Error() }

func (e *pathError) Unwrap() error { return e.err }

// at puts a field name, or an index such as "[2]", in front of err's path.
func at(step string, err error) error {
	inner, ok := err.(*pathError) // not errors.As: only the outermost one continues the path
	if !ok {
		return &pathError{path: step, err: err}
	}
	if strings.HasPrefix(inner.path, "[") {
		return &pathError{path: step + inner.path, err: inner.err}
	}
	return &pathError{path: step + "." + inner.path, err: inner.err}
}

func atIndex(i int, err error) error { return at(fmt.Sprintf("[%d]", i), err) }

// quote shows at most 40 bytes of the payload, so that an error stays short whatever it is about.
func quote(b []byte) string {
	const most = 40
	if len(b) > most {
		return fmt.Sprintf("%q...", b[:most])
	}
	return fmt.Sprintf("%q", b)
}
