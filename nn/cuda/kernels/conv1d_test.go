package kernels_test

import (
	"slices"
	"testing"

	"sdnn/nn"
	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/kernels"
)

// conv1d in float64, nn.Conv1D's definition.
type conv1d struct {
	n, length, f, k int
	x, w, b         []float32
}

func (r *rig) conv1d(typ string, n, length, f, k int) *conv1d {
	return &conv1d{n, length, f, k, r.random(typ, n*length), r.random("f32", f*k), r.random("f32", f)}
}

// each calls fn for every output, tap and input that meet.
func (c *conv1d) each(fn func(y, w, x int)) {
	for n := range c.n {
		for l := range c.length {
			for f := range c.f {
				for t := range c.k {
					if at := l + t - c.k/2; at >= 0 && at < c.length {
						fn((n*c.length+l)*c.f+f, f*c.k+t, n*c.length+at)
					}
				}
			}
		}
	}
}

func (c *conv1d) forward() []float64 {
	y := make([]float64, c.n*c.length*c.f)
	for i := range y {
		y[i] = float64(c.b[i%c.f])
	}
	c.each(func(yi, wi, xi int) { y[yi] += float64(c.w[wi]) * float64(c.x[xi]) })
	return y
}

func (c *conv1d) backward(dy []float64) (dw, db, dx []float64) {
	dw, db, dx = make([]float64, c.f*c.k), make([]float64, c.f), make([]float64, len(c.x))
	for i, d := range dy {
		db[i%c.f] += d
	}
	c.each(func(yi, wi, xi int) {
		dw[wi] += dy[yi] * float64(c.x[xi])
		dx[xi] += dy[yi] * float64(c.w[wi])
	})
	return dw, db, dx
}

func TestConv1D(t *testing.T) {
	r := newRig(t)
	r.both(func(typ string) {
		for _, s := range [][4]int{{1, 1, 1, 1}, {3, 7, 8, 3}, {2, 33, 5, 5}} {
			c := r.conv1d(typ, s[0], s[1], s[2], s[3])
			n := c.n * c.length * c.f
			y, px, pw := r.make(typ, n), r.of(typ, c.x), put(r, c.w)
			r.run("conv1d_forward_"+typ, P(y), P(px), P(pw), P(put(r, c.b)), I(c.n), I(c.length), I(c.f), I(c.k))
			r.near("conv1d", r.read(typ, y), c.forward(), tolerance(typ)+1e-5)
			dy := r.random(typ, n)
			dw, db, dx := c.backward(widen(dy))
			pd, parts := r.of(typ, dy), kernels.Slices(c.n*c.length, c.f)
			partial, gx := r.make("f32", parts*(c.k+1)*c.f), r.make(typ, len(c.x))
			r.run("conv1d_backward_weight_"+typ, P(partial), P(pd), P(px), I(c.n), I(c.length), I(c.f), I(c.k), I(parts))
			gw, gb := r.make("f32", c.f*c.k), r.make("f32", c.f)
			r.run("conv1d_backward_finish_f32", P(gw), P(gb), P(partial), I(c.f), I(c.k), I(parts))
			r.run("conv1d_backward_data_"+typ, P(gx), P(pd), P(pw), I(c.n), I(c.length), I(c.f), I(c.k))
			r.near("dw", get[float32](r, gw), dw, 1e-5)
			r.near("db", get[float32](r, gb), db, 1e-5)
			r.near("dx", r.read(typ, gx), dx, tolerance(typ)+1e-4)
		}
	})
}

// TestConv1DFused compares the passes that fuse convolution, ReLU, max-pool and
// dropout with their composition.
func TestConv1DFused(t *testing.T) {
	r := newRig(t)
	r.both(func(typ string) {
		for _, s := range [][3]int{{1, 2, 1}, {3, 7, 8}, {2, 33, 5}, {5, 40, 64}} {
			c := r.conv1d(typ, s[0], s[1], s[2], 3)
			z := c.forward()
			a := make([]float64, len(z))
			for i, v := range z {
				a[i] = max(v, 0)
			}
			want, at := pairs(a, c.length, c.f)
			d := r.random(typ, len(want))
			for _, o := range []nn.Dropout{{}, {Rate: 0.3, Stream: 7}} {
				r.conv1dFused(typ, c, z, want, at, d, o)
			}
		}
	})
}

// conv1dFused runs the fused passes with a dropout, without one if its rate is
// 0: want are the windows, at where each is from, d their gradient.
func (r *rig) conv1dFused(typ string, c *conv1d, z, want []float64, at []int, d []float32, o nn.Dropout) {
	r.t.Helper()
	what, part, keys, numbers := "fused ", "", []driver.Arg(nil), []driver.Arg(nil)
	out, dz, width := make([]float64, len(want)), make([]float64, len(z)), len(want)/c.n
	scale := float32(1)
	if o.Rate > 0 {
		row := make([]uint64, c.n)
		for i := range row {
			row[i] = nn.RowKey(3, 1, uint64(i))
		}
		what, part, scale = "fused with dropout ", "dropout_", float32(1/(1-o.Rate))
		keys, numbers = []driver.Arg{P(put(r, row))}, []driver.Arg{U(o.Stream), U(nn.KeepThreshold(o.Rate)), F(scale)}
	}
	for i, from := range at {
		if o.Rate > 0 && nn.Hash32(nn.StreamKey(nn.RowKey(3, 1, uint64(i/width)), o.Stream), uint32(i%width)) < nn.KeepThreshold(o.Rate) {
			continue
		}
		out[i] = want[i] * float64(scale)
		if z[from] > 0 {
			dz[from] = float64(d[i]) * float64(scale)
		}
	}
	y, px, pw, pb := r.make(typ, len(want)), r.of(typ, c.x), put(r, c.w), put(r, c.b)
	r.run("conv1d_relu_maxpool_"+part+"forward_"+typ, slices.Concat([]driver.Arg{P(y), P(px), P(pw), P(pb)}, keys, []driver.Arg{I(c.n), I(c.length), I(c.f)}, numbers)...)
	r.near(what, r.read(typ, y), out, tolerance(typ)+1e-5)
	dw, db, _ := c.backward(dz)
	n := kernels.Slices(c.n*(c.length/2), c.f)
	partial, gw, gb, counters := r.make("f32", n*4*c.f), r.make("f32", 3*c.f), r.make("f32", c.f), r.counters()
	r.run("conv1d_relu_maxpool_"+part+"backward_"+typ, slices.Concat([]driver.Arg{P(gw), P(gb), P(partial), P(counters), P(r.of(typ, d)), P(px), P(pw), P(pb)}, keys,
		[]driver.Arg{I(c.n), I(c.length), I(c.f), I(n)}, numbers)...)
	r.restored(counters)
	r.near(what+"dw", get[float32](r, gw), dw, 1e-4)
	r.near(what+"db", get[float32](r, gb), db, 1e-4)
}
