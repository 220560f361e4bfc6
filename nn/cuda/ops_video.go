package cuda

import (
	"slices"

	"sdnn/nn"
	"sdnn/nn/cuda/driver"
)

// convPool is convolution (3 taps), ReLU, max-pool and, in training, dropout of
// the video net, run as one pass: the values between them, the largest of the
// whole step, never reach memory, and the backward pass computes them again.
type convPool struct {
	conv, relu, pool                *nn.Node
	poolBack, reluBack, convolvBack *nn.Node // nil in evaluation
	// drop and dropBack, which is its gradient's, are on a view of the pool's
	// result; nil: there is none.
	drop, dropBack *nn.Node
}

// findConvPools marks the nodes of every such chain and remembers where to emit it.
func (l *lowering) findConvPools() {
	for _, n := range l.p.Nodes {
		if !is[nn.MaxPool1D](n) {
			continue
		}
		c := l.matchConvPool(n)
		if c == nil {
			continue
		}
		for _, m := range []*nn.Node{c.conv, c.relu, c.pool, c.poolBack, c.reluBack, c.convolvBack, c.drop, c.dropBack} {
			if m != nil {
				l.done[m] = true
			}
		}
		l.chains[c.pool] = c
		if c.convolvBack != nil {
			l.chains[c.convolvBack] = c
		}
	}
}

// matchConvPool returns the chain that ends in a max-pool, or nil.
func (l *lowering) matchConvPool(pool *nn.Node) *convPool {
	c := &convPool{pool: pool, relu: l.writer[pool.In[0]]}
	if !is[nn.ReLU](c.relu) || l.isResult(pool.In[0]) {
		return nil
	}
	c.conv = l.writer[c.relu.In[0]]
	if !is[nn.Conv1D](c.conv) || l.onlyReader(c.conv.Out[0]) != c.relu || c.conv.In[1].Shape[1] != 3 {
		return nil
	}
	for _, r := range l.readers[c.relu.Out[0]] {
		switch r.Op.(type) {
		case nn.MaxPool1D:
			if r != pool {
				return nil
			}
		case nn.MaxPool1DBackward:
			c.poolBack = r
		case nn.ReLUBackward:
			c.reluBack = r
		default:
			return nil
		}
	}
	if c.poolBack == nil {
		return c
	}
	if c.reluBack == nil || l.onlyReader(c.poolBack.Out[0]) != c.reluBack {
		return nil
	}
	c.convolvBack = l.onlyReader(c.reluBack.Out[0])
	// The gradient for the input would need the values that are not kept.
	if !is[nn.Conv1DBackward](c.convolvBack) || len(c.convolvBack.Out) == 3 {
		return nil
	}
	l.matchDropout(c)
	return c
}

// matchDropout finds the dropout behind the pool, both ways.
func (l *lowering) matchDropout(c *convPool) {
	drop := l.onlyReader(c.pool.Out[0])
	if is[nn.Reshape](drop) {
		drop = l.onlyReader(drop.Out[0])
	}
	back := l.writer[c.poolBack.In[0]]
	if is[nn.Reshape](back) && l.onlyReader(back.Out[0]) == c.poolBack {
		back = l.writer[back.In[0]]
	}
	if !is[nn.Dropout](drop) || back == nil || back.Op != drop.Op || len(l.readers[back.Out[0]]) != 1 || l.isResult(back.Out[0]) {
		return
	}
	c.drop, c.dropBack = drop, back
}

// part, keys and masks are the name, and the arguments of a dropout.
func (c *convPool) part() string {
	if c.drop == nil {
		return ""
	}
	return "dropout_"
}

func (c *convPool) keys() []any {
	if c.drop == nil {
		return nil
	}
	return []any{fedKeys}
}

func (c *convPool) masks() []any {
	if c.drop == nil {
		return nil
	}
	return masks(c.drop.Op.(nn.Dropout))
}

// convPool emits the fused op whose last node is n.
func (l *lowering) convPool(c *convPool, n *nn.Node) {
	x, w, bias, y := c.conv.In[0], c.conv.In[1], c.conv.In[2], c.pool.Out[0]
	f, length := w.Shape[0], x.Width()
	t, kind := l.half(), "conv1d+relu+max-pool"
	in := l.in(x, t)
	if c.drop != nil {
		y, kind = c.drop.Out[0], kind+"+dropout"
	}
	if n == c.pool {
		l.setType(y, t)
		l.emit(kind, []*nn.Value{in, w, bias}, []*nn.Value{y}, func(b *binder) []launch {
			args := []any{b.place(y), b.place(in), b.place(w), b.place(bias)}
			return b.call("conv1d_relu_maxpool_"+c.part()+"forward_"+suffix(t), join(args, c.keys(), []any{b.rows, length, f}, c.masks())...)
		}).flops = func(rows int) float64 { return 6 * float64(rows) * float64(length) * float64(f) }
		return
	}
	from := c.poolBack.In[0]
	if c.drop != nil {
		from = c.dropBack.In[0]
	}
	dy := l.in(from, t)
	out := c.convolvBack.Out
	partial := l.taps(length, f, 3)
	l.emit(kind+"-backward", []*nn.Value{dy, in, w, bias}, []*nn.Value{out[0], out[1], partial}, func(b *binder) []launch {
		slices := slicesOf(b.rows*length, f)
		args := []any{b.place(out[0]), b.place(out[1]), b.place(partial), b.s.counters, b.place(dy), b.place(in), b.place(w), b.place(bias)}
		return b.call("conv1d_relu_maxpool_"+c.part()+"backward_"+suffix(t), join(args, c.keys(), []any{b.rows, length, f, slices}, c.masks())...)
	}).flops = func(rows int) float64 { return 10 * float64(rows) * float64(length) * float64(f) }
}

// taps makes the partial sums of a one-dimensional convolution's gradient.
func (l *lowering) taps(length, filters, taps int) *nn.Value {
	return l.temp(func(rows int) int { return 4 * (taps + 1) * filters * slicesOf(rows*length, filters) })
}

func (l *lowering) conv1d(n *nn.Node) {
	in, t := l.operandsOf(n, 1)
	w := n.In[1]
	l.emit(n.Op.Kind(), append(in, n.In[1:]...), n.Out, func(b *binder) []launch {
		return b.call("conv1d_forward_"+suffix(t), b.place(n.Out[0]), b.place(in[0]), b.place(w), b.place(n.In[2]),
			b.rows, n.In[0].Width(), w.Shape[0], w.Shape[1])
	})
}

func (l *lowering) conv1dBackward(n *nn.Node) {
	dy, x, w := n.In[0], n.In[1], n.In[2]
	t := l.typeOf(dy)
	in := l.in(x, t)
	length, f, k := x.Width(), w.Shape[0], w.Shape[1]
	partial := l.taps(length, f, k)
	if len(n.Out) == 3 {
		l.setType(n.Out[2], t)
	}
	writes := append(n.Out[:len(n.Out):len(n.Out)], partial)
	l.emit(n.Op.Kind(), []*nn.Value{dy, in, w}, writes, func(b *binder) []launch {
		slices := slicesOf(b.rows*length, f)
		run := append(b.call("conv1d_backward_weight_"+suffix(t), b.place(partial), b.place(dy), b.place(in), b.rows, length, f, k, slices),
			b.call("conv1d_backward_finish_f32", b.place(n.Out[0]), b.place(n.Out[1]), b.place(partial), f, k, slices)...)
		if len(n.Out) == 3 {
			run = append(run, b.call("conv1d_backward_data_"+suffix(t), b.place(n.Out[2]), b.place(dy), b.place(w), b.rows, length, f, k)...)
		}
		return run
	})
}

func (l *lowering) maxPool1D(n *nn.Node) {
	in, t := l.operands(n)
	s := n.In[0].Shape
	l.emit(n.Op.Kind(), in, n.Out, func(b *binder) []launch {
		return b.call("maxpool1d_forward_"+suffix(t), b.place(n.Out[0]), b.place(in[0]), b.rows, s[1], s[2])
	})
}

func (l *lowering) maxPool1DBackward(n *nn.Node) {
	in, t := l.operands(n)
	s := n.In[1].Shape
	l.emit(n.Op.Kind(), in, n.Out, func(b *binder) []launch {
		return b.call("maxpool1d_backward_"+suffix(t), b.place(n.Out[0]), b.place(in[0]), b.place(in[1]), b.rows, s[1], s[2])
	})
}

// rowsKernel names a kernel that takes rows of one type to rows of another.
func rowsKernel(name string, from, to string) string { return name + "_" + from + "_" + to }

func (l *lowering) l2norm(n *nn.Node) {
	x, y := n.In[0], n.Out[0]
	if r := l.onlyReader(y); is[nn.Concat](r) && l.writesColumns(r, y) {
		return // part of the concatenation
	}
	from := l.typeOf(x)
	to := max(from, l.wanted(y)) // a wider result of bf16 says nothing more
	l.setType(y, to)
	w := x.Width()
	l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) []launch {
		return b.call(rowsKernel("l2norm_forward", suffix(from), suffix(to)), b.place(y), b.place(x), nil, b.rows, w, w, w)
	})
}

// writesColumns reports whether v, an input of a concatenation, is a
// normalisation that can write to its columns there.
func (l *lowering) writesColumns(concat *nn.Node, v *nn.Value) bool {
	w := l.writer[v]
	return is[nn.L2Norm](w) && l.onlyReader(v) == concat && l.typeOf(w.In[0]) == driver.F32
}

func (l *lowering) l2normBackward(n *nn.Node) {
	in, t := l.operands(n)
	l.emit(n.Op.Kind(), in, n.Out, func(b *binder) []launch {
		return b.call("l2norm_backward_"+suffix(t), b.place(n.Out[0]), b.place(in[0]), b.place(in[1]), b.rows, n.Out[0].Width())
	})
}

// concat lowers Concat: each input is copied to its columns, or normalised there.
func (l *lowering) concat(n *nn.Node) {
	y := n.Out[0]
	to := l.wanted(y)
	l.setType(y, to)
	w := y.Width()
	in, kernels, kind := slices.Clone(n.In), make([]string, len(n.In)), n.Op.Kind()
	for i, v := range in {
		kernels[i] = "copy_rows"
		if l.writesColumns(n, v) {
			in[i], kernels[i], kind = l.writer[v].In[0], "l2norm_forward", "l2-norm+"+n.Op.Kind()
		}
	}
	l.emit(kind, in, n.Out, func(b *binder) []launch {
		var run []launch
		at := 0
		for i, v := range in {
			run = append(run, b.call(rowsKernel(kernels[i], suffix(l.typeOf(v)), suffix(to)), b.place(y).plus(at*to.Size()), b.place(v), nil,
				b.rows, v.Width(), w, v.Width())...)
			at += v.Width()
		}
		return run
	})
}

func (l *lowering) columns(n *nn.Node, o nn.Columns) {
	x, y := n.In[0], n.Out[0]
	from, to := l.typeOf(x), l.wanted(y)
	l.setType(y, to)
	l.emit(n.Op.Kind(), n.In, n.Out, func(b *binder) []launch {
		return b.call(rowsKernel("copy_rows", suffix(from), suffix(to)), b.place(y), b.place(x).plus(o.From*from.Size()), nil,
			b.rows, o.Width, o.Width, x.Width())
	})
}

// mixture lowers the mixture of experts, whose gates and experts are logits.
func (l *lowering) mixture(n *nn.Node, m int) {
	p := n.Out[0]
	in := l.logits(n.In)
	l.emit(n.Op.Kind(), in, n.Out, func(b *binder) []launch {
		return b.call("moe_forward_f32", b.place(p), b.place(in[0]), b.place(in[1]), b.rows, p.Width(), m,
			p.Width(), l.stride(n.In[0]), l.stride(n.In[1]))
	})
}

func (l *lowering) mixtureBackward(n *nn.Node, m int) {
	in := l.logits(n.In)
	t := max(l.wanted(n.Out[0]), l.wanted(n.Out[1]))
	l.setType(n.Out[0], t)
	l.setType(n.Out[1], t)
	s := n.In[0].Width()
	// A padded value's gradient is padded alike, and the other way round.
	l.emit(n.Op.Kind(), in, n.Out, func(b *binder) []launch {
		return b.call("moe_backward_"+suffix(t), b.place(n.Out[0]), b.place(n.Out[1]), b.place(in[0]), b.place(in[1]), b.place(in[2]),
			b.rows, s, m, s, l.stride(n.In[1]), l.stride(n.In[2]))
	})
}

// logits returns values as float32.
func (l *lowering) logits(vs []*nn.Value) (in []*nn.Value) {
	for _, v := range vs {
		in = append(in, l.in(v, 0))
	}
	return in
}
