package nn

import "time"

// OpProfile is what one op of a compiled program has cost.
type OpProfile struct {
	Kind  string
	Name  string // of the value it computes
	Calls int
	Time  time.Duration // of all calls
	Flops float64       // floating-point operations of all calls, 0 if bound by memory
	Bytes float64       // least memory traffic of all calls
}

// Profiler is a session that can time its ops.
type Profiler interface {
	// SetProfiling starts (and resets) or stops the clocks.
	SetProfiling(on bool)
	// Profile lists the ops of the training step, or of evaluation, in order.
	Profile(training bool) []OpProfile
}
