package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ayumi/protocol/native"
	"ayumi/steps"
	"ayumi/uplink"
)

// ownMounts, set in the environment, says that this test binary runs in a mount namespace of its own.
const ownMounts = "AYUMI_TEST_OWN_MOUNTS"

// inOwnMounts runs the calling test again in a mount namespace of its own, where it may mount what it
// likes and nothing is left over, and reports true there. It takes root, or user namespaces; where
// neither is to be had the test is skipped, but not in CI.
func inOwnMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(ownMounts) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // with whose end the child would be killed
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=30m") //nolint:gosec // a test
	cmd.Env = append(os.Environ(), ownMounts+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	err = cmd.Start()
	if errors.Is(err, syscall.EPERM) && os.Getenv("CI") == "" {
		t.Skipf("a mount namespace is not to be had: %v", err)
	}
	if err != nil {
		t.Fatalf("cannot start in a mount namespace: %v", err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		t.Log(lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("in its own mount namespace: %v", err)
	}
	return false
}

// disk is a small file system.
type disk struct {
	t    *testing.T
	dir  string
	kind string
}

// smallDisk mounts one, of a kind that this machine can mount.
func smallDisk(t *testing.T, kind string) *disk {
	t.Helper()
	d := &disk{t, filepath.Join(t.TempDir(), "disk"), kind}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if kind == "tmpfs" {
		mountTmpfs(t, d.dir)
		return d
	}
	if os.Geteuid() != 0 {
		t.Skip("only root mounts an image")
	}
	image := d.dir + ".image"
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 2<<30)); err != nil {
		t.Fatal(err)
	}
	if out, status := runTool(t, nil, tool(t, "mkfs.ext4"), "-q", "-m", "0", image); status != 0 {
		t.Fatal(out)
	}
	if out, status := runTool(t, nil, tool(t, "mount"), "-o", "loop", image, d.dir); status != 0 {
		t.Skipf("an image cannot be mounted here: %s", out)
	}
	unmountAfter(t, d.dir)
	return d
}

func mountTmpfs(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	unmountAfter(t, dir)
}

func unmountAfter(t *testing.T, dir string) {
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}

// space is what the disk has and what is left of it, in bytes.
func (d *disk) space() (whole, free int64) {
	d.t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil {
		d.t.Fatal(err)
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize //nolint:gosec // small
}

// leave makes so many bytes free: another file takes the rest, or the file system shrinks.
func (d *disk) leave(bytes int64) {
	d.t.Helper()
	if d.kind == "tmpfs" {
		whole, free := d.space()
		if err := unix.Mount("tmpfs", d.dir, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d", whole-free+bytes)); err != nil {
			d.t.Fatal(err)
		}
		return
	}
	f, err := os.Create(filepath.Join(d.dir, "somebody else's")) // empties it, too
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	_, free := d.space()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, max(free-max(bytes, 1<<20), 1)); err != nil { //nolint:gosec // a descriptor
		d.t.Fatal(err)
	}
	if bytes > 0 {
		return
	}
	block := make([]byte, 64<<10) // and the last ones
	for _, err = f.Seek(0, io.SeekEnd); len(block) > 0; _, err = f.Write(block) {
		if errors.Is(err, unix.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			d.t.Fatal(err)
		}
	}
}

// publish sends an upload of the fleet's first device and returns how its connection took it.
func (m *mixture) publish(t *testing.T) (err error) {
	t.Helper()
	device := &m.fleet.devices[0]
	conn, err := uplink.DialMQTT(t.Context(), uplink.MQTTConfig{
		Addr: m.send.MQTTAddr, TLS: m.send.MQTTTLS, Device: device.ID, Secret: device.Secret,
	})
	if err != nil {
		return err
	}
	outcome := make(chan error, 1)
	err = conn.Publish(t.Context(), uplink.UploadTopic(device.ID, steps.Protobuf),
		native.AppendUpload(nil, &device.Sendings[0].Upload, steps.Protobuf), func(reason byte, err error) {
			if err == nil && reason >= 0x80 {
				err = fmt.Errorf("PUBACK 0x%02X", reason)
			}
			outcome <- err
		})
	if err == nil {
		err = <-outcome
	}
	_ = conn.Close() // the gateway may have ended it
	return err
}

// diskTrial is a loaded gateway on a small disk.
type diskTrial struct {
	*testing.T
	d       *disk
	config  string
	uploads int64 // the free space that uploads need
	p       *process
	m       *mixture
	h       *uplink.HTTPS
	posted  []steps.QuarantineID // of large payloads that were acknowledged
	next    int
	lowest  int64 // free space
}

func newDiskTrial(t *testing.T, d *disk) *diskTrial {
	t.Helper()
	s := &diskTrial{T: t, d: d, config: writeConfig(t, lastingPorts(t), "  quarantine_per_device: 1000000\nprofile: small\n"+noAllowances)}
	cfg, err := loadConfig(s.config)
	if err != nil {
		t.Fatal(err)
	}
	sc := cfg.store("")
	uploads, _ := sc.Reserve()
	s.uploads = int64(uploads) //nolint:gosec // small
	d.leave(2 * s.uploads)
	s.p = serve(t, filepath.Join(d.dir, "data"), s.config)
	s.m = newMixture(t, s.p.dial(), 8, 14)
	s.h, err = uplink.NewHTTPS(uplink.HTTPSConfig{
		BaseURL: s.m.send.HTTPSURL, TLS: s.m.send.HTTPSTLS, Device: spoilerDevice, Secret: s.m.secret, Timeout: startWithin,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.h.Close() }) // frees idle connections only
	return s
}

// post sends a payload that is bad, and nearly as large as one may be, and reports whether it was
// acknowledged. Otherwise the answer must be 503, with a time to try again.
func (s *diskTrial) post() bool {
	s.Helper()
	payload := garbage(s.next, 1<<20-512)
	s.next++
	_, err := s.h.Post(s.Context(), payload, steps.Protobuf, false)
	if _, free := s.d.space(); free < s.lowest {
		s.lowest = free
	}
	if acknowledged(err) {
		s.posted = append(s.posted, steps.NewQuarantineID(spoilerDevice, payload))
		return true
	}
	var answer *uplink.Problem
	if after, ok := uplink.RetryAfter(err); !ok || after <= 0 || !errors.As(err, &answer) || answer.Status != http.StatusServiceUnavailable {
		s.Fatalf("%v; want an acknowledgement, or 503 with Retry-After", err)
	}
	return false
}

// fill uploads until room bytes are used up and uploads are refused.
func (s *diskTrial) fill(room int64) {
	s.Helper()
	s.d.leave(s.uploads + room)
	s.lowest = s.uploads
	ctx, cancel := context.WithCancel(s.Context())
	settle := s.m.load(ctx, s.T, s.p, 10, newFuse(1<<30))
	for s.post() {
		for s.post() {
		}
		s.quiet() // what Badger has written out leaves some room behind
	}
	cancel()
	settle()
	s.m.verify(s.T, s.p) // settles what the scripts were doing at the end
	if len(s.posted) < int(room>>21) {
		s.Errorf("uploads are refused after %d MiB; %d MiB were free for them", len(s.posted), room>>20)
	}
}

// refusesUploads wants uploads refused and everything else done.
func (s *diskTrial) refusesUploads() {
	s.Helper()
	for range 5 {
		if s.post() {
			s.Error("an upload is acknowledged on a full disk")
		}
		if err := s.m.publish(s.T); err == nil {
			s.Error("a PUBACK on a full disk")
		}
		s.operate(true)
	}
	s.readable()
}

// refusesEverything wants whatever writes refused, and reads answered.
func (s *diskTrial) refusesEverything() {
	s.Helper()
	for range 5 {
		if s.post() || s.m.publish(s.T) == nil {
			s.Error("an upload is acknowledged on a disk without a free block")
		}
		s.operate(false)
	}
	s.readable()
}

// operate has the office do its next thing.
func (s *diskTrial) operate(want bool) {
	s.Helper()
	s.m.office.doubt = true
	err := register(s.Context(), s.p.dial(), s.m.office.done)
	if err == nil {
		s.m.office.done++
		s.m.office.doubt = false
	}
	switch {
	case want && err != nil:
		s.Errorf("a change of the registry: %v", err)
	case !want && (steps.KindOf(err) != steps.Unavailable || !strings.Contains(err.Error(), "free some space")):
		s.Errorf("a change of the registry on a disk without a free block: %v", err)
	}
}

// changeable does the office's next thing if it can be done.
func (s *diskTrial) changeable() bool {
	err := register(s.Context(), s.p.dial(), s.m.office.done)
	if err == nil {
		s.m.office.done++
	}
	return err == nil
}

// readable reads back all that there is.
func (s *diskTrial) readable() {
	s.Helper()
	s.m.verify(s.T, s.p)
	c := s.p.dial()
	for _, id := range s.posted {
		if _, err := c.Quarantined(s.Context(), id); err != nil {
			s.Fatal(err)
		}
	}
}

// accepts waits until the gateway has noticed that there is room, which it looks for once a second.
func (s *diskTrial) accepts(what string, try func() bool) {
	s.Helper()
	late := time.After(startWithin)
	for tick := time.Tick(100 * time.Millisecond); !try(); {
		select {
		case <-tick:
		case <-s.p.exited:
			s.Fatalf("the gateway ended: %v", s.p.waitErr)
		case <-late:
			s.Fatalf("%s are refused although there is room", what)
		}
	}
}

// quiet waits until Badger is not writing out a memtable or merging, which somebody who takes the last
// block would turn into a SIGBUS.
func (s *diskTrial) quiet() {
	s.Helper()
	files := func() (names []string) {
		for _, glob := range []string{"*.mem", "*.sst"} {
			found, _ := filepath.Glob(filepath.Join(s.p.dir, "store", glob)) // the pattern is good
			names = append(names, found...)
		}
		return names
	}
	was, since := files(), time.Now()
	s.accepts("tables", func() bool {
		if now := files(); !slices.Equal(now, was) {
			was, since = now, time.Now()
		}
		return time.Since(since) > 2*time.Second
	})
}

// TestSmallDisk fills a disk by uploads, then to the last block as somebody else would, and empties it
// again. The gateway refuses what it cannot keep and goes on; it neither loses what it acknowledged
// nor falls to SIGBUS.
func TestSmallDisk(t *testing.T) {
	if os.Getenv(ownMounts) == "" {
		t.Parallel()
	}
	if !inOwnMounts(t) {
		return
	}
	for _, kind := range []string{"tmpfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			room := int64(24 << 20)
			if os.Getenv("AYUMI_CRASH_ROUNDS") != "" {
				room = 400 << 20 // so that Badger merges, too
			}
			s := newDiskTrial(t, smallDisk(t, kind))
			s.fill(room)
			s.refusesUploads()
			t.Logf("%d MiB were acknowledged; uploads are refused below %d MiB; at least %d MiB were free", len(s.posted), s.uploads>>20, s.lowest>>20)
			s.quiet()
			s.d.leave(0)
			s.refusesEverything()
			s.d.leave(s.uploads - 8<<20)
			s.accepts("changes", s.changeable)
			s.refusesUploads()
			s.d.leave(2 * s.uploads)
			s.accepts("uploads", s.post)
			if err := s.m.publish(t); err != nil {
				t.Errorf("an upload by MQTT when there is room again: %v", err)
			}
			s.restart()
			s.readable()
			s.m.finish(t, s.p)
		})
	}
}

// restart kills the gateway on a disk without a free block, where it says why it does not start
// again, and starts it when there is room.
func (s *diskTrial) restart() {
	s.Helper()
	s.quiet()
	s.d.leave(0)
	s.p.kill()
	p := spawn(s.T, s.p.dir, s.config)
	<-p.exited
	var status *exec.ExitError
	if !errors.As(p.waitErr, &status) || status.ExitCode() != 1 || !strings.Contains(p.errs.String(), "free some space") {
		s.Errorf("on a disk without a free block the gateway ends with %v\n%s", p.waitErr, p.errs)
	}
	s.d.leave(2 * s.uploads)
	s.p = serve(s.T, s.p.dir, s.config)
}

// TestJournalDisk gives the journal a disk of its own and fills that, which nobody looks after: the
// kernel takes half a record and then no more.
func TestJournalDisk(t *testing.T) {
	if !inOwnMounts(t) {
		return
	}
	dir := filepath.Join(t.TempDir(), "data")
	config := writeConfig(t, lastingPorts(t), "  quarantine_per_device: 1000000\n"+noAllowances)
	p := serve(t, dir, config)
	m := newMixture(t, p.dial(), 8, 14)
	p.signal()
	p.stopsWithin(stopLimit())
	d := &disk{t, filepath.Join(dir, "store", "journal"), "tmpfs"}
	mountTmpfs(t, d.dir)
	d.leave(64 << 10)
	p = serve(t, dir, config)
	m.loadUntilEnd(t, p)
	if log := p.errs.String(); !strings.Contains(log, "no space left on device") {
		t.Errorf("the gateway does not say why:\n%s", log)
	}
	d.leave(64 << 20)
	soundStore(t, dir)
	p = serve(t, dir, config)
	m.verify(t, p)
	m.finish(t, p)
}
