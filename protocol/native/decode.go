package native

import (
	"errors"
	"fmt"
	"math"
	"unicode"
	"unicode/utf8"

	"ayumi/protocol"
	"ayumi/steps"
)

const (
	opUpload = "decode upload"
	opBundle = "decode bundle"

	// maxTime is the last time that either encoding can hold, 5138-11-16T09:46:40Z. Every
	// larger number that a device sends for this century is milliseconds.
	maxTime = 100_000_000_000
	// maxUTCOffset is the widest zone offset, seconds: that of ISO 8601 and java.time.
	maxUTCOffset = 18 * 3600
	maxBattery   = 100
	maxFirmware  = 64
)

var (
	errEmptyUpload = errors.New("the upload holds nothing; send at least a seq, a series or a status")
	errEmptyBundle = errors.New("the bundle holds no upload; a single upload is not sent as a bundle")
	errNoStart     = errors.New("missing or 0; send the first interval's start")
	errEpoch       = errors.New("lies before 1970")
	errMillis      = errors.New("looks like milliseconds; send seconds")
)

// Decoder decodes payloads of the native format. It is reusable, keeps scratch memory and is not
// safe for concurrent use.
type Decoder struct {
	limits   protocol.Limits
	text     []byte // unescaped JSON string, overwritten by the next
	firmware string // the last one seen: most uploads of a connection name the same
}

// NewDecoder returns a decoder that refuses payloads beyond l.
func NewDecoder(l protocol.Limits) *Decoder { return &Decoder{limits: l} }

// Upload decodes one upload into dst and reuses dst's memory. The error, a *steps.Error of kind
// Invalid, names the path of the field and the remedy. After an error dst holds only Device and
// Revision, as far as they could be read. dst shares no memory with body.
func (d *Decoder) Upload(dst *steps.Upload, body []byte, enc steps.Encoding) error {
	if err := checkSyntax(body, enc); err != nil {
		dst.Reset()
		if enc == steps.Protobuf {
			salvageProtobuf(dst, body)
		}
		return steps.E(opUpload, steps.Invalid, err)
	}
	return d.one(dst, body, enc)
}

// Bundle decodes a reader's bundle and calls fn once for every upload in order, with the upload's
// own bytes (a part of body: the protobuf submessage, or the JSON value), and with nil or that
// upload's own error, as Upload would return it. dst is reused between the calls.
//
// Bundle itself fails only when the envelope is unusable, is empty or holds more uploads than the
// limit. It finds that out before the first call of fn, so a bundle is never handed out in part.
func (d *Decoder) Bundle(dst *steps.Upload, body []byte, enc steps.Encoding,
	fn func(raw []byte, u *steps.Upload, err error)) error {
	n := 0
	err := checkSyntax(body, enc)
	if err == nil {
		err = d.each(body, enc, func([]byte) error {
			if n++; n > d.limits.UploadsPerBundle {
				return fmt.Errorf("more than %d uploads; split the bundle", d.limits.UploadsPerBundle)
			}
			return nil
		})
	}
	if err == nil && n == 0 {
		err = errEmptyBundle
	}
	if err == nil {
		err = d.each(body, enc, func(raw []byte) error {
			err := d.one(dst, raw, enc)
			fn(raw, dst, err)
			return nil
		})
	}
	if err != nil {
		return steps.E(opBundle, steps.Invalid, err)
	}
	return nil
}

// each calls fn with the bytes of every upload of a bundle, until fn returns an error.
func (d *Decoder) each(body []byte, enc steps.Encoding, fn func(raw []byte) error) error {
	if enc == steps.JSON {
		return d.eachJSON(body, fn)
	}
	return eachProtobuf(body, fn)
}

// one decodes an upload whose syntax was checked.
func (d *Decoder) one(dst *steps.Upload, body []byte, enc steps.Encoding) error {
	dst.Reset()
	var err error
	if enc == steps.JSON {
		err = d.uploadJSON(dst, body)
	} else {
		err = d.uploadProtobuf(dst, body)
	}
	if err == nil && isEmpty(dst) {
		err = errEmptyUpload
	}
	if err == nil {
		return nil
	}
	dst.Reset()
	if enc == steps.JSON {
		d.salvageJSON(dst, body)
	} else {
		salvageProtobuf(dst, body)
	}
	return steps.E(opUpload, steps.Invalid, err)
}

// checkSyntax refuses what cannot be walked at all. Protobuf has no syntax beyond its fields.
func checkSyntax(body []byte, enc steps.Encoding) error {
	switch enc {
	case steps.Protobuf:
		return nil
	case steps.JSON:
		return checkJSON(body)
	}
	return fmt.Errorf("unknown encoding %d; use protobuf or JSON", uint8(enc))
}

func isEmpty(u *steps.Upload) bool {
	return u.Device == "" && u.Revision == steps.Revision{} && u.SentAt == 0 && u.UTCOffset == 0 &&
		len(u.Series) == 0 && u.Status.IsZero()
}

// parseDevice checks an ID. The empty ID is an absent one.
func parseDevice(b []byte) (steps.DeviceID, error) {
	if len(b) == 0 {
		return "", nil
	}
	if len(b) > steps.MaxIDLen { // before b is copied
		return "", fmt.Errorf("id has %d bytes; use 1 to %d", len(b), steps.MaxIDLen)
	}
	id, err := steps.ParseDeviceID(string(b))
	if err != nil {
		return "", errors.Unwrap(err)
	}
	return id, nil
}

func (d *Decoder) setFirmware(u *steps.Upload, b []byte) error {
	if len(b) > maxFirmware {
		return fmt.Errorf("has %d bytes; use at most %d", len(b), maxFirmware)
	}
	if d.firmware != string(b) {
		if !utf8.Valid(b) {
			return errNotUTF8
		}
		for _, r := range string(b) {
			if unicode.IsControl(r) {
				return fmt.Errorf("%s holds a control character", quote(b))
			}
		}
		d.firmware = string(b)
	}
	u.Status.Firmware = d.firmware
	return nil
}

func setBattery(u *steps.Upload, v uint64) error {
	if v > maxBattery {
		return fmt.Errorf("%d is more than %d percent", v, maxBattery)
	}
	u.Status.Battery = uint8(v)
	return nil
}

func setUTCOffset(u *steps.Upload, v int64) error {
	if v < -maxUTCOffset || v > maxUTCOffset {
		return fmt.Errorf("%d s is beyond 18 hours; Japan is 32400", v)
	}
	u.UTCOffset = int32(v)
	return nil
}

func narrow32(v uint64) (uint32, error) {
	if v > math.MaxUint32 {
		return 0, fmt.Errorf("%d does not fit 32 bits", v)
	}
	return uint32(v), nil
}

// grow refuses a series beyond the limit before it is appended.
func (d *Decoder) grow(u *steps.Upload) (*steps.Series, error) {
	if len(u.Series) >= d.limits.SeriesPerUpload {
		return nil, fmt.Errorf("more than %d series; split the upload", d.limits.SeriesPerUpload)
	}
	return u.GrowSeries(), nil
}

// room refuses n more counts beyond the limit before they are appended.
func (d *Decoder) room(s *steps.Series, n int) error {
	if n > d.limits.IntervalsPerSeries-len(s.Counts) {
		return fmt.Errorf("more than %d counts; split the series", d.limits.IntervalsPerSeries)
	}
	return nil
}

// finish fills in the default interval and checks what involves several fields. hasWindow says
// that window_end is present, which in protobuf its value says by itself.
func (d *Decoder) finish(s *steps.Series, hasWindow bool) error {
	if s.Start == 0 {
		return at("start", errNoStart)
	}
	if s.Interval == 0 {
		s.Interval = steps.DefaultInterval
	}
	if !hasWindow {
		return nil
	}
	if s.WindowEnd < s.Start {
		return at("window_end", errors.New("lies before start"))
	}
	// Both times are between 0 and maxTime, so the difference does not overflow.
	if n := (s.WindowEnd - s.Start) / int64(s.Interval); n > int64(d.limits.IntervalsPerSeries) {
		return at("window_end", fmt.Errorf("lies %d intervals after start; the limit is %d, split the series",
			n, d.limits.IntervalsPerSeries))
	}
	return nil
}
