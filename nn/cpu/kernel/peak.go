package kernel

import (
	"time"

	"sdnn/nn/cpu/pool"
)

// peakLoop does n turns of multiply-adds that wait for nothing but the units that compute them.
type peakLoop struct {
	run   func(n int)
	flops float64 // of a turn
}

// Peak returns the floating-point operations a second that the code path in use does in float32 on all threads of p: what no
// product exceeds. It is the best of several measurements and takes some 20 milliseconds.
func Peak(p *pool.Pool) float64 { return peakLoops[path].measure(p) }

// PeakBF16 is Peak for products of bfloat16, 2 operations each; 0 where BF16Err is not nil.
func PeakBF16(p *pool.Pool) float64 {
	if BF16Err() != nil {
		return 0
	}
	return peakLoopBF16.measure(p)
}

// measure returns operations a second.
func (l *peakLoop) measure(p *pool.Pool) float64 {
	const least, whole = time.Millisecond, 20 * time.Millisecond
	n := 1000
	task := func(int, int) { l.run(n) }
	best := 0.0
	for begun := time.Now(); time.Since(begun) < whole; {
		start := time.Now()
		p.Run(p.Threads(), task)
		took := time.Since(start)
		if took < least {
			n *= 2
			continue
		}
		best = max(best, l.flops*float64(n)*float64(p.Threads())/took.Seconds())
	}
	return best
}

// portablePeak is the inner loop of the product of plain Go, on operands in the first-level cache.
var portablePeak = peakLoop{flops: 2 * 2 * 4 * gemmKC, run: func(n int) {
	var a [2 * gemmKC]float32
	var b [4 * gemmKC]float32
	for range n {
		dot2x4(a[:], gemmKC, 1, b[:])
	}
}}
