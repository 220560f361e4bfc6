package train

import (
	"fmt"
	"strings"

	"sdnn/nn"
)

// ExistsError says that a folder holds a run already.
type ExistsError struct{ Dir string }

// Error implements error.
func (e *ExistsError) Error() string {
	return fmt.Sprintf("%s holds a run; give --resume to go on with it, --overwrite to replace it, or another --out", e.Dir)
}

// BusyError says that another process trains in a folder.
type BusyError struct{ Dir string }

// Error implements error.
func (e *BusyError) Error() string {
	return fmt.Sprintf("%s: another process is training here; wait for it to end, or train into another --out", e.Dir)
}

// NoRunError says that a folder holds no run, or not the checkpoint asked for.
type NoRunError struct {
	Dir  string
	What string
}

// Error implements error.
func (e *NoRunError) Error() string { return fmt.Sprintf("%s: %s", e.Dir, e.What) }

// ConflictError says which flags do not agree with the run to be resumed.
type ConflictError struct {
	Dir   string
	Flags []string // "--lr 0.1 (the run has 0.001)"
}

// Error implements error.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s was begun with other settings: %s; leave them out to resume, or train into another --out",
		e.Dir, strings.Join(e.Flags, ", "))
}

// DataChangedError says that the store is not the one that the run was begun with.
type DataChangedError struct {
	Split      string
	Want, Have string
}

// Error implements error.
func (e *DataChangedError) Error() string {
	return fmt.Sprintf("split %q is not the data that the run was begun with (checksum %s, the run has %s); restore it, or train into another --out",
		e.Split, e.Have, e.Want)
}

// MismatchError says that a store does not fit a run.
type MismatchError struct{ What, Store, Run string }

// Error implements error.
func (e *MismatchError) Error() string {
	return fmt.Sprintf("the store does not fit the run: %s %s, the run was trained with %s", e.What, e.Store, e.Run)
}

// LabelError says that an image has no label, or several.
type LabelError struct {
	Split  string
	Row    int
	ID     string
	Labels []int32
}

// Error implements error.
func (e *LabelError) Error() string {
	return fmt.Sprintf("split %q, row %d (%s): labels %v where one class is expected; ingest the images again", e.Split, e.Row, e.ID, e.Labels)
}

// CorruptError says that a file of a run is not what was written.
type CorruptError struct {
	File string
	Err  error
}

// Error implements error.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s: %v; restore it from a copy or train again with --overwrite", e.File, e.Err)
}

// Unwrap returns the cause.
func (e *CorruptError) Unwrap() error { return e.Err }

// FullError says that there was no room for a file of a run. What was saved
// before is as it was.
type FullError struct {
	Checkpoint int64 // bytes of a checkpoint, if that is what was written; else 0
	Err        error // names the file
}

// Error implements error.
func (e *FullError) Error() string {
	size := ""
	if e.Checkpoint > 0 {
		size = fmt.Sprintf("; a checkpoint takes up to %s and is written beside the one that it replaces", nn.Bytes(int(e.Checkpoint)))
	}
	return fmt.Sprintf("%v%s; what was saved before, with the last checkpoint, is as it was: free some space, and go on with --resume", e.Err, size)
}

// Unwrap returns the cause.
func (e *FullError) Unwrap() error { return e.Err }

// DivergedError says that training has left the finite numbers.
type DivergedError struct {
	Stage, Epoch int
	Step         int64
	What         string // "loss is NaN"
	LR           float64
	Saved        bool // a checkpoint from before it is there
}

// Error implements error.
func (e *DivergedError) Error() string {
	kept := "no checkpoint was saved yet"
	if e.Saved {
		kept = "the last checkpoint is from before it"
	}
	return fmt.Sprintf("stage %d, epoch %d, step %d: %s at learning rate %g; %s; begin again with a smaller --lr, into another --out or with --overwrite",
		e.Stage, e.Epoch, e.Step, e.What, e.LR, kept)
}
