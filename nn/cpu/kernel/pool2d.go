package kernel

// Max-pool kernels over windows of 2x2 positions, stride 2. A call makes one
// row of the pooled image from two rows of the image:
//
//	x0  | a | b | a | b | ...     x0, x1 [2 windows][C]: at least so long; an odd last
//	x1  | c | d | c | d | ...                            position is not touched
//	y   |  max  |  max  | ...     y [windows][C]
//
// The gradient of a window goes to its maximum, the first in the order a, b, c,
// d of equal ones. A window with a NaN is one of its values, any. See chan.go
// for coef and acc, and for what the kernels with Affine in their name do
// before the pool: batch normalisation and ReLU, so that the image itself, four
// times the pooled one, never reaches memory.

// poolWindows returns the number of windows that y has and panics if the other
// slices are too short.
func poolWindows(what string, c int, y []float32, xs ...[]float32) int {
	if c == 0 || len(y)%c != 0 {
		panic("kernel: " + what + ": the pooled row has no whole number of windows")
	}
	for _, x := range xs {
		if len(x) < 2*len(y) {
			panic("kernel: " + what + ": an image row is shorter than its windows")
		}
	}
	return len(y) / c
}

// MaxPool sets y [windows][c] to the maxima of the windows of x0 and x1.
func MaxPool(y, x0, x1 []float32, c int) {
	channel().maxPool(y, x0, x1, poolWindows("MaxPool", c, y, x0, x1), c)
}

// MaxPoolGrad sets the windows of dx0 and dx1 to the gradient of those of x0
// and x1, given dy [windows][c].
func MaxPoolGrad(dx0, dx1, dy, x0, x1 []float32, c int) {
	channel().maxPoolGrad(dx0, dx1, dy, x0, x1, poolWindows("MaxPoolGrad", c, dy, x0, x1, dx0, dx1), c)
}

// AffinePool sets y to the maxima of max(x scale + shift, 0); coef [2][C] is
// scale, shift.
func AffinePool(y, x0, x1, coef []float32) {
	c := len(coef) / 2
	channel().affinePool(y, x0, x1, coef, poolWindows("AffinePool", c, y, x0, x1), c)
}

// AffinePoolGradSums adds of every window the dy that its maximum passes on to
// acc[0], and that times (x - mean) to acc[1]; acc is [2][C], coef [3][C] is
// mean, scale, shift.
func AffinePoolGradSums(acc, dy, x0, x1, coef []float32) {
	c := len(coef) / 3
	sameLength("AffinePoolGradSums", 2*c, len(acc))
	channel().affinePoolSums(acc, dy, x0, x1, coef, poolWindows("AffinePoolGradSums", c, dy, x0, x1), c)
}

// AffinePoolGrad sets dx = d a + x b + c at all positions of all windows, d
// being the window's dy at its maximum, if that is above zero, and zero
// elsewhere; coef [5][C] is scale, shift, a, b, c.
func AffinePoolGrad(dx0, dx1, dy, x0, x1, coef []float32) {
	c := len(coef) / 5
	channel().affinePoolGrads(dx0, dx1, dy, x0, x1, coef, poolWindows("AffinePoolGrad", c, dy, x0, x1, dx0, dx1), c)
}

// window reads the values of channel i of window p.
func window(x0, x1 []float32, p, c, i int) [4]float32 {
	at := 2*p*c + i
	return [4]float32{x0[at], x0[at+c], x1[at], x1[at+c]}
}

// winner returns which of v is the first maximum.
func winner(v *[4]float32) int {
	best := 0
	for i := 1; i < 4; i++ {
		if v[i] > v[best] {
			best = i
		}
	}
	return best
}

func maxPoolPortable(y, x0, x1 []float32, windows, c int) {
	for p := range windows {
		for i := range c {
			v := window(x0, x1, p, c, i)
			y[p*c+i] = v[winner(&v)]
		}
	}
}

func maxPoolGradPortable(dx0, dx1, dy, x0, x1 []float32, windows, c int) {
	for p := range windows {
		for i := range c {
			v := window(x0, x1, p, c, i)
			var d [4]float32
			d[winner(&v)] = dy[p*c+i]
			at := 2*p*c + i
			dx0[at], dx0[at+c], dx1[at], dx1[at+c] = d[0], d[1], d[2], d[3]
		}
	}
}

func affinePoolPortable(y, x0, x1, coef []float32, windows, c int) {
	for p := range windows {
		for i := range c {
			v := window(x0, x1, p, c, i)
			for j := range v {
				v[j] = affine(v[j], coef[i], coef[c+i])
			}
			y[p*c+i] = max(v[winner(&v)], 0)
		}
	}
}

func affinePoolSumsPortable(acc, dy, x0, x1, coef []float32, windows, c int) {
	for p := range windows {
		for i := range c {
			x := window(x0, x1, p, c, i)
			j, d := affineWinner(&x, coef[c+i], coef[2*c+i], dy[p*c+i])
			acc[i] += d
			acc[c+i] += d * (x[j] - coef[i])
		}
	}
}

// affineWinner returns which of x is the first maximum of x scale + shift, and
// dy if that is above zero.
func affineWinner(x *[4]float32, scale, shift, dy float32) (int, float32) {
	var v [4]float32
	for j := range v {
		v[j] = affine(x[j], scale, shift)
	}
	j := winner(&v)
	return j, passedReLU(dy, v[j])
}

func affinePoolGradsPortable(dx0, dx1, dy, x0, x1, coef []float32, windows, c int) {
	for p := range windows {
		for i := range c {
			x := window(x0, x1, p, c, i)
			j, dj := affineWinner(&x, coef[i], coef[c+i], dy[p*c+i])
			var d [4]float32
			d[j] = dj
			for s := range d {
				d[s] = d[s]*coef[2*c+i] + (x[s]*coef[3*c+i] + coef[4*c+i])
			}
			at := 2*p*c + i
			dx0[at], dx0[at+c], dx1[at], dx1[at+c] = d[0], d[1], d[2], d[3]
		}
	}
}
