package native

import (
	"errors"
	"fmt"
	"time"

	"ayumi/steps"
)

// eachJSON calls fn with every upload of a bundle, until fn returns an error.
func (d *Decoder) eachJSON(b []byte, fn func(raw []byte) error) error {
	c := cursor{b: b, text: d.text}
	return c.object(bundleMessage, func(int) error {
		return c.array(func(int) error { return fn(c.skip()) })
	})
}

func (d *Decoder) uploadJSON(u *steps.Upload, b []byte) error {
	c := &cursor{b: b, text: d.text}
	defer func() { d.text = c.text }()
	return c.object(uploadMessage, func(num int) error { return d.uploadValue(u, c, num) })
}

func (d *Decoder) uploadValue(u *steps.Upload, c *cursor, num int) (err error) {
	var v uint64
	switch num {
	case uploadDevice:
		var b []byte
		if b, err = c.str(); err == nil {
			u.Device, err = parseDevice(b)
		}
	case uploadBoot:
		if v, err = c.unsigned(); err == nil {
			u.Revision.Boot, err = narrow32(v)
		}
	case uploadSeq:
		u.Revision.Seq, err = c.unsigned()
	case uploadSentAt:
		u.SentAt, err = c.time()
	case uploadUTCOffset:
		var n int64
		if n, err = c.signed32(); err == nil {
			err = setUTCOffset(u, n)
		}
	case uploadSeries:
		err = c.array(func(i int) error {
			s, err := d.grow(u)
			if err != nil {
				return err
			}
			if err := d.seriesJSON(s, c); err != nil {
				return atIndex(i, err)
			}
			return nil
		})
	case uploadStatus:
		err = c.object(statusMessage, func(num int) error { return d.statusValue(u, c, num) })
	}
	return err
}

func (d *Decoder) seriesJSON(s *steps.Series, c *cursor) error {
	hasWindow := false
	err := c.object(seriesMessage, func(num int) error {
		hasWindow = hasWindow || num == seriesWindowEnd
		return d.seriesValue(s, c, num)
	})
	if err != nil {
		return err
	}
	return d.finish(s, hasWindow)
}

func (d *Decoder) seriesValue(s *steps.Series, c *cursor, num int) (err error) {
	switch num {
	case seriesStart:
		s.Start, err = c.time()
	case seriesInterval:
		var v uint64
		if v, err = c.unsigned(); err == nil {
			s.Interval, err = narrow32(v)
		}
	case seriesSteps:
		err = c.array(func(i int) error {
			if err := d.room(s, 1); err != nil {
				return err
			}
			n, err := c.count()
			if err != nil {
				return atIndex(i, err)
			}
			s.Counts = append(s.Counts, n)
			return nil
		})
	case seriesOrigin:
		s.Origin, err = c.origin()
	case seriesWindowEnd:
		s.WindowEnd, err = c.time()
	case seriesCumulative:
		s.Cumulative, err = c.boolean()
	}
	return err
}

func (d *Decoder) statusValue(u *steps.Upload, c *cursor, num int) error {
	switch num {
	case statusBattery:
		v, err := c.unsigned()
		if err != nil {
			return err
		}
		return setBattery(u, v)
	case statusFirmware:
		b, err := c.str()
		if err != nil {
			return err
		}
		return d.setFirmware(u, b)
	case statusSignal:
		v, err := c.signed32()
		if err != nil {
			return err
		}
		u.Status.Signal = int32(v)
	}
	return nil
}

// count reads a step count. An integer that does not fit becomes CountOverflow.
func (c *cursor) count() (uint32, error) {
	neg, mag, err := c.integer()
	switch {
	case errors.Is(err, errRange), err == nil && neg && mag > 0:
		return steps.CountOverflow, nil
	case err != nil:
		return 0, err
	}
	return count(mag), nil
}

func (c *cursor) origin() (steps.Origin, error) {
	b, err := c.str()
	if err != nil {
		return 0, err
	}
	o, ok := steps.ParseOrigin(string(b))
	if !ok {
		return 0, fmt.Errorf("%s is unknown; use unknown, sensor or manual", quote(b))
	}
	return o, nil
}

// time reads a time as UTC seconds.
func (c *cursor) time() (int64, error) {
	if c.peek() != '"' {
		return 0, c.wrong(`an RFC 3339 string such as "2026-11-23T09:00:00+09:00"`)
	}
	b, err := c.str()
	if err != nil {
		return 0, err
	}
	t, err := parseTime(b)
	if err != nil {
		return 0, fmt.Errorf("%s %w", quote(b), err)
	}
	return t, nil
}

var (
	errTime     = errors.New(`is not RFC 3339; write it as "2026-11-23T09:00:00+09:00"`)
	errFraction = errors.New("has fractional seconds; send whole seconds")
	errDate     = errors.New("names no date and time of the calendar; leap seconds cannot be sent")
	errZone     = errors.New("has no UTC offset that exists; write Z or one such as +09:00")
	errLate     = errors.New("lies after 5138-11-16T09:46:40Z, the last time that the format holds")
)

// parseTime reads RFC 3339 with whole seconds, a capital T and a capital Z or a numeric offset.
// time.Parse is laxer than the contract: it takes fractions, and hours of one digit.
func parseTime(b []byte) (int64, error) {
	const shape = "0000-00-00T00:00:00"
	if len(b) <= len(shape) || !matches(b[:len(shape)], shape) {
		return 0, errTime
	}
	zone := b[len(shape):]
	if zone[0] == '.' || zone[0] == ',' {
		return 0, errFraction
	}
	offset, err := parseZone(zone)
	if err != nil {
		return 0, err
	}
	year, month, day := number(b[0:4]), number(b[5:7]), number(b[8:10])
	hour, minute, second := number(b[11:13]), number(b[14:16]), number(b[17:19])
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	if t.Day() != day || int(t.Month()) != month || t.Hour() != hour || t.Minute() != minute || t.Second() != second {
		return 0, errDate // time.Date carried an overflow into the next unit
	}
	unix := t.Unix() - int64(offset)
	switch {
	case unix < 0:
		return 0, errEpoch
	case unix > maxTime:
		return 0, errLate
	}
	return unix, nil
}

// parseZone reads "Z" or "+hh:mm" as seconds east of UTC.
func parseZone(b []byte) (int, error) {
	if string(b) == "Z" {
		return 0, nil
	}
	if !matches(b, "+00:00") && !matches(b, "-00:00") {
		return 0, errZone
	}
	hour, minute := number(b[1:3]), number(b[4:6])
	if hour > 23 || minute > 59 {
		return 0, errZone
	}
	offset := hour*3600 + minute*60
	if b[0] == '-' {
		offset = -offset
	}
	return offset, nil
}

// matches reports whether b has the shape, in which 0 stands for any digit.
func matches(b []byte, shape string) bool {
	if len(b) != len(shape) {
		return false
	}
	for i := range b {
		digit := b[i] >= '0' && b[i] <= '9'
		if digit != (shape[i] == '0') || !digit && b[i] != shape[i] {
			return false
		}
	}
	return true
}

func number(digits []byte) (n int) {
	for _, c := range digits {
		n = n*10 + int(c-'0')
	}
	return n
}

// salvageJSON reads whose upload it is from a value that did not decode, as far as that goes.
func (d *Decoder) salvageJSON(u *steps.Upload, b []byte) {
	c := &cursor{b: b, text: d.text}
	if c.peek() != '{' {
		return
	}
	c.i++
	var seen fieldSet
	for {
		switch c.peek() {
		case '}':
			return
		case ',':
			c.i++
		}
		key, _ := c.str()
		num := uploadMessage.lookup(key)
		c.colon()
		v := cursor{b: c.skip(), text: c.text}
		if num == 0 || !seen.add(num) {
			continue
		}
		switch num {
		case uploadDevice:
			if id, err := v.str(); err == nil {
				u.Device, _ = parseDevice(id)
			}
		case uploadBoot:
			if n, err := v.unsigned(); err == nil {
				u.Revision.Boot, _ = narrow32(n)
			}
		case uploadSeq:
			u.Revision.Seq, _ = v.unsigned()
		}
	}
}
