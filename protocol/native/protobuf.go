package native

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"ayumi/steps"
)

var (
	errTruncated = errors.New("the message ends inside a field; it was cut off")
	errNotUTF8   = errors.New("is not UTF-8")
)

var wireNames = [...]string{"varint", "fixed64", "length-delimited", "group", "group end", "fixed32", "6", "7"}

// field is one field of a message as it stands on the wire.
type field struct {
	num   int
	typ   protowire.Type
	value uint64 // of a varint
	bytes []byte // of a length-delimited field; a part of the payload
}

// next takes the next field off b and returns what is left. Its error carries the field's name
// where the number is known.
func (m message) next(f *field, b []byte, seen *fieldSet) (rest []byte, err error) {
	tag, n := protowire.ConsumeVarint(b)
	if n < 0 {
		return nil, wireError(n)
	}
	b = b[n:]
	if tag>>3 == 0 || tag>>3 >= uint64(len(m)) {
		return nil, unknownNumber(m, tag)
	}
	f.num, f.typ = int(tag>>3), protowire.Type(tag&7)
	spec := &m[f.num]
	if f.typ != spec.wire && !(spec.packable && f.typ == protowire.VarintType) {
		return nil, at(spec.name, fmt.Errorf("has wire type %s; it must be %s", wireNames[f.typ], wireNames[spec.wire]))
	}
	if !seen.add(f.num) && !spec.repeated {
		return nil, at(spec.name, errTwice)
	}
	if f.value, n = protowire.ConsumeVarint(b); n < 0 {
		return nil, at(spec.name, wireError(n))
	}
	b = b[n:]
	if f.typ == protowire.BytesType {
		if f.value > uint64(len(b)) {
			return nil, at(spec.name, fmt.Errorf("claims %d bytes, %d are left; the message was cut off", f.value, len(b)))
		}
		f.bytes, b = b[:f.value], b[f.value:]
	}
	return b, nil
}

func unknownNumber(m message, tag uint64) error {
	hint := ""
	if tag == '{' {
		hint = "; this looks like JSON"
	}
	return fmt.Errorf("unknown field number %d; the fields are 1 to %d (%s)%s", tag>>3, len(m)-1, m.names(), hint)
}

// wireError turns protowire's negative lengths into errors.
func wireError(n int) error {
	if err := protowire.ParseError(n); !errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("a varint does not fit 64 bits")
	}
	return errTruncated
}

// eachProtobuf calls fn with every upload of a bundle, until fn returns an error.
func eachProtobuf(b []byte, fn func(raw []byte) error) error {
	var f field
	var seen fieldSet
	var err error
	for len(b) > 0 {
		if b, err = bundleMessage.next(&f, b, &seen); err != nil {
			return err
		}
		if err := fn(f.bytes); err != nil {
			return err
		}
	}
	return nil
}

func (d *Decoder) uploadProtobuf(u *steps.Upload, b []byte) error {
	var f field
	var seen fieldSet
	var err error
	for len(b) > 0 {
		if b, err = uploadMessage.next(&f, b, &seen); err != nil {
			return err
		}
		if err := d.uploadField(u, &f); err != nil {
			return at(uploadMessage[f.num].name, err)
		}
	}
	return nil
}

func (d *Decoder) uploadField(u *steps.Upload, f *field) (err error) {
	switch f.num {
	case uploadDevice:
		if u.Device, err = parseDevice(f.bytes); err != nil && holdsControl(f.bytes) {
			return fmt.Errorf("%w; a bundle is sent to the bundle topic or with message=bundle", err)
		}
	case uploadBoot:
		u.Revision.Boot, err = narrow32(f.value)
	case uploadSeq:
		u.Revision.Seq = f.value
	case uploadSentAt:
		u.SentAt, err = seconds(f.value)
	case uploadUTCOffset:
		err = setUTCOffset(u, protowire.DecodeZigZag(f.value))
	case uploadSeries:
		i := len(u.Series)
		var s *steps.Series
		if s, err = d.grow(u); err != nil {
			return err
		}
		if err = d.seriesProtobuf(s, f.bytes); err != nil {
			return atIndex(i, err)
		}
	case uploadStatus:
		err = d.statusProtobuf(u, f.bytes)
	}
	return err
}

func (d *Decoder) seriesProtobuf(s *steps.Series, b []byte) error {
	var f field
	var seen fieldSet
	var err error
	for len(b) > 0 {
		if b, err = seriesMessage.next(&f, b, &seen); err != nil {
			return err
		}
		if err := d.seriesField(s, &f); err != nil {
			return at(seriesMessage[f.num].name, err)
		}
	}
	return d.finish(s, s.WindowEnd != 0)
}

func (d *Decoder) seriesField(s *steps.Series, f *field) (err error) {
	switch f.num {
	case seriesStart:
		s.Start, err = seconds(f.value)
	case seriesInterval:
		s.Interval, err = narrow32(f.value)
	case seriesSteps:
		if f.typ == protowire.BytesType {
			return d.packed(s, f.bytes)
		}
		if err := d.room(s, 1); err != nil {
			return err
		}
		s.Counts = append(s.Counts, count(f.value))
	case seriesOrigin:
		if f.value > uint64(steps.OriginManual) {
			return fmt.Errorf("%d is unknown; use 0 unknown, 1 sensor or 2 manual", f.value)
		}
		s.Origin = steps.Origin(f.value)
	case seriesWindowEnd:
		s.WindowEnd, err = seconds(f.value)
	case seriesCumulative:
		if f.value > 1 {
			return fmt.Errorf("%d is no bool; use 0 or 1", f.value)
		}
		s.Cumulative = f.value == 1
	}
	return err
}

// packed appends the counts of a packed field.
func (d *Decoder) packed(s *steps.Series, b []byte) error {
	n := 0
	for _, c := range b {
		if c < 0x80 { // the last byte of a varint
			n++
		}
	}
	if err := d.room(s, n); err != nil {
		return err
	}
	s.Counts = slices.Grow(s.Counts, n)
	for len(b) > 0 {
		if b[0] < 0x80 { // most counts are one byte long
			s.Counts = append(s.Counts, uint32(b[0]))
			b = b[1:]
			continue
		}
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return wireError(n)
		}
		s.Counts = append(s.Counts, count(v))
		b = b[n:]
	}
	return nil
}

func (d *Decoder) statusProtobuf(u *steps.Upload, b []byte) error {
	var f field
	var seen fieldSet
	var err error
	for len(b) > 0 {
		if b, err = statusMessage.next(&f, b, &seen); err != nil {
			return err
		}
		switch f.num {
		case statusBattery:
			err = setBattery(u, f.value)
		case statusFirmware:
			err = d.setFirmware(u, f.bytes)
		case statusSignal:
			if _, err = narrow32(f.value); err == nil {
				u.Status.Signal = int32(protowire.DecodeZigZag(f.value))
			}
		}
		if err != nil {
			return at(statusMessage[f.num].name, err)
		}
	}
	return nil
}

// count keeps what fits 32 bits. The rest, negative numbers included, becomes CountOverflow and is
// judged series by series.
func count(v uint64) uint32 {
	if v > math.MaxUint32 {
		return steps.CountOverflow
	}
	return uint32(v)
}

// seconds reads an int64 that holds a time.
func seconds(v uint64) (int64, error) {
	t := int64(v)
	switch {
	case t < 0:
		return 0, fmt.Errorf("%d %w", t, errEpoch)
	case t > maxTime:
		return 0, fmt.Errorf("%d %w", t, errMillis)
	}
	return t, nil
}

// holdsControl tells the start of a submessage from a mistyped ID.
func holdsControl(b []byte) bool {
	return slices.ContainsFunc(b, func(c byte) bool { return c < ' ' })
}

// salvageProtobuf reads whose upload it is from bytes that did not decode, as far as that goes.
func salvageProtobuf(u *steps.Upload, b []byte) {
	var seen fieldSet
	_ = eachField(b, func(num protowire.Number, typ protowire.Type, v uint64, raw []byte) error {
		if num > uploadSeq || typ != uploadMessage[num].wire || !seen.add(int(num)) {
			return nil
		}
		switch num {
		case uploadDevice:
			u.Device, _ = parseDevice(raw)
		case uploadBoot:
			u.Revision.Boot, _ = narrow32(v)
		case uploadSeq:
			u.Revision.Seq = v
		}
		return nil
	})
}

// eachField calls fn with every field of a message in the tolerant way of protobuf itself; v is
// the value of a varint, raw that of a length-delimited field.
func eachField(b []byte, fn func(num protowire.Number, typ protowire.Type, v uint64, raw []byte) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		var v uint64
		var raw []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			raw, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := fn(num, typ, v, raw); err != nil {
			return err
		}
	}
	return nil
}

// text copies a string of a receipt.
func text(raw []byte) (string, error) {
	if !utf8.Valid(raw) {
		return "", errNotUTF8
	}
	return string(raw), nil
}
