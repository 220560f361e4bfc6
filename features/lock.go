package features

import (
	"errors"
	"os"
	"path/filepath"

	"sdnn/internal/disk"
)

// lockStore makes the caller the only writer of the store in dir until unlock. The lock is the kernel's, so it dies with its
// holder; whoever gets it may take everything unfinished in dir for a dead writer's. The error is disk.ErrLocked if there is a holder.
func lockStore(dir string) (unlock func() error, err error) {
	path := filepath.Join(dir, lockName)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
		if err != nil {
			return nil, err
		}
		if err := disk.Lock(f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		// The last holder removes the file: if it did so between our open and our lock, we have locked a file that nobody else
		// will find.
		here, err1 := f.Stat()
		there, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(here, there) {
			return func() error { return unlockFile(f) }, nil
		}
		if err := errors.Join(err1, ignoreMissing(err2), f.Close()); err != nil {
			return nil, err
		}
	}
}
