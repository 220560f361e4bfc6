package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// SyncDir does nothing: NTFS journals its folders and has no call to flush one.
func SyncDir(string) error { return nil }

// Lock takes an exclusive lock on f that ends with the process or f's closing, or returns ErrLocked.
func Lock(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return ErrLocked
	}
	return err
}

// Full reports whether an error of writing says that there is no room.
func Full(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}
