//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly || windows)

package features

import (
	"io"
	"os"
)

// mapFile reads the file where there is no mapping: correct, but the store must fit in memory.
func mapFile(f *os.File, size int) ([]byte, error) {
	data := make([]byte, size)
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, err
	}
	return data, nil
}

func unmapFile([]byte) error      { return nil }
func willNeed([]byte, int, int)   {}
func unlockFile(f *os.File) error { return f.Close() }
