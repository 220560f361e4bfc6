package features

import (
	"errors"
	"fmt"
	"strings"
)

// ErrBadData marks every error that says that the data in a store is damaged or of another version: errors.Is(err, ErrBadData).
// The command line ends with status 3 on it.
var ErrBadData = errors.New("bad store data")

// CorruptError says which bytes of a store are not what was written.
type CorruptError struct {
	File   string // path of the file
	Offset int64  // where the damaged block begins
	Bytes  int64  // its length; 0 where only a position is known
	Want   string // what was expected, e.g. "crc32c 01234567"
	Got    string // what was found
	Hint   string // what to do; empty for the usual advice
	Err    error  // the cause below, or nil
}

const restoreHint = "restore the file from a copy or ingest the split again with --overwrite"

func (e *CorruptError) Error() string {
	where := fmt.Sprintf("%s: offset %d", e.File, e.Offset)
	if e.Bytes > 0 {
		where += fmt.Sprintf(", %d bytes", e.Bytes)
	}
	hint := e.Hint
	if hint == "" {
		hint = restoreHint
	}
	return fmt.Sprintf("%s: damaged: expected %s, found %s; %s", where, e.Want, e.Got, hint)
}

// Is makes errors.Is(err, ErrBadData) true.
func (e *CorruptError) Is(target error) bool { return target == ErrBadData }

func (e *CorruptError) Unwrap() error { return e.Err }

// VersionError says that a store was written in another version of the format.
type VersionError struct {
	File    string
	Version int  // found
	Damaged bool // the manifest's own checksum is wrong too: the version may be a damaged byte
}

func (e *VersionError) Error() string {
	s := fmt.Sprintf("%s: store format version %d, this program reads version %d", e.File, e.Version, FormatVersion)
	if e.Damaged {
		s += " (and the manifest's checksum does not match: it was edited or damaged)"
	}
	return s + "; use the release of sdnn that wrote the store or ingest the raw files again"
}

// Is makes errors.Is(err, ErrBadData) true.
func (e *VersionError) Is(target error) bool { return target == ErrBadData }

// ExistsError says that the split to be written is already in the store.
type ExistsError struct {
	Dir, Split string
	Rows       int64
}

func (e *ExistsError) Error() string {
	return fmt.Sprintf("%s: split %q is already there (%d rows); give --overwrite to replace it", e.Dir, e.Split, e.Rows)
}

// SchemaError says that a store holds another dataset, other classes or other columns than the rows to be written.
type SchemaError struct {
	Dir   string
	Field string // "dataset", "classes", ...
	Want  string // what the store has
	Got   string // what was to be written
	Hint  string // what to do; empty for the usual advice
}

func (e *SchemaError) Error() string {
	hint := e.Hint
	if hint == "" {
		hint = "write it to another store"
	}
	return fmt.Sprintf("%s: the store has %s %s, the new split has %s; %s", e.Dir, e.Field, e.Want, e.Got, hint)
}

// BusyError says that another writer is at work in the store.
type BusyError struct{ Dir string }

func (e *BusyError) Error() string {
	return fmt.Sprintf("%s: another process is writing to this store; wait for it to end", e.Dir)
}

// SplitError says that a store lacks a split.
type SplitError struct {
	Dir, Split string
	Have       []string
}

func (e *SplitError) Error() string {
	return fmt.Sprintf("%s: no split %q; the store has %s", e.Dir, e.Split, strings.Join(e.Have, ", "))
}

// ChangedError says that a writer replaced parts of the store while it was being opened.
type ChangedError struct{ Dir string }

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s: the store was rewritten while it was being opened; run the command again", e.Dir)
}

// The causes of a MissingError where a file is, and where manifest.json is no store's.
var (
	errNotFolder       = errors.New("not a folder")
	errForeignManifest = errors.New("another program wrote it")
)

// MissingError says that a path is no store.
type MissingError struct {
	Dir string
	Err error
}

func (e *MissingError) Error() string {
	if errors.Is(e.Err, errNotFolder) {
		return fmt.Sprintf("%s: no store here: it is a file, and a store is a folder; name the folder that sdnn ingest wrote", e.Dir)
	}
	if errors.Is(e.Err, errForeignManifest) {
		return fmt.Sprintf("%s: no store here: another program wrote its manifest.json; name the folder that sdnn ingest wrote", e.Dir)
	}
	return fmt.Sprintf("%s: no store here: manifest.json: %v; write one with sdnn ingest", e.Dir, e.Err)
}

func (e *MissingError) Unwrap() error { return e.Err }

// LostError says that a folder has the shards of a store, and no manifest that speaks of them.
type LostError struct {
	Dir    string
	Shards []string // the names of the files, sorted
}

func (e *LostError) Error() string {
	shards := e.Shards[0]
	if n := len(e.Shards); n > 1 {
		shards += fmt.Sprintf(" and %d more", n-1)
	}
	return fmt.Sprintf("%s: manifest.json is missing, but shards of a store are here (%s): restore manifest.json from a copy, "+
		"or delete the shards and ingest again, or ingest into another folder", e.Dir, shards)
}

// Is makes errors.Is(err, ErrBadData) true.
func (e *LostError) Is(target error) bool { return target == ErrBadData }

// PendingError says that a commit holds, and that its last steps failed: whoever opens the store next finishes them.
type PendingError struct {
	Dir string
	Err error
}

func (e *PendingError) Error() string {
	return fmt.Sprintf("%s: the new data is safe in the store's journal, but moving it into place failed: %v; "+
		"remove the cause (on Windows: close programs that have the store open) and run any sdnn command on the store", e.Dir, e.Err)
}

func (e *PendingError) Unwrap() error { return e.Err }

// ColumnError says that a store lacks a column.
type ColumnError struct {
	Column string
	Have   string
}

func (e *ColumnError) Error() string {
	return fmt.Sprintf("no column %q; the store has %s", e.Column, e.Have)
}
