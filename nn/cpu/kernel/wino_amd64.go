package kernel

// winoPaths holds the transforms by code path.
var winoPaths = [...]*winoISA{
	Portable: &portableWino,
	AVX2: {
		lanes:   8,
		micro:   microWinoAVX2,
		sums:    winoSums{width: 16, rows: []int{6, 5, 5}, micro: microSumsAVX2, ahead: true},
		stream:  winoStreamAVX2, // AVX-512 gained nothing by it (docs/benchmarks.md)
		input:   [winoAlgorithms]func(*winoCall){bound(winoInput4AVX2), bound(winoInput2AVX2), bound(winoInputSAVX2), bound(winoDataSAVX2)},
		grad:    [winoAlgorithms]func(*winoCall){bound(winoGrad4AVX2), bound(winoGrad2AVX2), bound(winoGradSAVX2)},
		weights: [winoAlgorithms]func(*winoCall){bound(winoWeights4AVX2), bound(winoWeights2AVX2), bound(winoTapsSAVX2), bound(winoTapsSAVX2)},
		output:  [winoAlgorithms]func(*winoCall){bound(winoOutput4AVX2), bound(winoOutput2AVX2), bound(winoOutputSAVX2), bound(winoDXSAVX2)},
		sum:     [winoAlgorithms]func(*winoCall){tailed(winoOutput4SumAVX2), tailed(winoOutput2SumAVX2), tailed(winoOutputSSumAVX2)},
		pool:    [winoAlgorithms]func(*winoCall){tailed(winoOutput4PoolAVX2), tailed(winoOutput2PoolAVX2), tailed(winoOutputSPoolAVX2)},
		dw:      [winoAlgorithms]func(*winoCall){bound(winoDW4AVX2), bound(winoDW2AVX2), bound(winoDWSAVX2)},
	},
	AVX512: {
		lanes:   16,
		micro:   microWinoAVX512,
		sums:    winoSums{width: 16, rows: []int{8, 8}, micro: func(rows int, call *microCall) { microAVX512(rows, true, call) }},
		input:   [winoAlgorithms]func(*winoCall){bound(winoInput4AVX512), bound(winoInput2AVX512), bound(winoInputSAVX512), bound(winoDataSAVX512)},
		grad:    [winoAlgorithms]func(*winoCall){bound(winoGrad4AVX512), bound(winoGrad2AVX512), bound(winoGradSAVX512)},
		weights: [winoAlgorithms]func(*winoCall){bound(winoWeights4AVX512), bound(winoWeights2AVX512), bound(winoTapsSAVX512), bound(winoTapsSAVX512)},
		output:  [winoAlgorithms]func(*winoCall){bound(winoOutput4AVX512), bound(winoOutput2AVX512), bound(winoOutputSAVX512), bound(winoDXSAVX512)},
		sum:     [winoAlgorithms]func(*winoCall){tailed(winoOutput4SumAVX512), tailed(winoOutput2SumAVX512), tailed(winoOutputSSumAVX512)},
		pool:    [winoAlgorithms]func(*winoCall){tailed(winoOutput4PoolAVX512), tailed(winoOutput2PoolAVX512), tailed(winoOutputSPoolAVX512)},
		dw:      [winoAlgorithms]func(*winoCall){bound(winoDW4AVX512), bound(winoDW2AVX512), bound(winoDWSAVX512)},
	},
}

// bound makes a transform of one in assembly.
func bound(f func(*uintptr)) func(*winoCall) {
	return func(c *winoCall) {
		c.bind()
		f(&c.rows[0])
	}
}

// tailed is bound for a transform with a tail.
func tailed(f func(*uintptr)) func(*winoCall) {
	return func(c *winoCall) {
		c.bind()
		c.bindTail()
		f(&c.rows[0])
	}
}

// The micro-kernels by rows of the panel of A.
var (
	winoKernelsAVX2 = [7]func(*int){nil, gemmWinoAVX2Rows1, gemmWinoAVX2Rows2, gemmWinoAVX2Rows3,
		gemmWinoAVX2Rows4, gemmWinoAVX2Rows5, gemmWinoAVX2Rows6}
	winoKernelsAVX512 = [15]func(*int){nil, gemmWinoAVX512Rows1, gemmWinoAVX512Rows2, gemmWinoAVX512Rows3,
		gemmWinoAVX512Rows4, gemmWinoAVX512Rows5, gemmWinoAVX512Rows6, gemmWinoAVX512Rows7, gemmWinoAVX512Rows8,
		gemmWinoAVX512Rows9, gemmWinoAVX512Rows10, gemmWinoAVX512Rows11, gemmWinoAVX512Rows12,
		gemmWinoAVX512Rows13, gemmWinoAVX512Rows14}
)

// microWinoAVX2 is winoISA.micro.
func microWinoAVX2(rows int, call *microCall) { winoKernelsAVX2[rows](&call.k) }

// microSumsAVX2 is winoSums.micro.
func microSumsAVX2(rows int, call *microCall) {
	if rows == 6 {
		gemmSumsAVX2Columns6(&call.k)
	} else {
		gemmSumsAVX2Columns5(&call.k)
	}
}

// microWinoAVX512 is winoISA.micro.
func microWinoAVX512(rows int, call *microCall) { winoKernelsAVX512[rows](&call.k) }
