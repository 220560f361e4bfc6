package cpu

import (
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
// stride 1 and padding 1 whose channels are multiples of 16.
func newConvolver(kind kernel.ConvKind, s kernel.ConvShape) convolver {
	if s.K == 3 && s.Stride == 1 && s.Pad == 1 && kernel.FastConv() {
		if fast := kernel.NewConv3x3(kind, s.Batch, s.H, s.W, s.C, s.O); fast != nil {
			return fast
		}
	}
	return kernel.NewDirectConv(kind, s)
}

// convolution emits a convolution of x [N,H,W,C] to y [N,H',W',O] with a kernel
// of size k, or one of its gradients. The function that args returns sets the
// operands but for the result.
func (l *lowering) convolution(n *nn.Node, kind kernel.ConvKind, x, y nn.Shape, k, stride, pad int, args func(b *binder) func(*kernel.ConvArgs)) {
	s := kernel.ConvShape{Batch: x[0], H: x[1], W: x[2], C: x[3], OH: y[1], OW: y[2], O: y[3], K: k, Stride: stride, Pad: pad}
	conv := newConvolver(kind, s)
	work := l.temp(conv.Workspace())
	op := l.emit(n.Op.Kind(), n.In, []*nn.Value{n.Out[0], work}, func(b *binder) func() {
		var a kernel.ConvArgs
		out, ws, set := b.ref(n.Out[0]), b.ref(work), args(b)
		return func() {
			a.Rows, a.Out, a.Work = b.s.rows, out.data, ws.data
			set(&a)
			conv.Run(b.s.pool, a)
		}
	})
	if fast, ok := conv.(*kernel.Conv3x3); ok {
		op.work = fast.Work
	}
	op.flops = func(rows int) float64 {
		return 2 * float64(rows) * float64(s.OH*s.OW) * float64(s.K*s.K*s.C) * float64(s.O)
	}
}

func (l *lowering) conv2d(n *nn.Node, o nn.Conv2D) {
	x, w, y := n.In[0], n.In[1], n.Out[0]
	l.convolution(n, kernel.ConvForward, x.Shape, y.Shape, w.Shape[1], o.Stride, o.Pad, func(b *binder) func(*kernel.ConvArgs) {
		xs, ws := b.ref(x), b.ref(w)
		var bias []float32
		if len(n.In) == 3 {
			bias = b.ref(n.In[2]).data
		}
		return func(a *kernel.ConvArgs) { a.X, a.W, a.Bias = xs.get(), ws.data, bias }
	})
}

func (l *lowering) conv2dBackwardWeight(n *nn.Node, o nn.Conv2DBackwardWeight) {
	dy, x := n.In[0], n.In[1]
	l.convolution(n, kernel.ConvWeights, x.Shape, dy.Shape, o.Kernel, o.Stride, o.Pad, func(b *binder) func(*kernel.ConvArgs) {
		ds, xs := b.ref(dy), b.ref(x)
		return func(a *kernel.ConvArgs) { a.DY, a.X = ds.get(), xs.get() }
	})
}

func (l *lowering) conv2dBackwardData(n *nn.Node, o nn.Conv2DBackwardData) {
	dy, w, dx := n.In[0], n.In[1], n.Out[0]
	l.convolution(n, kernel.ConvData, dx.Shape, dy.Shape, w.Shape[1], o.Stride, o.Pad, func(b *binder) func(*kernel.ConvArgs) {
		ds, ws := b.ref(dy), b.ref(w)
		return func(a *kernel.ConvArgs) { a.X, a.W = ds.get(), ws.data }
	})
}
