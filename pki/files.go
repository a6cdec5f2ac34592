package pki

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ayumi/steps"
)

// PEM block types (RFC 7468).
const (
	pemCert = "CERTIFICATE"
	pemKey  = "PRIVATE KEY"
)

// readCert reads the first certificate of a PEM file. An absent file is fs.ErrNotExist.
func readCert(path string) (*x509.Certificate, error) {
	der, err := readPEM(path, pemCert)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, steps.Errorf("read certificate", steps.Invalid, "%q: %w; restore it from the backup", path, err)
	}
	return cert, nil
}

// readKey reads a key that only its owner may read. An absent file is fs.ErrNotExist.
func readKey(path string) (crypto.Signer, error) {
	if err := checkMode(path, 0o077, "chmod 600"); err != nil {
		return nil, err
	}
	der, err := readPEM(path, pemKey)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, steps.Errorf("read key", steps.Invalid, "%q: %w; restore it from the backup", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, steps.Errorf("read key", steps.Invalid, "%q cannot sign; use an ECDSA, Ed25519 or RSA key", path)
	}
	return signer, nil
}

// checkMode refuses a key file with any of the forbidden permission bits.
func checkMode(path string, forbidden fs.FileMode, remedy string) error {
	info, err := os.Stat(path)
	if err != nil {
		return steps.E("read key", steps.Invalid, err)
	}
	if mode := info.Mode().Perm(); mode&forbidden != 0 {
		return steps.Errorf("read key", steps.Invalid, "%q has mode %04o, so others can read it; run: %s %s", path, mode, remedy, path)
	}
	return nil
}

func readPEM(path, kind string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, steps.E("read PEM file", steps.Invalid, err)
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == kind {
			return block.Bytes, nil
		}
	}
	return nil, steps.Errorf("read PEM file", steps.Invalid, "%q holds no %s block; restore it from the backup", path, kind)
}

// writePEM makes path appear with its whole content and survive a power loss.
func writePEM(path, kind string, der []byte, mode fs.FileMode) error {
	if err := replaceFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		return steps.Errorf("write PEM file", steps.Invalid, "%w; give a directory that can be written", err)
	}
	return nil
}

func replaceFile(path string, content []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	temp := filepath.Join(dir, "."+filepath.Base(path)+".new") // one name, so that crashes leave no heap of keys
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return syncDir(dir)
}

// makeDir makes dir and lets its own entry survive a power loss.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot open directory: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
