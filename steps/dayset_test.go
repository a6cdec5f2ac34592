package steps

import (
	"math/rand/v2"
	"testing"
)

// TestDaySet compares a set with a map, through its encoding and back.
func TestDaySet(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var s DaySet
		want := map[Day]bool{}
		near := Day(rng.IntN(40000) - 20000)
		for range 60 {
			d := near + Day(rng.IntN(500)-250)
			if got := s.Add(d); got == want[d] {
				t.Fatalf("seed %d: Add(%d) is %v", seed, d, got)
			}
			want[d] = true
		}
		b, err := s.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		var again DaySet
		if err := again.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		next, found := Day(0), false
		for d := near + 300; d >= near-300; d-- {
			if want[d] {
				next, found = d, true
			}
			if got, ok := again.From(d); again.Has(d) != want[d] || ok != found || got != next {
				t.Fatalf("seed %d, day %d: Has %v, From %d %v; want %v, %d %v", seed, d, again.Has(d), got, ok, want[d], next, found)
			}
		}
	}
}

func TestDaySetBounds(t *testing.T) {
	var s DaySet
	if s.Has(0) || len(s.bits) > 0 {
		t.Error("the empty set has a day")
	}
	if _, ok := s.From(0); ok {
		t.Error("the empty set has a day")
	}
	s.Add(20000)
	if s.Add(20000+8*maxSetBytes) || s.Add(20000-8*maxSetBytes) || !s.Has(20000) || len(s.bits) != 1 {
		t.Errorf("a day two centuries off was added: %d bytes", len(s.bits))
	}
	for _, bad := range [][]byte{nil, {0x80}, make([]byte, maxSetBytes+2)} {
		if err := s.UnmarshalBinary(bad); err == nil {
			t.Errorf("%d bytes were read", len(bad))
		}
	}
}
