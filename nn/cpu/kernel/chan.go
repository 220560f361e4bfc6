package kernel

//go:generate go run -C gen . -file chan -out ../chan_amd64.s -stubs ../chan_stubs_amd64.go -pkg kernel
//go:generate go run -C gen . -file chan_pool -out ../chan_pool_amd64.s -stubs ../chan_pool_stubs_amd64.go -pkg kernel

// Channel kernels: the passes between convolutions, which are batch
// normalisation with what stands beside it. A matrix is rows x C, channels
// innermost, a row a position of an image. What belongs to a channel comes as
// a small matrix of its own, coef [k][C] or acc [k][C], so that one pointer
// finds all of it.
//
//	forward    y  = x scale + shift        scale = gamma/std
//	                                       shift = beta - mean scale
//	backward   dx = dy a + x b + c         a, b, c from the sums of dy and dy (x - mean)
//
// Behind a ReLU, y > 0 is found by computing y from x again, with the very
// operations of the forward pass, which costs less than reading it.
//
// Portable, AVX2 and AVX-512 code see the rows of a channel in the same order:
// in fours, even and odd rows added apart, then rows that are left over one by
// one. AVX2 and AVX-512 end in the same bits; portable code has no fused
// multiply-add. Sums are float32: callers keep to some hundred rows a call and
// add up the calls in float64. Every kernel takes any C; multiples of 16 are
// fastest. A destination may be the very slice of a source.

// chanKernels is one implementation of the channel and pool kernels; rows and
// c agree with the slices.
type chanKernels struct {
	sum             func(acc, x []float32, rows, c int)
	moments         func(acc, x, pivot []float32, rows, c int)
	affine          func(y, x, coef []float32, rows, c int)
	affineReLU      func(y, x, coef []float32, rows, c int)
	gradSums        func(acc, dy, x, coef []float32, rows, c int)
	gradSumsReLU    func(acc, dy, x, coef []float32, rows, c int)
	grad            func(dx, dy, x, coef []float32, rows, c int)
	gradReLU        func(dx, dy, x, coef []float32, rows, c int)
	gradReLUAdd     func(dx, dy, x, r, coef []float32, rows, c int)
	maxPool         func(y, x0, x1 []float32, windows, c int)
	maxPoolGrad     func(dx0, dx1, dy, x0, x1 []float32, windows, c int)
	affinePool      func(y, x0, x1, coef []float32, windows, c int)
	affinePoolSums  func(acc, dy, x0, x1, coef []float32, windows, c int)
	affinePoolGrads func(dx0, dx1, dy, x0, x1, coef []float32, windows, c int)
}

// chanPaths are the implementations by code path; nil where the architecture
// has none.
var chanPaths = [...]*chanKernels{Portable: &portableChan, AVX2: avx2Chan, AVX512: avx512Chan}

func channel() *chanKernels { return chanPaths[path] }

// chanRows returns the number of rows of C channels in x, and how many of
// them, a multiple of four, one call into assembly takes at most.
func chanRows(what string, c int, x []float32) (rows, most int) {
	if c == 0 || len(x)%c != 0 {
		panic("kernel: " + what + ": the matrix has no whole number of rows")
	}
	return len(x) / c, max(4, piece/c&^3)
}

// ChanSum adds every row of x to acc [C].
func ChanSum(acc, x []float32) {
	c := len(acc)
	rows, most := chanRows("ChanSum", c, x)
	for ; rows > 0; rows -= most {
		n := min(rows, most)
		channel().sum(acc, x[:n*c], n, c)
		x = x[n*c:]
	}
}

// ChanMoments adds of every row x - pivot to acc[0] and its square to acc[1];
// acc is [2][C], pivot [C]. Near the mean the pivot keeps the moments precise.
func ChanMoments(acc, x, pivot []float32) {
	c := len(pivot)
	sameLength("ChanMoments", 2*c, len(acc))
	rows, most := chanRows("ChanMoments", c, x)
	for ; rows > 0; rows -= most {
		n := min(rows, most)
		channel().moments(acc, x[:n*c], pivot, n, c)
		x = x[n*c:]
	}
}

// ChanAffine sets y = x scale + shift; coef [2][C] is scale, shift.
func ChanAffine(y, x, coef []float32) {
	chanAffine("ChanAffine", channel().affine, y, x, coef)
}

// ChanAffineReLU sets y = max(x scale + shift, 0); coef [2][C] is scale, shift.
func ChanAffineReLU(y, x, coef []float32) {
	chanAffine("ChanAffineReLU", channel().affineReLU, y, x, coef)
}

func chanAffine(what string, f func(y, x, coef []float32, rows, c int), y, x, coef []float32) {
	c := len(coef) / 2
	sameLength(what, len(x), len(y))
	rows, most := chanRows(what, c, x)
	for ; rows > 0; rows -= most {
		n := min(rows, most)
		f(y[:n*c], x[:n*c], coef, n, c)
		y, x = y[n*c:], x[n*c:]
	}
}

// ChanGradSums adds of every row dy to acc[0] and dy (x - mean) to acc[1];
// acc is [2][C], mean [C].
func ChanGradSums(acc, dy, x, mean []float32) {
	chanGradSums("ChanGradSums", channel().gradSums, 1, acc, dy, x, mean)
}

// ChanGradSumsReLU is ChanGradSums of the dy of those elements whose
// x scale + shift is above zero; coef [3][C] is mean, scale, shift.
func ChanGradSumsReLU(acc, dy, x, coef []float32) {
	chanGradSums("ChanGradSumsReLU", channel().gradSumsReLU, 3, acc, dy, x, coef)
}

func chanGradSums(what string, f func(acc, dy, x, coef []float32, rows, c int), k int, acc, dy, x, coef []float32) {
	c := len(acc) / 2
	sameLength(what, len(x), len(dy))
	sameLength(what, k*c, len(coef))
	rows, most := chanRows(what, c, x)
	for ; rows > 0; rows -= most {
		n := min(rows, most)
		f(acc, dy[:n*c], x[:n*c], coef, n, c)
		dy, x = dy[n*c:], x[n*c:]
	}
}

// ChanGrad sets dx = dy a + x b + c; coef [3][C] is a, b, c.
func ChanGrad(dx, dy, x, coef []float32) {
	chanGrad("ChanGrad", channel().grad, 3, dx, dy, x, coef)
}

// ChanGradReLU sets dx = dy a + x b + c, where dy counts as zero unless
// x scale + shift is above zero; coef [5][C] is scale, shift, a, b, c.
func ChanGradReLU(dx, dy, x, coef []float32) {
	chanGrad("ChanGradReLU", channel().gradReLU, 5, dx, dy, x, coef)
}

func chanGrad(what string, f func(dx, dy, x, coef []float32, rows, c int), k int, dx, dy, x, coef []float32) {
	c := len(coef) / k
	sameLength(what, len(x), len(dy), len(dx))
	rows, most := chanRows(what, c, x)
	for ; rows > 0; rows -= most {
		n := min(rows, most)
		f(dx[:n*c], dy[:n*c], x[:n*c], coef, n, c)
		dx, dy, x = dx[n*c:], dy[n*c:], x[n*c:]
	}
}

// ChanGradReLUAdd is ChanGradReLU with r added to dx: the gradient that comes
// to x past the normalisation.
func ChanGradReLUAdd(dx, dy, x, r, coef []float32) {
	c := len(coef) / 5
	sameLength("ChanGradReLUAdd", len(x), len(dy), len(dx), len(r))
	rows, most := chanRows("ChanGradReLUAdd", c, x)
	for ; rows > 0; rows -= most {
		n := min(rows, most)
		channel().gradReLUAdd(dx[:n*c], dy[:n*c], x[:n*c], r[:n*c], coef, n, c)
		dx, dy, x, r = dx[n*c:], dy[n*c:], x[n*c:], r[n*c:]
	}
}
