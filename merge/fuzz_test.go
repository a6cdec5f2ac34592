package merge

import (
	"testing"

	"ayumi/steps"
)

// source reads bytes as choices; when they are used up every choice is 0.
type choices []byte

func (c *choices) below(n int) int {
	if len(*c) == 0 {
		return 0
	}
	v := int((*c)[0]) % n
	*c = (*c)[1:]
	return v
}

// day reads a day of an hour and a half with up to three sources.
func (c *choices) day() Day {
	d := Day{Length: 90, Elapsed: c.below(100), Chosen: steps.DeviceID([]string{"", "b"}[c.below(2)])}
	for i := range 1 + c.below(3) {
		s := Source{Device: steps.DeviceID('a' + rune(i)), Origins: []steps.Origin{0, steps.OriginSensor, steps.Origin(c.below(3))}}
		for _, interval := range []uint32{60, 120, 900, 3600, 86400} {
			l := Lane{Interval: interval}
			for range c.below(4) * 3 {
				n, mark, count := 1+c.below(8), c.below(3), c.below(200)
				for range n {
					if mark == 0 {
						count = 0
					}
					l.Counts, l.Marks = append(l.Counts, uint32(count)), append(l.Marks, uint16(mark))
				}
			}
			if n := min(len(l.Counts), 5400/min(int(interval), 5400)); n > 0 {
				l.Counts, l.Marks = l.Counts[:n], l.Marks[:n]
				s.Lanes = append(s.Lanes, l)
			}
		}
		d.Sources = append(d.Sources, s)
	}
	return d
}

func FuzzMerge(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 0, 1, 0, 2, 7, 1, 100, 7, 0, 0, 3, 1, 90, 1, 2, 0, 1, 0, 0, 0, 0, 2, 1, 7, 1, 100, 1, 1, 20})
	f.Add([]byte{60, 1, 2, 2, 3, 5, 2, 110, 0, 1, 0, 2, 1, 150, 1, 0, 1, 2, 199, 0, 0, 1, 1, 1, 0, 2, 7, 1, 80, 7, 2, 90, 1, 0, 1, 1, 1, 180})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := choices(b)
		cfg := Config{
			Policy:                Policy(1 + c.below(3)),
			Manual:                OriginRule{Treatment(1 + c.below(3)), 150},
			Unknown:               OriginRule{Treatment(1 + c.below(3)), 150},
			NotCarriedMinutes:     5 + c.below(8),
			ClockToleranceMinutes: 1 + c.below(2),
		}
		m, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			d := c.day()
			compare(t, m, &d)
		}
	})
}
