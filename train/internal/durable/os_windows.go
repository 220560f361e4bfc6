package durable

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// SyncDir does nothing: NTFS journals renames by itself.
func SyncDir(string) error { return nil }

func lockFile(f *os.File) error {
	var at windows.Overlapped
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrLocked
	}
	return err
}
