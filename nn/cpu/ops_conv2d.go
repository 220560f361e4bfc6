package cpu

import (
	"slices"

	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
	"sdnn/nn/cpu/pool"
)

// convolver is one way to compute a convolution or one of its gradients.
type convolver interface {
	Workspace() int // floats
	Run(*pool.Pool, kernel.ConvArgs)
}

// newConvolver returns the fast way where there is one: for 3x3 kernels of
// stride 1 or 2 and padding 1 whose channels are multiples of 16.
func newConvolver(kind kernel.ConvKind, s kernel.ConvShape) convolver {
	if fast := newFast(kind, s); fast != nil {
		return fast
	}
	return kernel.NewDirectConv(kind, s)
}

// newFast returns Winograd's way, or nil.
func newFast(kind kernel.ConvKind, s kernel.ConvShape) *kernel.Conv3x3 {
	switch {
	case s.K != 3 || s.Pad != 1 || !kernel.FastConv():
	case s.Stride == 1:
		return kernel.NewConv3x3(kind, s.Batch, s.H, s.W, s.C, s.O)
	case s.Stride == 2:
		return kernel.NewStridedConv3x3(kind, s.Batch, s.H, s.W, s.C, s.O)
	}
	return nil
}

// convolution is a convolution of x [N,H,W,C] to y [N,H',W',O], or one of its
// gradients.
type convolution struct {
	kind  kernel.ConvKind
	shape kernel.ConvShape
	conv  convolver
	// args makes a function that sets the operands but for the result.
	args func(b *binder) func(*kernel.ConvArgs)
}

func newConvolution(kind kernel.ConvKind, x, y nn.Shape, k, stride, pad int) convolution {
	s := kernel.ConvShape{Batch: x[0], H: x[1], W: x[2], C: x[3], OH: y[1], OW: y[2], O: y[3], K: k, Stride: stride, Pad: pad}
	return convolution{kind: kind, shape: s, conv: newConvolver(kind, s)}
}

// convolve emits an op that writes c to out, or adds it to the value before. The
// function that c.args makes may set it to write to the values beside as well.
func (l *lowering) convolve(kind string, c convolution, reads []*nn.Value, out, before *nn.Value, beside ...*nn.Value) *op {
	work, kept := l.temp(c.conv.Workspace()), l.keepWeights(c.conv)
	if before != nil {
		reads = append(reads[:len(reads):len(reads)], before)
	}
	op := l.emit(kind, reads, append([]*nn.Value{out, work}, beside...), func(b *binder) func() {
		a := kernel.ConvArgs{Accumulate: before != nil}
		o, ws, set, keep := b.ref(out), b.ref(work), c.args(b), kept.binder(b)
		first := func() {}
		if before != nil {
			if from := b.ref(before); &from.data[0] != &o.data[0] {
				first = b.over(out, func(lo, hi int) { copy(o.data[lo:hi], from.data[lo:hi]) })
			}
		}
		return func() {
			first()
			a.Rows, a.Out, a.Work = b.s.rows, o.data, ws.data
			set(&a)
			keep(&a)
			c.conv.Run(b.s.pool, a)
		}
	})
	if before != nil && !l.readsElsewhere(reads, before) {
		op.inPlace(len(reads) - 1)
	}
	s := c.shape
	if fast, ok := c.conv.(*kernel.Conv3x3); ok {
		op.work = fast.Work
	}
	op.flops = func(rows int) float64 {
		return 2 * float64(rows) * float64(s.OH*s.OW) * float64(s.K*s.K*s.C) * float64(s.O)
	}
	return op
}

// readsElsewhere reports whether v, the last of the reads, is also read as
// another operand, and so must not be overwritten by the result.
func (l *lowering) readsElsewhere(reads []*nn.Value, v *nn.Value) bool {
	return slices.ContainsFunc(reads[:len(reads)-1], func(r *nn.Value) bool { return l.rootOf(r) == l.rootOf(v) })
}

// conv2d emits a convolution. A shortcut's is added to the main way, in place,
// unless the sum is to be measured on the way (add).
func (l *lowering) conv2d(n *nn.Node) {
	c, y := forwardConvolution(n), n.Out[0]
	if sum := l.directSum(c, y); sum != nil {
		if other := otherOperand(sum, y); l.before(l.writer[other], n) && l.statisticsReader(sum.Out[0]) == nil {
			l.done[sum] = true
			l.convolve(n.Op.Kind()+"+add", c, n.In, sum.Out[0], other)
			return
		}
	}
	l.convolve(n.Op.Kind(), c, n.In, y, nil)
}

// forwardConvolution is the convolution that node n computes.
func forwardConvolution(n *nn.Node) convolution {
	o, x, w := n.Op.(nn.Conv2D), n.In[0], n.In[1]
	c := newConvolution(kernel.ConvForward, x.Shape, n.Out[0].Shape, w.Shape[1], o.Stride, o.Pad)
	c.args = func(b *binder) func(*kernel.ConvArgs) {
		xs, ws := b.ref(x), b.ref(w)
		var bias []float32
		if len(n.In) == 3 {
			bias = b.ref(n.In[2]).data
		}
		return func(a *kernel.ConvArgs) { a.X, a.W, a.Bias = xs.get(), ws.data, bias }
	}
	return c
}

// directSum returns the sum that alone reads v, which c computes, if c can add
// to the other operand; else nil.
func (l *lowering) directSum(c convolution, v *nn.Value) *nn.Node {
	if _, direct := c.conv.(*kernel.DirectConv); !direct {
		return nil
	}
	if sum := l.onlyReader(v); sum != nil && is[nn.Add](sum) && !l.done[sum] {
		return sum
	}
	return nil
}

func (l *lowering) conv2dBackwardWeight(n *nn.Node, o nn.Conv2DBackwardWeight) {
	dy, x := n.In[0], n.In[1]
	c := newConvolution(kernel.ConvWeights, x.Shape, dy.Shape, o.Kernel, o.Stride, o.Pad)
	c.args = func(b *binder) func(*kernel.ConvArgs) {
		ds, xs := b.ref(dy), b.ref(x)
		return func(a *kernel.ConvArgs) { a.DY, a.X = ds.get(), xs.get() }
	}
	l.convolve(o.Kind(), c, n.In, n.Out[0], nil)
}

// dataGradient is the gradient of the data that node n computes.
func dataGradient(n *nn.Node) convolution {
	o := n.Op.(nn.Conv2DBackwardData)
	dy, w, dx := n.In[0], n.In[1], n.Out[0]
	c := newConvolution(kernel.ConvData, dx.Shape, dy.Shape, w.Shape[1], o.Stride, o.Pad)
	c.args = func(b *binder) func(*kernel.ConvArgs) {
		ds, ws := b.ref(dy), b.ref(w)
		return func(a *kernel.ConvArgs) { a.X, a.W = ds.get(), ws.data }
	}
	return c
}

// conv2dBackwardData emits the gradient of the data. A shortcut's is added to
// that of the way round it, in place, once that is known.
func (l *lowering) conv2dBackwardData(n *nn.Node) {
	c := dataGradient(n)
	if sum := l.directSum(c, n.Out[0]); sum != nil && l.late[sum] == nil {
		w := l.writer[otherOperand(sum, n.Out[0])]
		if l.before(w, n) {
			l.done[sum] = true
			l.addDataGradient(sum, n)
			return
		}
		if w != nil && w != n && is[nn.Conv2DBackwardData](w) {
			l.late[sum] = n
			return
		}
	}
	l.convolve(n.Op.Kind(), c, n.In, n.Out[0], nil)
}

// addDataGradient emits a sum together with the gradient d of one operand.
func (l *lowering) addDataGradient(sum, d *nn.Node) {
	l.convolve(d.Op.Kind()+"+add", dataGradient(d), d.In, sum.Out[0], otherOperand(sum, d.Out[0]))
}

// otherOperand returns the operand of a sum that is not v.
func otherOperand(sum *nn.Node, v *nn.Value) *nn.Value {
	if sum.In[0] == v {
		return sum.In[1]
	}
	return sum.In[0]
}
