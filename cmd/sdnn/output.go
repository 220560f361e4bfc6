package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"sdnn/eval"
	"sdnn/internal/disk"
)

// checkFolder says what stands in the way of a folder that a verb is to write, before it does any work.
func checkFolder(flag, path string) error {
	switch file := disk.NotFolder(path); file {
	case "":
		return nil
	case path:
		return usagef("%s %s: it is a file, a folder is expected; give another one, or remove the file", flag, path)
	default:
		return usagef("%s %s: %s is a file, so that there can be no folder in it; give another folder", flag, path, file)
	}
}

// outputKind is a kind of file that a verb writes for good. A file that is there already is replaced only if it is of the kind.
type outputKind struct {
	what string                  // "a file of predictions"
	is   func(start []byte) bool // by how a file starts
}

var (
	predictionsOutput = outputKind{"a file of predictions", eval.StartsPredictions}
	confusionOutput   = outputKind{"a confusion matrix", eval.StartsConfusion}
)

// checkFile says what stands in the way of a file that a verb writes at its end: also a file of others, which would be lost. What is
// no regular file, a terminal or a pipe, loses nothing.
func checkFile(flag, path string, kind outputKind) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return usagef("%s %s: it is a folder, a file is expected; name a file in it", flag, path)
	case err == nil && info.Mode().IsRegular() && info.Size() > 0:
		return kind.check(flag, path)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return usagef("%s %s: its folder is not there; make it first", flag, path)
	}
	return nil
}

// check refuses to replace the file at path if it is not of the kind.
func (k outputKind) check(flag, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return usagef("%s %s: there is a file of this name, and whether it is %s, which would be replaced, cannot be seen: %w; "+
			"give another name, or delete the file", flag, path, k.what, disk.Cause(err))
	}
	defer f.Close() // it was only read
	start := make([]byte, 256)
	n, err := io.ReadFull(f, start)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return usagef("%s %w; give another name", flag, err)
	}
	if !k.is(start[:n]) {
		return usagef("%s %s: there is a file of this name that is not %s; it was left as it is: give another name, or delete the file", flag, path, k.what)
	}
	return nil
}

// adviseWriting adds what to do to an error of writing what a flag names. Other errors it returns as they are.
func adviseWriting(flag string, err error) error {
	switch {
	case disk.Full(err):
		return fmt.Errorf("%w; free some space, or write to another disk: give another %s", err, flag)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; check who may write there, or give another %s", err, flag)
	}
	return err
}
