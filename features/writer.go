package features

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sdnn/internal/disk"
)

// WriterOptions has the choices of a Writer; the zero value is right for ingest.
type WriterOptions struct {
	Overwrite    bool  // replace an existing split
	RowsPerBatch int   // rows of a record batch; 0: DefaultRowsPerBatch
	ShardBytes   int64 // a new shard is begun when one reaches this size; 0: DefaultShardBytes

	fsys fileSystem // nil: the real one
}

const (
	// DefaultRowsPerBatch keeps a batch of video features near 10 MB: small enough that writing overlaps parsing, that a first touch
	// verifies fast and that a shuffling window holds many batches; far from the 256 MiB at which Arrow readers refuse a batch.
	DefaultRowsPerBatch = 2048
	// DefaultShardBytes bounds the size of a file.
	DefaultShardBytes = 1 << 30
	// MaxIDBytes and MaxLabels bound what one row may hold, so that no row can outgrow a batch.
	MaxIDBytes = 1 << 16
	MaxLabels  = 1 << 16

	maxBatchBytes = 128 << 20 // features of a batch
	maxTailBytes  = 64 << 20  // ids and labels of a batch
)

// Rows is a group of rows to be appended: n rows, n+1 offsets. Row i has the id IDs[IDOffsets[i]:IDOffsets[i+1]] and the labels
// Labels[LabelOffsets[i]:LabelOffsets[i+1]], each in 0..Classes-1. Offsets need not begin at 0.
type Rows struct {
	IDOffsets    []int32
	IDs          []byte
	LabelOffsets []int32
	Labels       []int32
	Float        [][]float32 // one slab a Float32 column, in the order of the schema, n*Width
	Bytes        [][]byte    // one slab a Uint8 column, in the order of the schema, n*Width
}

// Len returns the number of rows.
func (r *Rows) Len() int { return max(len(r.IDOffsets)-1, 0) }

// Writer writes one split. It is for one goroutine; it has one of its own that writes a batch while the next is filled.
type Writer struct {
	dir    string
	split  string
	schema Schema
	old    *Manifest // what it was; nil if it is new
	fsys   fileSystem
	unlock func() error
	madeIt bool // this writer made the folder

	cur  *batch
	out  *shardSet
	err  error // first failure of Append
	done bool  // committed or aborted
}

// NewWriter begins to write split into the store in dir, which is made if need be. Errors: *ForeignError, *ExistsError, *SchemaError,
// *BusyError, *LostError, *CorruptError for a store that cannot be read, or one of the file system.
func NewWriter(dir, split string, s Schema, o WriterOptions) (*Writer, error) {
	if !splitPattern.MatchString(split) {
		return nil, fmt.Errorf("split %q: a name has 1 to 64 lower-case letters, digits and underscores", split)
	}
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("%s: a store cannot have this schema: %w", dir, err)
	}
	if o.RowsPerBatch == 0 {
		o.RowsPerBatch = max(1, min(DefaultRowsPerBatch, maxBatchBytes/s.rowBytes()))
	}
	if o.ShardBytes == 0 {
		o.ShardBytes = DefaultShardBytes
	}
	if o.RowsPerBatch < 1 || o.RowsPerBatch > maxBatchBytes/s.rowBytes() || o.ShardBytes < 1 {
		return nil, fmt.Errorf("%s: %d rows of %d bytes do not make a record batch of 1 to %d bytes", dir, o.RowsPerBatch, s.rowBytes(), maxBatchBytes)
	}
	w := &Writer{dir: dir, split: split, schema: s.clone(), fsys: o.fsys}
	if w.fsys == nil {
		w.fsys = osFS{}
	}
	if err := w.open(o); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// open locks the store and finds out what is there.
func (w *Writer) open(o WriterOptions) error {
	if err := checkClaim(w.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(w.dir), 0o777); err != nil {
		return writeError(w.dir, 0, err)
	}
	switch err := os.Mkdir(w.dir, 0o777); {
	case err == nil:
		w.madeIt = true
	case !errors.Is(err, fs.ErrExist):
		return writeError(w.dir, 0, err)
	}
	unlock, err := lockStore(w.dir)
	if errors.Is(err, disk.ErrLocked) {
		return &BusyError{Dir: w.dir}
	} else if err != nil {
		return writeError(w.dir, 0, err)
	}
	w.unlock = unlock
	if _, err := recoverStore(w.fsys, w.dir); err != nil {
		return err
	}
	// A journal that was removed must not come back after a power cut, beside half-written files that it would move into place.
	if err := w.fsys.SyncDir(w.dir); err != nil {
		return writeError(w.dir, 0, err)
	}
	if w.old, _, err = readManifest(w.dir); err != nil && !(errors.As(err, new(*MissingError)) && errors.Is(err, fs.ErrNotExist)) {
		return err
	}
	if w.old != nil {
		if err := w.fit(o.Overwrite); err != nil {
			return err
		}
	}
	if w.out, err = newShardSet(w.fsys, w.dir, w.split, w.schema, o.RowsPerBatch, o.ShardBytes); err != nil {
		return err
	}
	w.cur = <-w.out.free
	return nil
}

// fit makes the schemas of the store and of the writer one.
func (w *Writer) fit(overwrite bool) error {
	info := w.old.Splits[w.split]
	if info != nil && !overwrite {
		return &ExistsError{Dir: w.dir, Split: w.split, Rows: info.Rows}
	}
	if info != nil && len(w.old.Splits) == 1 {
		return nil // all that there is gets replaced: nothing to contradict
	}
	s, err := w.old.Schema().merge(w.dir, w.schema)
	w.schema = s.clone()
	return err
}

// Append adds rows, in order. They are copied; the writer does not keep r. Rows that break the rules of Rows panic; an id or a
// list of labels that is too long is an error. After an error only Abort is left.
func (w *Writer) Append(r *Rows) error {
	if w.done {
		panic("features: Append after Commit or Abort")
	}
	w.check(r)
	for from, n := 0, r.Len(); from < n && w.err == nil; {
		to, err := w.cur.append(r, from)
		if err != nil {
			w.err = err
			break
		}
		if from = to; from < n || w.cur.full() { // it took all that it has room for
			w.err = w.flush()
		}
	}
	return w.err
}

// flush hands the current batch to the writing goroutine and takes a free one.
func (w *Writer) flush() error {
	w.out.full <- w.cur
	w.cur = <-w.out.free
	return w.out.failure()
}

// check panics when r breaks the rules of Rows.
func (w *Writer) check(r *Rows) {
	n, f, b := r.Len(), 0, 0
	if n == 0 {
		return
	}
	if len(r.LabelOffsets) != n+1 || int(r.IDOffsets[n]) > len(r.IDs) || int(r.LabelOffsets[n]) > len(r.Labels) {
		panic(fmt.Sprintf("features: Rows with %d ids and %d lists of labels", n, len(r.LabelOffsets)-1))
	}
	for _, c := range w.schema.Columns {
		have := -1
		switch {
		case c.Kind == Float32 && f < len(r.Float):
			have, f = len(r.Float[f]), f+1
		case c.Kind == Uint8 && b < len(r.Bytes):
			have, b = len(r.Bytes[b]), b+1
		}
		if have != n*c.Width {
			panic(fmt.Sprintf("features: Rows with %d elements for %d rows of column %q, width %d", have, n, c.Name, c.Width))
		}
	}
	for i := range n {
		if r.IDOffsets[i] < 0 || r.IDOffsets[i] > r.IDOffsets[i+1] || r.LabelOffsets[i] < 0 || r.LabelOffsets[i] > r.LabelOffsets[i+1] {
			panic(fmt.Sprintf("features: Rows with falling offsets at row %d", i))
		}
	}
	for _, l := range r.Labels[r.LabelOffsets[0]:r.LabelOffsets[n]] {
		if l < 0 || int(l) >= w.schema.Classes {
			panic(fmt.Sprintf("features: Rows with label %d of %d classes", l, w.schema.Classes))
		}
	}
}

// Commit makes the split part of the store, whole and durable, or returns an error and leaves the store as it was. An error that
// is a *PendingError means that the commit holds but its last renames are left to whoever opens the store next.
func (w *Writer) Commit() (SplitInfo, error) {
	infos, err := commit([]*Writer{w}, w.Abort)
	if infos == nil {
		return SplitInfo{}, err
	}
	return infos[0], err
}

// Abort removes what was written and leaves the store as it was. After Commit it does nothing.
func (w *Writer) Abort() error {
	if w.done {
		return nil
	}
	w.done = true
	_, _ = w.out.finish() // its errors no longer matter
	var errs []error
	for _, path := range leftovers(w.dir) {
		errs = append(errs, ignoreMissing(w.fsys.Remove(path)))
	}
	return errors.Join(append(errs, w.close())...)
}

// close gives the lock back, and removes the folder if this writer made it and left it empty.
func (w *Writer) close() error {
	var err error
	if w.unlock != nil {
		err = w.unlock()
		w.unlock = nil
	}
	if w.madeIt {
		_ = os.Remove(w.dir) // fails on a folder with files, as it should
	}
	return err
}
