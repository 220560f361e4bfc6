package cuda

import (
	"sdnn/nn"
	"sdnn/nn/cuda/driver"
)

// node lowers one node; false means that its op is not known.
func (l *lowering) node(n *nn.Node) bool {
	switch o := n.Op.(type) {
	case nn.Reshape:
	case nn.Dense:
		l.dense(n)
	case nn.DenseBackwardData:
		l.denseBackwardData(n)
	case nn.DenseBackwardWeight:
		l.denseBackwardWeight(n)
	case nn.ColumnSum:
		l.columnSum(n)
	case nn.ReLU:
		l.elementwise(n, "relu_forward_")
	case nn.Sigmoid:
		l.elementwise(n, "sigmoid_forward_")
	case nn.ReLUBackward:
		l.reluBackward(n)
	case nn.SigmoidBackward:
		l.elementwise(n, "sigmoid_backward_")
	case nn.Add:
		l.add(n)
	case nn.Dropout:
		l.dropout(n, o)
	case nn.GaussianNoise:
		l.noise(n, o)
	case nn.L2Norm:
		l.l2norm(n)
	case nn.L2NormBackward:
		l.l2normBackward(n)
	case nn.Concat:
		l.concat(n)
	case nn.Columns:
		l.columns(n, o)
	case nn.MixtureOfExperts:
		l.mixture(n, o.Experts)
	case nn.MixtureOfExpertsBackward:
		l.mixtureBackward(n, o.Experts)
	case nn.SubclassCE:
		l.subclassCE(n, o)
	case nn.Neglection:
		l.neglection(n, o)
	default:
		return l.spatialNode(n)
	}
	return true
}

// spatialNode lowers the ops that know positions.
func (l *lowering) spatialNode(n *nn.Node) bool {
	switch o := n.Op.(type) {
	case nn.Conv1D:
		l.conv1d(n)
	case nn.Conv1DBackward:
		l.conv1dBackward(n)
	case nn.MaxPool1D:
		l.maxPool1D(n)
	case nn.MaxPool1DBackward:
		l.maxPool1DBackward(n)
	case nn.Conv2D:
		l.conv2d(n, o)
	case nn.Conv2DBackwardData:
		l.conv2dBackwardData(n, o)
	case nn.Conv2DBackwardWeight:
		l.conv2dBackwardWeight(n, o)
	case nn.BatchNorm:
		l.batchNorm(n, o)
	case nn.BatchNormBackward:
		l.batchNormBackward(n)
	case nn.BatchNormInference:
		l.batchNormInference(n, o)
	case nn.BatchNormInferenceBackward:
		l.batchNormInferenceBackward(n, o)
	case nn.MaxPool2D:
		l.pool2d(n, "maxpool2d_forward_")
	case nn.MaxPool2DBackward:
		l.pool2d(n, "maxpool2d_backward_")
	case nn.GlobalAvgPool:
		l.averagePool(n, n.In[0], "avgpool_forward_")
	case nn.GlobalAvgPoolBackward:
		l.averagePool(n, n.Out[0], "avgpool_backward_")
	default:
		return false
	}
	return true
}

// operands returns a node's inputs in the type of the first, which becomes that of the first output.
func (l *lowering) operands(n *nn.Node) (in []*nn.Value, t driver.Type) {
	return l.operandsOf(n, len(n.In))
}

// operandsOf is operands of the first inputs.
func (l *lowering) operandsOf(n *nn.Node, first int) (in []*nn.Value, t driver.Type) {
	t = l.typeOf(n.In[0])
	for _, v := range n.In[:first] {
		in = append(in, l.in(v, t))
	}
	l.setType(n.Out[0], t)
	return in, t
}

// elementwise lowers an op whose kernel takes y, the inputs and their number of elements.
func (l *lowering) elementwise(n *nn.Node, kernel string) {
	in, t := l.operands(n)
	l.emit(n.Op.Kind(), in, n.Out, func(b *binder) []launch {
		args := []any{b.place(n.Out[0])}
		for _, v := range in {
			args = append(args, b.place(v))
		}
		return b.call(kernel+suffix(t), append(args, b.count(n.Out[0]))...)
	}).inPlace(0)
}

// reluBackward lowers the gradient of a ReLU. If it comes through a dropout,
// what the dropout let pass says all: where its output is positive, so was the
// ReLU's, and it was kept.
func (l *lowering) reluBackward(n *nn.Node) {
	in, kind, kernel, scale := []*nn.Value{n.In[0], n.In[1]}, n.Op.Kind(), "relu_backward_", float32(1)
	if drop := l.writer[n.In[0]]; is[nn.Dropout](drop) && l.onlyReader(n.In[0]) == n && l.done[drop] {
		if forward := l.dropoutOf(n.In[1], drop.Op.(nn.Dropout)); forward != nil {
			in, kind, kernel, scale = []*nn.Value{drop.In[0], forward.Out[0]}, "dropout+relu-backward", "relu_dropout_backward_", float32(1/(1-drop.Op.(nn.Dropout).Rate))
		}
	}
	t := l.typeOf(in[0])
	in[1] = l.in(in[1], t)
	l.setType(n.Out[0], t)
	for _, r := range l.readers[n.Out[0]] {
		if is[nn.ColumnSum](r) {
			l.done[r] = true
			l.reluBackwardSum(n, r, in, kind, scale)
			return
		}
	}
	l.emit(kind, in, n.Out, func(b *binder) []launch {
		args := []any{b.place(n.Out[0]), b.place(in[0]), b.place(in[1]), b.count(n.Out[0])}
		if kernel != "relu_backward_" {
			args = append(args, scale)
		}
		return b.call(kernel+suffix(t), args...)
	}).inPlace(0)
}

// reluBackwardSum lowers the gradient of a ReLU with its column sums: that of
// the bias of the dense layer before it.
func (l *lowering) reluBackwardSum(n, sum *nn.Node, in []*nn.Value, kind string, scale float32) {
	dx, t := n.Out[0], l.typeOf(n.Out[0])
	c, per := channels(dx), dx.Width()/channels(dx)
	partial := l.temp(func(rows int) int { return 4 * c * slicesOf(rows*per, c) })
	l.emit(kind+"+column-sum", in, []*nn.Value{dx, sum.Out[0], partial}, func(b *binder) []launch {
		rows := b.rows * per
		slices := slicesOf(rows, c)
		return b.call("relu_backward_sum_"+suffix(t), b.place(sum.Out[0]), b.place(partial), b.s.counters, b.place(dx), b.place(in[0]), b.place(in[1]),
			rows, c, slices, scale)
	}).inPlace(0)
}

// dropoutOf returns the node that applies dropout o to v in the forward pass.
func (l *lowering) dropoutOf(v *nn.Value, o nn.Dropout) *nn.Node {
	for _, r := range l.readers[v] {
		if r.Op == nn.Op(o) {
			return r
		}
	}
	return nil
}

// skipsDropout reports whether the gradient's dropout n is part of the ReLU's gradient that reads it.
func (l *lowering) skipsDropout(n *nn.Node, o nn.Dropout) bool {
	r := l.onlyReader(n.Out[0])
	return is[nn.ReLUBackward](r) && r.In[0] == n.Out[0] && l.dropoutOf(r.In[1], o) != nil && !l.done[r]
}

// masks are the last arguments of the kernels that drop.
func masks(o nn.Dropout) []any {
	return []any{o.Stream, nn.KeepThreshold(o.Rate), float32(1 / (1 - o.Rate))}
}

func (l *lowering) dropout(n *nn.Node, o nn.Dropout) {
	if l.skipsDropout(n, o) {
		l.done[n] = true
		return
	}
	in, t := l.operands(n)
	l.emit(n.Op.Kind(), in, n.Out, func(b *binder) []launch {
		args := []any{b.place(n.Out[0]), b.place(in[0]), fedKeys, b.rows, n.Out[0].Width()}
		return b.call("dropout_"+suffix(t), append(args, masks(o)...)...)
	}).inPlace(0)
}

func (l *lowering) noise(n *nn.Node, o nn.GaussianNoise) {
	in, t := l.operands(n)
	l.emit(n.Op.Kind(), in, n.Out, func(b *binder) []launch {
		return b.call("noise_"+suffix(t), b.place(n.Out[0]), b.place(in[0]), fedKeys, b.rows, n.Out[0].Width(), o.Stream, float32(o.Std))
	}).inPlace(0)
}

// add lowers a sum, with the statistics of a batch normalisation that reads
// it: the residual connection.
func (l *lowering) add(n *nn.Node) {
	y := n.Out[0]
	next := l.normaliser(y)
	if next == nil {
		l.elementwise(n, "add_")
		return
	}
	in, t := l.operands(n)
	m, partial := l.matchNorm(next), l.statistics(y)
	reads, writes := m.statistics()
	l.emit("add+statistics", append(in, reads...), append([]*nn.Value{y, partial}, writes...), func(b *binder) []launch {
		before, behind := m.finish(b, partial)
		return b.call("batchnorm_add_stats_"+suffix(t), join(before, []any{b.place(y), b.place(in[0]), b.place(in[1])}, behind)...)
	})
}

// columnSum lowers the sum over all but the last dimension.
func (l *lowering) columnSum(n *nn.Node) {
	x, y := n.In[0], n.Out[0]
	t := l.typeOf(x)
	c := channels(x)
	if l.strides[l.rootOf(x)] > 0 {
		c = l.stride(x)
	}
	per := x.Width() / channels(x) // positions of a row
	partial := l.temp(func(rows int) int { return 4 * c * slicesOf(rows*per, c) })
	l.emit(n.Op.Kind(), n.In, []*nn.Value{y, partial}, func(b *binder) []launch {
		rows := b.rows * per
		slices := slicesOf(rows, c)
		return b.call("column_sum_"+suffix(t), b.place(y), b.place(partial), b.s.counters, b.place(x), rows, c, slices)
	})
}

// channels is the extent of v's last dimension.
func channels(v *nn.Value) int { return v.Shape[len(v.Shape)-1] }
