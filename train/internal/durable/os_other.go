//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly || windows)

package durable

import "os"

// SyncDir does nothing where folders cannot be synced.
func SyncDir(string) error { return nil }

// lockFile locks nothing: the system has no lock that ends with the process.
func lockFile(*os.File) error { return nil }
