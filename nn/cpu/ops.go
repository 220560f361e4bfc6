package cpu

import (
	"sdnn/nn"
	"sdnn/nn/cpu/kernel"
)

// node lowers one node; false means that its op is not known.
func (l *lowering) node(n *nn.Node) bool {
	switch o := n.Op.(type) {
	case nn.Reshape:
	case nn.Dense:
		l.dense(n)
	case nn.DenseBackwardData:
		l.product(n.Op.Kind(), n, n.Out[0], n.In[0], n.In[1], false)
	case nn.DenseBackwardWeight:
		l.product(n.Op.Kind(), n, n.Out[0], n.In[0], n.In[1], true)
	case nn.ColumnSum:
		l.columnSum(n)
	case nn.ReLU:
		l.unary(n, kernel.ReLU)
	case nn.Sigmoid:
		l.unary(n, kernel.Sigmoid)
	case nn.ReLUBackward:
		l.binary(n, kernel.ReLUGrad)
	case nn.SigmoidBackward:
		l.binary(n, kernel.SigmoidGrad)
	case nn.Add:
		l.add(n)
	case nn.Dropout:
		l.dropout(n, o)
	case nn.GaussianNoise:
		l.noise(n, o)
	case nn.L2Norm, nn.L2NormBackward:
		l.l2norm(n)
	case nn.Concat:
		l.concat(n)
	case nn.Columns:
		l.columns(n, o)
	case nn.Conv1D, nn.Conv1DBackward, nn.MaxPool1D, nn.MaxPool1DBackward:
		l.plainConv1D(n)
	case nn.MixtureOfExperts:
		l.mixture(n, o.Experts)
	case nn.MixtureOfExpertsBackward:
		l.mixtureBackward(n, o.Experts)
	case nn.SubclassCE:
		l.subclassCE(n, o)
	case nn.Neglection:
		l.neglection(n, o)
	default:
		return l.imageNode(n)
	}
	return true
}

// imageNode lowers the ops of image networks.
func (l *lowering) imageNode(n *nn.Node) bool {
	switch o := n.Op.(type) {
	case nn.Conv2D:
		l.conv2d(n)
	case nn.Conv2DBackwardData:
		l.conv2dBackwardData(n)
	case nn.Conv2DBackwardWeight:
		l.conv2dBackwardWeight(n, o)
	case nn.BatchNorm:
		l.batchNorm(n, o)
	case nn.BatchNormBackward:
		l.batchNormBackward(n)
	case nn.BatchNormInference:
		l.batchNormInference(n)
	case nn.BatchNormInferenceBackward:
		l.batchNormInferenceBackward(n, o)
	case nn.MaxPool2D:
		l.maxPool2D(n)
	case nn.MaxPool2DBackward:
		l.maxPool2DBackward(n)
	case nn.GlobalAvgPool:
		l.globalAvgPool(n)
	case nn.GlobalAvgPoolBackward:
		l.globalAvgPoolBackward(n, o)
	default:
		return false
	}
	return true
}

// unary lowers an elementwise op of one input.
func (l *lowering) unary(n *nn.Node, f func(dst, x []float32)) {
	x, y := n.In[0], n.Out[0]
	l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) func() {
		xs, ys := b.ref(x), b.ref(y)
		return b.over(y, func(lo, hi int) { f(ys.get()[lo:hi], xs.get()[lo:hi]) })
	}).inPlace(0)
}

// binary lowers an elementwise op of two inputs.
func (l *lowering) binary(n *nn.Node, f func(dst, x, y []float32)) {
	l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) func() {
		xs, ys, zs := b.ref(n.In[0]), b.ref(n.In[1]), b.ref(n.Out[0])
		return b.over(n.Out[0], func(lo, hi int) { f(zs.get()[lo:hi], xs.get()[lo:hi], ys.get()[lo:hi]) })
	}).inPlace(0)
}

func (l *lowering) dropout(n *nn.Node, o nn.Dropout) {
	w := n.Out[0].Width()
	threshold, scale := nn.KeepThreshold(o.Rate), float32(1/(1-o.Rate))
	l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) func() {
		xs, ys := b.ref(n.In[0]), b.ref(n.Out[0])
		return b.overRows(func(lo, hi int) {
			x, y := xs.get(), ys.get()
			for r := lo; r < hi; r++ {
				key := nn.StreamKey(b.s.feed.Keys[r], o.Stream)
				kernel.Dropout(y[r*w:(r+1)*w], x[r*w:(r+1)*w], key, threshold, scale)
			}
		})
	}).inPlace(0)
}

func (l *lowering) noise(n *nn.Node, o nn.GaussianNoise) {
	w := n.Out[0].Width()
	l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) func() {
		xs, ys := b.ref(n.In[0]), b.ref(n.Out[0])
		noise := make([]float32, b.s.pool.Threads()*w)
		task := func(t, worker int) {
			x, y, z := xs.get(), ys.get(), noise[worker*w:(worker+1)*w]
			for r := t * rowBlock; r < min((t+1)*rowBlock, b.s.rows); r++ {
				nn.FillNormal(z, nn.StreamKey(b.s.feed.Keys[r], o.Stream))
				kernel.Scale(z, z, float32(o.Std))
				kernel.Add(y[r*w:(r+1)*w], x[r*w:(r+1)*w], z)
			}
		}
		return func() { b.s.pool.Run((b.s.rows+rowBlock-1)/rowBlock, task) }
	}).inPlace(0)
}

func (l *lowering) l2norm(n *nn.Node) {
	w := n.Out[0].Width()
	_, backward := n.Op.(nn.L2NormBackward)
	o := l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) func() {
		in, ys := b.ref(n.In[0]), b.ref(n.Out[0])
		if backward {
			xs := b.ref(n.In[1])
			return b.overRows(func(lo, hi int) {
				d, x, y := in.get(), xs.get(), ys.get()
				for r := lo; r < hi; r++ {
					kernel.L2NormGrad(y[r*w:(r+1)*w], d[r*w:(r+1)*w], x[r*w:(r+1)*w])
				}
			})
		}
		return b.overRows(func(lo, hi int) {
			x, y := in.get(), ys.get()
			for r := lo; r < hi; r++ {
				kernel.L2Norm(y[r*w:(r+1)*w], x[r*w:(r+1)*w])
			}
		})
	})
	if !backward {
		o.inPlace(0)
	}
}

// concat lowers Concat: each input is copied to its columns.
func (l *lowering) concat(n *nn.Node) {
	w := n.Out[0].Width()
	l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) func() {
		ys := b.ref(n.Out[0])
		var ins []*ref
		for _, v := range n.In {
			ins = append(ins, b.ref(v))
		}
		return b.overRows(func(lo, hi int) {
			y := ys.get()
			at := 0
			for i, v := range n.In {
				x, wi := ins[i].get(), v.Width()
				for r := lo; r < hi; r++ {
					copy(y[r*w+at:r*w+at+wi], x[r*wi:])
				}
				at += wi
			}
		})
	})
}

func (l *lowering) columns(n *nn.Node, o nn.Columns) {
	w, wi := n.Out[0].Width(), n.In[0].Width()
	l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) func() {
		xs, ys := b.ref(n.In[0]), b.ref(n.Out[0])
		return b.overRows(func(lo, hi int) {
			x, y := xs.get(), ys.get()
			for r := lo; r < hi; r++ {
				copy(y[r*w:(r+1)*w], x[r*wi+o.From:])
			}
		})
	})
}

// columnBlock is the number of columns of a task of a column sum.
const columnBlock = 256

// columnSum lowers the sum over all but the last dimension: over the rows of a
// matrix by columns, over an image's many positions by blocks of them.
func (l *lowering) columnSum(n *nn.Node) {
	x, y := n.In[0], n.Out[0]
	if len(x.Shape) > 2 {
		l.imageColumnSum(n)
		return
	}
	w := x.Width()
	tmp := l.temp(w)
	l.emit(n.Op.Kind(), n.In, []*nn.Value{y, tmp}, func(b *binder) func() {
		xs, ys, zs := b.ref(x), b.ref(y), b.ref(tmp)
		task := func(t, _ int) {
			lo, hi := t*columnBlock, min((t+1)*columnBlock, w)
			kernel.ColSums(ys.get()[lo:hi], zs.get()[lo:hi], xs.get()[lo:], b.s.rows, w)
		}
		return func() { b.s.pool.Run((w+columnBlock-1)/columnBlock, task) }
	})
}
