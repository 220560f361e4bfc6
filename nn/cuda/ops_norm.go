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

// normaliser is the training batch normalisation that reads v, nil if there is none.
func (l *lowering) normaliser(v *nn.Value) *nn.Node {
	for _, r := range l.readers[v] {
		if is[nn.BatchNorm](r) {
			return r
		}
	}
	return nil
}

// statistics makes the place of partial statistics of v.
func (l *lowering) statistics(v *nn.Value) *nn.Value {
	c, per := channels(v), v.Width()/channels(v)
	return l.temp(func(rows int) int { return 4 * (2*slicesOf(rows*per, c) + 1) * c })
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
	m := l.norms[n]
	if m != nil { // the maker of x has made the statistics
		l.applyNorm(m)
		return
	}
	m = l.matchNorm(n)
	x := n.In[0]
	t := l.typeOf(x)
	l.setType(m.out(), t)
	partial := l.statistics(x)
	reads, writes := m.statistics()
	op := l.emit(m.kind(), append(reads, x), append([]*nn.Value{m.out(), partial}, writes...), func(b *binder) []launch {
		before, behind := m.finish(b, partial)
		return append(b.call("batchnorm_stats_"+suffix(t), join(before, []any{b.place(x)}, behind)...), m.apply(b, t)...)
	})
	op.again = []*nn.Value{x}
}

// applyNorm emits the pass that takes x to the output alone.
func (l *lowering) applyNorm(m *norm) {
	x := m.node.In[0]
	t := l.typeOf(x)
	l.setType(m.out(), t)
	l.emit(m.kind(), []*nn.Value{x, m.coef}, []*nn.Value{m.out()}, func(b *binder) []launch { return m.apply(b, t) })
}

// statistics are what the kernel that sums x reads and writes beside x.
func (m *norm) statistics() (reads, writes []*nn.Value) {
	n := m.node
	reads = n.In[1:len(n.In):len(n.In)]
	if m.bias != nil {
		reads = append(reads, m.bias)
	}
	return reads, []*nn.Value{n.Out[1], n.Out[2], m.coef}
}

// finish are the arguments, before and behind those of x, of a kernel that sums x.
func (m *norm) finish(b *binder, partial *nn.Value) (before, behind []any) {
	n := m.node
	rows, c := b.positions(n.In[0]), channels(n.In[0])
	o := n.Op.(nn.BatchNorm)
	before = []any{b.place(n.Out[1]), b.place(n.Out[2]), b.place(m.coef), b.place(n.In[3]), b.place(n.In[4]), b.place(partial), b.s.counters}
	return before, []any{b.place(n.In[1]), b.place(n.In[2]), m.absorbed(b), rows, c, slicesOf(rows, c), float32(o.Epsilon), float32(o.Momentum)}
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
