package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"ayumi/steps"
)

const (
	// SocketName is the socket's file name in the data directory.
	SocketName = "admin.sock"
	// maxSocketPath is what sun_path holds without its final zero: 103 bytes on the BSDs and macOS,
	// 107 on Linux (unix(7)).
	maxSocketPath = 103
	socketMode    = 0o600
	probeWait     = 2 * time.Second
)

// withSocketPath calls fn with a path of dir/name that fits into a socket address. A path that is
// too long goes through /proc/self/fd, which names the open directory in a few bytes.
func withSocketPath[T any](dir, name string, fn func(path string) (T, error)) (T, error) {
	path := filepath.Join(dir, name)
	if len(path) <= maxSocketPath {
		return fn(path)
	}
	var none T
	d, err := os.Open(dir)
	if err != nil {
		return none, err
	}
	defer d.Close()
	via := fmt.Sprintf("/proc/self/fd/%d", d.Fd())
	if _, err := os.Stat(via); err != nil {
		return none, fmt.Errorf("its path has %d bytes and a socket's takes %d; use a shorter --data-dir, or a symbolic link to it",
			len(path), maxSocketPath)
	}
	return fn(via + "/" + name)
}

// listen creates the socket. It is bound in a directory that nobody else may enter and moved to its
// place when its mode is set, so there is no moment in which others could connect; moving it also
// replaces what a killed gateway left behind.
func listen(dir string) (net.Listener, fs.FileInfo, error) {
	const op = "open " + SocketName
	if err := probe(dir); err != nil {
		return nil, nil, steps.E(op, steps.KindOf(err), err)
	}
	private, err := os.MkdirTemp(dir, ".admin-")
	if err != nil {
		return nil, nil, steps.E(op, steps.Unavailable, err)
	}
	defer os.RemoveAll(private)
	l, err := withSocketPath(private, "s", func(path string) (*net.UnixListener, error) {
		return net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	})
	if err != nil {
		return nil, nil, steps.E(op, steps.Unavailable, err)
	}
	l.SetUnlinkOnClose(false) // it would unlink the name that it was bound to
	info, err := place(filepath.Join(private, "s"), filepath.Join(dir, SocketName))
	if err != nil {
		return nil, nil, steps.E(op, steps.Unavailable, errors.Join(err, l.Close()))
	}
	return l, info, nil
}

// place gives the socket its mode and its name.
func place(from, to string) (fs.FileInfo, error) {
	if err := os.Chmod(from, socketMode); err != nil {
		return nil, err
	}
	if err := os.Rename(from, to); err != nil {
		return nil, err
	}
	return os.Lstat(to)
}

// probe refuses if a gateway answers on the socket, or if what is there is no socket. Two gateways
// that start in the same moment are told apart by the lock of the store.
func probe(dir string) error {
	info, err := os.Lstat(filepath.Join(dir, SocketName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return steps.E("look for a running gateway", steps.Unavailable, err)
	case info.Mode().Type() != fs.ModeSocket:
		return steps.Errorf("look for a running gateway", steps.Conflict,
			"%q is there and is no socket; move it away", filepath.Join(dir, SocketName))
	}
	c, err := dial(dir)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil // left behind, or gone meanwhile
	case err != nil:
		return steps.E("look for a running gateway", steps.Unavailable, err)
	}
	_ = c.Close() // it has answered, that is all
	return steps.Errorf("look for a running gateway", steps.Conflict,
		"another gateway runs on %q; stop it first, or use another --data-dir", dir)
}

func dial(dir string) (net.Conn, error) {
	return withSocketPath(dir, SocketName, func(path string) (net.Conn, error) {
		return net.DialTimeout("unix", path, probeWait)
	})
}

// unlink removes the socket unless another gateway has taken its place.
func unlink(dir string, ours fs.FileInfo) error {
	path := filepath.Join(dir, SocketName)
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(info, ours) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Remove(path)
}
