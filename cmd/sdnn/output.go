package main

import (
	"os"
	"path/filepath"

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

// checkFile says what stands in the way of a file that a verb writes at its end.
func checkFile(flag, path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return usagef("%s %s: it is a folder, a file is expected; name a file in it", flag, path)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return usagef("%s %s: its folder is not there; make it first", flag, path)
	}
	return nil
}
