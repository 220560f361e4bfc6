//go:build linux || darwin

package kernel

import "testing"

// The channel and pool kernels touch nothing behind their slices either.
func TestChanReadsNothingBehindSlices(t *testing.T) {
	const rows, most = 5, 40
	at := map[int][]float32{}
	slice := func(i, n int) []float32 { // ends where memory ends
		if at[i] == nil {
			at[i] = beforePage(t, 6*rows*most)
		}
		return random(at[i][len(at[i])-n:], uint64(i), 1)
	}
	eachPath(t, func(t *testing.T) {
		for c := 1; c <= most; c++ {
			n := rows * c
			x, dy, y, r := slice(0, n), slice(1, n), slice(2, n), slice(3, n)
			acc, coef := slice(4, 2*c), slice(5, 5*c)
			ChanSum(acc[c:], x)
			ChanMoments(acc, x, coef[4*c:])
			ChanAffine(y, x, coef[3*c:])
			ChanAffineReLU(y, x, coef[3*c:])
			ChanGradSums(acc, dy, x, coef[4*c:])
			ChanGradSumsReLU(acc, dy, x, coef[2*c:])
			ChanGrad(y, dy, x, coef[2*c:])
			ChanGradReLU(y, dy, x, coef)
			ChanGradReLUAdd(y, dy, x, r, coef)
			x0, x1, dx0, dx1 := slice(0, 2*n), slice(1, 2*n), slice(2, 2*n), slice(3, 2*n)
			acc, coef, pooled := slice(4, 2*c), slice(5, 5*c), slice(6, n)
			MaxPool(pooled, x0, x1, c)
			MaxPoolGrad(dx0, dx1, pooled, x0, x1, c)
			AffinePool(pooled, x0, x1, coef[3*c:])
			AffinePoolGradSums(acc, pooled, x0, x1, coef[2*c:])
			AffinePoolGrad(dx0, dx1, pooled, x0, x1, coef)
		}
	})
}
