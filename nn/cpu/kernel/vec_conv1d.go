package kernel

// The first layers of the video network in one pass: a convolution of three
// taps over one channel, zero padding that keeps the length, ReLU, and a
// max-pool over pairs of positions. The values before the pool, twice the
// output, never reach memory:
//
//	x    0 x0 x1 x2 x3 x4 ... 0        taps [3][F], bias [F]
//	       |___||___|
//	y      y0    y1   ...              yi [F] = max(a, b, 0)
//	a = bias + taps0 x[2i-1] + taps1 x[2i]   + taps2 x[2i+1]
//	b = bias + taps0 x[2i]   + taps1 x[2i+1] + taps2 x[2i+2]

// ConvPool sets y [len(x)/2 * F] for one row x; the filter is the inner index
// of y. taps is [3][F], F = len(bias): the transpose of a [F,3] weight. An odd
// last position has no partner and is dropped, but is seen by its neighbour.
func ConvPool(y, x, taps, bias []float32) {
	convPoolCheck("ConvPool", y, x, taps, bias)
	if len(bias) == 0 || len(bias)%lanes != 0 {
		convPoolPortable(y, x, taps, bias)
		return
	}
	vec().convPool(y, x, taps, bias)
}

// ConvPoolGrad adds the gradients of taps and bias from one row to dtaps [3][F]
// and dbias [F], given the gradient dy of the output; it computes the values
// before the pool again. The gradient of a pair goes to its maximum, the first
// of equal ones, and nowhere where that is not above zero.
//
// Sums of 32 pairs are made apart, in order of position, and then added: the
// result depends on the order of the rows and on nothing else. To use several
// cores give each block of rows, 64 say, sums of its own and add these in order.
func ConvPoolGrad(dtaps, dbias, dy, x, taps, bias []float32) {
	convPoolCheck("ConvPoolGrad", dy, x, taps, bias)
	sameLength("ConvPoolGrad", len(taps), len(dtaps))
	sameLength("ConvPoolGrad", len(bias), len(dbias))
	if len(bias) == 0 || len(bias)%lanes != 0 {
		convPoolGradPortable(dtaps, dbias, dy, x, taps, bias)
		return
	}
	vec().convPoolGrad(dtaps, dbias, dy, x, taps, bias)
}

func convPoolCheck(what string, y, x, taps, bias []float32) {
	if len(taps) != 3*len(bias) || len(y) != len(x)/2*len(bias) {
		panic("kernel: " + what + ": taps are not [3][F] or y is not [L/2][F]")
	}
}

// convBlock is the number of pool positions whose gradients are added apart.
const convBlock = 32

// ConvPoolInputGrad sets dx [L], the gradient of the row x of ConvPool. No
// network here needs it in training, so it has no assembly.
func ConvPoolInputGrad(dx, dy, x, taps, bias []float32) {
	convPoolCheck("ConvPoolInputGrad", dy, x, taps, bias)
	sameLength("ConvPoolInputGrad", len(x), len(dx))
	clear(dx)
	filters := len(bias)
	for i := range len(x) / 2 {
		s := convWindow(x, i)
		var d [4]float64
		for f := range filters {
			first, ok := convWinner(&s, taps, bias, f)
			if !ok {
				continue
			}
			g := float64(dy[i*filters+f])
			for t := range 3 {
				d[first+t] += g * float64(taps[t*filters+f])
			}
		}
		for t, v := range d {
			if at := 2*i - 1 + t; at >= 0 && at < len(dx) {
				dx[at] += float32(v)
			}
		}
	}
}

// convWindow returns x[2i-1 .. 2i+2], zero outside of x.
func convWindow(x []float32, i int) (s [4]float32) {
	for t := range s {
		if at := 2*i - 1 + t; at >= 0 && at < len(x) {
			s[t] = x[at]
		}
	}
	return s
}

// convPair returns the values of filter f at the two positions of a pool.
func convPair(s *[4]float32, taps, bias []float32, f int) (a, b float32) {
	filters := len(bias)
	k0, k1, k2 := taps[f], taps[filters+f], taps[2*filters+f]
	a = bias[f] + k0*s[0]
	a += k1 * s[1]
	a += k2 * s[2]
	b = bias[f] + k0*s[1]
	b += k1 * s[2]
	b += k2 * s[3]
	return a, b
}

// convWinner returns which of a pool's two values passes its gradient on, and
// false if none does.
func convWinner(s *[4]float32, taps, bias []float32, f int) (first int, ok bool) {
	a, b := convPair(s, taps, bias, f)
	if b > a {
		first = 1
	}
	return first, max(a, b) > 0
}

func convPoolPortable(y, x, taps, bias []float32) {
	filters := len(bias)
	for i := range len(x) / 2 {
		s := convWindow(x, i)
		row := y[i*filters : (i+1)*filters]
		for f := range row {
			a, b := convPair(&s, taps, bias, f)
			row[f] = max(a, b, 0)
		}
	}
}

func convPoolGradPortable(dtaps, dbias, dy, x, taps, bias []float32) {
	filters := len(bias)
	pairs := len(x) / 2
	for from := 0; from < pairs; from += convBlock {
		until := min(from+convBlock, pairs)
		for f := range filters {
			var d [3]float32
			var db float32
			for i := from; i < until; i++ {
				s := convWindow(x, i)
				first, ok := convWinner(&s, taps, bias, f)
				if !ok {
					continue
				}
				g := dy[i*filters+f]
				for t := range d {
					d[t] += g * s[first+t]
				}
				db += g
			}
			for t, v := range d {
				dtaps[t*filters+f] += v
			}
			dbias[f] += db
		}
	}
}
