package ingest

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// compressions are the formats that raw files come compressed in. None of the
// raw formats begins with one of the magics: they are no labels of CIFAR, no
// length of a video-level record and not MATLAB's.
var compressions = []struct{ ending, magic, command string }{
	{".xz", "\xfd7zXZ\x00", "xz -d"},
	{".gz", "\x1f\x8b\x08", "gzip -d"},
	{".bz2", "BZh", "bzip2 -d"},
	{".zst", "\x28\xb5\x2f\xfd", "zstd -d"},
	{".zip", "PK\x03\x04", "unzip"},
}

// checkPlain says by a *BadDataError if a file is compressed. What cannot be
// read goes on: whoever reads it has the message.
func checkPlain(path string) error {
	start := make([]byte, 6)
	if withFile(path, func(f *os.File) error { _, err := io.ReadFull(f, start); return err }) != nil {
		return nil
	}
	for _, c := range compressions {
		if strings.HasPrefix(string(start), c.magic) {
			return &BadDataError{File: path, Offset: -1, Record: -1, What: "kind of file", Expected: "an uncompressed one",
				Found: "one in the format " + c.ending[1:], Hint: "decompress it first: " + unpack(path, c.command)}
		}
	}
	return nil
}

// unpack is the command that decompresses a file.
func unpack(path, command string) string {
	if name := filepath.Base(path); strings.Contains(name, ".tar.") || strings.HasSuffix(name, ".tgz") {
		command = "tar -xf"
	}
	return command + " " + path
}

// compressedFiles lists files of a folder that are wanted by their names once
// they are decompressed, and are not there so, and returns how to decompress the first.
func compressedFiles(dir string, entries []fs.DirEntry, wanted func(name string) bool) (names []string, how string) {
	for _, e := range entries {
		for _, c := range compressions {
			plain, cut := strings.CutSuffix(e.Name(), c.ending)
			if !cut || e.IsDir() || !wanted(plain) || slices.ContainsFunc(entries, func(o fs.DirEntry) bool { return o.Name() == plain }) {
				continue
			}
			if names = append(names, e.Name()); how == "" {
				how = unpack(filepath.Join(dir, e.Name()), c.command)
			}
		}
	}
	return names, how
}

// noFile is the error for a folder without a file of the wanted kind.
func noFile(dir, ext string, entries []fs.DirEntry, wanted func(name string) bool) error {
	if names, how := compressedFiles(dir, entries, wanted); len(names) > 0 {
		return usagef("%s: the *%s files in this folder are compressed; decompress them first: %s", dir, ext, how)
	}
	return usagef("%s: no *%s file in this folder", dir, ext)
}

// warnCompressed says which compressed files of a folder are left out.
func warnCompressed(dir string, entries []fs.DirEntry, wanted func(name string) bool, warn func(Warning)) {
	if names, how := compressedFiles(dir, entries, wanted); len(names) > 0 {
		warn(Warning{Kind: CompressedFile, Message: fmt.Sprintf("%s: leaving out %s, which must be decompressed first: %s",
			dir, strings.Join(names, ", "), how)})
	}
}
