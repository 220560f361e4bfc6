package features

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sdnn/internal/disk"
)

// ForeignError says that a folder where a store is to be written holds something else. Nothing in it was touched.
type ForeignError struct {
	Dir   string
	Files []string // some that are no store's, sorted
}

func (e *ForeignError) Error() string {
	if slices.Contains(e.Files, manifestName) {
		return fmt.Sprintf("%s: the folder holds another program's %s, and a store needs a folder of its own; give another one", e.Dir, manifestName)
	}
	files, more := e.Files, ""
	if n := len(files); n > 3 {
		files, more = files[:3], fmt.Sprintf(" and %d more", n-3)
	}
	return fmt.Sprintf("%s: the folder holds no store, but other files (%s%s), and a store needs a folder of its own; give a new or empty one",
		e.Dir, strings.Join(files, ", "), more)
}

// checkClaim refuses a folder that is neither missing, empty, a store (be it damaged or half lost), nor what a first writer left that
// died before its commit. It must come before anything is made, locked or cleared in dir. The error is a *ForeignError or one of the
// file system.
func checkClaim(dir string) error {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil // nothing to lose; who makes it says why it cannot be made
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("%s: what the folder holds cannot be seen: %w; give another one, or check who may read it", dir, disk.Cause(err))
	}
	var foreign []string
	for _, e := range entries {
		name := e.Name()
		switch {
		case shardPattern.MatchString(name), name == manifestName && startsLike(filepath.Join(dir, name), manifestMarks),
			name == journalName && startsLike(filepath.Join(dir, name), journalMarks):
			return nil // damage, if there is any, is told where it is read
		case name == lockName || partPattern.MatchString(name) && e.Type().IsRegular():
		case strings.HasPrefix(name, ".") || name == "lost+found": // what systems keep anywhere
		default:
			foreign = append(foreign, name)
		}
	}
	if len(foreign) == 0 {
		return nil
	}
	return &ForeignError{Dir: dir, Files: foreign}
}

// How a manifest and a journal of this package start, even with a damaged byte or after an edit: all the words of one of the groups
// are there. Others call files manifest.json too.
var (
	manifestMarks = [][]string{{`"manifest_crc32c"`}, {`"format_version"`, `"dataset"`}}
	journalMarks  = [][]string{{`"` + journalKey + `"`}, {`"format_version"`, `"renames"`}}
)

// startsLike reports whether the start of a file has one of the groups of words. A file that cannot be read may be anything: it does.
func startsLike(path string, marks [][]string) bool {
	f, err := os.Open(path)
	if err != nil {
		return true
	}
	defer func() { _ = f.Close() }()
	start, err := io.ReadAll(io.LimitReader(f, 1<<10))
	return err != nil || slices.ContainsFunc(marks, func(words []string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !bytes.Contains(start, []byte(w)) })
	})
}
