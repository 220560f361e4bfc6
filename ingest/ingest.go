// Package ingest turns raw data sets into stores: it finds the input files, has
// them parsed in parallel, keeps the order of their rows, watches for duplicate
// ids and hands everything to the store's writer. The raw formats are those of
// its subpackages: tfrecord (framing), yt8m (records); synth makes data to try.
//
//	files, sorted   ──►  worker: read, check, parse  ──►  chunk of rows  ─┐
//	(one at a time  ──►  worker: ...                 ──►  chunk of rows  ─┼──► one consumer, in the order
//	 a worker)      ──►  worker: ...                 ──►  chunk of rows  ─┘    of the files ──► features.Writer
//	                          ▲                                 │
//	                          └────── emptied chunks go back ───┘
//
// Every worker owns a few chunks and never takes another's, so the one that has
// the file whose turn it is can always go on: memory is bounded and nothing can
// lock up. What comes out does not depend on the number of workers.
package ingest

import (
	"fmt"
	"slices"
	"strings"

	"sdnn/features"
)

// Options says what to ingest, and how.
type Options struct {
	// Paths are files, folders (their *.tfrecord files, not those of folders
	// inside) or glob patterns. All files together are sorted by path, and a file
	// that is named twice is read once. Of a folder that holds files of several
	// splits by their names (train*, validate*, test*) only those of Split are
	// taken, with a warning.
	Paths []string
	Out   string // folder of the store
	Split string // "train", "validate" or "test"

	// Classes is the number of classes; 0 means that of the vocabulary, or
	// yt8m.DefaultClasses without one.
	Classes int
	// Vocabulary is a CSV file with the class names, see yt8m.ReadVocabulary;
	// empty for none.
	Vocabulary string

	SkipBad   bool // drop damaged records instead of stopping at the first
	Overwrite bool // replace the split if the store has it
	Threads   int  // files parsed at the same time; 0 means all CPUs

	Progress func(Progress) // called now and then, from one goroutine; may be nil
	Warn     func(Warning)  // called in the order of the input, from one goroutine; may be nil

	chunkRows int // rows of a chunk; 0 means defaultChunkRows
}

// settle gives the options that may be left out their values, and checks the
// folder and the split. Images need no split.
func (o *Options) settle(chunkRows int, images bool) error {
	if o.Warn == nil {
		o.Warn = func(Warning) {}
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.chunkRows == 0 {
		o.chunkRows = chunkRows
	}
	if o.Out == "" {
		return usagef("no folder given for the store")
	}
	if !slices.Contains(splitNames, o.Split) && (o.Split != "" || !images) {
		return usagef("split %q: expected one of %s", o.Split, strings.Join(splitNames, ", "))
	}
	return nil
}

// Progress is how far an ingest has come.
type Progress struct {
	Rows       int64
	Files      int // files done
	TotalFiles int
	Bytes      int64 // bytes of input done
	TotalBytes int64
}

// Result is what an ingest did.
type Result struct {
	Rows       int64   `json:"rows"`       // rows in the split
	Shards     int     `json:"shards"`     // Arrow files of the split
	Files      int     `json:"files"`      // input files
	BytesIn    int64   `json:"bytes_in"`   // of all input files
	BytesOut   int64   `json:"bytes_out"`  // of all Arrow files of the split
	Seconds    float64 `json:"seconds"`    // wall time
	Skipped    int64   `json:"skipped"`    // damaged records dropped; a file cut short counts once
	CutFiles   int     `json:"cut_files"`  // files whose rest was skipped behind damage
	Duplicates int64   `json:"duplicates"` // rows whose id an earlier row has
}

// WarningKind tells what a Warning is about.
type WarningKind string

const (
	SkippedRecord WarningKind = "skipped-record" // a damaged record was dropped
	CutFile       WarningKind = "cut-file"       // the rest of a file was skipped behind damage
	DuplicateID   WarningKind = "duplicate-id"   // two rows have the same id; both are kept
	EmptyFile     WarningKind = "empty-file"     // an input file holds no record
	OtherSplit    WarningKind = "other-split"    // files of other splits in a folder were left out
	// CompressedFile is a file in a folder that would have been read if it were not compressed.
	CompressedFile WarningKind = "compressed-file"
)

// A Warning is something that did not stop the ingest but that a user should know.
type Warning struct {
	Kind    WarningKind
	Message string        // whole, with file and place
	Bad     *BadDataError // the damage, for SkippedRecord and CutFile
}

// A UsageError says that what was asked for cannot be done: no such file, an
// empty pattern, a contradiction. Nothing has been read or written.
type UsageError struct{ Message string }

// Error implements error.
func (e *UsageError) Error() string { return e.Message }

func usagef(format string, args ...any) error {
	return &UsageError{fmt.Sprintf(format, args...)}
}

// A BadDataError says which record of which input file is damaged, and how.
// errors.Is(err, features.ErrBadData) is true for it.
type BadDataError struct {
	File     string
	Offset   int64  // of the damage, or of the record's first byte; -1 if it has none (a line of a CSV file, a file as a whole)
	Record   int64  // number of the record from 0, or of the line from 1; -1 for damage to no one record
	What     string // the damaged part
	Expected string
	Found    string
	Hint     string // what to do; empty for the usual advice, if there is any
	Err      error  // the error of the format's own package

	scope scope
}

// Error implements error.
func (e *BadDataError) Error() string {
	hint := e.Hint
	if hint == "" && e.scope == oneRecord {
		hint = "fetch the file again, or leave such records out with --skip-bad"
	}
	if hint != "" {
		hint = "; " + hint
	}
	return e.damage() + hint
}

// damage is the error without what to do.
func (e *BadDataError) damage() string {
	s := e.File
	switch {
	case e.Record < 0 && e.Offset < 0:
	case e.Record < 0:
		s += fmt.Sprintf(": offset %d", e.Offset)
	case e.Offset < 0:
		s += fmt.Sprintf(": line %d", e.Record)
	default:
		s += fmt.Sprintf(": record %d at offset %d", e.Record, e.Offset)
	}
	return s + fmt.Sprintf(": %s: expected %s, found %s", e.What, e.Expected, e.Found)
}

// Unwrap returns the error of the format's own package.
func (e *BadDataError) Unwrap() error { return e.Err }

// Is makes errors.Is(err, features.ErrBadData) true.
func (e *BadDataError) Is(target error) bool { return target == features.ErrBadData }
