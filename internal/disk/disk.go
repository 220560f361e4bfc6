// Package disk owns what stores and runs both need of a file system and each
// system does in its own way: folders made durable, locks that die with their
// holder, disks that are full.
package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrLocked says that another process holds a lock.
var ErrLocked = errors.New("locked by another process")

// NotFolder returns the file, path itself or one above it, because of which
// there is no folder at path and none can be made; "" if there is none.
func NotFolder(path string) string {
	for {
		info, err := os.Stat(path)
		up := filepath.Dir(path)
		switch {
		case err == nil && !info.IsDir():
			return path
		case err == nil || up == path:
			return ""
		}
		path = up
	}
}

// Cause is an error of the file system without its paths, for a message that
// says what matters of them already.
func Cause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	if le, ok := errors.AsType[*os.LinkError](err); ok {
		return le.Err
	}
	return err
}
