package cpu

// FuseTails sets whether evaluations fuse what follows a convolution, and
// returns whether they did.
func FuseTails(on bool) (was bool) {
	was, fuseTails = fuseTails, on
	return was
}
