package cpu

import (
	"fmt"

	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
	"sdnn/nn/cpu/pool"
)

// bf16Least is the least number of weights of a dense layer that is computed
// in bfloat16 on request: below it packing costs what multiplying gains.
const bf16Least = 1 << 12

// isBF16 reports whether a dense layer of s x f weights is computed in bfloat16.
func (l *lowering) isBF16(s, f int) bool { return l.o.Precision == nn.BF16 && s*f >= bf16Least }

// checkPrecision refuses bfloat16 for a program of which it would compute less than half: that would be float32 under another name.
func (l *lowering) checkPrecision() error {
	if l.o.Precision != nn.BF16 {
		return nil
	}
	all, part := 0.0, 0.0
	for i := range l.ops {
		if o := &l.ops[i]; o.flops != nil {
			n := o.flops(l.p.Model.Batch)
			all += n
			if o.bf16 {
				part += n
			}
		}
	}
	if part >= all/2 {
		return nil
	}
	return &nn.UnsupportedError{Engine: "cpu", Model: l.p.Model.Name, What: fmt.Sprintf(
		"--precision bf16: only dense layers of %d weights or more are computed in it, here %.1f %% of the operations; convolutions stay f32, so use --precision f32",
		bf16Least, 100*part/all)}
}

// gemmFunc is one of the products of package kernel.
type gemmFunc func(p *pool.Pool, m, n, k int, a, b kernel.Matrix, c []float32, ldc int, accumulate bool, e *kernel.Epilogue)

// gemm returns the product for a dense layer of s x f weights. Convolutions,
// whose fast algorithms would lose digits in bfloat16, and everything that is no
// product stay float32. What dense layers read has often been through ReLU and dropout, or
// is a gradient that has: in float32 the product looks for zeros. In an evaluation a row's result must
// not depend on what else is in its batch, which Strassen's algorithm does not grant.
func (l *lowering) gemm(s, f int) gemmFunc {
	if l.isBF16(s, f) {
		return kernel.GemmBF16
	}
	if l.p.Purpose != nn.Evaluation {
		return kernel.GemmStrassen
	}
	return kernel.GemmSparse
}

// isProduct says of o what profiles and plans need to know of a product with s x f weights.
func (l *lowering) isProduct(o *op, s, f int) {
	o.bf16 = l.isBF16(s, f)
	flops := func(rows int) float64 { return 2 * float64(rows) * float64(s) * float64(f) }
	o.flops = flops
	if o.bf16 || l.p.Purpose == nn.Evaluation {
		return
	}
	o.work = func(rows int) float64 {
		if kernel.StrassenFits(rows, s, f) {
			return flops(rows) * 7 / 8
		}
		return flops(rows)
	}
	if kernel.StrassenFits(l.p.Model.Batch, s, f) {
		o.scratch = kernel.StrassenScratch
	}
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
	l.isProduct(o, s, f)
	o.lists = func(rows, threads int) int { return kernel.SparseLists(threads, rows, s, f) }
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
	l.isProduct(o, s, f)
	o.lists = func(rows, threads int) int {
		if weights { // those of either operand
			return max(kernel.SparseLists(threads, s, f, rows), kernel.SparseLists(threads, f, s, rows))
		}
		return kernel.SparseLists(threads, rows, f, s)
	}
	if weights && len(l.readers[out]) == 0 && !l.isResult(out) {
		o.update = func(w *nn.Value) op { return l.productUpdate(*o, w, dy, other) }
	}
}

// besideColumns is the width of weights up to which what the optimiser changes, short rows that lie apart, is
// fetched by the product while it computes a tile's gradient.
const besideColumns = 1 << 14

// besides decides how what the optimiser changes of weights of s rows and f columns is fetched: by the product
// that computes their gradient, and how far ahead by the optimiser itself. On AVX2 the product gained at widths
// of 1152 to 4096 and lost 4 to 8 % at conv1d's 36,864; on AVX-512 it gained there also, where Strassen's
// algorithm finishes a few rows at a time (docs/benchmarks.md).
func (l *lowering) besides(s, f int) (ahead int, byProduct bool) {
	if f <= besideColumns {
		return 0, true
	}
	return f, kernel.Path() == kernel.AVX512 && !l.isBF16(s, f) && kernel.StrassenFits(s, f, l.p.Model.Batch)
}

// productUpdate makes the op that computes the gradient dW = dyᵀ x of the
// weights w and updates them part by part: the gradient never reaches memory.
// product is the op that would store it.
func (l *lowering) productUpdate(product op, w, dy, x *nn.Value) op {
	s, f := dy.Width(), x.Shape[1]
	gemm := l.gemm(s, f)
	product.kind += "+" + string(l.o.Optimizer.Kind)
	product.name = w.Name
	product.plan = nn.PlanStep{Reads: []*nn.Value{l.rootOf(dy), l.rootOf(x), w}}
	states := len(l.o.Optimizer.StateNames())
	product.traffic = func(rows int) (bytes, set float64) {
		bytes, set = updateTraffic(s*f, states)
		operands := float64(4 * rows * (s + f))
		return bytes + operands, set + operands
	}
	product.bind = func(b *binder) func() {
		ds, xs, u := b.ref(dy), b.ref(x), newUpdater(b.s, w)
		ahead, together := l.besides(s, f)
		var beside []kernel.Matrix
		if together {
			for _, part := range append([][]float32{u.w}, u.state...) {
				beside = append(beside, kernel.Matrix{Data: part, Stride: f})
			}
		}
		e := &kernel.Epilogue{Beside: beside, Tile: func(row, rows, col, cols int, c []float32, ldc, _ int) {
			for r := range rows {
				u.apply((row+r)*f+col, c[r*ldc:r*ldc+cols], ahead)
			}
		}}
		return func() {
			gemm(b.s.pool, s, f, b.s.rows, kernel.Matrix{Data: ds.get(), Stride: s, Trans: true},
				kernel.Matrix{Data: xs.get(), Stride: f}, nil, 0, false, e)
		}
	}
	return product
}

// updater applies the optimiser's rule to a parameter.
type updater struct {
	s     *session
	w     []float32
	state [][]float32 // in the order of Optimizer.StateNames
}

func newUpdater(s *session, w *nn.Value) *updater {
	u := &updater{s: s, w: s.tensors[w.Name]}
	for _, name := range s.options.Optimizer.StateNames() {
		u.state = append(u.state, s.tensors[name+"/"+w.Name])
	}
	return u
}

// apply updates the elements from lo on, of which g is the gradient; ahead as
// kernel.AdamStep has it.
func (u *updater) apply(lo int, g []float32, ahead int) {
	hi := lo + len(g)
	if u.s.options.Optimizer.Kind == nn.SGD {
		u.s.sgd.Apply(u.w[lo:hi], u.state[0][lo:hi], g, ahead)
		return
	}
	u.s.adam.Apply(u.w[lo:hi], u.state[0][lo:hi], u.state[1][lo:hi], g, ahead)
}

// bindUpdate makes the optimiser's pass over one parameter.
func bindUpdate(w, g *nn.Value) func(b *binder) func() {
	return func(b *binder) func() {
		u, gs := newUpdater(b.s, w), b.ref(g)
		return b.overFlat(len(u.w), func(lo, hi int) { u.apply(lo, gs.data[lo:hi], 0) })
	}
}
