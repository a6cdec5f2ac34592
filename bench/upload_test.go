package bench

import (
	"testing"

	"ayumi/protocol"
	"ayumi/protocol/native"
	"ayumi/steps"
)

// model merges uploads as a gateway does that sees them in order.
type model map[steps.DeviceID]map[int64]uint32

func (m model) merge(device steps.DeviceID, u *steps.Upload) {
	if m[device] == nil {
		m[device] = map[int64]uint32{}
	}
	for _, s := range u.Series {
		for i, n := range s.Counts {
			m[device][s.Start+int64(i)*int64(s.Interval)] = n
		}
	}
}

func (m model) steps() (sum uint64) {
	for _, minutes := range m {
		for _, n := range minutes {
			sum += uint64(n)
		}
	}
	return sum
}

func TestTemplateMakesSuccessiveUploads(t *testing.T) {
	for _, tc := range []struct {
		name           string
		samples, n     int
		carries, slots int
	}{
		{"a quarter of an hour", 15, 300, 0, 96 * 2},
		{"no divisor of a day", 7, 1000, 0, 2880 / 7},
		{"one sample", 1, 6000, 0, 2880},
		{"two days at once", 2880, 5, 0, 1},
		{"a bundle", 60, 130, 3, 48},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := load("", 1)
			c.Samples, c.Days = tc.samples, 2
			carried(&c, tc.carries)
			tp := newTemplate(&c, &c.Clients[0], newRandom(0))
			body := append([]byte(nil), tp.body...)
			decoder, held := native.NewDecoder(protocol.DefaultLimits()), model{}
			for n := range tc.n {
				tp.patch(body, uint64(n))
				start := firstDay + int64(n%tc.slots*tc.samples*60)
				for device, u := range decode(t, decoder, body, tc.carries > 0) {
					if u.Revision != (steps.Revision{Boot: 7, Seq: varint5 + uint64(n)}) {
						t.Fatalf("upload %d has revision %v", n, u.Revision)
					}
					if s := u.Series[0]; s.Start != start || len(s.Counts) != tc.samples {
						t.Fatalf("upload %d has %d counts from %d; want %d from %d", n, len(s.Counts), s.Start, tc.samples, start)
					}
					held.merge(device, u)
				}
				if n%97 == 0 || n == tc.n-1 {
					if got := tp.steps(uint64(n + 1)); got != held.steps() {
						t.Fatalf("after %d uploads: %d steps, the model holds %d", n+1, got, held.steps())
					}
				}
			}
			if len(held) != max(1, tc.carries) {
				t.Errorf("%d devices, want %d", len(held), max(1, tc.carries))
			}
		})
	}
}

func decode(t *testing.T, d *native.Decoder, body []byte, bundle bool) map[steps.DeviceID]*steps.Upload {
	t.Helper()
	out := map[steps.DeviceID]*steps.Upload{}
	if !bundle {
		u := new(steps.Upload)
		if err := d.Upload(u, body, steps.Protobuf); err != nil {
			t.Fatal(err)
		}
		out[""] = u
		return out
	}
	var scratch steps.Upload
	err := d.Bundle(&scratch, body, steps.Protobuf, func(raw []byte, u *steps.Upload, err error) {
		if err != nil {
			t.Error(err)
			return
		}
		c := *u
		c.Series = []steps.Series{u.Series[0]}
		c.Series[0].Counts = append([]uint32(nil), u.Series[0].Counts...)
		out[u.Device] = &c
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
