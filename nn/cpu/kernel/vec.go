package kernel

//go:generate go run -C gen . -file vec_math -out ../vec_math_amd64.s -stubs ../vec_math_stubs_amd64.go -pkg kernel
//go:generate go run -C gen . -file vec_ce -out ../vec_ce_amd64.s -stubs ../vec_ce_stubs_amd64.go -pkg kernel
//go:generate go run -C gen . -file vec_opt -out ../vec_opt_amd64.s -stubs ../vec_opt_stubs_amd64.go -pkg kernel
//go:generate go run -C gen . -file vec_elem -out ../vec_elem_amd64.s -stubs ../vec_elem_stubs_amd64.go -pkg kernel
//go:generate go run -C gen . -file vec_reduce -out ../vec_reduce_amd64.s -stubs ../vec_reduce_stubs_amd64.go -pkg kernel
//go:generate go run -C gen . -file vec_conv1d -out ../vec_conv1d_amd64.s -stubs ../vec_conv1d_stubs_amd64.go -pkg kernel

// Vector kernels: everything of a network's step that is not a matrix product.
//
// All work on float32 slices, in the calling goroutine, and allocate nothing;
// whoever wants several cores splits the slices. A destination may be the very
// slice of a source, but must not overlap it otherwise. Slices of unequal
// length are a programmer's error and panic.
//
// Every kernel exists as portable Go, AVX2+FMA and AVX-512F code of one
// algorithm. Sums run in 16 float32 lanes, element i in lane i mod 16, whatever
// the width of a register:
//
//	elements    0 .. 15 | 16 .. 31 | ... | last, padded with zeros
//	            ------------------------------------------------
//	lane 0..15   every lane adds its column, top to bottom,
//	             for a bounded number of blocks, in float32;
//	             then goes to a float64 lane of its own
//	result      lanes i and i+8, then i and i+4, i+2, i+1: a fixed tree
//
// so that AVX2 and AVX-512 end in the same bits. Portable code keeps the order
// but has no fused multiply-add: it differs in the last bits (a relative 1e-6
// of the sum of magnitudes), and is equal where only integers are involved.

// vecKernels is one implementation of the vector kernels. Arguments have been
// checked by the exported functions; lengths of a call's slices agree.
type vecKernels struct {
	exp, log, sigmoid func(dst, x []float32)

	ceLogits     func(dz, z, w []float32, scale float32) float64
	ceLogitsLoss func(z, w []float32) float64
	ceProbs      func(dp, p, w []float32, scale float32) float64
	ceProbsLoss  func(p, w []float32) float64

	adam func(w, m, v, g []float32, beta1, gain1, beta2, gain2, eps, rate, gradScale, decay float32, ahead int)
	sgd  func(w, buf, g []float32, rate, momentum, gradScale, decay float32, ahead int)

	relu, add    func(dst, x []float32) // add: dst += x
	reluGrad     func(dx, dy, y []float32)
	sigmoidGrad  func(dx, dy, y []float32)
	sum2         func(dst, x, y []float32) // dst = x + y
	sumReLU      func(dst, x, y []float32) // dst = max(x+y, 0)
	scale        func(dst, x []float32, a float32)
	axpy         func(y, x []float32, a float32)
	axpby        func(dst, x, y []float32, a, b float32)
	add4         func(acc, r0, r1, r2, r3 []float32)
	dot          func(x, y []float32) float64
	maxMagnitude func(x []float32) uint32
	greater      func(x []float32, threshold float32, idx []int32) int

	dropout func(dst, x []float32, lo, hi, threshold uint32, scale float32)

	convPool     func(y, x, taps, bias []float32)
	convPoolGrad func(dtaps, dbias, dy, x, taps, bias []float32)
}

// vecPaths are the implementations by code path; nil where the architecture
// has none.
var vecPaths = [...]*vecKernels{Portable: &portableVec, AVX2: avx2Vec, AVX512: avx512Vec}

// vec returns the implementation in use.
func vec() *vecKernels { return vecPaths[path] }

// lanes is the number of partial sums of every reduction.
const lanes = 16

// piece bounds the elements a single call into assembly handles: the runtime
// cannot stop a goroutine inside one, and a garbage collection must not wait.
const piece = 1 << 16

// portableVec is the implementation that every architecture has.
var portableVec = vecKernels{
	exp: expPortable, log: logPortable, sigmoid: sigmoidPortable,
	ceLogits: ceLogitsPortable, ceLogitsLoss: ceLogitsLossPortable,
	ceProbs: ceProbsPortable, ceProbsLoss: ceProbsLossPortable,
	adam: adamPortable, sgd: sgdPortable,
	relu: reluPortable, add: addPortable, reluGrad: reluGradPortable, sigmoidGrad: sigmoidGradPortable,
	sum2: sum2Portable, sumReLU: sumReLUPortable, scale: scalePortable, axpy: axpyPortable, axpby: axpbyPortable,
	add4: add4Portable, dot: dotPortable, maxMagnitude: maxMagnitudePortable, greater: greaterPortable,
	dropout: dropoutPortable, convPool: convPoolPortable, convPoolGrad: convPoolGradPortable,
}

// sameLength panics unless all lengths equal n.
func sameLength(what string, n int, others ...int) {
	for _, o := range others {
		if o != n {
			panic("kernel: " + what + ": slices of unequal length")
		}
	}
}

// apply1 runs f over pieces of dst and x.
func apply1(what string, f func(dst, x []float32), dst, x []float32) {
	sameLength(what, len(dst), len(x))
	for len(dst) > piece {
		f(dst[:piece], x[:piece])
		dst, x = dst[piece:], x[piece:]
	}
	f(dst, x)
}

// apply2 runs f over pieces of dst, x and y.
func apply2(what string, f func(dst, x, y []float32), dst, x, y []float32) {
	sameLength(what, len(dst), len(x), len(y))
	for len(dst) > piece {
		f(dst[:piece], x[:piece], y[:piece])
		dst, x, y = dst[piece:], x[piece:], y[piece:]
	}
	f(dst, x, y)
}

// laneSum accumulates a sum in the order of the assembly: see the comment at
// the top of the file.
type laneSum struct {
	f [lanes]float32
	d [lanes]float64
}

// flush moves the float32 lanes to the float64 ones.
func (s *laneSum) flush() {
	for i, v := range s.f {
		s.d[i] += float64(v)
		s.f[i] = 0
	}
}

// total flushes and adds up the lanes.
func (s *laneSum) total() float64 {
	s.flush()
	for step := lanes / 2; step > 0; step /= 2 {
		for i := range step {
			s.d[i] += s.d[i+step]
		}
	}
	return s.d[0]
}
