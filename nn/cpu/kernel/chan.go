package kernel

// Channel kernels: a matrix of rows x C, C = len of the per-channel slices,
// rows one after the other in x; a row is a position of an image, channels
// innermost. They are the passes of batch normalisation.

// ChanSum adds every row of x to acc [C].
func ChanSum(acc, x []float32) {
	for c := len(acc); len(x) >= c; x = x[c:] {
		Accumulate(acc, x[:c])
	}
}

// ChanSquares adds (x-mean)² of every row to acc [C].
func ChanSquares(acc, x, mean []float32) {
	for c := len(acc); len(x) >= c; x = x[c:] {
		for i, v := range x[:c] {
			d := v - mean[i]
			acc[i] += d * d
		}
	}
}

// ChanAffine sets y = x*scale + shift by channel.
func ChanAffine(y, x, scale, shift []float32) {
	for c := len(scale); len(x) >= c; x, y = x[c:], y[c:] {
		for i, v := range x[:c] {
			y[i] = v*scale[i] + shift[i]
		}
	}
}

// ChanAffine2 sets dx = dy*a + x*b + c by channel. dx may be dy.
func ChanAffine2(dx, dy, x, a, b, c []float32) {
	for n := len(a); len(x) >= n; x, dy, dx = x[n:], dy[n:], dx[n:] {
		for i, v := range x[:n] {
			dx[i] = dy[i]*a[i] + v*b[i] + c[i]
		}
	}
}

// ChanGradSums adds dy of every row to sum [C] and dy (x-mean) to dot [C].
func ChanGradSums(sum, dot, dy, x, mean []float32) {
	for c := len(sum); len(x) >= c; x, dy = x[c:], dy[c:] {
		for i, v := range x[:c] {
			sum[i] += dy[i]
			dot[i] += dy[i] * (v - mean[i])
		}
	}
}
