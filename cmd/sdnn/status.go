package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sdnn/eval"
	"sdnn/features"
	"sdnn/ingest"
	"sdnn/ingest/synth"
	"sdnn/nn"
	"sdnn/train"
)

// The exit statuses.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitBadData     = 3
	exitInterrupted = 130
)

// statuses is what --help says of them.
var statuses = []struct {
	status  int
	meaning string
}{
	{exitDone, "done"},
	{exitFailed, "failed: the message says at which file or step"},
	{exitUsage, "wrong usage: an unknown flag, verb, net or split, a missing path, something there that would be overwritten"},
	{exitBadData, "bad input data: the message names file, offset or record, what was expected and what was found"},
	{exitInterrupted, "interrupted (Ctrl-C, SIGTERM): training is saved and goes on with --resume, other verbs leave all as it was"},
}

func statusHelp() string {
	var b strings.Builder
	b.WriteString("Exit status:\n")
	for _, s := range statuses {
		fmt.Fprintf(&b, "  %3d  %s\n", s.status, s.meaning)
	}
	return b.String()
}

// usageError is a mistake in the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// errInterrupted is the cause of a context that a signal cancelled.
var errInterrupted = errors.New("interrupted")

// statusOf maps an error to the exit status: the first row of kinds that it belongs to, else exitFailed.
func statusOf(err error) int {
	for _, k := range kinds {
		if k.is(err) {
			return k.status
		}
	}
	return exitFailed
}

// kinds are the errors that end with another status than exitFailed. The order matters: an error may belong to several.
var kinds = []struct {
	status int
	is     func(error) bool
}{
	{exitInterrupted, is(errInterrupted)},
	{exitInterrupted, is(context.Canceled)},
	{exitInterrupted, is(train.ErrInterrupted)},
	{exitBadData, is(features.ErrBadData)},
	{exitBadData, as[*train.CorruptError]},
	{exitBadData, as[*train.LabelError]},
	{exitBadData, as[*eval.SubmissionError]},
	{exitBadData, as[*eval.DuplicateError]},
	{exitBadData, as[*train.DataChangedError]},
	{exitUsage, as[*usageError]},
	{exitUsage, as[*features.ExistsError]},
	{exitUsage, as[*features.ForeignError]},
	{exitUsage, as[*features.SchemaError]},
	{exitUsage, as[*features.SplitError]},
	{exitUsage, as[*features.MissingError]},
	{exitUsage, as[*ingest.UsageError]},
	{exitUsage, as[*synth.ExistsError]},
	{exitUsage, as[*synth.UsageError]},
	{exitUsage, as[*train.UsageError]},
	{exitUsage, as[*train.ExistsError]},
	{exitUsage, as[*train.NoRunError]},
	{exitUsage, as[*train.ConflictError]},
	{exitUsage, as[*train.MismatchError]},
	{exitUsage, as[*nn.UnsupportedError]},
	{exitUsage, as[*nn.MemoryError]},
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func as[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
