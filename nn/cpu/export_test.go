package cpu

import (
	"math"

	"sdnn/nn"
)

// FuseTails sets whether evaluations fuse what follows a convolution, and
// returns whether they did.
func FuseTails(on bool) (was bool) {
	was, fuseTails = fuseTails, on
	return was
}

// Kept returns the number of convolutions that keep transformed weights.
func Kept(s nn.Session) (n int) {
	for _, k := range s.(*session).eval.kept {
		if k.at >= 0 {
			n++
		}
	}
	return n
}

// Poison fills the memory of a session's values and workspaces with NaN. What a
// step reads of it before it has written there shows in its results.
func Poison(s nn.Session) {
	for i := range s.(*session).arena {
		s.(*session).arena[i] = float32(math.NaN())
	}
}

// AvailableIn is availableMemory of another file system.
var AvailableIn = availableIn

// SetAvailable sets how much memory the engine thinks is free.
func (e *Engine) SetAvailable(bytes int, of string) {
	e.available = func() (int, string) { return bytes, of }
}
