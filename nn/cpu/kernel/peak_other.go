//go:build !amd64

package kernel

// peakLoops are the loops by code path.
var peakLoops = [...]*peakLoop{Portable: &portablePeak}

// peakLoopBF16 is never used: BF16Err refuses other architectures.
var peakLoopBF16 *peakLoop
