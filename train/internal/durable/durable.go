// Package durable replaces files whole: a reader, or a program that starts
// after a crash, sees the old content or the new, never a part.
//
//	write NAME.part ─ fsync ─ rename to NAME ─ fsync of the folder
package durable

import (
	"fmt"
	"os"
	"path/filepath"

	"sdnn/internal/disk"
)

// Suffix is what a file under construction has behind its name. A file with
// it that was left by a crash is overwritten by the next Write.
const Suffix = ".part"

// Write replaces the file at path by what fill writes. If fill or anything
// else fails, the old file stays and the new one is removed.
func Write(path string, fill func(f *os.File) error) (err error) {
	part := path + Suffix
	f, err := os.Create(part)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(part)
		}
	}()
	if err = fill(f); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err = f.Sync(); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err = f.Close(); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err = os.Rename(part, path); err != nil {
		return err
	}
	return disk.SyncDir(filepath.Dir(path))
}

// WriteBytes replaces the file at path by data.
func WriteBytes(path string, data []byte) error {
	return Write(path, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	})
}
