package store

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"ayumi/steps"
)

// TestBits writes numbers of all lengths in random orders and reads them back.
func TestBits(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 3))
	for range 200 {
		var w bitWriter
		var want []uint64
		var take []func(r *bitReader) uint64
		for range 1 + rng.IntN(60) {
			v := rng.Uint64() >> rng.IntN(64)
			switch rng.IntN(4) {
			case 0:
				n := uint(rng.IntN(33))
				v &= 1<<n - 1
				w.put(v, n)
				take = append(take, func(r *bitReader) uint64 { return r.get(n) })
			case 1:
				v = v>>33 + 1
				w.gamma(v)
				take = append(take, (*bitReader).gamma)
			case 2:
				w.wide(v)
				take = append(take, (*bitReader).wide)
			case 3:
				d := int(v>>35) - 1<<28
				w.signed(d)
				v = uint64(d)
				take = append(take, func(r *bitReader) uint64 { return uint64(r.signed()) })
			}
			want = append(want, v)
		}
		all := append(w.bytes(), 0xa5)
		r := bitReader{b: all}
		for i := range want {
			if got := take[i](&r); got != want[i] || r.bad {
				t.Fatalf("number %d of %d is %d (bad: %t); want %d", i, len(want), got, r.bad, want[i])
			}
		}
		if rest := r.rest(all); !bytes.Equal(rest, []byte{0xa5}) {
			t.Fatalf("what follows is %x; want a5", rest)
		}
	}
}

func TestBitsThatAreMissing(t *testing.T) {
	var zeros bitWriter
	putCounts(&zeros, make([]uint32, 5))
	for _, tc := range []struct {
		name string
		b    []byte
		read func(r *bitReader)
	}{
		{"nothing", nil, func(r *bitReader) { r.get(1) }},
		{"one bit too many", []byte{1, 2}, func(r *bitReader) { r.get(17) }},
		{"gamma of zeros", []byte{0, 0}, func(r *bitReader) { r.gamma() }},
		{"gamma of too many zeros", make([]byte, 20), func(r *bitReader) { r.gamma() }},
		{"gamma cut", []byte{0b00010000}, func(r *bitReader) { r.get(1); r.gamma(); r.gamma() }},
		{"wide cut", []byte{9 << 1, 0}, func(r *bitReader) { r.wide(); r.get(2) }},
		{"wide too long", []byte{65 << 1, 0}, func(r *bitReader) { r.wide() }},
		{"counts cut", []byte{0x55, 0x80}, func(r *bitReader) { takeCounts(r, make([]uint32, 300)) }},
		{"more zeros than counts", zeros.bytes(), func(r *bitReader) { takeCounts(r, make([]uint32, 1)) }},
		{"coarse counts cut", []byte{0x55, 0x80}, func(r *bitReader) { takeCoarse(r, make([]uint32, 30)) }},
	} {
		r := bitReader{b: tc.b}
		if tc.read(&r); !r.bad {
			t.Errorf("%s: read without a complaint", tc.name)
		}
	}
}

// TestPrefixCodes looks at whether every sequence of bits begins with a code, and every number has one.
func TestPrefixCodes(t *testing.T) {
	codes := append(slices.Clone(countCodes[:]), zerosCode)
	for i, code := range codes {
		for bits, f := range code.take {
			if f.n == 0 {
				t.Fatalf("code %d: nothing begins with %09b", i, bits)
			}
		}
		for n, s := range code.put {
			if s.n == 0 {
				t.Errorf("code %d has none for %d", i, n)
			}
		}
	}
	if n := len(zerosCode.put); n < maxDayMinutes {
		t.Errorf("runs of zeros up to %d have a code; want %d", n, maxDayMinutes)
	}
}

func TestCounts(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 4))
	kinds := []func() uint32{
		func() uint32 { return 0 },
		func() uint32 { return 1 + rng.Uint32N(140) },
		func() uint32 { return 250 + rng.Uint32N(12) },
		func() uint32 { return rng.Uint32() >> rng.IntN(32) },
		func() uint32 { return math.MaxUint32 },
	}
	for range 300 {
		var counts []uint32
		for len(counts) < 1+rng.IntN(maxDayMinutes) {
			kind := kinds[rng.IntN(len(kinds))]
			for range 1 + rng.IntN(1<<rng.IntN(10)) {
				counts = append(counts, kind())
			}
		}
		counts = counts[:min(len(counts), maxDayMinutes)]
		for _, code := range []struct {
			put  func(*bitWriter, []uint32)
			take func(*bitReader, []uint32)
		}{{putCounts, takeCounts}, {putCoarse, takeCoarse}} {
			var w bitWriter
			code.put(&w, counts)
			got := make([]uint32, len(counts))
			r := bitReader{b: w.bytes()}
			if code.take(&r, got); r.bad || !slices.Equal(got, counts) {
				t.Fatalf("%v is read as %v (bad: %t)", counts, got, r.bad)
			}
		}
	}
}

// dayIn returns a day of one device that uploaded in so many parts, of the same length and with
// consecutive numbers.
func dayIn(uploads int, counts []uint32) *hotDay {
	d, n := new(hotDay), len(counts)/uploads
	for i := range uploads {
		d.part([]byte("d")).cells.merge(&cellRun{60, i * n, counts[i*n : i*n+n],
			source{steps.Revision{Boot: 3, Seq: uint64(1000 + i)}, steps.OriginSensor}})
	}
	return d
}

// TestUploadsOfADayCostLittle holds a day that came in many uploads against one that came in one.
func TestUploadsOfADayCostLittle(t *testing.T) {
	counts := madeUpDay(rand.New(rand.NewPCG(1, 5)))
	one := len(blockOf(dayIn(1, counts)))
	for _, uploads := range []int{2, 24, 96, 1440} {
		if n := len(blockOf(dayIn(uploads, counts))) - one; n > 6 {
			t.Errorf("%d uploads cost %d bytes; want at most 6", uploads, n)
		}
	}
}

// TestBlockStaysAsItIs compares blocks with those that the format was given with.
func TestBlockStaysAsItIs(t *testing.T) {
	mixed := new(hotDay)
	for _, r := range []testRun{
		minutes("p", "phone", 7, 600, 10, 0, 0, 0, 120, 118, 121, 300, 0, 5),
		minutes("p", "phone", 8, 606, 80, 70_000),
		minutes("p", "phone", 3, 900, 0, 0, 0, 1),
		minutes("p", "watch", 9, 0, 1, 2, 3),
	} {
		mixed.part([]byte(r.device)).cells.merge(cellsOf(&r))
	}
	hour := minutes("p", "watch", 2, 9, 4000, 0, 17)
	hour.Interval, hour.Origin = 3600, steps.OriginManual
	mixed.part([]byte("watch")).cells.merge(cellsOf(&hour))
	counts := make([]uint32, 1440)
	for i := 480; i < 500; i++ {
		counts[i] = uint32(90 + i%17)
	}
	for _, tc := range []struct {
		name string
		day  *hotDay
		want string
	}{
		{"a day in 96 uploads", dayIn(96, counts),
			"029f0f01645801682028af42001644060ebf0ffce5ec010831051872092a52b58b572f61e3f8ac"},
		{"two devices, corrections, gaps, hours", mixed,
			"02c4a5040570686f6e655004b201308041e8012a423d7802454212d8ff50b40ff911170f054fe8057761746368" +
				"7b804215fd7afc03c14e010478df413080"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := hex.EncodeToString(blockOf(tc.day))
			if got != tc.want {
				t.Errorf("the block is %s; want %s", got, tc.want)
			}
			block, err := hex.DecodeString(tc.want)
			if err != nil {
				t.Fatal(err)
			}
			back := new(hotDay)
			if err := back.parse(block); err != nil {
				t.Fatal(err)
			}
			if again := blockOf(back); !bytes.Equal(again, block) {
				t.Errorf("the block of the format is %x again", again)
			}
		})
	}
}

// TestCutBlock cuts a block at every place behind its total.
func TestCutBlock(t *testing.T) {
	counts := madeUpDay(rand.New(rand.NewPCG(1, 6)))
	block := blockOf(dayIn(24, counts))
	_, rest, err := parseBlockTotal(block)
	if err != nil {
		t.Fatal(err)
	}
	for n := len(block) - len(rest) + 1; n < len(block); n++ {
		if err := new(hotDay).parse(block[:n]); !errors.Is(err, errBlock) {
			t.Errorf("%d of %d bytes: %v; want errBlock", n, len(block), err)
		}
	}
}
