package review

import (
	"cmp"
	"slices"

	"ayumi/plausibility"
)

const (
	// mostCompared is how many fingerprints are compared all with all; above it the bands of the fingerprints decide
	// who is, which finds nearly as much (docs/plausibility.md).
	mostCompared = 10_000
	// mostInBand bounds with how many others of a band a fingerprint is compared, so that a million equal days, of
	// a load test say, take no million million comparisons.
	mostInBand = 256
	// mostPeers is how many days a day is compared with minute by minute: the nearest.
	mostPeers = 8
)

// mark is somebody's fingerprint of the day at hand.
type mark struct {
	who     int // index into the people of the look
	pattern plausibility.Fingerprint
}

// neighbour is a day that is worth comparing.
type neighbour struct{ who, distance int32 }

// neighbours collects the nearest of each day.
type neighbours map[int][]neighbour

// near returns for each mark the nearest others, by who. Both of a pair have each other, unless others are nearer.
func near(s *plausibility.Scorer, marks []mark) neighbours {
	out := neighbours{}
	if len(marks) <= mostCompared {
		for i := range marks {
			for j := range marks[:i] {
				out.compare(s, &marks[i], &marks[j])
			}
		}
		return out
	}
	type banded struct {
		part uint16
		at   int32
	}
	band := make([]banded, len(marks))
	for part := range (plausibility.Fingerprint{}).Bands() {
		for i := range marks {
			band[i] = banded{marks[i].pattern.Bands()[part], int32(i)} //nolint:gosec // people of one programme
		}
		slices.SortFunc(band, func(a, b banded) int { return cmp.Or(cmp.Compare(a.part, b.part), cmp.Compare(a.at, b.at)) })
		for i := range band {
			for j := i + 1; j < len(band) && j <= i+mostInBand && band[j].part == band[i].part; j++ {
				out.compare(s, &marks[band[i].at], &marks[band[j].at])
			}
		}
	}
	return out
}

func (n neighbours) compare(s *plausibility.Scorer, a, b *mark) {
	if s.Near(a.pattern, b.pattern) {
		d := a.pattern.Distance(b.pattern)
		n.add(a.who, b.who, d)
		n.add(b.who, a.who, d)
	}
}

// add enters a pair, once, and keeps the nearest.
func (n neighbours) add(who, other, distance int) {
	list, x := n[who], neighbour{int32(other), int32(distance)} //nolint:gosec // people of one programme
	if len(list) == mostPeers && list[mostPeers-1].distance <= x.distance {
		return
	}
	if slices.ContainsFunc(list, func(have neighbour) bool { return have.who == x.who }) {
		return
	}
	if len(list) == mostPeers {
		list = list[:mostPeers-1]
	}
	at, _ := slices.BinarySearchFunc(list, x.distance, func(have neighbour, d int32) int { return cmp.Compare(have.distance, d) })
	n[who] = slices.Insert(list, at, x)
}
