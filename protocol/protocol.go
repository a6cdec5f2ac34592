// Package protocol holds what the payload formats share: their limits. Each format is a folder
// below it and a pure function from bytes to steps.Upload.
//
// Invariants: a decoder never panics, never allocates by a length that the payload merely claims,
// and never accepts what it cannot represent; what it accepts re-encodes to the same meaning.
package protocol

// Limits bounds what one payload may hold. A payload beyond a limit is malformed as a whole.
type Limits struct {
	UploadsPerBundle   int
	SeriesPerUpload    int
	IntervalsPerSeries int // counts in a series, and intervals up to its window_end
}

// IntervalsPerPayload is how many intervals all series of a payload may have together, those up to
// a window_end included. A payload of a megabyte cannot spell out more, so only window_end meets it.
const IntervalsPerPayload = 1 << 20

// DefaultLimits lets a pedometer send a week of minutes in one series and six weeks in one upload,
// and a reader carry a thousand devices.
func DefaultLimits() Limits {
	return Limits{UploadsPerBundle: 1000, SeriesPerUpload: 512, IntervalsPerSeries: 10_080}
}
