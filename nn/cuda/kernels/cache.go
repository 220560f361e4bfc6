package kernels

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"sdnn/nn/cuda/driver"
)

// CacheDir is where compiled kernels are kept: sdnn/cuda in the user's cache
// folder, "" if there is none.
func CacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "sdnn", "cuda")
}

// load brings a source's machine code onto the card. Code from the cache that
// the card refuses is compiled anew.
func load(card driver.Card, cache string, src Source) (driver.Module, error) {
	path := ""
	if cache != "" {
		path = filepath.Join(cache, cacheName(card.Info(), src))
		if code, ok := readCached(path); ok {
			if m, err := card.Load(code); err == nil {
				return m, nil
			}
		}
	}
	code, log, err := card.Compile(src.Name, src.Text)
	if err != nil {
		return 0, &CompileError{src.Name, log, err}
	}
	m, err := card.Load(code)
	if err != nil {
		return 0, fmt.Errorf("loading the kernels of %s: %w", src.Name, err)
	}
	if path != "" {
		// Without a cache the next start compiles again: slower, not wrong.
		_ = writeCached(path, code)
	}
	return m, nil
}

// cacheName is the file of a source's code: the source's name to read, and a
// hash of all that the code depends on.
func cacheName(info driver.Info, src Source) string {
	h := sha256.New()
	fmt.Fprintf(h, "sm_%d%d nvrtc %d\n%s", info.Major, info.Minor, info.Libraries["nvrtc"], src.Text)
	return fmt.Sprintf("%s-sm%d%d-%s", src.Name, info.Major, info.Minor, hex.EncodeToString(h.Sum(nil)[:12]))
}

// A cached file is the SHA-256 of the code, then the code.

// readCached returns the code of a file; false if it is missing or damaged.
func readCached(path string) ([]byte, bool) {
	b, err := os.ReadFile(path)
	if err != nil || len(b) <= sha256.Size {
		return nil, false
	}
	sum := sha256.Sum256(b[sha256.Size:])
	return b[sha256.Size:], bytes.Equal(sum[:], b[:sha256.Size])
}

// writeCached writes a file in one step: who reads it sees all or nothing.
func writeCached(path string, code []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	sum := sha256.Sum256(code)
	_, err = f.Write(append(sum[:], code...))
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
