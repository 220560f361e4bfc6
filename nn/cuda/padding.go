package cuda

import "sdnn/nn"

// Tensor cores want the rows of a matrix to be a multiple of 16 bytes apart. Of
// all matrices that do not come so by themselves, the outputs of a network are
// the largest (3862 classes of YouTube-8M), so the logits and their gradient
// get rows padded with zeros, and every parameter has room for the zeros that
// then stand behind its last row:
//
//	z [N, S | pad] = x [N, F] · W [S | pad, F]ᵀ
//
// The zeros stay zeros: a padded row's gradient is zero, and the optimiser
// leaves them alone.

// padTo is the number of elements that rows are padded to a multiple of.
const padTo = 8

func padded(n int) int { return (n + padTo - 1) / padTo * padTo }

// room is the number of elements kept for a parameter: padded in its first dimension.
func room(s nn.Shape) int { return padded(s[0]) * s[1:].Size() }

// findPadding decides which matrices are padded: results of a dense layer that
// only the losses, mixtures and the neglection degree read, which know strides,
// and, in training, gradients that only the layer's own products read.
func (l *lowering) findPadding() {
	for _, n := range l.p.Nodes {
		if !is[nn.Dense](n) || n.Out[0].Width()%padTo == 0 {
			continue
		}
		y := n.Out[0]
		d := l.gradientOf(n)
		if !l.readBy(y, knowsStride) || y == l.p.Resolve(l.p.Model.Penultimate) {
			continue
		}
		if l.p.Purpose != nn.Evaluation && (d == nil || !l.paddable(d) || !l.haveRoom(n)) {
			continue
		}
		l.strides[y] = padded(y.Width())
		if d != nil {
			l.strides[d] = padded(y.Width())
		}
	}
	l.settlePadding()
}

// settlePadding takes padding back where values that share a stride do not agree.
func (l *lowering) settlePadding() {
	for _, n := range l.p.Nodes {
		if !is[nn.SubclassCE](n) || l.p.Purpose == nn.Evaluation {
			continue
		}
		if z, dz := n.In[0], n.Out[1]; l.strides[z] != l.strides[dz] {
			delete(l.strides, z)
			delete(l.strides, dz)
		}
	}
}

// knowsStride are the ops that read padded results.
func knowsStride(n *nn.Node) bool {
	return is[nn.SubclassCE](n) || is[nn.MixtureOfExperts](n) || is[nn.MixtureOfExpertsBackward](n) || is[nn.Neglection](n)
}

// ofDense are the ops that read the gradient of a dense layer's result.
func ofDense(n *nn.Node) bool {
	return is[nn.DenseBackwardData](n) || is[nn.DenseBackwardWeight](n) || is[nn.ColumnSum](n)
}

// readBy reports whether all readers of v are of a kind, and there are some.
func (l *lowering) readBy(v *nn.Value, kind func(*nn.Node) bool) bool {
	for _, r := range l.readers[v] {
		if !kind(r) {
			return false
		}
	}
	return len(l.readers[v]) > 0
}

// gradientOf returns the gradient of a dense layer's result, nil in evaluation
// and where its products do not read the same one.
func (l *lowering) gradientOf(dense *nn.Node) *nn.Value {
	for _, n := range l.p.Nodes {
		if is[nn.DenseBackwardWeight](n) && n.In[1] == dense.In[0] && n.In[0].Shape.Equal(dense.Out[0].Shape) && l.gradOf(dense.In[1]) == n.Out[0] {
			return n.In[0]
		}
	}
	return nil
}

// gradOf is the gradient of a parameter.
func (l *lowering) gradOf(param *nn.Value) *nn.Value {
	for i, v := range l.p.Model.Graph.Params() {
		if v == param && i < len(l.p.Grads) {
			return l.p.Grads[i]
		}
	}
	return nil
}

// haveRoom reports whether the gradients of a dense layer's parameters lie
// where there is room for padding.
func (l *lowering) haveRoom(dense *nn.Node) bool {
	for _, p := range dense.In[1:] {
		if _, ok := l.fixed[l.rootOf(l.gradOf(p))]; !ok {
			return false
		}
	}
	return true
}

// paddable reports whether a gradient is made by an op that knows strides and
// read only by products of dense layers.
func (l *lowering) paddable(d *nn.Value) bool {
	w := l.writer[d]
	return (is[nn.SubclassCE](w) || is[nn.MixtureOfExpertsBackward](w)) && l.readBy(d, ofDense)
}

// compactScores ends an evaluation whose output is padded with a copy that is not.
func (l *lowering) compactScores() {
	z := l.p.Resolve(l.p.Model.Output)
	if l.strides[z] == 0 {
		return
	}
	c := l.temp(func(rows int) int { return 4 * rows * z.Width() })
	c.Name = z.Name + "/compact"
	l.scores = c
	l.emit("compact", []*nn.Value{z}, []*nn.Value{c}, func(b *binder) []launch {
		return b.call("copy_rows_f32_f32", b.place(c), b.place(z), nil, b.rows, z.Width(), z.Width(), b.p.low.stride(z))
	})
}
