package store

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"pgregory.net/rapid"

	"ayumi/steps"
)

// drawPage draws any page there can be.
func drawPage(t *rapid.T) page {
	kinds := []steps.EntryKind{steps.EntryAward, steps.EntryAdjustment, steps.EntryCarried, steps.EntryCorrection}
	sets := []string{"", "x@1", "x@2", "another@2026-04-01"}
	p := page{parts: steps.Parts(rapid.StringN(0, 5, -1).Draw(t, "parts")),
		steps: rapid.Uint64().Draw(t, "steps"), points: steps.Points(rapid.Int64().Draw(t, "points")),
		ruleSet: rapid.SampledFrom(sets).Draw(t, "rule set")}
	for range rapid.IntRange(0, 5).Draw(t, "lines") {
		l := pageLine{kind: rapid.SampledFrom(kinds).Draw(t, "kind"), at: rapid.Int64Range(0, 1<<40).Draw(t, "at"),
			delta: steps.Points(rapid.Int64().Draw(t, "delta"))}
		if l.scored() {
			l.steps, l.ruleSet = rapid.Uint64().Draw(t, "from"), rapid.SampledFrom(sets).Draw(t, "by")
		} else {
			l.number = rapid.Uint64().Draw(t, "number")
		}
		p.lines = append(p.lines, l)
	}
	return p
}

func samePage(a, b *page) bool {
	return a.steps == b.steps && a.points == b.points && a.ruleSet == b.ruleSet && a.parts == b.parts && slices.Equal(a.lines, b.lines)
}

// TestSheetRoundTrip encodes and decodes sheets with one codec, which must not confuse one with another.
func TestSheetRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var codec sheetCodec
		for range 3 {
			ids := rapid.SliceOfNDistinct(rapid.StringN(1, 12, -1), 0, 40, rapid.ID).Draw(t, "participants")
			slices.Sort(ids)
			var pages []sheetPage
			for _, id := range ids {
				pages = append(pages, sheetPage{steps.ParticipantID(id), drawPage(t)})
			}
			body := new(sheetCodec).append(nil, pages)
			back, err := codec.parse(body)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.EqualFunc(back, pages, func(a, b sheetPage) bool {
				return a.participant == b.participant && samePage(&a.page, &b.page)
			}) {
				t.Fatalf("%+v became %+v", pages, back)
			}
			if again := codec.append(nil, back); !bytes.Equal(again, body) {
				t.Fatalf("%x, decoded and encoded: %x", body, again)
			}
		}
	})
}

func FuzzParseSheet(f *testing.F) {
	p := page{steps: 5000, points: 5, ruleSet: "x@1", parts: "a", lines: []pageLine{
		{kind: steps.EntryCarried, at: 9, delta: 3, number: 2},
		{kind: steps.EntryAdjustment, at: 99, delta: 1, steps: 4000, ruleSet: "x@0"},
		{kind: steps.EntryCorrection, at: 999, delta: 1, number: 7},
	}}
	f.Add(new(sheetCodec).append(nil, []sheetPage{{"p", p}, {"p2", page{}}, {"q", p}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		pages, err := new(sheetCodec).parse(b)
		if err != nil {
			return
		}
		again, err := new(sheetCodec).parse(new(sheetCodec).append(nil, pages))
		if err != nil || len(again) != len(pages) {
			t.Fatalf("%d pages became %d, %v", len(pages), len(again), err)
		}
		for i := range pages {
			if again[i].participant != pages[i].participant || !samePage(&again[i].page, &pages[i].page) {
				t.Fatalf("%+v became %+v", pages[i], again[i])
			}
		}
	})
}

// TestSheetEditor edits pages of a few days in passes over random participants, which pause at random, as
// PutAwards does between its transactions, and compares the table with a map after each.
func TestSheetEditor(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 3))
		s := memoryStore(t)
		model := make(map[steps.ParticipantDay]uint64)
		people := 1 + rng.IntN(600)
		for pass := range 12 {
			editPass(t, s, rng, model, people)
			compareSheets(t, s, model, fmt.Sprintf("seed %d, pass %d", seed, pass))
		}
	}
}

// memoryStore is as much of a store as its tables need.
func memoryStore(t *testing.T) *Store {
	t.Helper()
	db, err := badger.Open(badger.DefaultOptions("").WithInMemory(true).WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Store{db: db, auth: newAuth([]byte("a key"))}
}

// editPass gives some days new steps, in parts none of which sees what the others wrote.
func editPass(t *testing.T, s *Store, rng *rand.Rand, model map[steps.ParticipantDay]uint64, people int) {
	t.Helper()
	chosen := make(map[steps.ParticipantDay]uint64)
	for range 1 + rng.IntN(2*people) {
		chosen[steps.ParticipantDay{Participant: many(rng.IntN(people)), Day: day0 + steps.Day(rng.IntN(3))}] = rng.Uint64N(1 << 20)
	}
	written := make(map[string][]byte)
	var codec sheetCodec
	e := sheetEditor{cursor: &sheetCursor{s: s}, set: func(key []byte, pages []sheetPage) {
		if n := len(pages); n == 0 || n > sheetPages {
			t.Fatalf("a sheet of %d pages", n)
		}
		written[string(key)] = s.auth.seal(key, codec.append(nil, pages))
	}}
	err := s.db.View(func(txn *badger.Txn) error {
		e.cursor.begin(txn)
		defer func() { e.cursor.close() }()
		for _, pd := range slices.SortedFunc(maps.Keys(chosen), compareDays) {
			p, found, err := e.page(pd, true)
			if _, known := model[pd]; err != nil || found != known {
				t.Fatalf("%s: found %t, want %t; %v", nameOf(pd), found, known, err)
			}
			switch {
			case found && p.steps != model[pd]:
				t.Fatalf("%s has %d steps, want %d", nameOf(pd), p.steps, model[pd])
			case !found && rng.IntN(4) == 0:
				e.drop()
			case !found || rng.IntN(4) > 0:
				p.steps, model[pd] = chosen[pd], chosen[pd]
				e.keep()
			}
			if rng.IntN(10) == 0 {
				e.pause()
				e.cursor.close()
				e.cursor.begin(txn)
			}
		}
		e.finish()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.db.Update(func(txn *badger.Txn) error {
		for key, value := range written {
			if err := txn.Set([]byte(key), value); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// compareSheets walks over all pages, and looks each up.
func compareSheets(t *testing.T, s *Store, model map[steps.ParticipantDay]uint64, where string) {
	t.Helper()
	err := s.db.View(func(txn *badger.Txn) error {
		walk, look := s.newSheetCursor(txn), s.newSheetCursor(txn)
		defer walk.close()
		defer look.close()
		if err := walk.walk(day0, ""); err != nil {
			return err
		}
		for _, pd := range slices.SortedFunc(maps.Keys(model), compareDays) {
			day, at, more, err := walk.peek()
			if err != nil || !more || day != pd.Day || at.participant != pd.Participant || at.steps != model[pd] {
				t.Fatalf("%s: the walk comes to %v of %s, want %s with %d; %v", where, at, day, nameOf(pd), model[pd], err)
			}
			walk.step()
			absent := steps.ParticipantDay{Participant: pd.Participant[:len(pd.Participant)-1], Day: pd.Day}
			if p, found, err := look.find(absent); err != nil || found {
				t.Fatalf("%s: %s is %v, %v; want none", where, nameOf(absent), p, err)
			}
			if p, found, err := look.find(pd); err != nil || !found || p.steps != model[pd] {
				t.Fatalf("%s: %s is %v, %v; want %d", where, nameOf(pd), p, err, model[pd])
			}
		}
		if _, at, more, err := walk.peek(); more || err != nil {
			t.Fatalf("%s: the walk goes on to %v, %v", where, at, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(cmp.Or(err, fmt.Errorf("%s", where)))
	}
}
