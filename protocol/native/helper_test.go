package native

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ayumi/protocol"
	"ayumi/steps"
)

var encodings = []steps.Encoding{steps.Protobuf, steps.JSON}

// fullUpload sets every field to something that is not its default.
func fullUpload() *steps.Upload {
	return &steps.Upload{
		Device:    "PEDO-0001",
		Revision:  steps.Revision{Boot: 7, Seq: 42},
		SentAt:    1795360230,
		UTCOffset: 32400,
		Series: []steps.Series{
			{
				Start: 1795359600, Interval: 60, Counts: []uint32{0, 12, 97, 104, 300, 1000},
				Origin: steps.OriginSensor, WindowEnd: 1795360200,
			},
			{Start: 1795356000, Interval: 900, Counts: []uint32{99_000, 99_400}, Origin: steps.OriginManual, Cumulative: true},
		},
		Status: steps.DeviceStatus{Battery: 87, Firmware: "AY-1.4.2 (日本)", Signal: -71},
	}
}

// minuteUpload is what a pedometer sends for its last n minutes.
func minuteUpload(n int) *steps.Upload {
	u := &steps.Upload{
		Revision: steps.Revision{Boot: 7, Seq: 42}, SentAt: 1795360500, UTCOffset: 32400,
		Series: []steps.Series{{Start: 1795359600, Interval: 60, Origin: steps.OriginSensor}},
		Status: steps.DeviceStatus{Battery: 87, Firmware: "AY-1.4.2", Signal: -71},
	}
	for i := range n {
		u.Series[0].Counts = append(u.Series[0].Counts, uint32(i*37%180))
	}
	return u
}

func equalSeries(a, b steps.Series) bool {
	return a.Start == b.Start && a.Interval == b.Interval && slices.Equal(a.Counts, b.Counts) &&
		a.Origin == b.Origin && a.WindowEnd == b.WindowEnd && a.Cumulative == b.Cumulative
}

func equalUpload(a, b *steps.Upload) bool {
	return a.Device == b.Device && a.Revision == b.Revision && a.SentAt == b.SentAt && a.UTCOffset == b.UTCOffset &&
		a.Status == b.Status && slices.EqualFunc(a.Series, b.Series, equalSeries)
}

// cloneUpload copies what the next decoding would overwrite.
func cloneUpload(u *steps.Upload) *steps.Upload {
	c := *u
	c.Series = slices.Clone(u.Series)
	for i := range c.Series {
		c.Series[i].Counts = slices.Clone(c.Series[i].Counts)
	}
	return &c
}

// dump writes an upload for people and for the golden files, without our encoders.
func dump(u *steps.Upload) string {
	var b strings.Builder
	fmt.Fprintf(&b, "upload device=%q boot=%d seq=%d sent_at=%s utc_offset_s=%d battery=%d firmware=%q signal=%d\n",
		u.Device, u.Revision.Boot, u.Revision.Seq, dumpTime(u.SentAt), u.UTCOffset,
		u.Status.Battery, u.Status.Firmware, u.Status.Signal)
	for _, s := range u.Series {
		fmt.Fprintf(&b, "  series start=%s interval_s=%d origin=%s window_end=%s cumulative=%t steps=",
			dumpTime(s.Start), s.Interval, s.Origin, dumpTime(s.WindowEnd), s.Cumulative)
		for i, n := range s.Counts {
			if i > 0 {
				b.WriteByte(',')
			}
			if n == steps.CountOverflow {
				b.WriteString("overflow")
			} else {
				fmt.Fprint(&b, n)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func dumpTime(unix int64) string {
	if unix == 0 {
		return "-"
	}
	return time.Unix(unix, 0).UTC().Format(time.RFC3339)
}

// genText draws a firmware name, awkward characters included.
func genText() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		runes := rapid.SliceOfN(rapid.OneOf(
			rapid.RuneFrom([]rune("AYabc019 .-_<>&\"\\/'")),
			rapid.RuneFrom([]rune("歩数計é\u2028\ufffd\U0001f6b6")),
		), 0, 16).Draw(t, "runes")
		return string(runes)
	})
}

func genID() *rapid.Generator[steps.DeviceID] {
	return rapid.Map(rapid.StringMatching(`[A-Za-z0-9._:-]{1,64}`), func(s string) steps.DeviceID { return steps.DeviceID(s) })
}

func genSeries(limits protocol.Limits) *rapid.Generator[steps.Series] {
	counts := rapid.OneOf(rapid.Uint32Range(0, 300), rapid.Uint32())
	return rapid.Custom(func(t *rapid.T) steps.Series {
		s := steps.Series{
			Start:      rapid.Int64Range(1, maxTime).Draw(t, "start"),
			Interval:   rapid.OneOf(rapid.SampledFrom([]uint32{60, 900, 3600, 86400}), rapid.Uint32Min(1)).Draw(t, "interval"),
			Counts:     rapid.SliceOfN(counts, 0, min(40, limits.IntervalsPerSeries)).Draw(t, "counts"),
			Origin:     rapid.SampledFrom([]steps.Origin{0, 1, 2}).Draw(t, "origin"),
			Cumulative: rapid.Bool().Draw(t, "cumulative"),
		}
		if rapid.Bool().Draw(t, "window") {
			most := min(maxTime, s.Start+int64(s.Interval)*int64(limits.IntervalsPerSeries))
			s.WindowEnd = rapid.Int64Range(s.Start, most).Draw(t, "window_end")
		}
		return s
	})
}

// genUpload draws uploads that a decoder with limits accepts.
func genUpload(limits protocol.Limits) *rapid.Generator[*steps.Upload] {
	return rapid.Custom(func(t *rapid.T) *steps.Upload {
		u := &steps.Upload{
			Revision: steps.Revision{
				Boot: rapid.Uint32().Draw(t, "boot"),
				Seq:  rapid.Uint64Min(1).Draw(t, "seq"),
			},
			SentAt:    rapid.Int64Range(0, maxTime).Draw(t, "sent_at"),
			UTCOffset: rapid.Int32Range(-maxUTCOffset, maxUTCOffset).Draw(t, "utc_offset"),
			Series:    rapid.SliceOfN(genSeries(limits), 0, min(6, limits.SeriesPerUpload)).Draw(t, "series"),
			Status: steps.DeviceStatus{
				Battery:  rapid.Uint8Range(0, maxBattery).Draw(t, "battery"),
				Firmware: genText().Draw(t, "firmware"),
				Signal:   rapid.Int32().Draw(t, "signal"),
			},
		}
		if rapid.Bool().Draw(t, "named") {
			u.Device = genID().Draw(t, "device")
		}
		return u
	})
}

// decodeBundle returns copies of what Bundle hands out.
func decodeBundle(d *Decoder, body []byte, enc steps.Encoding) (us []*steps.Upload, raws [][]byte, errs []error, err error) {
	var u steps.Upload
	err = d.Bundle(&u, body, enc, func(raw []byte, u *steps.Upload, err error) {
		us, raws, errs = append(us, cloneUpload(u)), append(raws, raw), append(errs, err)
	})
	return us, raws, errs, err
}

// wantInvalid fails unless err is a *steps.Error of kind Invalid that prints as want.
func wantInvalid(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", want)
	}
	if err.Error() != want {
		t.Errorf("error\n got: %s\nwant: %s", err, want)
	}
	if kind := steps.KindOf(err); kind != steps.Invalid {
		t.Errorf("kind %v, want invalid", kind)
	}
}
