package native

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"ayumi/steps"
)

// AppendUpload appends u in the native format and returns the extended slice. Every encoding but
// Protobuf is JSON. Fields of value 0 and the default interval are left out. It does not validate:
// what a decoder would refuse, such as a time before 1970, is written as it is.
func AppendUpload(dst []byte, u *steps.Upload, enc steps.Encoding) []byte {
	if enc == steps.Protobuf {
		return appendUpload(dst, u)
	}
	return appendUploadJSON(dst, u)
}

// AppendBundle appends a reader's bundle of us, as AppendUpload does each of them.
func AppendBundle(dst []byte, us []steps.Upload, enc steps.Encoding) []byte {
	if enc == steps.Protobuf {
		for i := range us {
			dst = appendMessage(dst, bundleUploads, func(dst []byte) []byte { return appendUpload(dst, &us[i]) })
		}
		return dst
	}
	dst = append(dst, `{"uploads":[`...)
	for i := range us {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendUploadJSON(dst, &us[i])
	}
	return append(dst, "]}"...)
}

func appendUpload(dst []byte, u *steps.Upload) []byte {
	dst = appendString(dst, uploadDevice, string(u.Device))
	dst = appendVarint(dst, uploadBoot, uint64(u.Revision.Boot))
	dst = appendVarint(dst, uploadSeq, u.Revision.Seq)
	dst = appendVarint(dst, uploadSentAt, uint64(u.SentAt))
	dst = appendVarint(dst, uploadUTCOffset, protowire.EncodeZigZag(int64(u.UTCOffset)))
	for i := range u.Series {
		dst = appendMessage(dst, uploadSeries, func(dst []byte) []byte { return appendSeries(dst, &u.Series[i]) })
	}
	if !u.Status.IsZero() {
		dst = appendMessage(dst, uploadStatus, func(dst []byte) []byte { return appendStatus(dst, &u.Status) })
	}
	return dst
}

func appendSeries(dst []byte, s *steps.Series) []byte {
	dst = appendVarint(dst, seriesStart, uint64(s.Start))
	if s.Interval != steps.DefaultInterval {
		dst = appendVarint(dst, seriesInterval, uint64(s.Interval))
	}
	if len(s.Counts) > 0 {
		dst = appendMessage(dst, seriesSteps, func(dst []byte) []byte {
			for _, n := range s.Counts {
				dst = protowire.AppendVarint(dst, uint64(n))
			}
			return dst
		})
	}
	dst = appendVarint(dst, seriesOrigin, uint64(s.Origin))
	dst = appendVarint(dst, seriesWindowEnd, uint64(s.WindowEnd))
	return appendVarint(dst, seriesCumulative, protowire.EncodeBool(s.Cumulative))
}

func appendStatus(dst []byte, s *steps.DeviceStatus) []byte {
	dst = appendVarint(dst, statusBattery, uint64(s.Battery))
	dst = appendString(dst, statusFirmware, s.Firmware)
	return appendVarint(dst, statusSignal, protowire.EncodeZigZag(int64(s.Signal)))
}

// appendVarint appends a singular varint field unless it is 0.
func appendVarint(dst []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.VarintType), v)
}

// appendString appends a singular string field unless it is empty.
func appendString(dst []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return dst
	}
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	return protowire.AppendString(dst, strings.ToValidUTF8(s, "\uFFFD"))
}

// appendMessage appends a length-delimited field whose content body appends. The length is only
// known afterwards, so the content is then moved by the length's own size.
func appendMessage(dst []byte, num protowire.Number, body func([]byte) []byte) []byte {
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	from := len(dst)
	dst = body(dst)
	n := len(dst) - from
	for range protowire.SizeVarint(uint64(n)) {
		dst = append(dst, 0)
	}
	copy(dst[len(dst)-n:], dst[from:from+n])
	protowire.AppendVarint(dst[:from], uint64(n))
	return dst
}

func appendUploadJSON(dst []byte, u *steps.Upload) []byte {
	dst = append(dst, '{')
	if u.Device != "" {
		dst = appendText(appendKey(dst, "device"), string(u.Device))
	}
	dst = strconv.AppendUint(appendKey(dst, "boot"), uint64(u.Revision.Boot), 10)
	dst = strconv.AppendUint(appendKey(dst, "seq"), u.Revision.Seq, 10)
	if u.SentAt != 0 {
		dst = appendTime(appendKey(dst, "sent_at"), u.SentAt)
	}
	if u.UTCOffset != 0 {
		dst = strconv.AppendInt(appendKey(dst, "utc_offset_s"), int64(u.UTCOffset), 10)
	}
	if len(u.Series) > 0 {
		dst = append(appendKey(dst, "series"), '[')
		for i := range u.Series {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendSeriesJSON(dst, &u.Series[i])
		}
		dst = append(dst, ']')
	}
	if !u.Status.IsZero() {
		dst = appendStatusJSON(appendKey(dst, "status"), &u.Status)
	}
	return append(dst, '}')
}

func appendSeriesJSON(dst []byte, s *steps.Series) []byte {
	dst = append(dst, '{')
	dst = appendTime(appendKey(dst, "start"), s.Start)
	if s.Interval != steps.DefaultInterval {
		dst = strconv.AppendUint(appendKey(dst, "interval_s"), uint64(s.Interval), 10)
	}
	if len(s.Counts) > 0 {
		dst = append(appendKey(dst, "steps"), '[')
		for i, n := range s.Counts {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendUint(dst, uint64(n), 10)
		}
		dst = append(dst, ']')
	}
	if s.Origin != steps.OriginUnknown {
		dst = appendText(appendKey(dst, "origin"), s.Origin.String())
	}
	if s.WindowEnd != 0 {
		dst = appendTime(appendKey(dst, "window_end"), s.WindowEnd)
	}
	if s.Cumulative {
		dst = append(appendKey(dst, "cumulative"), "true"...)
	}
	return append(dst, '}')
}

func appendStatusJSON(dst []byte, s *steps.DeviceStatus) []byte {
	dst = append(dst, '{')
	if s.Battery != 0 {
		dst = strconv.AppendUint(appendKey(dst, "battery"), uint64(s.Battery), 10)
	}
	if s.Firmware != "" {
		dst = appendText(appendKey(dst, "firmware"), s.Firmware)
	}
	if s.Signal != 0 {
		dst = strconv.AppendInt(appendKey(dst, "signal"), int64(s.Signal), 10)
	}
	return append(dst, '}')
}

// appendKey appends a field name, and a comma before it unless it is the object's first.
func appendKey(dst []byte, key string) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, key...)
	return append(dst, '"', ':')
}

// appendText appends a JSON string.
func appendText(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] >= 0x7f || s[i] == '"' || s[i] == '\\' {
			quoted, _ := json.Marshal(s) // a string always encodes
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// appendTime appends UTC seconds as an RFC 3339 string.
func appendTime(dst []byte, unix int64) []byte {
	dst = append(dst, '"')
	dst = time.Unix(unix, 0).UTC().AppendFormat(dst, time.RFC3339)
	return append(dst, '"')
}
