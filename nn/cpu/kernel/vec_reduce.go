package kernel

import "math"

// Dot returns the sum of x[i] y[i]. Products are added in float32 for 1024
// elements at most (16 a lane), then in float64: the error is below
// 1.2e-6 times the sum of |x[i] y[i]|, typically a tenth of it.
func Dot(x, y []float32) float64 {
	sameLength("Dot", len(x), len(y))
	var sum float64
	for len(x) > piece {
		sum += vec().dot(x[:piece], y[:piece])
		x, y = x[piece:], y[piece:]
	}
	return sum + vec().dot(x, y)
}

// SumSquares returns the sum of x[i]², as accurate as Dot.
func SumSquares(x []float32) float64 { return Dot(x, x) }

// MaxAbs returns the largest |x[i]|, 0 for no elements; NaN if there is one.
func MaxAbs(x []float32) float32 {
	var top uint32
	for len(x) > piece {
		top = max(top, vec().maxMagnitude(x[:piece]))
		x = x[piece:]
	}
	return math.Float32frombits(max(top, vec().maxMagnitude(x)))
}

// AllFinite reports whether x has neither infinities nor NaNs.
func AllFinite(x []float32) bool { return MaxAbs(x) <= math.MaxFloat32 }

// GreaterIndices writes the ascending positions of the elements greater than
// threshold to idx and returns how many there are; no NaN is. idx must be as
// long as x, as all of it may be greater.
func GreaterIndices(x []float32, threshold float32, idx []int32) int {
	if len(idx) < len(x) {
		panic("kernel: GreaterIndices: idx is shorter than x")
	}
	return vec().greater(x, threshold, idx)
}

// colSumRows is the number of rows that ColSums adds up in float32 before it
// adds the block to the result, so that the error does not grow with the rows.
const colSumRows = 64

// ColSums sets dst[j] to the sum of column j of the matrix a of the given
// number of rows, len(dst) columns and lda elements from row to row: the
// gradient of a bias. Rows are added in order in blocks of 64, the blocks in
// order. scratch, as long as dst, is overwritten. To use several cores split
// the columns: the result does not depend on it.
func ColSums(dst, scratch, a []float32, rows, lda int) {
	n := len(dst)
	sameLength("ColSums", n, len(scratch))
	if n > lda || rows < 0 || (rows > 0 && len(a) < (rows-1)*lda+n) {
		panic("kernel: ColSums: matrix does not fit its slice")
	}
	clear(dst)
	row := func(r int) []float32 { return a[r*lda : r*lda+n] }
	for r := 0; r < rows; {
		end := min(r+colSumRows, rows)
		clear(scratch)
		for ; r+4 <= end; r += 4 {
			vec().add4(scratch, row(r), row(r+1), row(r+2), row(r+3))
		}
		for ; r < end; r++ {
			vec().add(scratch, row(r))
		}
		vec().add(dst, scratch)
	}
}

func add4Portable(acc, r0, r1, r2, r3 []float32) {
	for i, v := range acc {
		acc[i] = (((v + r0[i]) + r1[i]) + r2[i]) + r3[i]
	}
}

// dotAccumulators blocks of 16 lanes are in flight in a dot product, and
// dotFlush rounds of them are added before they go to float64.
const (
	dotAccumulators = 4
	dotFlush        = 16
)

func dotPortable(x, y []float32) float64 {
	var s laneSum
	const chunk = lanes * dotAccumulators * dotFlush
	for len(x) > 0 {
		n := min(chunk, len(x))
		var acc [dotAccumulators * lanes]float32
		for i, v := range x[:n] {
			acc[i%len(acc)] += v * y[i]
		}
		for i := range lanes {
			s.f[i] = (acc[i] + acc[i+lanes]) + (acc[i+2*lanes] + acc[i+3*lanes])
		}
		s.flush()
		x, y = x[n:], y[n:]
	}
	return s.total()
}

// maxMagnitudePortable returns the bits of the largest magnitude: as integers,
// magnitudes are ordered, infinity above all numbers and NaN above infinity.
func maxMagnitudePortable(x []float32) uint32 {
	var top uint32
	for _, v := range x {
		top = max(top, math.Float32bits(v)&0x7FFFFFFF)
	}
	return top
}

func greaterPortable(x []float32, threshold float32, idx []int32) int {
	n := 0
	for i, v := range x {
		if v > threshold {
			idx[n] = int32(i)
			n++
		}
	}
	return n
}
