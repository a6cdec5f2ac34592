package plausibility

import (
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"testing"

	"ayumi/steps"
)

// FuzzScore scores days and peers of any counts: reports are the same twice, and every flag is about
// minutes that there are.
func FuzzScore(f *testing.F) {
	f.Add([]byte{0, 5, 120, 90, 255, 67, 30, 0, 200, 110}, []byte{0, 5, 120, 90, 255, 67, 30, 0, 200, 110}, uint16(100), uint16(400), uint32(3600))
	f.Add([]byte{}, []byte{1, 2}, uint16(0), uint16(9), uint32(0))
	f.Fuzz(func(t *testing.T, a, b []byte, from, to uint16, interval uint32) {
		s := mustNew(t, DefaultConfig())
		d := Day{
			ParticipantDay: steps.ParticipantDay{Participant: "p", Day: 1}, Minutes: fuzzMinutes(a),
			Coarse: []Span{{int(from) - 10, int(to), interval}},
		}
		p := Day{ParticipantDay: steps.ParticipantDay{Participant: "q", Day: 1}, Minutes: fuzzMinutes(b)}
		r := s.Score(&d, []Peer{p})
		if again := s.Score(&d, []Peer{p}); !reflect.DeepEqual(r, again) {
			t.Fatalf("%s, and then %s", &r, &again)
		}
		sum := 0
		for i, flag := range r.Flags {
			if flag.Score < 1 || flag.Score > 100 || flag.From < 0 || flag.From >= flag.To || flag.To > len(d.Minutes) {
				t.Fatalf("%+v in a day of %d minutes", flag, len(d.Minutes))
			}
			if i > 0 && r.Flags[i-1].Kind > flag.Kind {
				t.Fatalf("%s", &r)
			}
			sum += flag.Score
		}
		if r.Sum != min(sum, 100) || r.Max > r.Sum || (r.Suggestion == Nothing) != (sum < 50) {
			t.Fatalf("%+v adds up to %d", r, sum)
		}
		x, ok := s.Fingerprint(&d)
		if y, also := s.Fingerprint(&d); ok != also || x != y {
			t.Fatalf("%x, and then %x", x, y)
		}
	})
}

// fuzzMinutes reads pairs of a length and a count; four bytes after a length of 255 are a large count.
func fuzzMinutes(b []byte) (out []uint32) {
	for len(b) >= 2 && len(out) < 1560 {
		n, count := int(b[0]), uint32(b[1])
		b = b[2:]
		if n == 255 && len(b) >= 4 {
			count, b = binary.LittleEndian.Uint32(b), b[4:]
		}
		for range min(n, 1560-len(out)) {
			out = append(out, count)
		}
	}
	return out
}

func BenchmarkScore(b *testing.B) {
	s := mustNew(b, DefaultConfig())
	d := realDays(b)[10]
	for name, peers := range map[string][]Peer{"alone": nil, "a peer": {{
		ParticipantDay: steps.ParticipantDay{Participant: "q"}, Minutes: noisy(d.Minutes, 0.05, rand.New(rand.NewPCG(1, 2))),
	}}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Score(&d, peers)
			}
		})
	}
}

func BenchmarkFingerprint(b *testing.B) {
	s := mustNew(b, DefaultConfig())
	d := realDays(b)[10]
	b.ReportAllocs()
	for b.Loop() {
		s.Fingerprint(&d)
	}
}
