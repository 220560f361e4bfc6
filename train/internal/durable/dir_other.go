//go:build !unix

package durable

// SyncDir does nothing: only Unix lets a folder be synced, and NTFS journals
// renames by itself.
func SyncDir(string) error { return nil }
