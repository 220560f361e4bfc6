package features

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sdnn/internal/disk"
)

// fileSystem is what writing and recovery do to the disk. Tests put one in its place that fails, or stops for good, at any step.
type fileSystem interface {
	Create(path string) (storeFile, error) // truncates
	Rename(from, to string) error          // replaces
	Remove(path string) error
	SyncDir(dir string) error // makes creations, renames and removals in dir durable
}

type storeFile interface {
	Write(p []byte) (int, error)
	Sync() error
	Close() error
}

type osFS struct{}

func (osFS) Create(path string) (storeFile, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }
func (osFS) Remove(path string) error     { return os.Remove(path) }
func (osFS) SyncDir(dir string) error     { return disk.SyncDir(dir) }

// writeFile writes data under a temporary name, makes it durable and moves it to path. The move is not durable before SyncDir.
func writeFile(fsys fileSystem, path string, data []byte) error {
	part := path + partSuffix
	f, err := fsys.Create(part)
	if err != nil {
		return writeError(part, 0, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = fsys.Rename(part, path)
	}
	if err != nil {
		return errors.Join(writeError(path, 0, err), ignoreMissing(fsys.Remove(part)))
	}
	return nil
}

// openToRead opens a file of a store that is only read; the error says what to do where the user has no right to.
func openToRead(path string) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w; check who may read the files of the store", err)
	}
	return f, err
}

// WriteError says that a file of a store could not be written. The store is as it was.
type WriteError struct {
	File   string
	Offset int64 // bytes written before
	Err    error
}

func (e *WriteError) Error() string {
	hint := "the store is as it was"
	switch {
	case disk.Full(e.Err):
		hint = "free some space or write to another disk; the store is as it was"
	case errors.Is(e.Err, fs.ErrPermission):
		hint = "check who may write to the folder; the store is as it was"
	}
	return fmt.Sprintf("%s: writing at offset %d: %v; %s", e.File, e.Offset, disk.Cause(e.Err), hint)
}

func (e *WriteError) Unwrap() error { return e.Err }

func writeError(file string, offset int64, err error) error {
	return &WriteError{File: file, Offset: offset, Err: err}
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func fileExists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// leftovers lists the files in dir that only a writer at work, or one that died, can own.
func leftovers(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var paths []string
	for _, e := range entries {
		if partPattern.MatchString(e.Name()) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths
}
