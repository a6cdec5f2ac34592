package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"ayumi/steps"
)

// The files, in the order in which they are written.
const (
	caKey      = "ca.key"
	caCert     = "ca.pem"
	serverKey  = "server.key"
	serverCert = "server.pem"
)

const (
	day            = 24 * time.Hour
	serverValidity = 397 * day
	renewBefore    = 30 * day
	backdate       = time.Hour // for clients whose clocks are slow
	caYears        = 10
)

// authority is the CA in a directory.
type authority struct {
	dir    string
	names  sans
	now    func() time.Time
	random io.Reader
}

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

// load makes what is absent, checks what is there, and returns the server certificate.
func (a *authority) load() (*tls.Certificate, error) {
	if err := makeDir(a.dir); err != nil {
		return nil, steps.Errorf("make directory", steps.Invalid, "%w; give a directory that can be written", err)
	}
	if err := a.checkComplete(); err != nil {
		return nil, err
	}
	ca, err := a.loadCA()
	if err != nil {
		return nil, err
	}
	key, err := a.loadKey(serverKey)
	if err != nil {
		return nil, err
	}
	cert, err := a.loadServer(ca, key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, nil
}

// checkComplete refuses a set of files that is not a beginning of the order of writing.
func (a *authority) checkComplete() error {
	missing := ""
	for _, name := range []string{caKey, caCert, serverKey, serverCert} {
		_, err := os.Stat(a.path(name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if missing == "" {
				missing = name
			}
		case err != nil:
			return steps.Errorf("load certificates", steps.Invalid, "%w", err)
		case missing != "":
			return steps.Errorf("load certificates", steps.Invalid,
				"%q is there but %q is missing; restore it from the backup, or move %q aside to have the missing ones made anew",
				a.path(name), a.path(missing), a.path(name))
		}
	}
	return nil
}

// loadCA reads the CA, or makes it. Only the making of the CA depends on a clock nobody checked yet.
func (a *authority) loadCA() (pair, error) {
	const op = "load certificate authority"
	key, err := a.loadKey(caKey)
	if err != nil {
		return pair{}, err
	}
	cert, err := readCert(a.path(caCert))
	if errors.Is(err, fs.ErrNotExist) {
		cert, err = a.makeCA(key)
	}
	if err != nil {
		return pair{}, err
	}
	now := a.now()
	switch {
	case !samePublicKey(cert, key):
		return pair{}, steps.Errorf(op, steps.Invalid, "%q is not the key of %q; restore both from the same backup", a.path(caKey), a.path(caCert))
	case !cert.IsCA:
		return pair{}, steps.Errorf(op, steps.Invalid, "%q is not a CA's certificate; restore it from the backup", a.path(caCert))
	case now.After(cert.NotAfter):
		return pair{}, steps.Errorf(op, steps.Invalid, "%q expired on %s; move the four files in %q aside to have a new CA made, and hand the new %s to every device",
			a.path(caCert), cert.NotAfter.UTC().Format(time.DateOnly), a.dir, caCert)
	case now.Before(cert.NotBefore):
		return pair{}, steps.Errorf(op, steps.Invalid, "%q is valid from %s but the clock says %s; set the clock",
			a.path(caCert), cert.NotBefore.UTC().Format(time.DateOnly), now.UTC().Format(time.DateOnly))
	}
	return pair{cert, key}, nil
}

func (a *authority) makeCA(key crypto.Signer) (*x509.Certificate, error) {
	now := a.now()
	if now.Year() < 2025 {
		return nil, steps.Errorf("make certificate authority", steps.Invalid, "the clock says %s; set it first", now.UTC().Format(time.DateOnly))
	}
	serial, err := a.serial()
	if err != nil {
		return nil, err
	}
	return a.issue(caCert, &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"Ayumi"}, CommonName: "Ayumi CA " + hex.EncodeToString(serial.Bytes()[:4])},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.AddDate(caYears, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}, nil, key, key)
}

// loadServer reads the server's certificate, or makes it when it is absent or due.
func (a *authority) loadServer(ca pair, key crypto.Signer) (*x509.Certificate, error) {
	const op = "load server certificate"
	cert, err := readCert(a.path(serverCert))
	if errors.Is(err, fs.ErrNotExist) {
		return a.makeServer(ca, key)
	}
	if err != nil {
		return nil, err
	}
	if !samePublicKey(cert, key) {
		return nil, steps.Errorf(op, steps.Invalid, "%q is not the key of %q; remove both to have them made anew", a.path(serverKey), a.path(serverCert))
	}
	if err := cert.CheckSignatureFrom(ca.cert); err != nil {
		return nil, steps.Errorf(op, steps.Invalid, "%q was not issued by %q: %w; remove %q to have it made anew",
			a.path(serverCert), a.path(caCert), err, a.path(serverCert))
	}
	if a.due(cert, ca.cert) {
		return a.makeServer(ca, key)
	}
	return cert, nil
}

// due reports whether a new certificate would be better: for other hosts, valid already, or longer.
func (a *authority) due(cert, ca *x509.Certificate) bool {
	now := a.now()
	return now.Before(cert.NotBefore) || !a.names.match(cert) ||
		cert.NotAfter.Before(ca.NotAfter) && now.After(cert.NotAfter.Add(-renewBefore))
}

func (a *authority) makeServer(ca pair, key crypto.Signer) (*x509.Certificate, error) {
	serial, err := a.serial()
	if err != nil {
		return nil, err
	}
	from := a.now().Add(-backdate)
	if from.Before(ca.cert.NotBefore) {
		from = ca.cert.NotBefore
	}
	until := from.Add(serverValidity)
	if until.After(ca.cert.NotAfter) {
		until = ca.cert.NotAfter
	}
	return a.issue(serverCert, &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"Ayumi"}, CommonName: a.names.commonName()},
		NotBefore:             from,
		NotAfter:              until,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              a.names.dns,
		IPAddresses:           a.names.ips,
	}, ca.cert, key, ca.key)
}

// issue signs template for key's owner, writes it to name, and returns it. A nil parent is template
// itself.
func (a *authority) issue(name string, template, parent *x509.Certificate, key, signer crypto.Signer) (*x509.Certificate, error) {
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(a.random, template, parent, key.Public(), signer)
	if err != nil {
		return nil, steps.Errorf("sign certificate", steps.Internal, "%q: %w", a.path(name), err)
	}
	if err := writePEM(a.path(name), pemCert, der, 0o644); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// loadKey reads a key, or makes it.
func (a *authority) loadKey(name string) (crypto.Signer, error) {
	path := a.path(name)
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	fresh, err := ecdsa.GenerateKey(elliptic.P256(), a.random)
	if err != nil {
		return nil, steps.E("make key", steps.Internal, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(fresh)
	if err != nil {
		return nil, steps.E("encode key", steps.Internal, err)
	}
	return fresh, writePEM(path, pemKey, der, 0o600)
}

// serial returns 127 random bits, the highest of them set: positive, unpredictable and never short
// (RFC 5280 section 4.1.2.2).
func (a *authority) serial() (*big.Int, error) {
	b := make([]byte, 16)
	if _, err := io.ReadFull(a.random, b); err != nil {
		return nil, steps.E("draw serial number", steps.Internal, err)
	}
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b), nil
}

func samePublicKey(cert *x509.Certificate, key crypto.Signer) bool {
	pub, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(key.Public())
}
