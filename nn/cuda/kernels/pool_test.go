package kernels_test

import (
	"math"
	"testing"

	"sdnn/nn/cuda/kernels"
)

func TestMaxPool2D(t *testing.T) {
	r := newRig(t)
	r.both(func(typ string) {
		for _, s := range [][4]int{{1, 2, 2, 1}, {2, 5, 4, 8}, {3, 7, 7, 3}, {2, 4, 6, 33}, {2, 4, 4, 64}} {
			n, h, w, c := s[0], s[1], s[2], s[3]
			x := r.random(typ, n*h*w*c)
			for i := range x {
				x[i] = float32(int(2 * x[i])) // ties
			}
			want, at := maxPool(widen(x), h, w, c)
			y, px := r.make(typ, len(want)), r.of(typ, x)
			r.run("maxpool2d_forward_"+typ, P(y), P(px), I(n), I(h), I(w), I(c))
			r.near("max-pool", r.read(typ, y), want, 0)
			dy, dx := r.random(typ, len(want)), make([]float64, len(x))
			for i, from := range at {
				dx[from] = float64(dy[i])
			}
			d := r.make(typ, len(x))
			r.run("maxpool2d_backward_"+typ, P(d), P(r.of(typ, dy)), P(px), I(n), I(h), I(w), I(c))
			r.near("max-pool backward", r.read(typ, d), dx, 0)
		}
	})
}

func TestAvgPool(t *testing.T) {
	r := newRig(t)
	r.both(func(typ string) {
		for _, s := range [][3]int{{1, 1, 1}, {3, 16, 8}, {2, 7, 33}, {5, 64, 24}} {
			n, positions, c := s[0], s[1], s[2]
			x, coef := r.random(typ, n*positions*c), r.random("f32", 2*c)
			want, fused := make([]float64, n*c), make([]float64, n*c)
			for i, v := range x {
				at := i/(positions*c)*c + i%c
				want[at] += float64(v) / float64(positions)
				fused[at] += max(float64(v)*float64(coef[i%c])+float64(coef[c+i%c]), 0) / float64(positions)
			}
			y, px := r.make(typ, n*c), r.of(typ, x)
			r.run("avgpool_forward_"+typ, P(y), P(px), I(n), I(positions), I(c))
			r.near("average", r.read(typ, y), want, 2*tolerance(typ))
			r.run("batchnorm_apply_relu_avgpool_"+typ, P(y), P(px), P(put(r, coef)), I(n), I(positions), I(c))
			r.near("average of ReLU", r.read(typ, y), fused, 2*tolerance(typ))
			dy, dx := r.random(typ, n*c), make([]float64, len(x))
			for i := range dx {
				dx[i] = float64(dy[i/(positions*c)*c+i%c]) / float64(positions)
			}
			d := r.make(typ, len(x))
			r.run("avgpool_backward_"+typ, P(d), P(r.of(typ, dy)), I(n), I(positions), I(c))
			r.near("average backward", r.read(typ, d), dx, tolerance(typ))
		}
	})
}

// pairs returns the maxima of neighbours in [n, length, f] and where they are.
func pairs(x []float64, length, f int) (y []float64, at []int) {
	for n := range len(x) / (length * f) {
		for l := range length / 2 {
			for j := range f {
				first := (n*length+2*l)*f + j
				best := first
				if x[first+f] > x[first] {
					best = first + f
				}
				y, at = append(y, x[best]), append(at, best)
			}
		}
	}
	return y, at
}

func TestMaxPool1D(t *testing.T) {
	r := newRig(t)
	r.both(func(typ string) {
		for _, s := range [][3]int{{1, 2, 1}, {3, 7, 8}, {2, 10, 33}, {2, 31, 64}} {
			n, length, f := s[0], s[1], s[2]
			x := r.random(typ, n*length*f)
			for i := range x {
				x[i] = float32(int(2 * x[i]))
			}
			want, at := pairs(widen(x), length, f)
			y, px := r.make(typ, len(want)), r.of(typ, x)
			r.run("maxpool1d_forward_"+typ, P(y), P(px), I(n), I(length), I(f))
			r.near("max-pool", r.read(typ, y), want, 0)
			dy, dx := r.random(typ, len(want)), make([]float64, len(x))
			for i, from := range at {
				dx[from] = float64(dy[i])
			}
			d := r.make(typ, len(x))
			r.run("maxpool1d_backward_"+typ, P(d), P(r.of(typ, dy)), P(px), I(n), I(length), I(f))
			r.near("max-pool backward", r.read(typ, d), dx, 0)
		}
	})
}

func TestColumnSum(t *testing.T) {
	r := newRig(t)
	r.both(func(typ string) {
		for _, s := range normSizes {
			x, want := r.random(typ, s.rows*s.c), make([]float64, s.c)
			for i, v := range x {
				want[i%s.c] += float64(v)
			}
			n := kernels.Slices(s.rows, s.c)
			partial, y, counters := r.make("f32", n*s.c), r.make("f32", s.c), r.counters()
			r.run("column_sum_"+typ, P(y), P(partial), P(counters), P(r.of(typ, x)), I(s.rows), I(s.c), I(n))
			r.restored(counters)
			r.near("column sums", get[float32](r, y), want, 1e-4)
		}
	})
}

// TestReLUBackwardSum: the bits of the two kernels that it stands for, also in place.
func TestReLUBackwardSum(t *testing.T) {
	r := newRig(t)
	r.both(func(typ string) {
		for _, s := range normSizes {
			n, slices := s.rows*s.c, kernels.Slices(s.rows, s.c)
			dy, y := r.of(typ, r.random(typ, n)), r.of(typ, r.random(typ, n))
			dx, db := r.make(typ, n), r.make("f32", s.c)
			counters, partial := r.counters(), r.make("f32", slices*s.c)
			r.run("relu_dropout_backward_"+typ, P(dx), P(dy), P(y), L(uint64(n)), F(1.25))
			r.run("column_sum_"+typ, P(db), P(partial), P(counters), P(dx), I(s.rows), I(s.c), I(slices))
			sums := r.make("f32", s.c)
			r.run("relu_backward_sum_"+typ, P(sums), P(partial), P(counters), P(dy), P(dy), P(y), I(s.rows), I(s.c), I(slices), F(1.25))
			r.restored(counters)
			if !slicesEqual(r.read(typ, dy), r.read(typ, dx)) || !slicesEqual(get[float32](r, sums), get[float32](r, db)) {
				t.Errorf("%s %v: other bits than apart", typ, s)
			}
		}
	})
}

func slicesEqual(a, b []float32) bool {
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}
