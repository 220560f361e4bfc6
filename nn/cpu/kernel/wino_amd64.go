package kernel

// winoPaths holds the transforms by code path.
var winoPaths = [...]*winoISA{
	Portable: &portableWino,
	AVX2: {
		lanes:   8,
		input:   [2]func(*winoCall){bound(winoInput4AVX2), bound(winoInput2AVX2)},
		grad:    [2]func(*winoCall){bound(winoGrad4AVX2), bound(winoGrad2AVX2)},
		weights: [2]func(*winoCall){bound(winoWeights4AVX2), bound(winoWeights2AVX2)},
		output:  [2]func(*winoCall){bound(winoOutput4AVX2), bound(winoOutput2AVX2)},
		dw:      [2]func(*winoCall){bound(winoDW4AVX2), bound(winoDW2AVX2)},
	},
	AVX512: {
		lanes:   16,
		input:   [2]func(*winoCall){bound(winoInput4AVX512), bound(winoInput2AVX512)},
		grad:    [2]func(*winoCall){bound(winoGrad4AVX512), bound(winoGrad2AVX512)},
		weights: [2]func(*winoCall){bound(winoWeights4AVX512), bound(winoWeights2AVX512)},
		output:  [2]func(*winoCall){bound(winoOutput4AVX512), bound(winoOutput2AVX512)},
		dw:      [2]func(*winoCall){bound(winoDW4AVX512), bound(winoDW2AVX512)},
	},
}

// bound makes a transform of one in assembly.
func bound(f func(*uintptr)) func(*winoCall) {
	return func(c *winoCall) {
		c.bind()
		f(&c.rows[0])
	}
}
