package admin

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ayumi/steps"
)

func TestSocketMode(t *testing.T) {
	b := start(t, t.TempDir(), nil)
	info, err := os.Stat(filepath.Join(b.dir, SocketName))
	must(t, err)
	if info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %s", info.Mode())
	}
	entries, err := os.ReadDir(b.dir)
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("%v are in the data directory", entries)
	}
	b.stop()
	if _, err := os.Stat(filepath.Join(b.dir, SocketName)); !os.IsNotExist(err) {
		t.Errorf("after the end: %v", err)
	}
	_, err = b.c.Status(context.Background())
	wantError(t, err, steps.Unavailable, fmt.Sprintf("cannot reach the gateway: no admin.sock in %q", b.dir))
}

func TestDialWithoutGateway(t *testing.T) {
	dir := t.TempDir()
	_, err := Dial(dir)
	want := fmt.Sprintf("cannot reach the gateway: no admin.sock in %q; is ayumi serve running with --data-dir %s?", dir, dir)
	if err == nil || err.Error() != want || steps.KindOf(err) != steps.Unavailable {
		t.Errorf("%v, want %s", err, want)
	}
	_, err = Dial(filepath.Join(dir, "missing"))
	wantError(t, err, steps.Unavailable, "no admin.sock in")
}

// leave makes the socket file of a gateway that was killed.
func leave(t *testing.T, dir string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(dir, SocketName)})
	must(t, err)
	l.SetUnlinkOnClose(false)
	must(t, l.Close())
}

func TestStaleSocket(t *testing.T) {
	dir := t.TempDir()
	leave(t, dir)
	_, err := Dial(dir)
	wantError(t, err, steps.Unavailable, "is left over from a gateway that was killed")
	b := start(t, dir, nil)
	_, err = b.c.Status(context.Background())
	must(t, err)
}

func TestSecondGateway(t *testing.T) {
	b := start(t, t.TempDir(), nil)
	_, err := New(Config{DataDir: b.dir, Calendar: tokyo(t)}, Deps{})
	wantError(t, err, steps.Conflict, "another gateway runs on")
	_, err = b.c.Status(context.Background())
	must(t, err)
}

func TestSocketThatIsNone(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, SocketName), []byte("notes"), 0o600))
	_, err := New(Config{DataDir: dir}, Deps{})
	wantError(t, err, steps.Conflict, "is no socket; move it away")
	_, err = New(Config{DataDir: filepath.Join(dir, "missing")}, Deps{})
	wantError(t, err, steps.Unavailable, "missing")
}

func TestCloseLeavesASuccessorAlone(t *testing.T) {
	dir := t.TempDir()
	first, err := New(Config{DataDir: dir}, Deps{})
	must(t, err)
	must(t, os.Remove(filepath.Join(dir, SocketName)))
	leave(t, dir)
	must(t, first.Close())
	if _, err := os.Lstat(filepath.Join(dir, SocketName)); err != nil {
		t.Errorf("the successor's socket is gone: %v", err)
	}
}

func TestLongDataDir(t *testing.T) {
	dir := t.TempDir()
	for len(dir) < 300 {
		dir = filepath.Join(dir, strings.Repeat("d", 60))
	}
	must(t, os.MkdirAll(dir, 0o700))
	b := start(t, dir, nil)
	st, err := b.c.Status(context.Background())
	must(t, err)
	if st.DataDir != dir {
		t.Errorf("status %+v", st)
	}
	_, err = New(Config{DataDir: dir}, Deps{})
	wantError(t, err, steps.Conflict, "another gateway runs on")
	b.stop()
	_, err = Dial(dir)
	wantError(t, err, steps.Unavailable, "no admin.sock in")
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s, err := New(Config{DataDir: t.TempDir()}, Deps{})
	must(t, err)
	must(t, s.Run(ctx))
	must(t, s.Close())
}

// TestShutdownDuringAListing ends the server while a client is in the middle of a stream.
func TestShutdownDuringAListing(t *testing.T) {
	b := start(t, t.TempDir(), nil)
	entered := make(chan struct{})
	b.settle = func(ctx context.Context) error {
		close(entered)
		<-ctx.Done()
		return steps.E("settle", steps.Unavailable, ctx.Err())
	}
	got := make(chan error, 1)
	go func() {
		got <- b.c.EachDay(context.Background(), steps.DayRange{}, "", func(steps.Award) error { return nil })
	}()
	<-entered
	b.stop()
	wantError(t, <-got, steps.Unavailable, "")
}

// endless streams days until it is told to stop.
type endless struct {
	*house
	stopped chan error
}

func (e endless) EachDay(_ context.Context, _ steps.DayRange, _ steps.ParticipantID, fn func(steps.Award) error) error {
	for {
		if err := fn(award("p1", today, 1)); err != nil {
			e.stopped <- err
			return err
		}
	}
}

func TestClientThatDoesNotReadIsCutOff(t *testing.T) {
	e := endless{stopped: make(chan error, 1)}
	b := start(t, t.TempDir(), func(c *Config, d *Deps) {
		c.WriteWait = 20 * time.Millisecond
		e.house = d.Days.(*house)
		d.Days = e
	})
	conn, err := net.Dial("unix", filepath.Join(b.dir, SocketName))
	must(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("GET /v1/days HTTP/1.1\r\nHost: admin\r\n\r\n"))
	must(t, err)
	wantError(t, <-e.stopped, steps.Unavailable, "the client has left or does not read")
	_, err = b.c.Status(context.Background())
	must(t, err)
}
