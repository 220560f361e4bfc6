//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package features

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mapFile maps the first size bytes of f for reading.
func mapFile(f *os.File, size int) ([]byte, error) {
	data, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping %s: %w", f.Name(), err)
	}
	return data, nil
}

func unmapFile(data []byte) error { return unix.Munmap(data) }

// willNeed asks the system to read data[from:to] of a mapping ahead. It is a hint: errors do not matter.
func willNeed(data []byte, from, to int) {
	from -= from % os.Getpagesize()
	_ = unix.Madvise(data[from:to:to], unix.MADV_WILLNEED)
}

// unlockFile removes the lock file before the lock goes, so that nobody can lock a file that is about to vanish unseen: see lockStore.
func unlockFile(f *os.File) error {
	return errors.Join(os.Remove(f.Name()), f.Close())
}
