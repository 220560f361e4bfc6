//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly || windows)

package disk

import "os"

// SyncDir does nothing where folders cannot be synced.
func SyncDir(string) error { return nil }

// Lock locks nothing: the system has no lock that ends with the process, and one writer at a time is the user's care.
func Lock(*os.File) error { return nil }

// Full does not know.
func Full(error) bool { return false }
