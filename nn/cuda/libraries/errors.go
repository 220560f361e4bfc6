package libraries

import (
	"fmt"
	"strings"
)

// MissingError says which libraries were not found, or found and not loaded.
type MissingError struct {
	Names   []string // as the loader knows them: "libcudnn.so.9"
	Looked  []string // places, for people
	Failed  []string // files that are there and do not load, each with the loader's reason
	Install string   // what to do
}

// Error implements error, in one line.
func (e *MissingError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s not found (looked in %s)", strings.Join(e.Names, ", "), strings.Join(e.Looked, ", "))
	if len(e.Failed) > 0 {
		fmt.Fprintf(&b, "; %s", strings.Join(e.Failed, "; "))
	}
	return b.String() + ": " + e.Install
}

// UnfitError says that something is there and cannot be used: no card, a driver
// or a library that is too old.
type UnfitError struct {
	What    string
	Install string // what to do; may be ""
}

// Error implements error, in one line.
func (e *UnfitError) Error() string {
	if e.Install == "" {
		return e.What
	}
	return e.What + ": " + e.Install
}

// SystemError says that this program has no CUDA, whatever the machine.
type SystemError struct{ Why string }

// Error implements error.
func (e *SystemError) Error() string { return e.Why }
