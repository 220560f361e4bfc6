package cuda

import (
	"sdnn/nn"
	"sdnn/nn/cuda/driver"
)

// normBack is the backward op of a norm.
type normBack struct {
	*norm
	t     driver.Type
	dy, x *nn.Value
	dx    *nn.Value // what it writes: back's first output, or the sum with residual
	// residual is a gradient that comes to x round the normalisation, nil if none.
	residual *nn.Value
	// dbias is the gradient of a bias that was added to x, nil if there is none:
	// zero but for rounding, it follows from sums that are known.
	dbias *nn.Value
}

func (l *lowering) batchNormBackward(n *nn.Node) {
	m := l.norms[l.writer[n.In[3]]]
	k := &normBack{norm: m, dy: n.In[0], x: n.In[1], dx: n.Out[0], t: l.typeOf(n.In[1])}
	kind := n.Op.Kind()
	if m.reluBack != nil {
		k.dy = m.reluBack.In[0]
		kind = "relu+" + kind
	}
	if m.tailBack != nil {
		k.dy = m.tailBack.In[0]
		kind = m.tail.Op.Kind() + "+" + kind
	}
	l.matchResidual(k)
	if k.residual != nil {
		kind += "+add"
		k.residual = l.in(k.residual, k.t)
	}
	l.matchBias(k)
	k.dy = l.in(k.dy, k.t)
	l.setType(k.dx, k.t)
	c, per := channels(k.x), k.x.Width()/channels(k.x)
	partial := l.temp(func(rows int) int { return 8 * c * slicesOf(rows*per, c) })
	back := l.temp(func(int) int { return 12 * c })
	reads := []*nn.Value{k.dy, k.x, n.In[2], n.In[3], n.In[4], m.coef}
	writes := []*nn.Value{k.dx, n.Out[1], n.Out[2], partial, back}
	if k.residual != nil {
		reads = append(reads, k.residual)
	}
	if k.dbias != nil {
		writes = append(writes, k.dbias)
	}
	o := l.emit(kind, reads, writes, func(b *binder) []launch { return k.bind(b, partial, back) })
	o.again = []*nn.Value{k.dy, k.x}
	if m.reluBack == nil {
		o.inPlace(0)
	}
}

// matchResidual fuses the sum that alone reads dx, if its other operand is known by now.
func (l *lowering) matchResidual(k *normBack) {
	add := l.onlyReader(k.back.Out[0])
	if !is[nn.Add](add) || k.reluBack == nil || k.tailBack != nil {
		return
	}
	other := add.In[0]
	if other == k.back.Out[0] {
		other = add.In[1]
	}
	if other == k.back.Out[0] || !l.before(l.writer[other], k.back) {
		return
	}
	k.residual, k.dx = other, add.Out[0]
	l.done[add] = true
}

// matchBias fuses the column sum of dx.
func (l *lowering) matchBias(k *normBack) {
	if k.residual != nil {
		return
	}
	for _, r := range l.readers[k.dx] {
		if is[nn.ColumnSum](r) && k.dbias == nil {
			k.dbias = r.Out[0]
			l.done[r] = true
		}
	}
}

// backPart is part, but for a tail whose gradient is an op of its own.
func (k *normBack) backPart() string {
	switch {
	case k.reluBack == nil:
		return ""
	case k.tailBack == nil:
		return "relu_"
	}
	return k.part()
}

// bind makes the backward op: sums with what follows from them, dx.
func (k *normBack) bind(b *binder, partial, back *nn.Value) []launch {
	rows, c := b.positions(k.x), channels(k.x)
	slices := slicesOf(rows, c)
	dy, x, mean, coef := b.place(k.dy), b.place(k.x), b.place(k.back.In[3]), b.place(k.coef)
	part := k.backPart()
	extent, keys, masks := []any{rows, c}, []any(nil), []any(nil)
	if k.tailBack != nil {
		extent, keys, masks = k.extent(b), k.keys(), k.masks()
	}
	withCoef := []any{}
	if part != "" {
		withCoef = []any{coef}
	}
	var dbias any
	if k.dbias != nil {
		dbias = b.place(k.dbias)
	}
	run := b.call("batchnorm_backward_reduce_"+part+suffix(k.t), join(
		[]any{b.place(k.back.Out[1]), b.place(k.back.Out[2]), b.place(back), dbias, b.place(partial), b.s.counters, dy, x, mean, b.place(k.back.In[2]), b.place(k.back.In[4])},
		withCoef, keys, extent, []any{slices}, masks)...)
	apply := join([]any{b.place(k.dx), dy, x}, withCoef, []any{b.place(back)}, keys, extent, masks)
	if k.residual != nil {
		part = "relu_add_"
		apply = []any{b.place(k.dx), dy, x, b.place(k.residual), coef, b.place(back), rows, c}
	}
	return append(run, b.call("batchnorm_backward_apply_"+part+suffix(k.t), apply...)...)
}

// batchNormInferenceBackward lowers the gradient of a layer whose statistics are
// frozen, with the kernels of the others: 1/std is the scale of a normalisation
// with gamma 1, and dx = gamma/std dy a normalisation of dy with mean and beta 0.
func (l *lowering) batchNormInferenceBackward(n *nn.Node, o nn.BatchNormInferenceBackward) {
	in, t := l.operandsOf(n, 2)
	dy, x, gamma, mean, variance := in[0], in[1], n.In[2], n.In[3], n.In[4]
	c, per := channels(n.In[1]), n.In[1].Width()/channels(n.In[1])
	l.ones = max(l.ones, c)
	zeros, inv, scale, back := l.temp(func(int) int { return 4 * c }), l.temp(func(int) int { return 8 * c }),
		l.temp(func(int) int { return 8 * c }), l.temp(func(int) int { return 12 * c })
	partial := l.temp(func(rows int) int { return 8 * c * slicesOf(rows*per, c) })
	writes := append(n.Out[:len(n.Out):len(n.Out)], zeros, inv, scale, back, partial)
	l.emit(n.Op.Kind(), append(in, gamma, mean, variance), writes, func(b *binder) []launch {
		rows, zero := b.positions(n.In[1]), b.place(zeros)
		slices := slicesOf(rows, c)
		run := []launch{b.zero(zeros)}
		for _, k := range []struct {
			coef  *nn.Value
			gamma any
		}{{inv, b.s.ones}, {scale, b.place(gamma)}} {
			run = append(run, b.call("batchnorm_coef_f32", b.place(k.coef), k.gamma, zero, zero, b.place(variance), nil, c, float32(o.Epsilon))...)
		}
		run = append(run, b.call("batchnorm_backward_reduce_"+suffix(t), b.place(n.Out[1]), b.place(n.Out[2]), b.place(back), nil, b.place(partial), b.s.counters,
			b.place(dy), b.place(x), b.place(mean), b.place(gamma), b.place(inv), rows, c, slices)...)
		return append(run, b.call("batchnorm_apply_"+suffix(t), b.place(n.Out[0]), b.place(dy), b.place(scale), rows, c)...)
	}).again = []*nn.Value{dy}
}
