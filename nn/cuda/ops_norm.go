package cuda

import (
	"sdnn/nn"
	"sdnn/nn/cuda/driver"
	"sdnn/nn/cuda/kernels"
)

// norm is a batch normalisation with its neighbours, done in its own passes
// over memory:
//
//	forward    statistics     read x                     (none where x's maker makes them)
//	           apply          read x, write z            z: behind ReLU, and dropout or a pool
//	backward   sums           read x, dz
//	           apply          read x, dz, write dx       (and the gradient that goes round it added)
//
// The normalised value never reaches memory, the ReLU's output only if a
// convolution reads it. Whether the ReLU passes a gradient, and which position
// a max-pool has taken, is computed again from x, what a dropout has kept from
// the rows' keys.
type norm struct {
	node *nn.Node // BatchNorm or BatchNormInference
	relu *nn.Node // nil: none that alone reads it
	tail *nn.Node // behind the ReLU: Dropout, MaxPool2D or GlobalAvgPool; nil: none that could be fused
	// back is the node's gradient, the others are those of relu and tail that are
	// part of its op; nil in evaluation, and tailBack for an average pool, whose
	// gradient is an op of its own.
	reluBack, tailBack, back *nn.Node

	coef *nn.Value // [2][C] scale and shift, for both passes
	bias *nn.Value // of the convolution that made x and left it out, nil: none
}

// out is the value that the fused op computes.
func (m *norm) out() *nn.Value {
	switch {
	case m.tail != nil:
		return m.tail.Out[0]
	case m.relu != nil:
		return m.relu.Out[0]
	}
	return m.node.Out[0]
}

// part ends the names of kernels and profiles: what is fused, in order.
func (m *norm) part() string {
	switch {
	case m.relu == nil:
		return ""
	case m.tail == nil:
		return "relu_"
	case is[nn.Dropout](m.tail):
		return "relu_dropout_"
	case is[nn.MaxPool2D](m.tail):
		return "relu_maxpool_"
	}
	return "relu_avgpool_"
}

// slicesOf is the number of partial sums of a reduction over rows by channel.
func slicesOf(rows, c int) int { return kernels.Slices(rows, c) }

// normalised reports whether a training batch normalisation reads v.
func (l *lowering) normalised(v *nn.Value) bool {
	for _, r := range l.readers[v] {
		if is[nn.BatchNorm](r) {
			return true
		}
	}
	return false
}

// statistics makes the place of the partial statistics of v, that its maker fills.
func (l *lowering) statistics(v *nn.Value) *nn.Value {
	c, per := channels(v), v.Width()/channels(v)
	p := l.temp(func(rows int) int { return 4 * (2*slicesOf(rows*per, c) + 1) * c })
	l.stats[v] = p
	return p
}

// findBareConvolutions finds the biases that need not be added: before a batch
// normalisation, which takes the mean away again, a bias only moves the mean.
func (l *lowering) findBareConvolutions() {
	for _, n := range l.p.Nodes {
		if !is[nn.BatchNorm](n) && !is[nn.BatchNormInference](n) {
			continue
		}
		conv := l.writer[n.In[0]]
		if !is[nn.Conv2D](conv) || len(conv.In) != 3 || l.isResult(n.In[0]) {
			continue
		}
		l.bare[conv] = l.readBy(n.In[0], func(r *nn.Node) bool {
			return r == n || is[nn.BatchNormBackward](r) && l.writer[r.In[3]] == n
		})
	}
}

// matchNorm finds what can be fused with a batch normalisation and marks it as done.
func (l *lowering) matchNorm(n *nn.Node) *norm {
	m := &norm{node: n}
	if conv := l.writer[n.In[0]]; l.bare[conv] {
		m.bias = conv.In[2]
	}
	if r := l.onlyReader(n.Out[0]); is[nn.ReLU](r) {
		m.relu = r
	}
	if len(n.Out) > 1 {
		for _, r := range l.readers[n.Out[1]] {
			if is[nn.BatchNormBackward](r) {
				m.back = r
			}
		}
	}
	if m.relu != nil {
		z := m.relu.Out[0]
		if m.back != nil {
			r := l.writer[m.back.In[0]]
			if is[nn.ReLUBackward](r) && r.In[1] == z && l.onlyReader(r.Out[0]) == m.back {
				m.reluBack = r
			}
		}
		m.tail, m.tailBack = l.matchTail(z, m)
	}
	for _, d := range []*nn.Node{m.relu, m.tail, m.reluBack, m.tailBack} {
		if d != nil {
			l.done[d] = true
		}
	}
	l.norms[n] = m
	c := channels(n.In[0])
	m.coef = l.temp(func(int) int { return 8 * c })
	return m
}

// matchTail returns the node that alone reads the ReLU's output z, and its
// gradient in training, if that alone goes to the ReLU's.
func (l *lowering) matchTail(z *nn.Value, m *norm) (tail, back *nn.Node) {
	if l.isResult(z) {
		return nil, nil
	}
	for _, r := range l.readers[z] {
		switch {
		case (is[nn.MaxPool2D](r) || is[nn.Dropout](r) || is[nn.GlobalAvgPool](r)) && tail == nil:
			tail = r
		case is[nn.MaxPool2DBackward](r) && back == nil && r.In[0] != z:
			back = r
		case r != m.reluBack:
			return nil, nil
		}
	}
	if tail == nil || is[nn.MaxPool2D](tail) == (back == nil) && m.back != nil {
		return nil, nil
	}
	if m.back == nil || is[nn.GlobalAvgPool](tail) {
		return tail, nil
	}
	if m.reluBack == nil {
		return nil, nil
	}
	if is[nn.Dropout](tail) {
		back = l.writer[m.reluBack.In[0]]
		if back == nil || back.Op != tail.Op {
			return nil, nil
		}
	}
	if m.reluBack.In[0] != back.Out[0] || l.onlyReader(back.Out[0]) != m.reluBack {
		return nil, nil
	}
	return tail, back
}

// extent are the size arguments of the kernels that take m.part, up to channels:
// the numbers of rows and of what else the tail must know. rows is the batch's.
func (m *norm) extent(b *binder) []any {
	x := m.node.In[0]
	switch {
	case m.tail == nil:
		return []any{b.positions(x), channels(x)}
	case is[nn.MaxPool2D](m.tail):
		return []any{b.rows, x.Shape[1], x.Shape[2], channels(x)}
	}
	return []any{b.rows, x.Width() / channels(x), channels(x)}
}

// keys and masks are the arguments of a dropout tail.
func (m *norm) keys() []any {
	if m.tail != nil && is[nn.Dropout](m.tail) {
		return []any{fedKeys}
	}
	return nil
}

func (m *norm) masks() []any {
	if m.tail != nil && is[nn.Dropout](m.tail) {
		return masks(m.tail.Op.(nn.Dropout))
	}
	return nil
}

// join concatenates arguments.
func join(args ...[]any) []any {
	var all []any
	for _, a := range args {
		all = append(all, a...)
	}
	return all
}

// apply makes the pass that takes x to the output.
func (m *norm) apply(b *binder, t driver.Type) []launch {
	args := []any{b.place(m.out()), b.place(m.node.In[0]), b.place(m.coef)}
	return b.call("batchnorm_apply_"+m.part()+suffix(t), join(args, m.keys(), m.extent(b), m.masks())...)
}

// absorbed is the bias that the kernels take in, if any.
func (m *norm) absorbed(b *binder) any {
	if m.bias == nil {
		return nil
	}
	return b.place(m.bias)
}

// kind names the fused op.
func (m *norm) kind() string {
	kind := m.node.Op.Kind()
	if m.relu != nil {
		kind += "+relu"
	}
	if m.tail != nil {
		kind += "+" + m.tail.Op.Kind()
	}
	return kind
}

func (l *lowering) batchNorm(n *nn.Node, o nn.BatchNorm) {
	m := l.matchNorm(n)
	x := n.In[0]
	t := l.typeOf(x)
	l.setType(m.out(), t)
	partial, own := l.stats[x], false
	reads, writes := n.In, []*nn.Value{m.out(), n.Out[1], n.Out[2], m.coef}
	if partial == nil {
		partial, own = l.statistics(x), true
		writes = append(writes, partial)
	} else {
		reads = append(reads[:len(reads):len(reads)], partial)
	}
	if m.bias != nil {
		reads = append(reads[:len(reads):len(reads)], m.bias)
	}
	c := channels(x)
	op := l.emit(m.kind(), reads, writes, func(b *binder) []launch {
		rows := b.positions(x)
		slices := slicesOf(rows, c)
		var run []launch
		if own {
			run = b.call("batchnorm_stats_"+suffix(t), b.place(partial), b.place(x), rows, c, slices)
		}
		run = append(run, b.call("batchnorm_finish_f32", b.place(n.Out[1]), b.place(n.Out[2]), b.place(m.coef), b.place(n.In[3]), b.place(n.In[4]),
			b.place(partial), b.place(n.In[1]), b.place(n.In[2]), m.absorbed(b), rows, c, slices, float32(o.Epsilon), float32(o.Momentum))...)
		return append(run, m.apply(b, t)...)
	})
	if own {
		op.again = []*nn.Value{x}
	}
}

func (l *lowering) batchNormInference(n *nn.Node, o nn.BatchNormInference) {
	m := l.matchNorm(n)
	x := n.In[0]
	t := l.typeOf(x)
	l.setType(m.out(), t)
	l.emit(m.kind(), n.In, []*nn.Value{m.out(), m.coef}, func(b *binder) []launch {
		return append(b.call("batchnorm_coef_f32", b.place(m.coef), b.place(n.In[1]), b.place(n.In[2]), b.place(n.In[3]), b.place(n.In[4]),
			m.absorbed(b), channels(x), float32(o.Epsilon)), m.apply(b, t)...)
	})
}

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

// bind makes the backward op: sums, what follows from them, dx.
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
	run := b.call("batchnorm_backward_reduce_"+part+suffix(k.t),
		join([]any{b.place(partial), dy, x, mean}, withCoef, keys, extent, []any{slices}, masks)...)
	var dbias any
	if k.dbias != nil {
		dbias = b.place(k.dbias)
	}
	run = append(run, b.call("batchnorm_backward_finish_f32", b.place(k.back.Out[1]), b.place(k.back.Out[2]), b.place(back), dbias, b.place(partial),
		b.place(k.back.In[2]), mean, b.place(k.back.In[4]), rows, c, slices)...)
	apply := join([]any{b.place(k.dx), dy, x}, withCoef, []any{b.place(back)}, keys, extent, masks)
	if k.residual != nil {
		part = "relu_add_"
		apply = []any{b.place(k.dx), dy, x, b.place(k.residual), coef, b.place(back), rows, c}
	}
	return append(run, b.call("batchnorm_backward_apply_"+part+suffix(k.t), apply...)...)
}

// pool2d lowers a pool that is not part of another op, or its gradient.
func (l *lowering) pool2d(n *nn.Node, kernel string) {
	in, t := l.operands(n)
	x := n.In[len(n.In)-1]
	l.emit(n.Op.Kind(), in, n.Out, func(b *binder) []launch {
		args := []any{b.place(n.Out[0])}
		for _, v := range in {
			args = append(args, b.place(v))
		}
		return b.call(kernel+suffix(t), append(args, b.rows, x.Shape[1], x.Shape[2], x.Shape[3])...)
	})
}

// averagePool lowers the average over the positions of image, or its gradient.
func (l *lowering) averagePool(n *nn.Node, image *nn.Value, kernel string) {
	in, t := l.operands(n)
	c := channels(image)
	l.emit(n.Op.Kind(), in, n.Out, func(b *binder) []launch {
		return b.call(kernel+suffix(t), b.place(n.Out[0]), b.place(in[0]), b.rows, image.Width()/c, c)
	})
}
