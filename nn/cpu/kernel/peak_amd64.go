package kernel

// peakLoops are the loops by code path: 12 multiply-adds a turn, each with a register of its own.
var peakLoops = [...]*peakLoop{
	Portable: &portablePeak,
	AVX2:     {run: gemmPeakAVX2, flops: 2 * 12 * 8},
	AVX512:   {run: gemmPeakAVX512, flops: 2 * 12 * 16},
}

// peakLoopBF16 multiplies pairs.
var peakLoopBF16 = &peakLoop{run: gemmPeakBF16, flops: 2 * 12 * 16 * 2}
