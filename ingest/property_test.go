package ingest_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"ayumi/ingest"
	"ayumi/merge"
	"ayumi/protocol/native"
	"ayumi/steps"
)

// The model is the merge law and the rules of docs/wire.md, written as plainly as possible: a cell
// keeps the highest (boot, seq, count, origin) that was said of it.
type (
	modelCell struct {
		participant steps.ParticipantID
		device      steps.DeviceID
		day, index  int64
		interval    uint32
	}
	modelValue struct {
		revision steps.Revision
		count    uint32
		origin   steps.Origin
	}
	model map[modelCell]modelValue
)

// handover is the first day of the second participant of device c.
var handover = day("2026-11-18")

func owner(prefix string, device steps.DeviceID, d int64) steps.ParticipantID {
	if device == steps.DeviceID(prefix+"c") && d >= int64(handover) {
		return steps.ParticipantID(prefix + "second")
	}
	return steps.ParticipantID(prefix + "first")
}

// add merges an upload whose samples are all acceptable but those above the limit, whose series is
// left out, and returns the verdict.
func (m model) add(prefix string, u *steps.Upload) (steps.Verdict, int) {
	cells, conflicts, faults, changed := 0, 0, 0, false
	for i := range u.Series {
		s := &u.Series[i]
		if slices.Contains(s.Counts, 9_999_999) {
			faults++
			continue
		}
		counts := s.Counts
		for s.Start+int64(len(counts)+1)*int64(s.Interval) <= s.WindowEnd {
			counts = append(slices.Clone(counts), 0)
		}
		for k, count := range counts {
			local := s.Start + int64(k)*int64(s.Interval) + 9*3600
			d := local / 86400
			c := modelCell{owner(prefix, u.Device, d), u.Device, d, local % 86400 / int64(s.Interval), s.Interval}
			v := modelValue{u.Revision, count, s.Origin}
			old, known := m[c]
			cells++
			if known && old.revision == v.revision && old.count != v.count {
				conflicts++
			}
			if !known || v.beats(old) {
				m[c], changed = v, true
			}
		}
	}
	switch {
	case cells > 0 && !changed && conflicts == 0:
		return steps.Duplicate, 0
	case cells == 0 && faults > 0:
		return quarantined, 0
	}
	return stored, conflicts
}

func (v modelValue) beats(old modelValue) bool {
	if c := v.revision.Compare(old.revision); c != 0 {
		return c > 0
	}
	if v.count != old.count {
		return v.count > old.count
	}
	return v.origin > old.origin
}

// totals merges each day's devices, in the order of their IDs, by the merge room's own explanation.
func (m model) totals() map[steps.ParticipantDay]uint64 {
	days := make(map[steps.ParticipantDay]map[steps.DeviceID]bool)
	for c := range m {
		pd := steps.ParticipantDay{Participant: c.participant, Day: steps.Day(c.day)}
		if days[pd] == nil {
			days[pd] = make(map[steps.DeviceID]bool)
		}
		days[pd][c.device] = true
	}
	merger, err := merge.New(sources())
	if err != nil {
		panic(err)
	}
	out := make(map[steps.ParticipantDay]uint64)
	for pd, devices := range days {
		d := merge.Day{Length: 1440}
		end, whole := 0, -1 // of what is shorter than the day; steps of what is not
		for _, device := range slices.Sorted(maps.Keys(devices)) {
			s := merge.Source{Device: device, Origins: []steps.Origin{0, 0, 1, 2}} // marks are origins plus one
			for _, interval := range []uint32{60, 900, 3600, 86400} {
				l := merge.Lane{Interval: interval}
				for i := range 86400 / int64(interval) {
					cell := modelCell{participant: pd.Participant, device: device, day: int64(pd.Day), interval: interval, index: i}
					v, known := m[cell]
					mark := uint16(0)
					if known {
						mark = uint16(v.origin) + 1
					}
					l.Counts, l.Marks = append(l.Counts, v.count), append(l.Marks, mark)
					switch {
					case known && interval == 86400:
						whole = max(whole, int(v.count))
					case known:
						end = max(end, int(i+1)*int(interval/60))
					}
				}
				s.Lanes = append(s.Lanes, l)
			}
			d.Sources = append(d.Sources, s)
		}
		if whole >= 0 && end > 0 {
			d.Elapsed = max(end, whole/60+1)
		}
		out[pd] = merger.Explain(&d).Steps
	}
	return out
}

// drawUpload makes an upload of the last week.
func drawUpload(t *rapid.T, prefix string) steps.Upload {
	u := steps.Upload{
		Device:   steps.DeviceID(prefix + rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "device")),
		Revision: steps.Revision{Boot: rapid.Uint32Range(0, 2).Draw(t, "boot"), Seq: rapid.Uint64Range(1, 6).Draw(t, "seq")},
		SentAt:   now, UTCOffset: 32400,
	}
	for range rapid.IntRange(0, 3).Draw(t, "series") {
		interval := rapid.SampledFrom([]uint32{60, 60, 60, 900, 3600, 86400}).Draw(t, "interval")
		cells := 86400 / int(interval)
		s := steps.Series{
			Interval: interval, Origin: steps.Origin(rapid.IntRange(0, 2).Draw(t, "origin")),
			Start: at("2026-11-15T00:00:00") + 86400*rapid.Int64Range(0, 5).Draw(t, "day") +
				int64(interval)*rapid.Int64Range(0, int64(cells-1)).Draw(t, "first"),
		}
		most := map[uint32]int{60: 90, 900: 30, 3600: 8, 86400: 2}[interval]
		s.Counts = rapid.SliceOfN(rapid.SampledFrom([]uint32{0, 0, 1, 60, 127, 128, 250}), 0, most).Draw(t, "counts")
		if rapid.IntRange(0, 9).Draw(t, "bad") == 0 {
			s.Counts = append(s.Counts, 9_999_999)
		}
		if rapid.Bool().Draw(t, "window") {
			s.WindowEnd = s.Start + int64(interval)*rapid.Int64Range(0, int64(most)).Draw(t, "window end")
		}
		u.Series = append(u.Series, s)
	}
	return u
}

// split sends some of an upload's series cut in two, in an upload each, under the same number.
func split(t *rapid.T, u steps.Upload) []steps.Upload {
	first, second := u, u
	first.Series, second.Series = nil, nil
	for _, s := range u.Series {
		n := rapid.IntRange(0, len(s.Counts)).Draw(t, "cut")
		if slices.Contains(s.Counts, 9_999_999) || s.WindowEnd != 0 && s.WindowEnd < s.Start+int64(n)*int64(s.Interval) {
			second.Series = append(second.Series, s)
			continue
		}
		head, tail := s, s
		head.Counts, head.WindowEnd = s.Counts[:n], 0
		tail.Counts, tail.Start = s.Counts[n:], s.Start+int64(n)*int64(s.Interval)
		first.Series, second.Series = append(first.Series, head), append(second.Series, tail)
	}
	return []steps.Upload{first, second}
}

// answer is what the model says of one payload's uploads.
type answer struct {
	verdict   steps.Verdict
	conflicts int
}

// TestUploadsAgainstModel sends random uploads, split, repeated and shuffled, in both encodings,
// alone or in bundles, and compares every verdict and every total with the model.
func TestUploadsAgainstModel(t *testing.T) {
	r := newStoreRig(t, "Asia/Tokyo", nil)
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		prefix := fmt.Sprintf("r%d-", round) // its own people in the one store
		for _, d := range []string{"a", "b", "c"} {
			device := steps.DeviceID(prefix + d)
			last := steps.DayRange{Until: handover - 1}
			r.dir.bind(device, owner(prefix, device, int64(handover)-1), last)
			r.dir.bind(device, owner(prefix, device, int64(handover)), steps.DayRange{From: handover})
		}
		truth := make(model)
		var sent []steps.Upload
		for range rapid.IntRange(1, 8).Draw(t, "uploads") {
			u := drawUpload(t, prefix)
			truth.add(prefix, &u)
			parts := []steps.Upload{u}
			if rapid.Bool().Draw(t, "split") {
				parts = split(t, u)
			}
			for range rapid.IntRange(1, 2).Draw(t, "times") {
				sent = append(sent, parts...)
			}
		}
		sent = rapid.Permutation(sent).Draw(t, "order")
		seen := submitAll(t, r, prefix, sent)
		if a, b := truth.totals(), seen.totals(); !maps.Equal(a, b) {
			t.Fatalf("the model depends on the order: %v, %v", a, b)
		}
		for pd, want := range truth.totals() {
			got, found, err := r.store.Total(pd)
			if err != nil || !found || got != want {
				t.Errorf("%v has %d steps (found: %t, %v); want %d", pd, got, found, err, want)
			}
		}
	})
}

// submitAll sends the uploads in order and compares the receipts; it returns the model of them.
func submitAll(t *rapid.T, r *rig, prefix string, sent []steps.Upload) model {
	seen := make(model)
	done := make(answers, len(sent))
	var want []answer
	var sizes []int
	for len(sent) > 0 {
		enc := rapid.SampledFrom(encodings).Draw(t, "encoding")
		n := 1
		var env *ingest.Envelope
		if rapid.Bool().Draw(t, "bundle") {
			n = rapid.IntRange(1, len(sent)).Draw(t, "size")
			env = r.carry(enc, native.AppendBundle(nil, sent[:n], enc))
		} else {
			alone := sent[0]
			alone.Device = ""
			env = r.envelope(sent[0].Device, enc, native.AppendUpload(nil, &alone, enc))
		}
		for i := range sent[:n] {
			v, conflicts := seen.add(prefix, &sent[i])
			want = append(want, answer{v, conflicts})
		}
		sent, sizes = sent[n:], append(sizes, n)
		if err := r.p.Submit(context.Background(), env, done); err != nil {
			t.Fatal(err)
		}
	}
	for payload, n := range sizes {
		out := <-done
		if out.err != nil || len(out.receipt.Uploads) != n {
			t.Fatalf("payload %d: %d answers, %v; want %d", payload, len(out.receipt.Uploads), out.err, n)
		}
		for i := range out.receipt.Uploads {
			u := &out.receipt.Uploads[i]
			if got := (answer{u.Verdict, u.Conflicts}); got != want[0] {
				t.Errorf("payload %d, upload %d of %s %v: %+v; want %+v", payload, i, u.Device, u.Revision, got, want[0])
			}
			want = want[1:]
		}
	}
	return seen
}
