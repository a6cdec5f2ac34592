package pki

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ayumi/steps"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

func mustLoad(t *testing.T, dir string, now time.Time, hosts ...string) *Bundle {
	t.Helper()
	b, err := Load(dir, hosts, at(now), rand.Reader)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return b
}

func leaf(b *Bundle) *x509.Certificate { return b.current.Load().Leaf }

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFirstStartMakesTheFourFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "pki")
	b := mustLoad(t, dir, start, "ayumi.example", "192.0.2.7", "0.0.0.0", "", "[2001:db8::1]", "Ayumi.Example.")

	if b.CAFile != filepath.Join(dir, "ca.pem") {
		t.Errorf("CAFile = %q", b.CAFile)
	}
	for name, mode := range map[string]fs.FileMode{".": fs.ModeDir | 0o700, "ca.key": 0o600, "server.key": 0o600, "ca.pem": 0o644, "server.pem": 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != mode {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), mode)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 4 {
		t.Errorf("directory holds %v, want the four files alone", entries)
	}
	ca, err := readCert(b.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	if !ca.IsCA || ca.MaxPathLen != 0 || !ca.MaxPathLenZero || ca.NotAfter.Sub(start) < 3650*day || ca.KeyUsage&x509.KeyUsageCertSign == 0 {
		t.Errorf("CA: IsCA %v, MaxPathLen %d, NotAfter %v, KeyUsage %b", ca.IsCA, ca.MaxPathLen, ca.NotAfter, ca.KeyUsage)
	}
	cert := leaf(b)
	if got := cert.NotAfter.Sub(cert.NotBefore); got != serverValidity {
		t.Errorf("server certificate is valid for %v, want %v", got, serverValidity)
	}
	if !b.NotAfter().Equal(cert.NotAfter) {
		t.Errorf("NotAfter = %v, want %v", b.NotAfter(), cert.NotAfter)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	for _, host := range []string{"ayumi.example", "192.0.2.7", "2001:db8::1", "localhost", "127.0.0.1", "::1"} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: start}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if cert.VerifyHostname("0.0.0.0") == nil {
		t.Error("the certificate names the unspecified address")
	}
}

func TestLaterStartsKeepWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	first := mustLoad(t, dir, start, "a.example", "b.example")
	second := mustLoad(t, dir, start.Add(300*day), "b.example", "a.example")
	if !leaf(first).Equal(leaf(second)) {
		t.Error("a second start with the same hosts made a new certificate")
	}
}

func TestRenewal(t *testing.T) {
	for _, c := range []struct {
		name  string
		now   time.Time
		hosts []string
		renew bool
	}{
		{"31 days before", start.Add(serverValidity - backdate - 31*day), []string{"a.example"}, false},
		{"29 days before", start.Add(serverValidity - backdate - 29*day), []string{"a.example"}, true},
		{"expired", start.Add(serverValidity + day), []string{"a.example"}, true},
		{"another host", start, []string{"a.example", "b.example"}, true},
		{"a host less", start, nil, true},
		{"an address more", start, []string{"a.example", "192.0.2.7"}, true},
		{"clock set back by half an hour", start.Add(-backdate / 2), []string{"a.example"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			first := mustLoad(t, dir, start, "a.example")
			keys := append(read(t, dir, "ca.key"), read(t, dir, "server.key")...)
			ca := read(t, dir, "ca.pem")
			second := mustLoad(t, dir, c.now, c.hosts...)
			if renewed := !leaf(first).Equal(leaf(second)); renewed != c.renew {
				t.Errorf("renewed = %v, want %v", renewed, c.renew)
			}
			if leaf(second).NotAfter.Before(c.now) || leaf(second).NotBefore.After(c.now) {
				t.Errorf("valid from %v to %v at %v", leaf(second).NotBefore, leaf(second).NotAfter, c.now)
			}
			if !bytes.Equal(keys, append(read(t, dir, "ca.key"), read(t, dir, "server.key")...)) || !bytes.Equal(ca, read(t, dir, "ca.pem")) {
				t.Error("a key or the CA changed")
			}
		})
	}
}

func TestServerCertificateEndsWithTheCA(t *testing.T) {
	dir := t.TempDir()
	mustLoad(t, dir, start)
	ca, err := readCert(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	late := mustLoad(t, dir, ca.NotAfter.Add(-10*day))
	if !late.NotAfter().Equal(ca.NotAfter) {
		t.Errorf("NotAfter = %v, want the CA's %v", late.NotAfter(), ca.NotAfter)
	}
	again := mustLoad(t, dir, ca.NotAfter.Add(-9*day))
	if !leaf(late).Equal(leaf(again)) {
		t.Error("renewed although nothing longer can be issued")
	}
}

// TestPowerLossOnFirstStart cuts the order of writing off at every place.
func TestPowerLossOnFirstStart(t *testing.T) {
	order := []string{caKey, caCert, serverKey, serverCert}
	for n := range len(order) + 1 {
		t.Run(strings.Join(order[:n], ","), func(t *testing.T) {
			dir := t.TempDir()
			mustLoad(t, dir, start)
			kept := map[string][]byte{}
			for i, name := range order {
				if i < n {
					kept[name] = read(t, dir, name)
				} else if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, ".server.key.new"), []byte("torn"), 0o600); err != nil {
				t.Fatal(err)
			}
			mustLoad(t, dir, start)
			for name, want := range kept {
				if !bytes.Equal(read(t, dir, name), want) {
					t.Errorf("%s changed", name)
				}
			}
			mustLoad(t, dir, start)
		})
	}
}

type damage func(t *testing.T, dir string)

func remove(names ...string) damage {
	return func(t *testing.T, dir string) {
		for _, n := range names {
			if err := os.Remove(filepath.Join(dir, n)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// foreign puts another directory's files in the place of ours.
func foreign(names ...string) damage {
	return func(t *testing.T, dir string) {
		other := t.TempDir()
		mustLoad(t, other, start)
		for _, n := range names {
			write(n, string(read(t, other, n)))(t, dir)
		}
	}
}

func write(name, content string) damage {
	return func(t *testing.T, dir string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func chmod(name string, mode fs.FileMode) damage {
	return func(t *testing.T, dir string) {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRefusals(t *testing.T) {
	nothing := func(*testing.T, string) {}
	for _, c := range []struct {
		name   string
		damage damage
		now    time.Time
		want   []string // all of them in the error
	}{
		{"CA key missing", remove(caKey), start, []string{"ca.pem", "ca.key", "missing", "restore"}},
		{"CA certificate missing", remove(caCert), start, []string{"server.key", "ca.pem", "missing"}},
		{"server key missing", remove(serverKey), start, []string{"server.pem", "server.key", "missing"}},
		{"CA missing", remove(caKey, caCert), start, []string{"server.key", "ca.key", "missing"}},
		{"foreign CA key", foreign(caKey), start, []string{"ca.key", "is not the key of", "ca.pem"}},
		{"foreign CA", foreign(caKey, caCert), start, []string{"server.pem", "was not issued by", "remove"}},
		{"foreign server key", foreign(serverKey), start, []string{"server.key", "is not the key of", "remove both"}},
		{"foreign server certificate", foreign(serverKey, serverCert), start, []string{"was not issued by"}},
		{"CA key readable by the group", chmod(caKey, 0o640), start, []string{"ca.key", "0640", "chmod 600"}},
		{"server key readable by all", chmod(serverKey, 0o604), start, []string{"server.key", "0604", "chmod 600"}},
		{"CA expired", nothing, start.AddDate(10, 0, 1), []string{"ca.pem", "expired on 2036-11-23", "aside"}},
		{"clock before the CA", nothing, start.AddDate(-1, 0, 0), []string{"2025-11-23", "set the clock"}},
		{"CA certificate torn", write(caCert, "-----BEGIN CERT"), start, []string{"ca.pem", "no CERTIFICATE block"}},
		{"server key torn", write(serverKey, ""), start, []string{"server.key", "no PRIVATE KEY block"}},
		{"server key is none", write(serverKey, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), start, []string{"server.key", "restore"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			mustLoad(t, dir, start, "a.example")
			c.damage(t, dir)
			before := snapshot(t, dir)
			b, err := Load(dir, []string{"a.example"}, at(c.now), rand.Reader)
			if err == nil {
				t.Fatalf("Load = %v, want an error", b)
			}
			if steps.KindOf(err) != steps.Invalid {
				t.Errorf("kind = %v, want invalid", steps.KindOf(err))
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
			if after := snapshot(t, dir); after != before {
				t.Error("a refused directory was changed")
			}
		})
	}
}

func snapshot(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	for _, e := range entries {
		s.WriteString(e.Name() + "\n")
		s.Write(read(t, dir, e.Name()))
	}
	return s.String()
}

func TestClockThatWasNeverSet(t *testing.T) {
	dir := t.TempDir()
	_, err := Load(dir, nil, at(time.Unix(1000, 0)), rand.Reader)
	if err == nil || !strings.Contains(err.Error(), "set it first") {
		t.Errorf("err = %v, want one about the clock", err)
	}
}

func TestHosts(t *testing.T) {
	for _, c := range []struct {
		host string
		ok   bool
	}{
		{"ayumi.example", true}, {"*.example", true}, {"host_1", true}, {"1.example", true},
		{"::ffff:192.0.2.1", true}, {"[::1]", true}, {" a.example ", true},
		{"a.example:8443", false}, {"https://a.example", false}, {"歩み.example", false}, {"a..b", false},
		{"-a.example", false}, {"fe80::1%eth0", false}, {"*", false}, {"a b", false},
		{strings.Repeat("a", 64) + ".example", false},
	} {
		t.Run(c.host, func(t *testing.T) {
			if _, err := parseHosts([]string{c.host}); (err == nil) != c.ok {
				t.Errorf("err = %v, want ok = %v", err, c.ok)
			}
		})
	}
}

func TestUnwritableDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(filepath.Join(file, "pki"), nil, at(start), rand.Reader); err == nil {
		t.Error("Load made a directory below a file")
	}
}

func TestLoadFiles(t *testing.T) {
	dir := t.TempDir()
	mustLoad(t, dir, time.Now(), "a.example")
	cert, key := filepath.Join(dir, serverCert), filepath.Join(dir, serverKey)
	if err := os.Chmod(key, 0o640); err != nil {
		t.Fatal(err)
	}
	b, err := LoadFiles(cert, key)
	if err != nil {
		t.Fatalf("LoadFiles: %v", err)
	}
	if b.CAFile != "" || b.NotAfter().IsZero() {
		t.Errorf("CAFile = %q, NotAfter = %v", b.CAFile, b.NotAfter())
	}
	if _, err := LoadFiles(cert, filepath.Join(dir, caKey)); err == nil || !strings.Contains(err.Error(), caKey) {
		t.Errorf("a foreign key: err = %v, want one naming it", err)
	}
	if _, err := LoadFiles(filepath.Join(dir, "absent.pem"), key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent certificate: err = %v", err)
	}
	if err := os.Chmod(key, 0o604); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadFiles(cert, key); err == nil || !strings.Contains(err.Error(), "chmod o-rwx") {
		t.Errorf("a key others can read: err = %v, want the remedy", err)
	}
	if err := b.Reload(); err == nil {
		t.Error("Reload accepted a key others can read")
	}
	if b.NotAfter().IsZero() {
		t.Error("a failed Reload dropped the certificate in use")
	}
}

func TestLoadFilesExpired(t *testing.T) {
	dir := t.TempDir()
	mustLoad(t, dir, time.Date(2025, 1, 2, 0, 0, 0, 0, time.UTC))
	expired, err := readCert(filepath.Join(dir, serverCert))
	if err != nil {
		t.Fatal(err)
	}
	if time.Now().Before(expired.NotAfter) {
		t.Skip("the clock is before 2026-02-03")
	}
	if _, err := LoadFiles(filepath.Join(dir, serverCert), filepath.Join(dir, serverKey)); err == nil || !strings.Contains(err.Error(), "expired on") {
		t.Errorf("err = %v, want one that says it expired", err)
	}
}

// TestReloadWithoutRestart renews under a running listener, with handshakes going on.
func TestReloadWithoutRestart(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	now := start
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	b, err := Load(dir, nil, clock, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(read(t, dir, caCert))
	handshake := func() *x509.Certificate {
		client, server := net.Pipe()
		defer client.Close()
		defer server.Close()
		done := make(chan error, 1)
		go func() { done <- tls.Server(server, b.TLS).Handshake() }()
		c := tls.Client(client, &tls.Config{RootCAs: pool, ServerName: "localhost", Time: clock})
		if err := c.Handshake(); err != nil {
			t.Errorf("handshake: %v", err)
			return nil
		}
		if err := <-done; err != nil {
			t.Errorf("server's handshake: %v", err)
		}
		if v := c.ConnectionState().Version; v != tls.VersionTLS13 {
			t.Errorf("version %x, want TLS 1.3", v)
		}
		return c.ConnectionState().PeerCertificates[0]
	}
	before := handshake()
	mu.Lock()
	now = start.Add(serverValidity - 10*day)
	mu.Unlock()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { handshake() })
	}
	if err := b.Reload(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	after := handshake()
	if before.Equal(after) {
		t.Error("the listener still shows the old certificate")
	}
	if !b.NotAfter().Equal(after.NotAfter) {
		t.Errorf("NotAfter = %v, want %v", b.NotAfter(), after.NotAfter)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	b := mustLoad(t, t.TempDir(), start)
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	done := make(chan error, 1)
	go func() { done <- tls.Server(server, b.TLS).Handshake(); server.Close() }()
	c := tls.Client(client, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if c.Handshake() == nil {
		t.Error("TLS 1.1 was accepted")
	}
	if <-done == nil {
		t.Error("the server accepted TLS 1.1")
	}
}
