package kernel

// portableChan is the implementation that every architecture has.
var portableChan = chanKernels{
	sum: chanSumPortable, moments: chanMomentsPortable,
	affine:     func(y, x, coef []float32, _, c int) { chanAffinePortable(y, x, coef, c, false) },
	affineReLU: func(y, x, coef []float32, _, c int) { chanAffinePortable(y, x, coef, c, true) },
	gradSums:   chanGradSumsPortable, gradSumsReLU: chanGradSumsReLUPortable,
	grad: chanGradPortable, gradReLU: chanGradReLUPortable, gradReLUAdd: chanGradReLUAddPortable,
	maxPool: maxPoolPortable, maxPoolGrad: maxPoolGradPortable,
	affinePool: affinePoolPortable, affinePoolSums: affinePoolSumsPortable, affinePoolGrads: affinePoolGradsPortable,
}

// affine is x scale + shift, rounded twice on every architecture: a backward
// pass that computes it again must get the bits of the forward pass.
func affine(x, scale, shift float32) float32 { return float32(x*scale) + shift }

// inRows runs four(rows 0..3) for fours of rows and one(row) for the rest, each
// row a slice of c elements of x: the order of the assembly.
func inRows(x []float32, rows, c int, four func(at int, r0, r1, r2, r3 []float32), one func(at int, r []float32)) {
	r := 0
	for ; r+quadRows <= rows; r += quadRows {
		q := x[r*c : (r+quadRows)*c]
		four(r*c, q[:c], q[c:2*c], q[2*c:3*c], q[3*c:])
	}
	for ; r < rows; r++ {
		one(r*c, x[r*c:(r+1)*c])
	}
}

// quadRows is the number of rows whose terms are added up before they are
// added to a sum: even and odd rows apart.
const quadRows = 4

func chanSumPortable(acc, x []float32, rows, c int) {
	inRows(x, rows, c, func(_ int, r0, r1, r2, r3 []float32) {
		for i := range acc {
			acc[i] += (r0[i] + r2[i]) + (r1[i] + r3[i])
		}
	}, func(_ int, r []float32) {
		for i, v := range r {
			acc[i] += v
		}
	})
}

func chanMomentsPortable(acc, x, pivot []float32, rows, c int) {
	sum, square := acc[:c], acc[c:]
	inRows(x, rows, c, func(_ int, r0, r1, r2, r3 []float32) {
		for i, p := range pivot {
			d0, d1, d2, d3 := r0[i]-p, r1[i]-p, r2[i]-p, r3[i]-p
			sum[i] += (d0 + d2) + (d1 + d3)
			square[i] += (d0*d0 + d2*d2) + (d1*d1 + d3*d3)
		}
	}, func(_ int, r []float32) {
		for i, p := range pivot {
			d := r[i] - p
			sum[i] += d
			square[i] += d * d
		}
	})
}

func chanAffinePortable(y, x, coef []float32, c int, relu bool) {
	scale, shift := coef[:c], coef[c:2*c]
	for ; len(x) >= c; x, y = x[c:], y[c:] {
		for i, v := range x[:c] {
			v = affine(v, scale[i], shift[i])
			if relu {
				v = max(v, 0)
			}
			y[i] = v
		}
	}
}

func chanGradSumsPortable(acc, dy, x, mean []float32, rows, c int) {
	gradSumsPortable(acc, dy, x, mean, rows, c, func(d, _ float32, _ int) float32 { return d })
}

func chanGradSumsReLUPortable(acc, dy, x, coef []float32, rows, c int) {
	scale, shift := coef[c:2*c], coef[2*c:]
	gradSumsPortable(acc, dy, x, coef[:c], rows, c, func(d, v float32, i int) float32 {
		return passedReLU(d, affine(v, scale[i], shift[i]))
	})
}

// gradSumsPortable sums what pass lets through of dy for channel i at x.
func gradSumsPortable(acc, dy, x, mean []float32, rows, c int, pass func(dy, x float32, i int) float32) {
	sum, dot := acc[:c], acc[c:]
	inRows(x, rows, c, func(at int, r0, r1, r2, r3 []float32) {
		q := dy[at : at+quadRows*c]
		for i, m := range mean {
			d0, d1, d2, d3 := pass(q[i], r0[i], i), pass(q[c+i], r1[i], i), pass(q[2*c+i], r2[i], i), pass(q[3*c+i], r3[i], i)
			sum[i] += (d0 + d2) + (d1 + d3)
			dot[i] += (d0*(r0[i]-m) + d2*(r2[i]-m)) + (d1*(r1[i]-m) + d3*(r3[i]-m))
		}
	}, func(at int, r []float32) {
		for i, m := range mean {
			d := pass(dy[at+i], r[i], i)
			sum[i] += d
			dot[i] += d * (r[i] - m)
		}
	})
}

// passedReLU is the gradient before a ReLU of z.
func passedReLU(dy, z float32) float32 {
	if z > 0 {
		return dy
	}
	return 0
}

func chanGradPortable(dx, dy, x, coef []float32, rows, c int) {
	fy, fx, f1 := coef[:c], coef[c:2*c], coef[2*c:]
	for at := 0; at < rows*c; at += c {
		out, d := dx[at:at+c], dy[at:at+c]
		for i, v := range x[at : at+c] {
			out[i] = d[i]*fy[i] + (v*fx[i] + f1[i])
		}
	}
}

func chanGradReLUPortable(dx, dy, x, coef []float32, rows, c int) {
	scale, shift, fy, fx, f1 := coef[:c], coef[c:2*c], coef[2*c:3*c], coef[3*c:4*c], coef[4*c:]
	for at := 0; at < rows*c; at += c {
		out, d := dx[at:at+c], dy[at:at+c]
		for i, v := range x[at : at+c] {
			out[i] = passedReLU(d[i], affine(v, scale[i], shift[i]))*fy[i] + (v*fx[i] + f1[i])
		}
	}
}

func chanGradReLUAddPortable(dx, dy, x, r, coef []float32, rows, c int) {
	scale, shift, fy, fx, f1 := coef[:c], coef[c:2*c], coef[2*c:3*c], coef[3*c:4*c], coef[4*c:]
	for at := 0; at < rows*c; at += c {
		out, d, add := dx[at:at+c], dy[at:at+c], r[at:at+c]
		for i, v := range x[at : at+c] {
			out[i] = passedReLU(d[i], affine(v, scale[i], shift[i]))*fy[i] + (v*fx[i] + f1[i]) + add[i]
		}
	}
}
