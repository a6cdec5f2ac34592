package native

import (
	"fmt"
	"testing"

	"ayumi/protocol"
	"ayumi/steps"
)

// The hot path, a pedometer's own protobuf upload into a reused steps.Upload, allocates nothing.
func TestProtobufDecodingAllocatesNothing(t *testing.T) {
	body := AppendUpload(nil, minuteUpload(15), steps.Protobuf)
	d := NewDecoder(protocol.DefaultLimits())
	var u steps.Upload
	n := testing.AllocsPerRun(1000, func() {
		if err := d.Upload(&u, body, steps.Protobuf); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations a decoding, want 0", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{15, 1440} {
		for _, enc := range encodings {
			b.Run(fmt.Sprintf("%s-%d", enc, n), func(b *testing.B) {
				body := AppendUpload(nil, minuteUpload(n), enc)
				d := NewDecoder(protocol.DefaultLimits())
				var u steps.Upload
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					if err := d.Upload(&u, body, enc); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkBundle(b *testing.B) {
	us := make([]steps.Upload, 1000)
	for i := range us {
		us[i] = *minuteUpload(60)
		us[i].Device = steps.DeviceID(fmt.Sprintf("PEDO-%04d", i))
	}
	for _, enc := range encodings {
		b.Run(enc.String(), func(b *testing.B) {
			body := AppendBundle(nil, us, enc)
			d := NewDecoder(protocol.DefaultLimits())
			var u steps.Upload
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				err := d.Bundle(&u, body, enc, func(_ []byte, _ *steps.Upload, err error) {
					if err != nil {
						b.Fatal(err)
					}
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	u := minuteUpload(15)
	for _, enc := range encodings {
		b.Run(enc.String(), func(b *testing.B) {
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = AppendUpload(buf[:0], u, enc)
			}
		})
	}
}
