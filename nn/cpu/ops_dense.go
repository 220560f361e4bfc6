package cpu

import (
	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
	"sdnn/nn/cpu/pool"
)

// bf16Least is the least number of weights of a dense layer that is computed
// in bfloat16 on request: below it packing costs what multiplying gains.
const bf16Least = 1 << 12

// gemm returns the product for a dense layer of s x f weights. Convolutions,
// whose fast algorithms would lose digits, and everything that is no product
// stay float32.
func (l *lowering) gemm(s, f int) func(p *pool.Pool, m, n, k int, a, b kernel.Matrix, c []float32, ldc int, accumulate bool, e *kernel.Epilogue) {
	if l.o.Precision == nn.BF16 && s*f >= bf16Least {
		return kernel.GemmBF16
	}
	return kernel.Gemm
}

// dense lowers y = x Wᵀ + b, with the ReLU that alone reads y fused into the
// product's last touch of a tile.
func (l *lowering) dense(n *nn.Node) {
	x, w, y := n.In[0], n.In[1], n.Out[0]
	relu := false
	if r := l.onlyReader(y); r != nil {
		if _, relu = r.Op.(nn.ReLU); relu {
			l.done[r] = true
			y = r.Out[0]
		}
	}
	f, s := w.Shape[1], w.Shape[0]
	gemm := l.gemm(s, f)
	o := l.emit(n.Op.Kind(), n.In, []*nn.Value{y}, func(b *binder) func() {
		xs, ws, ys := b.ref(x), b.ref(w), b.ref(y)
		e := &kernel.Epilogue{ReLU: relu}
		if len(n.In) == 3 {
			e.Bias = b.ref(n.In[2]).data
		}
		return func() {
			gemm(b.s.pool, b.s.rows, s, f, kernel.Matrix{Data: xs.get(), Stride: f},
				kernel.Matrix{Data: ws.data, Stride: f, Trans: true}, ys.data, s, false, e)
		}
	})
	o.flops = func(rows int) float64 { return 2 * float64(rows) * float64(s) * float64(f) }
}

// product lowers the two backward products of a dense layer: dx = dy W and,
// with weights, dW = dyᵀ x.
func (l *lowering) product(kind string, n *nn.Node, out, dy, other *nn.Value, weights bool) {
	s, f := dy.Width(), other.Shape[1]
	gemm := l.gemm(s, f)
	o := l.emit(kind, []*nn.Value{dy, other}, []*nn.Value{out}, func(b *binder) func() {
		ds, xs, ys := b.ref(dy), b.ref(other), b.ref(out)
		if weights {
			return func() {
				gemm(b.s.pool, s, f, b.s.rows, kernel.Matrix{Data: ds.get(), Stride: s, Trans: true},
					kernel.Matrix{Data: xs.get(), Stride: f}, ys.data, f, false, nil)
			}
		}
		return func() {
			gemm(b.s.pool, b.s.rows, f, s, kernel.Matrix{Data: ds.get(), Stride: s},
				kernel.Matrix{Data: xs.data, Stride: f}, ys.data, f, false, nil)
		}
	})
	o.flops = func(rows int) float64 { return 2 * float64(rows) * float64(s) * float64(f) }
}

// bindUpdate makes the optimiser's pass over one parameter.
func bindUpdate(w, g *nn.Value) func(b *binder) func() {
	return func(b *binder) func() {
		s := b.s
		ws, gs := s.tensors[w.Name], b.ref(g)
		var state [][]float32
		for _, name := range s.options.Optimizer.StateNames() {
			state = append(state, s.tensors[name+"/"+w.Name])
		}
		if s.options.Optimizer.Kind == nn.SGD {
			return b.overFlat(len(ws), func(lo, hi int) { s.sgd.Apply(ws[lo:hi], state[0][lo:hi], gs.data[lo:hi]) })
		}
		return b.overFlat(len(ws), func(lo, hi int) { s.adam.Apply(ws[lo:hi], state[0][lo:hi], state[1][lo:hi], gs.data[lo:hi]) })
	}
}
