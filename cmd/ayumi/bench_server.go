package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// served is a gateway in a process of its own, so that its processor time and memory can be told
// from the generator's.
type served struct {
	root   string // temporary; everything is below
	dir    string // the gateway's data
	config string
	cmd    *exec.Cmd
	errs   bytes.Buffer // what the gateway says when it fails
	rest   sync.WaitGroup
}

// startServer runs this program's serve on free ports of the loopback and waits until it is ready.
func startServer(ctx context.Context, window, mqttConns, httpsConns int) (s *served, err error) {
	s = new(served)
	if s.root, err = os.MkdirTemp("", "ayumi-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(s.root))
		}
	}()
	s.dir = filepath.Join(s.root, "data")
	s.config = filepath.Join(s.root, "config.yaml")
	// No allowances: a connection here does the work of a town.
	text := fmt.Sprintf("mqtt: {listen: 127.0.0.1:0, listen_tls: 127.0.0.1:0, receive_maximum: %d, max_connections: %d}\n"+
		"https: {listen: 127.0.0.1:0, max_connections: %d, max_in_flight: %d}\nmetrics: {listen: 127.0.0.1:0}\nlog: {level: warn}\n"+
		"limits: {device_rate: 0, reader_rate: 0}\n",
		max(window, 64), mqttConns+16, httpsConns+16, max(httpsConns, 1024))
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return s, s.start(ctx)
}

// start runs the gateway and waits for its banner: its sockets are open then.
func (s *served) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	s.cmd = exec.Command(self, "serve", "--config", s.config, "--data-dir", s.dir)
	s.cmd.Stderr = &s.errs
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	ready := make(chan error, 1)
	s.rest.Go(func() {
		br := bufio.NewReader(out)
		line, err := br.ReadString('\n')
		if err == nil && !strings.Contains(line, "ready") {
			err = fmt.Errorf("it said %q", line)
		}
		ready <- err
		_, _ = io.Copy(io.Discard, br) // so that it never waits for a reader
	})
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = s.cmd.Process.Kill()
		s.rest.Wait()
		return fmt.Errorf("cannot start a gateway: %w", errors.Join(err, s.cmd.Wait(), s.said()))
	}
	return nil
}

func (s *served) pid() int { return s.cmd.Process.Pid }

// said is what the gateway reported.
func (s *served) said() error {
	if text := strings.TrimSpace(s.errs.String()); text != "" {
		return errors.New(text)
	}
	return nil
}

// serverStop is how long the gateway may take to end. Its own bound is below that.
const serverStop = 20 * time.Second

// restart begins anew with what is on disk, so that memory which the registrations took and left
// does not hide what comes.
func (s *served) restart(ctx context.Context) error {
	if err := s.end(); err != nil {
		return err
	}
	return s.start(ctx)
}

// stop ends the gateway and removes its data.
func (s *served) stop() error { return errors.Join(s.end(), os.RemoveAll(s.root)) }

func (s *served) end() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may be gone already, as Wait will tell
	kill := time.AfterFunc(serverStop, func() { _ = s.cmd.Process.Kill() })
	defer kill.Stop()
	s.rest.Wait()
	err := s.cmd.Wait()
	if err != nil {
		return fmt.Errorf("the gateway failed: %w", errors.Join(err, s.said()))
	}
	return nil
}
