package plausibility

import (
	"math"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"

	"ayumi/steps"
)

// part is n minutes of the counts, in turn.
type part struct {
	n      int
	counts []uint32
}

func minutesOf(parts ...part) []uint32 {
	var out []uint32
	for _, p := range parts {
		for i := range p.n {
			out = append(out, p.counts[i%len(p.counts)])
		}
	}
	return append(out, make([]uint32, max(0, 1440-len(out)))...)
}

var (
	rest    = []uint32{0}
	stroll  = []uint32{91, 14, 113, 31, 74, 0, 101, 25, 88} // neither even, nor round, nor without small movements
	running = []uint32{170, 171, 172}
)

// only leaves one kind's weight in the defaults.
func only(k Kind) Config {
	c := DefaultConfig()
	for kind, w := range map[Kind]*int{
		BusyDay: &c.Day.Weight, BusyHour: &c.Hour.Weight, HighCadence: &c.Cadence.Weight, LongActivity: &c.Coverage.Weight,
		FlatCadence: &c.Flat.Weight, Unbroken: &c.Unbroken.Weight, NoSmallMovement: &c.Brisk.Weight,
		LateSteps: &c.Evening.Weight, CoarseSteps: &c.Coarse.Weight,
	} {
		if kind != k {
			*w = 0
		}
	}
	if k != RepeatedCounts && k != RoundCounts {
		c.Regular.Weight = 0
	}
	if k != SharedPattern && k != RepeatedPattern {
		c.Pattern.Weight = 0
	}
	return c
}

// TestLimits takes each rule to its limit from both sides.
func TestLimits(t *testing.T) {
	for _, tc := range []struct {
		name string
		kind Kind
		day  Day
		want []Flag // of that kind
	}{
		{"50,000 steps", BusyDay, Day{Minutes: minutesOf(part{500, []uint32{100}})}, nil},
		{"50,001 steps", BusyDay, Day{Minutes: minutesOf(part{500, []uint32{100}}, part{1, []uint32{1}})},
			[]Flag{{Kind: BusyDay, Score: 50, From: 0, To: 1440, Figure: 50001, Limit: 50000}}},
		{"75,000 steps", BusyDay, Day{Minutes: minutesOf(part{750, []uint32{100}})},
			[]Flag{{Kind: BusyDay, Score: 75, From: 0, To: 1440, Figure: 75000, Limit: 50000}}},
		{"500,000 steps", BusyDay, Day{Minutes: minutesOf(part{1000, []uint32{500}})},
			[]Flag{{Kind: BusyDay, Score: 100, From: 0, To: 1440, Figure: 500000, Limit: 50000}}},
		{"12,000 steps in an hour", BusyHour, Day{Minutes: minutesOf(part{60, []uint32{200}})}, nil},
		{"12,060 steps in 60 minutes that are no hour", BusyHour, Day{Minutes: minutesOf(part{30, rest}, part{60, []uint32{201}})},
			[]Flag{{Kind: BusyHour, Score: 50, From: 30, To: 90, Figure: 12060, Limit: 12000}}},
		{"12,017 steps in 61 minutes", BusyHour, Day{Minutes: minutesOf(part{61, []uint32{197}})}, nil},
		{"9 minutes of 221", HighCadence, Day{Minutes: minutesOf(part{9, []uint32{221}}, part{1, rest}, part{9, []uint32{221}})}, nil},
		{"10 minutes of 220", HighCadence, Day{Minutes: minutesOf(part{10, []uint32{220}})}, nil},
		{"10 minutes of 221", HighCadence, Day{Minutes: minutesOf(part{5, rest}, part{10, []uint32{221}})},
			[]Flag{{Kind: HighCadence, Score: 50, From: 5, To: 15, Figure: 10, Limit: 10}}},
		{"19 active hours", LongActivity, Day{Minutes: minutesOf(part{19 * 60, stroll})}, nil},
		{"20 active hours", LongActivity, Day{Minutes: minutesOf(part{60, rest}, part{20 * 60, stroll})},
			[]Flag{{Kind: LongActivity, Score: 80, From: 60, To: 1260, Figure: 20, Limit: 20}}},
		{"20 active hours in a record of the day", LongActivity, Day{
			Minutes: minutesOf(part{1440, []uint32{8}}), Coarse: []Span{{0, 1440, 86400}},
		}, nil},
		{"24 hours in hourly records", LongActivity, Day{
			Minutes: minutesOf(part{1440, []uint32{8}}), Coarse: []Span{{0, 1440, 3600}},
		}, []Flag{{Kind: LongActivity, Score: 96, From: 0, To: 1440, Figure: 24, Limit: 20}}},
		{"119 even minutes", FlatCadence, Day{Minutes: minutesOf(part{119, []uint32{66, 67, 68}})}, nil},
		{"120 even minutes", FlatCadence, Day{Minutes: minutesOf(part{3, rest}, part{60, []uint32{66, 67, 68}}, part{9, rest}, part{60, []uint32{99}})},
			[]Flag{{Kind: FlatCadence, Score: 60, From: 3, To: 132, Figure: 120, Limit: 120}}},
		{"even minutes of less than a window each", FlatCadence, Day{Minutes: minutesOf(part{400, append(slices.Repeat([]uint32{67}, 29), 0)})}, nil},
		{"a slow minute in every window", FlatCadence, Day{Minutes: minutesOf(part{400, append([]uint32{19}, slices.Repeat([]uint32{20}, 29)...)})}, nil},
		{"even running", FlatCadence, Day{Minutes: minutesOf(part{179, running})}, nil},
		{"an even hourly record", FlatCadence, Day{Minutes: minutesOf(part{240, []uint32{70}}), Coarse: []Span{{0, 240, 3600}}}, nil},
		{"179 minutes without a rest", Unbroken, Day{Minutes: minutesOf(part{179, running}, part{6, rest}, part{179, running})}, nil},
		{"180 minutes with five of rest", Unbroken, Day{Minutes: minutesOf(part{90, running}, part{5, rest}, part{85, running})},
			[]Flag{{Kind: Unbroken, Score: 50, From: 0, To: 180, Figure: 180, Limit: 180}}},
		{"6 small movements in 119", NoSmallMovement, Day{Minutes: minutesOf(part{119, running}, part{6, []uint32{9}})}, nil},
		{"6 small movements in 120", NoSmallMovement, Day{Minutes: minutesOf(part{114, running}, part{6, []uint32{60}}, part{6, []uint32{39}})},
			[]Flag{{Kind: NoSmallMovement, Score: 31, From: 0, To: 126, Figure: 6. / 126, Limit: 0.05}}},
		{"no small movement", NoSmallMovement, Day{Minutes: minutesOf(part{120, running})},
			[]Flag{{Kind: NoSmallMovement, Score: 60, From: 0, To: 120, Figure: 0, Limit: 0.05}}},
		{"7 small movements in 120", NoSmallMovement, Day{Minutes: minutesOf(part{120, running}, part{7, []uint32{39}})}, nil},
		{"the same number 61 times", RepeatedCounts, Day{Minutes: minutesOf(part{61, []uint32{83}})},
			[]Flag{{Kind: RepeatedCounts, Score: 100, From: 0, To: 61, Figure: 1, Limit: 0.4}}},
		{"the same number 60 times", RepeatedCounts, Day{Minutes: minutesOf(part{60, []uint32{83}})}, nil},
		{"two in five round", RoundCounts, Day{Minutes: minutesOf(part{60, []uint32{83, 80, 91, 95, 100}})},
			[]Flag{{Kind: RoundCounts, Score: 50, From: 0, To: 60, Figure: 0.4, Limit: 0.4}}},
		{"three in eight round", RoundCounts, Day{Minutes: minutesOf(part{64, []uint32{83, 80, 91, 95, 100, 20, 33, 44}})}, nil},
		{"15,000 steps, three fifths of them late", LateSteps, Day{
			Minutes: minutesOf(part{60, []uint32{100}}, part{1140, rest}, part{90, []uint32{100}}),
		}, []Flag{{Kind: LateSteps, Score: 50, From: 1200, To: 1440, Figure: 0.6, Limit: 0.6}}},
		{"15,000 steps, less of them late", LateSteps, Day{
			Minutes: minutesOf(part{61, []uint32{100}}, part{1139, rest}, part{89, []uint32{100}}),
		}, nil},
		{"14,999 steps, all late", LateSteps, Day{Minutes: minutesOf(part{1200, rest}, part{149, []uint32{100}}, part{1, []uint32{99}})}, nil},
		{"20,000 steps in records", CoarseSteps, Day{
			Minutes: minutesOf(part{200, []uint32{100}}, part{200, []uint32{50}}), Coarse: []Span{{0, 100, 3600}, {100, 200, 900}},
		}, nil},
		{"20,050 steps in records", CoarseSteps, Day{
			Minutes: minutesOf(part{200, []uint32{100}}, part{200, []uint32{50}}), Coarse: []Span{{10, 200, 3600}, {200, 221, 900}},
		}, []Flag{{Kind: CoarseSteps, Score: 25, From: 10, To: 221, Figure: 20050, Limit: 20000}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := mustNew(t, only(tc.kind)).Score(&tc.day, nil)
			got := slices.DeleteFunc(slices.Clone(r.Flags), func(f Flag) bool { return f.Kind != tc.kind })
			if !slices.Equal(got, tc.want) {
				t.Errorf("flags %+v, want %+v", got, tc.want)
			}
		})
	}
}

// TestSuggestions adds up scores.
func TestSuggestions(t *testing.T) {
	quiet := Day{Minutes: minutesOf(part{300, rest}, part{100, stroll})}
	for _, tc := range []struct {
		name   string
		change func(*Config)
		day    Day
		want   Suggestion
		sum    int
		max    int
	}{
		{"a quiet day", nil, quiet, Nothing, 0, 0},
		{"an empty day", nil, Day{}, Nothing, 0, 0},
		{"an even pendulum", nil, Day{Minutes: minutesOf(part{1440, []uint32{67}})}, Hold, 100, 100},
		{"a busy day", func(c *Config) { *c = only(BusyDay) }, Day{Minutes: minutesOf(part{600, []uint32{100}})}, Review, 60, 60},
		{"below review", func(c *Config) { *c = only(BusyDay); c.Suggest.Review = 61 }, Day{Minutes: minutesOf(part{600, []uint32{100}})}, Nothing, 60, 60},
		{"hold at the threshold", func(c *Config) { *c = only(BusyDay); c.Suggest.Hold = 60 }, Day{Minutes: minutesOf(part{600, []uint32{100}})}, Hold, 60, 60},
		{"all rules off", func(c *Config) { *c = only(0) }, Day{Minutes: minutesOf(part{1440, []uint32{300}})}, Nothing, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := DefaultConfig()
			if tc.change != nil {
				tc.change(&cfg)
			}
			r := mustNew(t, cfg).Score(&tc.day, nil)
			if r.Suggestion != tc.want || r.Sum != tc.sum || r.Max != tc.max {
				t.Errorf("%s, %d and %d; want %s, %d and %d", &r, r.Sum, r.Max, tc.want, tc.sum, tc.max)
			}
		})
	}
}

// TestFingerprintsStay pins fingerprints: stores keep them.
func TestFingerprintsStay(t *testing.T) {
	s := mustNew(t, DefaultConfig())
	for name, tc := range map[string]struct {
		minutes []uint32
		want    Fingerprint
		ok      bool
	}{
		"a day":                     {minutesOf(part{480, rest}, part{40, stroll}, part{200, rest}, part{90, stroll}), Fingerprint{0x2415233449ba130f, 0xe6cd6b7f6253edc3}, true},
		"a day of 26 hours":         {append(minutesOf(part{1440, stroll}), minutesOf(part{120, stroll})[:120]...), Fingerprint{0x26c05db82839454e, 0x68cfb0ea62ce81ee}, true},
		"59 active minutes":         {minutesOf(part{59, running}), Fingerprint{}, false},
		"minutes of 9 steps":        {minutesOf(part{300, []uint32{9}}), Fingerprint{}, false},
		"nothing":                   {nil, Fingerprint{}, false},
		"an evening of wild counts": {minutesOf(part{1380, rest}, part{60, []uint32{math.MaxUint32, 1}}), Fingerprint{}, false},
	} {
		got, ok := s.Fingerprint(&Day{Minutes: tc.minutes})
		if ok != tc.ok || got != tc.want {
			t.Errorf("%s: Fingerprint{%#x, %#x}, %t; want %#x, %t", name, got[0], got[1], ok, tc.want, tc.ok)
		}
	}
	coarse := Day{Minutes: minutesOf(part{300, running}), Coarse: []Span{{0, 300, 900}}}
	if _, ok := s.Fingerprint(&coarse); ok {
		t.Error("a day of coarse records has a fingerprint")
	}
}

func TestFingerprintEncoding(t *testing.T) {
	f := Fingerprint{0x0123456789abcdef, 0xfedcba9876543210}
	b, err := f.AppendBinary(nil)
	if err != nil || len(b) != FingerprintSize {
		t.Fatalf("%x, %v", b, err)
	}
	var back Fingerprint
	if err := back.UnmarshalBinary(b); err != nil || back != f {
		t.Errorf("%x decodes to %x, %v", b, back, err)
	}
	if err := back.UnmarshalBinary(b[1:]); steps.KindOf(err) != steps.Invalid {
		t.Errorf("15 bytes: %v, want Invalid", err)
	}
	if want := [8]uint16{0xcdef, 0x89ab, 0x4567, 0x0123, 0x3210, 0x7654, 0xba98, 0xfedc}; f.Bands() != want {
		t.Errorf("bands %x, want %x", f.Bands(), want)
	}
	if n := f.Distance(Fingerprint{f[0] ^ 7, f[1] ^ 1<<63}); n != 4 {
		t.Errorf("distance %d, want 4", n)
	}
}

func TestPatternEvidence(t *testing.T) {
	s := mustNew(t, only(SharedPattern))
	walk := minutesOf(part{600, rest}, part{90, stroll})
	d := Day{ParticipantDay: steps.ParticipantDay{Participant: "p", Day: 7}, Minutes: later(walk, 8)}
	other := Day{ParticipantDay: steps.ParticipantDay{Participant: "q", Day: 7}, Minutes: walk}
	before := Day{ParticipantDay: steps.ParticipantDay{Participant: "p", Day: 3}, Minutes: walk}
	r := s.Score(&d, []Peer{before, d, other})
	want := []Flag{
		{Kind: SharedPattern, Score: 100, From: 602, To: 692, Figure: 1, Limit: 0.5, Other: other.ParticipantDay, Shift: 2, Exact: true},
		{Kind: RepeatedPattern, Score: 100, From: 602, To: 692, Figure: 1, Limit: 0.5, Other: before.ParticipantDay, Shift: 2, Exact: true},
	}
	if !slices.Equal(r.Flags, want) || r.Suggestion != Hold {
		t.Errorf("%+v, want %+v", r, want)
	}
}

// TestAlignTies prefers the smaller shift, and a later second day to an earlier one.
func TestAlignTies(t *testing.T) {
	cfg := DefaultConfig().Pattern
	for name, tc := range map[string]struct {
		a, b     []uint32
		quarters int
	}{
		"a minute either way": {[]uint32{0, 100, 0, 100, 0}, []uint32{0, 0, 100, 0, 0}, 4},
		"none or two":         {[]uint32{100, 0, 100, 0, 0}, []uint32{0, 0, 100, 0, 0}, 0},
		"nothing":             {nil, nil, 0},
	} {
		if x := cfg.align(tc.a, tc.b); x.quarters != tc.quarters {
			t.Errorf("%s: %d quarters of a minute later, want %d", name, x.quarters, tc.quarters)
		}
	}
}

func TestConfig(t *testing.T) {
	text, err := yaml.Marshal(DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	var back Config
	if err := yaml.Unmarshal(text, &back); err != nil || back != DefaultConfig() {
		t.Errorf("%s reads as %+v, %v", text, back, err)
	}
	for name, change := range map[string]func(*Config){
		"cadence":      func(c *Config) { c.Cadence.Minutes = 0 },
		"window":       func(c *Config) { c.Flat.Window = 4 },
		"variation":    func(c *Config) { c.Flat.Variation = 1 },
		"share":        func(c *Config) { c.Evening.Share = 1.1 },
		"short":        func(c *Config) { c.Pattern.ActiveMinutes = 29 },
		"distance":     func(c *Config) { c.Pattern.Distance = 41 },
		"suggest":      func(c *Config) { c.Suggest.Review = 101 },
		"weight":       func(c *Config) { c.Coarse.Weight = 101 },
		"no weight":    func(c *Config) { c.Day.Weight = -1 },
		"nothing":      func(c *Config) { *c = Config{} },
		"not a number": func(c *Config) { c.Regular.Round = math.NaN() },
	} {
		cfg := DefaultConfig()
		change(&cfg)
		if _, err := New(cfg); steps.KindOf(err) != steps.Invalid {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
}

func TestNames(t *testing.T) {
	for k := BusyDay; k <= lastKind; k++ {
		if text, err := k.MarshalText(); err != nil || string(text) != kindNames[k] || k.String() == "" {
			t.Errorf("kind %d is %q, %v", k, text, err)
		}
	}
	for got, want := range map[string]string{
		Kind(0).String(): "kind(0)", Kind(99).String(): "kind(99)", Hold.String(): "hold", Suggestion(9).String(): "suggestion(9)",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if text, err := Review.MarshalText(); err != nil || string(text) != "review" {
		t.Errorf("%s, %v", text, err)
	}
}
