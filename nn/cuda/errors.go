package cuda

import (
	"errors"
	"fmt"

	"sdnn/nn/cuda/driver"
)

// Error is a failure of the card. It is sticky: what the card holds can no
// longer be trusted, so the session gives every later call the same error and
// lets nobody read its state; what was saved before stays as it is.
type Error struct {
	What string // "step 17 of vgg16"
	Err  error  // usually a *driver.Error
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("cuda: %s: %v; %s", e.What, e.Err, advice(e.Err))
}

// Unwrap returns the card's own error.
func (e *Error) Unwrap() error { return e.Err }

// Codes of the CUDA driver that have an advice of their own.
const (
	codeOutOfMemory    = 2
	codeECC            = 214
	codeIllegalAddress = 700
	codeLaunchTimeout  = 702
)

// advice says what a user can do about a failed call.
func advice(err error) string {
	const on = "go on from the last checkpoint with --resume"
	var d *driver.Error
	if !errors.As(err, &d) {
		return on
	}
	switch d.Code {
	case codeOutOfMemory:
		return "the card's memory is full: stop what else runs on it, or take a smaller --batch, and " + on
	case codeECC:
		return "the card's memory has a fault: reset or replace the card; " + on + ", with --engine cpu until then"
	case codeLaunchTimeout:
		return "a display uses the card and its system ended a long computation: " + on + " with a smaller --batch"
	case codeIllegalAddress:
		return on + "; this is a fault of sdnn or of the driver: please report it, and use --engine cpu if it comes again"
	}
	return on + "; if it fails again, with --engine cpu"
}
