package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestDiskErrors has the kernel answer a call of a loaded gateway with an error, from a random one
// on. The gateway must end with a failure, and everything that it had acknowledged must be there when
// it is started again, whatever the failed call left on the disk.
func TestDiskErrors(t *testing.T) {
	t.Parallel()
	const journal = "store/journal/0000000000000001.log"
	for _, tc := range []struct {
		name   string
		file   string // that the calls are about; any when empty
		trace  string
		inject string
		most   int  // the failing call of a thread, at most
		undo   bool // the disk has lost what was not synced
	}{
		{"sync of the journal", journal, "write,fdatasync", "fdatasync:error=EIO", 12, false},
		{"sync of the journal, and its data is gone", journal, "write,fdatasync", "fdatasync:error=EIO", 12, true},
		{"write of the journal", journal, "write", "write:error=EIO", 12, false},
		{"no space for the journal", journal, "write", "write:error=ENOSPC", 12, false},
		{"sync of Badger's log", "", "msync", "msync:error=EIO", 16, false},
		{"write of the watermark", "store/watermark", "pwrite64", "pwrite64:error=EIO", 12, false},
		{"sync of the watermark", "store/watermark", "fdatasync", "fdatasync:error=EIO", 1, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			strace := tool(t, "strace")
			dir, rng := filepath.Join(t.TempDir(), "data"), dice(t)
			config := writeConfig(t, lastingPorts(t), "  quarantine_per_device: 1000000\n"+noAllowances)
			p := serve(t, dir, config)
			m := newMixture(t, p.dial(), 8, 14)
			p.signal()
			p.stopsWithin(stopLimit())

			log := filepath.Join(t.TempDir(), "calls")
			under := []string{
				strace, "--follow-forks", "--seccomp-bpf", "--quiet=all", "--string-limit=0", "--signal=none", "--output=" + log,
				"--trace=" + tc.trace, fmt.Sprintf("--inject=%s:when=%d+", tc.inject, tc.most-rng.IntN((tc.most+1)/2)),
			}
			if tc.file != "" {
				under = append(under, "--trace-path="+filepath.Join(dir, tc.file))
			}
			p = serve(t, dir, config, under...)
			m.loadUntilEnd(t, p)
			injected(t, log)
			if tc.undo {
				undo(t, filepath.Join(dir, tc.file), log)
			}
			soundStore(t, dir)
			p = serve(t, dir, config)
			m.verify(t, p)
			m.finish(t, p)
		})
	}
}

// loadUntilEnd loads a gateway that is about to fail, and wants it to say so.
func (m *mixture) loadUntilEnd(t *testing.T, p *process) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startWithin)
	defer cancel()
	lit := newFuse(1 << 30)
	settle := m.load(ctx, t, p, 1<<30, lit)
	select {
	case <-p.exited:
	case <-ctx.Done():
		t.Errorf("the gateway goes on")
		p.kill()
	}
	cancel()
	settle()
	var status *exec.ExitError
	if !errors.As(p.waitErr, &status) || status.ExitCode() != 1 {
		t.Errorf("the gateway ended with %v; want status 1", p.waitErr)
	}
	if !strings.Contains(p.errs.String(), "commit failed; nothing is acknowledged any more") {
		t.Errorf("the gateway does not say that a commit failed:\n%s", p.errs)
	}
	t.Logf("failed after %d acknowledgements", 1<<30-lit.left.Load())
}

// injected wants at least one call to have failed.
func injected(t *testing.T, log string) {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(text), "(INJECTED)") {
		t.Fatalf("no call failed: %v\n%s", err, text)
	}
}

// undo cuts a file back to what was synced before a sync failed. A kernel drops the pages that it
// could not write, and lets later syncs succeed.
func undo(t *testing.T, name, log string) {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	written, synced, failed := int64(0), int64(0), false
	for _, m := range regexp.MustCompile(`(write|fdatasync)(?:\(| resumed>).* = (-?\d+)`).FindAllStringSubmatch(string(text), -1) {
		n, _ := strconv.ParseInt(m[2], 10, 64) // digits
		switch {
		case m[1] == "write":
			written += n
		case failed:
		case n == 0:
			synced = written
		default:
			failed = true
		}
	}
	info, err := os.Stat(name)
	if err != nil || info.Size() != written || !failed {
		t.Fatalf("%v: the trace shows %d bytes written, %d of them synced; the file has %d", err, written, synced, info.Size())
	}
	if err := os.Truncate(name, synced); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d of %d bytes are lost", written-synced, written)
}
