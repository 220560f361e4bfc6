package kernel

// keptWeights says what form the transformed weights have that a call left.
type keptWeights struct {
	level Level
	fit   int // channels of a group
}

// KeptWeights returns the number of floats of ConvArgs.Kept, on any code path.
// They are four times those of W; with them, a call that finds W unchanged
// need not transform it, which is the more worth the fewer tiles there are to
// multiply by it (Tiles). 0 for a gradient.
func (v *Conv3x3) KeptWeights() int {
	if v.kind != ConvForward {
		return 0
	}
	size := 0
	v.eachFit(func() { size = max(size, v.us.size*v.groups()) })
	return size
}

// Tiles returns the number of tiles of a whole batch.
func (v *Conv3x3) Tiles() int { return v.tilesOf(v.batch) }

// useKept makes the caller's memory U.
func (v *Conv3x3) useKept(a *ConvArgs) {
	v.u = a.Kept[:v.us.size*v.groups()]
	now := keptWeights{level: path, fit: v.fit}
	v.keptNow = a.Same && v.kept == now
	v.kept = now
}
