package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"ayumi/steps"
)

// TestSmallerMemtable moves a store that was not stopped cleanly to a machine with smaller memtables.
// Its log does not fit into one of them, which ends the process inside Badger, so another
// process opens it.
func TestSmallerMemtable(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.MemTableBytes = 64 << 20
	r := start(t, cfg)
	want := map[steps.ParticipantDay]uint64{{Participant: "p", Day: day0}: 70}
	if err := r.append(payload(minutes("p", "d", 1, 0, 70))); err != nil {
		t.Fatal(err)
	}
	value := make([]byte, 256<<10)
	value[0] = lastRecord
	for i := range 40 << 20 / len(value) {
		if err := r.Table().Apply(context.Background(), []steps.Change{{Key: fmt.Sprint("k", i), Value: value}}); err != nil {
			t.Fatal(err)
		}
	}
	killed := r.image()
	for _, tc := range []struct {
		name   string
		record string // in place of the one that the store made
		whole  bool
	}{
		{"recorded", "67108864", true},
		{"made before it was recorded", "", true},
		{"a wrong record", "16777216", false}, // shows what the record is for
		{"an unreadable record", "64 MiB", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := image(t, killed)
			name := filepath.Join(dir, memtableFile)
			if text, err := os.ReadFile(name); err != nil || string(text) != "67108864" {
				t.Fatalf("the store recorded %q, %v", text, err)
			}
			err := os.Remove(name)
			if tc.record != "" {
				err = os.WriteFile(name, []byte(tc.record), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			for round := range 2 {
				if got := holds(t, dir, want, tc.name); got != tc.whole {
					t.Fatalf("start %d: opens and is whole: %t", round+1, got)
				}
			}
			if text, _ := os.ReadFile(name); tc.whole && string(text) != "16777216" {
				t.Errorf("afterwards %q is recorded; want the size it was opened with", text)
			}
		})
	}
}
