package kernels_test

import (
	"fmt"
	"math"
	"testing"

	"sdnn/nn"
	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/kernels"
)

// norm is a batch normalisation in float64: [rows, c] positions.
type norm struct {
	rows, c         int
	x, gamma, beta  []float64
	mean, inv, var1 []float64 // var1: divided by rows-1
	epsilon         float64
}

func newNorm(x, gamma, beta []float32, c int) *norm {
	n := &norm{rows: len(x) / c, c: c, x: widen(x), gamma: widen(gamma), beta: widen(beta), epsilon: 1e-5,
		mean: make([]float64, c), inv: make([]float64, c), var1: make([]float64, c)}
	for i, v := range n.x {
		n.mean[i%c] += v / float64(n.rows)
	}
	for i, v := range n.x {
		n.var1[i%c] += (v - n.mean[i%c]) * (v - n.mean[i%c])
	}
	for i, s := range n.var1 {
		n.inv[i] = 1 / math.Sqrt(s/float64(n.rows)+n.epsilon)
		n.var1[i] = s / float64(max(n.rows-1, 1))
	}
	return n
}

func (n *norm) y() []float64 {
	y := make([]float64, len(n.x))
	for i, v := range n.x {
		c := i % n.c
		y[i] = n.gamma[c]*(v-n.mean[c])*n.inv[c] + n.beta[c]
	}
	return y
}

// back returns dx, dgamma, dbeta by the formulas of nn.BatchNormBackward.
func (n *norm) back(dy []float64) (dx, dgamma, dbeta []float64) {
	dx, dgamma, dbeta = make([]float64, len(dy)), make([]float64, n.c), make([]float64, n.c)
	xh := func(i int) float64 { return (n.x[i] - n.mean[i%n.c]) * n.inv[i%n.c] }
	for i, d := range dy {
		dbeta[i%n.c] += d
		dgamma[i%n.c] += d * xh(i)
	}
	for i, d := range dy {
		c, count := i%n.c, float64(n.rows)
		dx[i] = n.gamma[c] * n.inv[c] * (d - dbeta[c]/count - xh(i)*dgamma[c]/count)
	}
	return dx, dgamma, dbeta
}

// onCard is the normalisation's state on the card.
type onCard struct {
	r                                          *rig
	typ                                        string
	rows, c, slices                            int
	x, gamma, mean, inv, coef, runMean, runVar driver.Ptr
}

// forward computes statistics on the card; x already has its values.
func (r *rig) forward(typ string, x driver.Ptr, gamma, beta, bias []float32, rows, c int) *onCard {
	r.t.Helper()
	k := &onCard{r: r, typ: typ, rows: rows, c: c, slices: kernels.Slices(rows, c), x: x, gamma: put(r, gamma)}
	partial := r.make("f32", (2*k.slices+1)*c)
	k.statistics("batchnorm_stats_"+typ, partial, []driver.Arg{P(x)}, beta, bias)
	return k
}

// counters are those of the kernels that finish what they sum.
func (r *rig) counters() driver.Ptr { return put(r, make([]int32, kernels.Counters)) }

// restored checks that counters are as they were.
func (r *rig) restored(counters driver.Ptr) {
	r.t.Helper()
	for i, v := range get[int32](r, counters) {
		if v != 0 {
			r.t.Fatalf("counter %d is left at %d", i, v)
		}
	}
}

// statistics runs a kernel that makes statistics of what operands are.
func (k *onCard) statistics(kernel string, partial driver.Ptr, operands []driver.Arg, beta, bias []float32) {
	r := k.r
	r.t.Helper()
	counters := r.counters()
	k.mean, k.inv, k.coef = r.make("f32", k.c), r.make("f32", k.c), r.make("f32", 2*k.c)
	k.runMean, k.runVar = put(r, fillWith(k.c, 0.5)), put(r, fillWith(k.c, 2))
	b := driver.Ptr(0)
	if bias != nil {
		b = put(r, bias)
	}
	args := append([]driver.Arg{P(k.mean), P(k.inv), P(k.coef), P(k.runMean), P(k.runVar), P(partial), P(counters)}, operands...)
	r.run(kernel, append(args, P(k.gamma), P(put(r, beta)), P(b), I(k.rows), I(k.c), I(k.slices), F(1e-5), F(0.1))...)
	r.restored(counters)
}

func fillWith(n int, v float32) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = v
	}
	return out
}

var normSizes = []struct{ rows, c int }{{1, 5}, {7, 1}, {33, 16}, {500, 3}, {260, 40}, {2000, 64}, {90, 168}}

func TestBatchNormForward(t *testing.T) {
	r := newRig(t)
	r.both(func(typ string) {
		for _, s := range normSizes {
			r.batchNormForward(typ, s.rows, s.c)
		}
	})
}

func (r *rig) batchNormForward(typ string, rows, c int) {
	x, gamma, beta, bias := r.random(typ, rows*c), r.random("f32", c), r.random("f32", c), r.random("f32", c)
	for i := range x {
		x[i] = round(typ, x[i]+20) // far from 0: sums of squares alone would lose all digits
	}
	n := newNorm(x, gamma, beta, c)
	k := r.forward(typ, r.of(typ, x), gamma, beta, bias, rows, c)
	what := fmt.Sprintf("%d x %d %s: ", rows, c, typ)
	r.near(what+"mean", get[float32](r, k.mean), n.mean, 1e-6)
	r.near(what+"1/std", get[float32](r, k.inv), n.inv, 1e-4)
	mean, variance := make([]float64, c), make([]float64, c)
	for i := range mean {
		mean[i] = 0.9*0.5 + 0.1*(n.mean[i]+float64(bias[i]))
		variance[i] = 0.9*2 + 0.1*n.var1[i]
	}
	r.near(what+"running mean", get[float32](r, k.runMean), mean, 1e-6)
	r.near(what+"running variance", get[float32](r, k.runVar), variance, 1e-5)
	if rows == 1 {
		return // y is beta but for rounding
	}
	y := r.make(typ, rows*c)
	r.run("batchnorm_apply_"+typ, P(y), P(k.x), P(k.coef), I(rows), I(c))
	want := n.y()
	tol := tolerance(typ) + 3e-4 // of a value around 1, made from x around 20
	r.near(what+"y", r.read(typ, y), want, tol)
	for i, v := range want {
		want[i] = max(v, 0)
	}
	r.run("batchnorm_apply_relu_"+typ, P(y), P(k.x), P(k.coef), I(rows), I(c))
	r.near(what+"relu", r.read(typ, y), want, tol)
}

func TestBatchNormAddStats(t *testing.T) {
	r := newRig(t)
	r.both(func(typ string) {
		for _, s := range normSizes {
			rows, c := s.rows, s.c
			a, b, gamma, beta := r.random(typ, rows*c), r.random(typ, rows*c), r.random("f32", c), r.random("f32", c)
			sum := make([]float32, len(a))
			for i := range sum {
				sum[i] = round(typ, a[i]+b[i])
			}
			n := newNorm(sum, gamma, beta, c)
			y, k := r.make(typ, rows*c), &onCard{r: r, typ: typ, rows: rows, c: c, slices: kernels.Slices(rows, c), gamma: put(r, gamma)}
			partial := r.make("f32", (2*k.slices+1)*c)
			k.statistics("batchnorm_add_stats_"+typ, partial, []driver.Arg{P(y), P(r.of(typ, a)), P(r.of(typ, b))}, beta, nil)
			r.near("sum", r.read(typ, y), widen(sum), 0)
			mean := get[float32](r, k.mean)
			for i := range mean { // near 0: a few 1e-7 of a deviation around 1
				mean[i], n.mean[i] = mean[i]+1, n.mean[i]+1
			}
			r.near("mean of sum", mean, n.mean, 1e-6)
			r.near("1/std of sum", get[float32](r, k.inv), n.inv, 1e-5)
		}
	})
}

func TestBatchNormEvaluation(t *testing.T) {
	r := newRig(t)
	const c = 37
	gamma, beta, mean, bias := r.random("f32", c), r.random("f32", c), r.random("f32", c), r.random("f32", c)
	variance := r.random("f32", c)
	for i, v := range variance {
		variance[i] = v * v
	}
	for _, with := range []bool{false, true} {
		coef, b := r.make("f32", 2*c), driver.Ptr(0)
		if with {
			b = put(r, bias)
		}
		r.run("batchnorm_coef_f32", P(coef), P(put(r, gamma)), P(put(r, beta)), P(put(r, mean)), P(put(r, variance)), P(b), I(c), F(1e-5))
		want := make([]float64, 2*c)
		for i := range c {
			want[i] = float64(gamma[i]) / math.Sqrt(float64(variance[i])+1e-5)
			want[c+i] = float64(beta[i]) - want[i]*float64(mean[i])
			if with {
				want[c+i] += want[i] * float64(bias[i])
			}
		}
		r.near("coefficients", get[float32](r, coef), want, 1e-5)
	}
}

// behind is what lies behind a normalisation of images [n, h, w, c].
type behind struct {
	name             string
	relu, drop, pool bool
	residual         bool
}

// TestBatchNormBackward runs every fused backward pass against the composition
// of the definitions in float64.
func TestBatchNormBackward(t *testing.T) {
	r := newRig(t)
	for _, b := range []behind{{name: ""}, {name: "_relu", relu: true}, {name: "_relu_add", relu: true, residual: true},
		{name: "_relu_dropout", relu: true, drop: true}, {name: "_relu_maxpool", relu: true, pool: true}} {
		r.both(func(typ string) {
			for _, s := range [][4]int{{1, 2, 2, 1}, {3, 5, 4, 8}, {2, 7, 7, 3}, {9, 6, 6, 24}, {5, 3, 8, 64}} {
				r.batchNormBackward(typ, b, s[0], s[1], s[2], s[3])
			}
		})
	}
}

const (
	dropRate   = 0.4
	dropStream = 7
)

// reference computes the chain forward (y) and the gradient at the normalised value.
func (b behind) reference(z []float64, dy []float32, keys []uint64, h, w, c int) (y, dz []float64) {
	out := z
	pass := make([]float64, len(z)) // d out / d z where it is not the pool
	for i := range pass {
		pass[i] = 1
	}
	if b.relu {
		out = make([]float64, len(z))
		for i, v := range z {
			out[i] = max(v, 0)
			if v <= 0 {
				pass[i] = 0
			}
		}
	}
	if b.drop {
		for i := range out {
			image, j := i/(h*w*c), i%(h*w*c)
			keep := 0.0
			if nn.Hash32(nn.StreamKey(keys[image], dropStream), uint32(j)) >= nn.KeepThreshold(dropRate) {
				keep = 1 / (1 - dropRate)
			}
			out[i] *= keep
			pass[i] *= keep
		}
	}
	dz = make([]float64, len(z))
	if !b.pool {
		for i := range dz {
			dz[i] = float64(dy[i]) * pass[i]
		}
		return out, dz
	}
	y, at := maxPool(out, h, w, c)
	for i, from := range at {
		dz[from] = float64(dy[i]) * pass[from]
	}
	return y, dz
}

// maxPool returns the maxima of 2x2 windows of [n, h, w, c] and where they are.
func maxPool(x []float64, h, w, c int) (y []float64, at []int) {
	for n := range len(x) / (h * w * c) {
		for oy := range h / 2 {
			for ox := range w / 2 {
				for ch := range c {
					place := func(k int) int { return ((n*h+2*oy+k/2)*w+2*ox+k%2)*c + ch }
					best := place(0)
					for k := 1; k < 4; k++ {
						if x[place(k)] > x[best] {
							best = place(k)
						}
					}
					y, at = append(y, x[best]), append(at, best)
				}
			}
		}
	}
	return y, at
}

func (r *rig) batchNormBackward(typ string, b behind, n, h, w, c int) {
	r.t.Helper()
	rows := n * h * w
	x, gamma, beta, keys := r.random(typ, rows*c), r.random("f32", c), r.random("f32", c), r.keys(n)
	out := rows * c
	if b.pool {
		out = n * (h / 2) * (w / 2) * c
	}
	dy, residual := r.random(typ, out), r.random(typ, rows*c)
	ref := newNorm(x, gamma, beta, c)
	y, dz := b.reference(ref.y(), dy, keys, h, w, c)
	dx, dgamma, dbeta := ref.back(dz)
	if b.residual {
		for i := range dx {
			dx[i] += float64(residual[i])
		}
	}
	k := r.forward(typ, r.of(typ, x), gamma, beta, nil, rows, c)
	what := fmt.Sprintf("%s of %dx%dx%dx%d %s: ", b.name, n, h, w, c, typ)
	pk := put(r, keys)
	got := k.applied(b, pk, n, h, w)
	if got != 0 {
		r.near(what+"y", r.read(typ, got), y, tolerance(typ)+1e-5)
	}
	gx, gg, gb, bias := k.backward(b, r.of(typ, dy), r.of(typ, residual), pk, n, h, w)
	r.near(what+"dbeta", get[float32](r, gb), dbeta, 2e-5)
	r.near(what+"dgamma", get[float32](r, gg), dgamma, 1e-4)
	r.near(what+"dx", r.read(typ, gx), dx, tolerance(typ)+1e-4)
	for i, v := range get[float32](r, bias) { // zero but for rounding
		if math.Abs(float64(v)) > 1e-4*float64(rows) {
			r.t.Errorf("%sthe bias's gradient %d is %g", what, i, v)
		}
	}
}

// applied computes the chain forward by the kernel that fuses it; 0 if none does.
func (k *onCard) applied(b behind, keys driver.Ptr, n, h, w int) driver.Ptr {
	r, kernel := k.r, "batchnorm_apply"+b.name+"_"+k.typ
	if b.residual {
		return 0
	}
	args := []driver.Arg{P(k.x), P(k.coef)}
	size := k.rows * k.c
	switch {
	case b.drop:
		args = append(args, P(keys), I(n), I(h*w), I(k.c), U(dropStream), U(nn.KeepThreshold(dropRate)), F(float32(1/(1-dropRate))))
	case b.pool:
		size = n * (h / 2) * (w / 2) * k.c
		args = append(args, I(n), I(h), I(w), I(k.c))
	default:
		args = append(args, I(k.rows), I(k.c))
	}
	y := r.make(k.typ, size)
	r.run(kernel, append([]driver.Arg{P(y)}, args...)...)
	return y
}

// backward runs reduce and apply.
func (k *onCard) backward(b behind, dy, residual, keys driver.Ptr, n, h, w int) (dx, dgamma, dbeta, dbias driver.Ptr) {
	r, c := k.r, k.c
	reduce := b
	if b.residual {
		reduce.name = "_relu"
	}
	partial := r.make("f32", 2*k.slices*c)
	dgamma, dbeta, dbias = r.make("f32", c), r.make("f32", c), r.make("f32", c)
	back, counters := r.make("f32", 3*c), r.counters()
	args := []driver.Arg{P(dgamma), P(dbeta), P(back), P(dbias), P(partial), P(counters), P(dy), P(k.x), P(k.mean), P(k.gamma), P(k.inv)}
	if b.relu {
		args = append(args, P(k.coef))
	}
	drop := []driver.Arg{U(dropStream), U(nn.KeepThreshold(dropRate)), F(float32(1 / (1 - dropRate)))}
	switch {
	case b.drop:
		args = append(append(args, P(keys), I(n), I(h*w), I(c), I(k.slices)), drop...)
	case b.pool:
		args = append(args, I(n), I(h), I(w), I(c), I(k.slices))
	default:
		args = append(args, I(k.rows), I(c), I(k.slices))
	}
	r.run("batchnorm_backward_reduce"+reduce.name+"_"+k.typ, args...)
	r.restored(counters)
	dx = r.make(k.typ, k.rows*c)
	args = []driver.Arg{P(dx), P(dy), P(k.x)}
	if b.residual {
		args = append(args, P(residual))
	}
	if b.relu {
		args = append(args, P(k.coef))
	}
	args = append(args, P(back))
	switch {
	case b.drop:
		args = append(append(args, P(keys), I(n), I(h*w), I(c)), drop...)
	case b.pool:
		args = append(args, I(n), I(h), I(w), I(c))
	default:
		args = append(args, I(k.rows), I(c))
	}
	r.run("batchnorm_backward_apply"+b.name+"_"+k.typ, args...)
	return dx, dgamma, dbeta, dbias
}
