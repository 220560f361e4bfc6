package kernel

import (
	"math"

	"sdnn/nn/cpu/pool"
)

// sparseDensity is, by code path, the part of values that are not zero up to which skipping the others is faster. On Zen 3
// both took the same time at 0.60 to 0.68 in products of all kinds and sizes, and on Zen 4 with AVX-512 at 0.78 to 0.80 (docs/benchmarks.md).
var sparseDensity = [...]float64{AVX2: 0.6, AVX512: 0.7}

// sparseWork is the number of multiply-adds of a product, for each thread, from which on zeros are looked
// for: what the samples cost, about 10 us, is then less than 0.3 % of it.
const sparseWork = 1 << 27

// Zeros says what GemmSparse does with zeros.
type Zeros int

// What GemmSparse does with zeros.
const (
	ZerosSampled Zeros = iota // skips them where samples say that it pays
	ZerosSkipped              // skips them wherever this machine can
	ZerosKept                 // is Gemm
)

// zeros is what GemmSparse does.
var zeros = ZerosSampled

// UseZeros sets what GemmSparse does with zeros and returns what it did before. It is for tests and
// benchmarks that compare, and must not be called while a kernel runs.
func UseZeros(z Zeros) (previous Zeros) {
	previous, zeros = zeros, z
	return previous
}

// GemmSparse is Gemm, to the last bit, for an operand that may be full of zeros, such as what ReLU and
// dropout leave: those of A or, of a product whose A is stored transposed, of B are skipped where that is faster.
//
// A fused multiply-add with a zero leaves a sum as it is, so that zeros can be left out of the order of
// summation that Gemm documents, and which of the two ways is taken, by samples of the operands, shows in the
// time alone. There are two exceptions. A sum that is -0, which only a product that underflows
// can leave, becomes 0 where Gemm adds a zero to it. And where the other operand is infinite or NaN, Gemm makes a NaN of the
// zero's product.
func GemmSparse(p *pool.Pool, m, n, k int, a, b Matrix, c []float32, ldc int, accumulate bool, e *Epilogue) {
	checkGemm(m, n, k, a, b, c, ldc, accumulate, e)
	skip, turned := chooseZeros(p.Threads(), m, n, k, a, b, accumulate, e)
	if !skip {
		Gemm(p, m, n, k, a, b, c, ldc, accumulate, e)
		return
	}
	j := takeSparse(p.Threads())
	j.turned = turned
	j.multiply(p, m, n, k, a, b, c, ldc, accumulate, e)
	j.release()
}

// chooseZeros decides whether zeros are skipped, and whether they are those of B: C is then computed turned,
// as the product of the transposed operands.
func chooseZeros(threads, m, n, k int, a, b Matrix, accumulate bool, e *Epilogue) (skip, turned bool) {
	if zeros == ZerosKept || path == Portable || m == 0 || n == 0 || k == 0 ||
		a.Patches != nil || b.Patches != nil || e != nil && e.Place != nil {
		return false, false
	}
	canTurn := a.Trans && !accumulate && (e == nil || e.Bias == nil && !e.ReLU)
	if zeros == ZerosSkipped {
		return true, canTurn && density(b, k, n) < density(a, m, k)
	}
	ofA, ofB := 1.0, 1.0
	if sparseFits(threads, m, n, k) {
		ofA = density(a, m, k)
	}
	if canTurn && sparseFits(threads, n, m, k) {
		ofB = density(b, k, n)
	}
	return min(ofA, ofB) < sparseDensity[path], ofB < ofA
}

// SparseLists returns the memory, in values of 4 bytes, that GemmSparse takes at most for lists of what is not
// zero in an operand of up to m rows and k products, n being the size of the other operand.
func SparseLists(threads, m, n, k int) int {
	tiles := ceilDiv(m, sparseGroup) * (n / sparseCols)
	// Zeros must not cost more to find, a panel of B not be packed for few rows, nor threads have few tiles.
	if path == Portable || m*n*k < threads*sparseWork || m < sparseGroup || tiles < 4*threads {
		return 0
	}
	return min(sparseLists(m, k)*sparseListSize, sparseMost)
}

// sparseFits reports whether the sizes of a product are such that skipping A's zeros can pay, and the lists not too large.
func sparseFits(threads, m, n, k int) bool {
	return SparseLists(threads, m, n, k) > 0 && sparseLists(m, k)*sparseListSize <= sparseMost
}

// density estimates the part of an operand's values that are not zero by samples, always at the same places.
func density(x Matrix, rows, cols int) float64 {
	const places, run = 16, 64
	if x.Trans {
		rows, cols = cols, rows
	}
	width := min(run, cols)
	state, n := uint64(88172645463325252), 0
	for range places {
		state ^= state << 13 // xorshift64 (Marsaglia 2003)
		state ^= state >> 7
		state ^= state << 17
		row := int(state>>33) % rows
		col := int(uint32(state)>>1) % (cols - width + 1)
		for _, v := range x.Data[row*x.Stride+col:][:width] {
			n += notZero(v)
		}
	}
	return float64(n) / float64(places*width)
}

// notZero returns 0 for 0 and -0, 1 for other values and NaN, without a branch: no processor would foresee it.
func notZero(x float32) int {
	b := math.Float32bits(x) << 1
	return int((b | -b) >> 31)
}
