package native

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"ayumi/steps"
)

const opReceipt = "parse receipt"

// Field numbers of Receipt, UploadReceipt and Fault in ayumi.proto.
const (
	receiptRecord     = 1
	receiptReceivedAt = 2
	receiptUploads    = 3

	answerDevice     = 1
	answerBoot       = 2
	answerSeq        = 3
	answerVerdict    = 4
	answerConflicts  = 5
	answerQuarantine = 6
	answerFaults     = 7

	faultSeries = 1
	faultReason = 2
	faultDetail = 3
)

// AppendReceipt appends r in the native format and returns the extended slice. Every encoding but
// Protobuf is JSON, so that a payload of unknown encoding has a readable answer.
func AppendReceipt(dst []byte, r *steps.Receipt, enc steps.Encoding) []byte {
	if enc != steps.Protobuf {
		return appendReceiptJSON(dst, r)
	}
	dst = appendString(dst, receiptRecord, r.Record.String())
	dst = appendVarint(dst, receiptReceivedAt, uint64(r.ReceivedAt))
	for i := range r.Uploads {
		dst = appendMessage(dst, receiptUploads, func(dst []byte) []byte { return appendAnswer(dst, &r.Uploads[i]) })
	}
	return dst
}

func appendAnswer(dst []byte, u *steps.UploadReceipt) []byte {
	dst = appendString(dst, answerDevice, string(u.Device))
	dst = appendVarint(dst, answerBoot, uint64(u.Revision.Boot))
	dst = appendVarint(dst, answerSeq, u.Revision.Seq)
	dst = appendVarint(dst, answerVerdict, uint64(u.Verdict))
	dst = appendVarint(dst, answerConflicts, uint64(clamp32(u.Conflicts)))
	dst = appendString(dst, answerQuarantine, string(u.Quarantine))
	for i := range u.Faults {
		f := &u.Faults[i]
		dst = appendMessage(dst, answerFaults, func(dst []byte) []byte {
			dst = appendVarint(dst, faultSeries, uint64(int64(f.Series))) // int32: negative takes ten bytes
			dst = appendVarint(dst, faultReason, uint64(f.Reason))
			return appendString(dst, faultDetail, f.Detail)
		})
	}
	return dst
}

func appendReceiptJSON(dst []byte, r *steps.Receipt) []byte {
	dst = append(dst, '{')
	dst = appendText(appendKey(dst, "record"), r.Record.String())
	dst = appendTime(appendKey(dst, "received_at"), r.ReceivedAt)
	dst = append(appendKey(dst, "uploads"), '[')
	for i := range r.Uploads {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendAnswerJSON(dst, &r.Uploads[i])
	}
	return append(dst, "]}"...)
}

func appendAnswerJSON(dst []byte, u *steps.UploadReceipt) []byte {
	dst = append(dst, '{')
	if u.Device != "" {
		dst = appendText(appendKey(dst, "device"), string(u.Device))
	}
	dst = strconv.AppendUint(appendKey(dst, "boot"), uint64(u.Revision.Boot), 10)
	dst = strconv.AppendUint(appendKey(dst, "seq"), u.Revision.Seq, 10)
	dst = appendText(appendKey(dst, "verdict"), u.Verdict.String())
	if u.Conflicts > 0 {
		dst = strconv.AppendUint(appendKey(dst, "conflicts"), uint64(clamp32(u.Conflicts)), 10)
	}
	if u.Quarantine != "" {
		dst = appendText(appendKey(dst, "quarantine"), string(u.Quarantine))
	}
	if len(u.Faults) > 0 {
		dst = append(appendKey(dst, "faults"), '[')
		for i := range u.Faults {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, '{')
			dst = strconv.AppendInt(appendKey(dst, "series"), int64(u.Faults[i].Series), 10)
			dst = appendText(appendKey(dst, "reason"), u.Faults[i].Reason.String())
			dst = append(appendText(appendKey(dst, "detail"), u.Faults[i].Detail), '}')
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// clamp32 keeps a tally within the uint32 of the wire.
func clamp32(n int) uint32 {
	return uint32(min(max(int64(n), 0), math.MaxUint32))
}

// ParseReceipt reads a receipt as a client does: fields it does not know are skipped, so that a
// newer gateway can say more, and a reason it does not know becomes 0 and keeps its detail. Errors
// are *steps.Error of kind Invalid.
func ParseReceipt(body []byte, enc steps.Encoding) (*steps.Receipt, error) {
	var r *steps.Receipt
	var err error
	switch enc {
	case steps.Protobuf:
		r, err = parseReceipt(body)
	case steps.JSON:
		r, err = parseReceiptJSON(body)
	default:
		err = fmt.Errorf("unknown encoding %d; use protobuf or JSON", uint8(enc))
	}
	if err != nil {
		return nil, steps.E(opReceipt, steps.Invalid, err)
	}
	return r, nil
}

func parseReceipt(b []byte) (*steps.Receipt, error) {
	r := new(steps.Receipt)
	err := eachField(b, func(num protowire.Number, _ protowire.Type, v uint64, raw []byte) (err error) {
		switch num {
		case receiptRecord:
			r.Record, err = parseRecord(string(raw))
		case receiptReceivedAt:
			r.ReceivedAt = int64(v)
		case receiptUploads:
			var u steps.UploadReceipt
			if u, err = parseAnswer(raw); err == nil {
				r.Uploads = append(r.Uploads, u)
			}
		}
		return err
	})
	return r, err
}

func parseAnswer(b []byte) (u steps.UploadReceipt, err error) {
	err = eachField(b, func(num protowire.Number, _ protowire.Type, v uint64, raw []byte) (err error) {
		switch num {
		case answerDevice:
			u.Device, err = parseDevice(raw)
		case answerBoot:
			u.Revision.Boot, err = narrow32(v)
		case answerSeq:
			u.Revision.Seq = v
		case answerVerdict:
			u.Verdict = steps.Verdict(min(v, math.MaxUint8))
		case answerConflicts:
			u.Conflicts = int(min(v, math.MaxUint32))
		case answerQuarantine:
			var s string
			s, err = text(raw)
			u.Quarantine = steps.QuarantineID(s)
		case answerFaults:
			var f steps.Fault
			if f, err = parseFault(raw); err == nil {
				u.Faults = append(u.Faults, f)
			}
		}
		return err
	})
	if err == nil {
		err = checkVerdict(u.Verdict)
	}
	return u, err
}

func parseFault(b []byte) (f steps.Fault, err error) {
	err = eachField(b, func(num protowire.Number, _ protowire.Type, v uint64, raw []byte) (err error) {
		switch num {
		case faultSeries:
			f.Series = int(int32(v))
		case faultReason:
			if v <= uint64(steps.Reasons()[len(steps.Reasons())-1]) {
				f.Reason = steps.Reason(v)
			}
		case faultDetail:
			f.Detail, err = text(raw)
		}
		return err
	})
	return f, err
}

func checkVerdict(v steps.Verdict) error {
	if v < steps.Stored || v > steps.Quarantined {
		return fmt.Errorf("unknown verdict %d; this client is older than the gateway", uint8(v))
	}
	return nil
}

// parseRecord reads "group.index".
func parseRecord(s string) (steps.RecordID, error) {
	group, index, _ := strings.Cut(s, ".")
	g, err := strconv.ParseUint(group, 10, 64)
	if err != nil {
		return steps.RecordID{}, fmt.Errorf("record %s is not GROUP.INDEX", quote([]byte(s)))
	}
	i, err := strconv.ParseUint(index, 10, 32)
	if err != nil {
		return steps.RecordID{}, fmt.Errorf("record %s is not GROUP.INDEX", quote([]byte(s)))
	}
	return steps.RecordID{Group: g, Index: uint32(i)}, nil
}

// receiptJSON is a receipt as encoding/json reads it.
type receiptJSON struct {
	Record     string `json:"record"`
	ReceivedAt string `json:"received_at"`
	Uploads    []struct {
		Device     string `json:"device"`
		Boot       uint32 `json:"boot"`
		Seq        uint64 `json:"seq"`
		Verdict    string `json:"verdict"`
		Conflicts  uint32 `json:"conflicts"`
		Quarantine string `json:"quarantine"`
		Faults     []struct {
			Series int32  `json:"series"`
			Reason string `json:"reason"`
			Detail string `json:"detail"`
		} `json:"faults"`
	} `json:"uploads"`
}

func parseReceiptJSON(b []byte) (*steps.Receipt, error) {
	var in receiptJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return nil, err
	}
	r := new(steps.Receipt)
	var err error
	if r.Record, err = parseRecord(in.Record); err != nil {
		return nil, err
	}
	if r.ReceivedAt, err = parseTime([]byte(in.ReceivedAt)); err != nil {
		return nil, fmt.Errorf("received_at: %w", err)
	}
	for _, u := range in.Uploads {
		out := steps.UploadReceipt{
			Revision: steps.Revision{Boot: u.Boot, Seq: u.Seq}, Conflicts: int(u.Conflicts),
			Quarantine: steps.QuarantineID(u.Quarantine),
		}
		if out.Device, err = parseDevice([]byte(u.Device)); err != nil {
			return nil, fmt.Errorf("device: %w", err)
		}
		for v := steps.Stored; v <= steps.Quarantined; v++ {
			if v.String() == u.Verdict {
				out.Verdict = v
			}
		}
		if out.Verdict == 0 {
			return nil, fmt.Errorf("unknown verdict %s; this client is older than the gateway", quote([]byte(u.Verdict)))
		}
		for _, f := range u.Faults {
			reason, _ := steps.ParseReason(f.Reason)
			out.Faults = append(out.Faults, steps.Fault{Series: int(f.Series), Reason: reason, Detail: f.Detail})
		}
		r.Uploads = append(r.Uploads, out)
	}
	return r, nil
}
