package pki

import (
	"crypto/rand"
	"crypto/tls"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"ayumi/steps"
)

// Bundle is a server certificate in use.
type Bundle struct {
	// CAFile is the certificate authority's file for clients to trust; empty for configured files.
	CAFile string
	// TLS serves the current certificate by GetCertificate, with TLS 1.2 as the least version. It
	// names no application protocols, so that every listener can add its own to a Clone.
	TLS *tls.Config

	current atomic.Pointer[tls.Certificate]
	mu      sync.Mutex // one Reload at a time
	load    func() (*tls.Certificate, error)
}

func newBundle(caFile string, load func() (*tls.Certificate, error)) (*Bundle, error) {
	b := &Bundle{CAFile: caFile, load: load}
	b.TLS = &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return b.current.Load(), nil },
	}
	if err := b.Reload(); err != nil {
		return nil, err
	}
	return b, nil
}

// NotAfter returns when the certificate in use expires.
func (b *Bundle) NotAfter() time.Time { return b.current.Load().Leaf.NotAfter }

// Reload reads the files again, renewing an own certificate that is due, and uses the result for new
// connections. After an error the certificate in use stays.
func (b *Bundle) Reload() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	cert, err := b.load()
	if err != nil {
		return err
	}
	b.current.Store(cert)
	return nil
}

// Load returns the server certificate of the own CA in dir, making what is absent. hosts are the DNS
// names and IP addresses under which clients reach the server; localhost, 127.0.0.1 and ::1 are
// always added, unspecified addresses are left out. The certificate is made anew when it expires
// within 30 days or is for other hosts.
//
// A nil clock is time.Now, a nil rand crypto/rand.Reader. Errors are Invalid and name the remedy.
func Load(dir string, hosts []string, clock func() time.Time, random io.Reader) (*Bundle, error) {
	if clock == nil {
		clock = time.Now
	}
	if random == nil {
		random = rand.Reader
	}
	names, err := parseHosts(hosts)
	if err != nil {
		return nil, err
	}
	a := &authority{dir: dir, names: names, now: clock, random: random}
	return newBundle(a.path(caCert), a.load)
}

// LoadFiles returns a configured certificate. certFile holds the chain, the server's certificate
// first; keyFile its key, which others must not be able to read (its group may).
func LoadFiles(certFile, keyFile string) (*Bundle, error) {
	return newBundle("", func() (*tls.Certificate, error) {
		const op = "load certificate"
		if err := checkMode(keyFile, 0o007, "chmod o-rwx"); err != nil {
			return nil, err
		}
		cert, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, steps.Errorf(op, steps.Invalid, "%q with key %q: %w", certFile, keyFile, err)
		}
		if now := time.Now(); now.After(cert.Leaf.NotAfter) {
			return nil, steps.Errorf(op, steps.Invalid, "%q expired on %s; put a renewed certificate there",
				certFile, cert.Leaf.NotAfter.UTC().Format(time.DateOnly))
		}
		return &cert, nil
	})
}
