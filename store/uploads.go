package store

import (
	"cmp"
	"slices"

	"ayumi/steps"
)

// Uploads returns which uploads a day's cells came from, by device, interval and revision. The payloads
// themselves are not kept; a revision names one for the device that made it.
func (s *Store) Uploads(pd steps.ParticipantDay) (out []steps.UploadShare, err error) {
	err = s.view(pd, func(h *hotDay) {
		for i := range h.parts {
			for j := range h.parts[i].cells.lanes {
				out = appendShares(out, &h.parts[i], &h.parts[i].cells.lanes[j])
			}
		}
	})
	return out, err
}

// appendShares appends the uploads that have cells in a lane.
func appendShares(out []steps.UploadShare, p *part, l *lane) []steps.UploadShare {
	first := len(out)
	at := make([]int, len(p.cells.sources)) // where a source's share stands, 0 if it has none yet
	for i, index := range l.sources {
		if index == 0 {
			continue
		}
		if at[index] == 0 {
			src := &p.cells.sources[index]
			out = append(out, steps.UploadShare{Device: p.device, Revision: src.revision, Origin: src.origin, Interval: l.interval})
			at[index] = len(out)
		}
		share := &out[at[index]-1]
		share.Cells++
		share.Steps += uint64(l.counts[i])
	}
	slices.SortFunc(out[first:], func(a, b steps.UploadShare) int {
		return cmp.Or(a.Revision.Compare(b.Revision), cmp.Compare(a.Origin, b.Origin))
	})
	return out
}
