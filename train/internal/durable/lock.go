package durable

import (
	"errors"
	"os"

	"sdnn/internal/disk"
)

// Lock takes the lock that the file at path stands for, until unlock or the
// end of the process, or returns disk.ErrLocked. The file stays: removing it would let two processes hold
// locks on two files of one name.
func Lock(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	if err := disk.Lock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}
