package store

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"ayumi/steps"
)

// auth authenticates values. Badger verifies no checksum when it reads, and a value that is whole
// may still stand under the wrong key. So values and journal records end in a tag: the first 16 bytes
// of HMAC-SHA256 (RFC 2104) over the length of the key, the key and the value. Without one are the
// quarantine, whose IDs are hashes of its bytes, and the few numbers of the meta table.
type auth struct{ macs sync.Pool }

const (
	tagBytes = 16
	keyFile  = "key"
	keyBytes = 32
)

// errTag says that a value is not what was written under its key.
var errTag = errors.New("its authentication tag does not hold")

func newAuth(key []byte) *auth {
	a := new(auth)
	a.macs.New = func() any { return hmac.New(sha256.New, key) }
	return a
}

// openAuth reads the store's key, or makes one for a store that is new.
func openAuth(dir string, fresh bool) (*auth, error) {
	path := filepath.Join(dir, keyFile)
	key, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && fresh:
		key = make([]byte, keyBytes)
		if _, err := io.ReadFull(rand.Reader, key); err != nil {
			return nil, err
		}
		if err := writeSynced(path, key); err != nil {
			return nil, err
		}
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s is missing, without which no value can be trusted; restore it from the backup", path)
	case err != nil:
		return nil, err
	case len(key) != keyBytes:
		return nil, fmt.Errorf("%s has %d bytes, not %d; restore it from the backup", path, len(key), keyBytes)
	}
	return newAuth(key), nil
}

// writeSynced writes a small file that is on disk, name and all, when it returns.
func writeSynced(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// seal appends the tag of value under key.
func (a *auth) seal(key, value []byte) []byte {
	tag := a.tag(key, value)
	return append(value, tag[:]...)
}

// sealFrom appends to b the tag of the value that begins at start.
func (a *auth) sealFrom(key, b []byte, start int) []byte {
	tag := a.tag(key, b[start:])
	return append(b, tag[:]...)
}

// tag authenticates value under key.
func (a *auth) tag(key, value []byte) (tag [tagBytes]byte) {
	mac := a.macs.Get().(hash.Hash)
	defer a.macs.Put(mac)
	var n [4]byte
	binary.LittleEndian.PutUint32(n[:], uint32(len(key)))
	mac.Reset()
	mac.Write(n[:])
	mac.Write(key)
	mac.Write(value)
	var sum [sha256.Size]byte
	copy(tag[:], mac.Sum(sum[:0]))
	return tag
}

// open verifies a value that was stored under key and returns it without the tag.
func (a *auth) open(key, value []byte) ([]byte, error) {
	if len(value) < tagBytes {
		return nil, errTag
	}
	body, tag := value[:len(value)-tagBytes], value[len(value)-tagBytes:]
	if want := a.tag(key, body); !hmac.Equal(want[:], tag) {
		return nil, errTag
	}
	return body, nil
}

// CorruptionError says that a value in the store does not mean what it must.
type CorruptionError struct {
	Table string // such as "day block"
	Key   string // readable
	Err   error
}

// Error names the value.
func (e *CorruptionError) Error() string {
	return fmt.Sprintf("%s %s: %v; restore it from a backup", e.Table, e.Key, e.Err)
}

// Unwrap returns the cause.
func (e *CorruptionError) Unwrap() error { return e.Err }

func corrupt(table, key string, err error) error {
	return steps.E("read "+table, steps.Internal, &CorruptionError{table, key, err})
}
