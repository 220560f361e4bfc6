package ingest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// splitNames are the splits that a store may have.
var splitNames = []string{"train", "validate", "test"}

// An inputFile is one file to be read.
type inputFile struct {
	path string
	size int64
}

// findFiles resolves paths (see Options.Paths) to the files to read, sorted by
// path, each once. Files in folders must end in ext. Errors are *UsageError,
// *BadDataError for compressed files, or those of the file system.
func findFiles(paths []string, ext, split string, warn func(Warning)) ([]inputFile, error) {
	if len(paths) == 0 {
		return nil, usagef("no input given: name files, folders or patterns of %s files", ext)
	}
	var found []string
	for _, p := range paths {
		names := []string{p}
		if _, err := os.Stat(p); err != nil {
			if !os.IsNotExist(err) {
				return nil, err
			}
			if !strings.ContainsAny(p, "*?[") {
				return nil, usagef("%s: no such file or folder", p)
			}
			if names, err = filepath.Glob(p); err != nil {
				return nil, usagef("%s: bad pattern: %v", p, err)
			}
			if len(names) == 0 {
				return nil, usagef("%s: no file matches this pattern", p)
			}
		}
		for _, name := range names {
			files, err := expand(name, ext, split, warn)
			if err != nil {
				return nil, err
			}
			found = append(found, files...)
		}
	}
	return sortedFiles(found)
}

// sortedFiles sizes the files, sorts them by absolute path and drops those that
// are there twice, by whatever spelling.
func sortedFiles(paths []string) ([]inputFile, error) {
	type entry struct {
		inputFile
		abs  string
		info fs.FileInfo
	}
	var all []entry
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, usagef("%s: not a regular file (%v)", p, info.Mode().Type())
		}
		if err := checkPlain(p); err != nil {
			return nil, err
		}
		all = append(all, entry{inputFile{p, info.Size()}, abs, info})
	}
	slices.SortStableFunc(all, func(a, b entry) int { return strings.Compare(a.abs, b.abs) })
	var out []inputFile
	for i, e := range all {
		// Equal spellings may differ in truth where ".." follows a symbolic link.
		if i > 0 && e.abs == all[i-1].abs && os.SameFile(e.info, all[i-1].info) {
			continue
		}
		out = append(out, e.inputFile)
	}
	return out, nil
}

// expand returns the files of a folder that end in ext, or name itself if it is
// no folder.
func expand(name, ext, split string, warn func(Warning)) ([]string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	wanted := func(name string) bool { return strings.HasSuffix(name, ext) && !strings.HasPrefix(name, ".") }
	all := entries
	entries = slices.DeleteFunc(slices.Clone(entries), func(e fs.DirEntry) bool { return e.IsDir() || !wanted(e.Name()) })
	if len(entries) == 0 {
		return nil, noFile(name, ext, all, wanted)
	}
	warnCompressed(name, all, func(name string) bool { return wanted(name) && (splitOfName(name) == "" || splitOfName(name) == split) }, warn)
	bySplit := map[string][]string{} // "" for names that tell no split
	for _, e := range entries {
		s := splitOfName(e.Name())
		bySplit[s] = append(bySplit[s], filepath.Join(name, e.Name()))
	}
	if len(bySplit) == 1 { // one kind: the user's word on the split counts
		for _, files := range bySplit {
			return files, nil
		}
	}
	if len(bySplit[split]) == 0 {
		return nil, usagef("%s: files of several splits (such as %s), none named %s*%s; name the files by a quoted pattern",
			name, entries[0].Name(), split, ext)
	}
	warn(Warning{Kind: OtherSplit, Message: fmt.Sprintf("%s: reading the %d files named %s*%s and leaving out the other %d; name files by a quoted pattern to choose others",
		name, len(bySplit[split]), split, ext, len(entries)-len(bySplit[split]))})
	return bySplit[split], nil
}

// splitOfName returns the split that a file's name begins with, as those of
// YouTube-8M do (train0000.tfrecord), or "".
func splitOfName(name string) string {
	for _, s := range splitNames {
		if strings.HasPrefix(name, s) {
			return s
		}
	}
	return ""
}
