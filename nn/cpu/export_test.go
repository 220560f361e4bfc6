package cpu

import "sdnn/nn"

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
